"""Inference requests answered by the worker: every outcome is an Answer, nothing escapes."""

import json
import sys
import time

import es_batch
import es_infer
from es_engine import load_engine
from es_errors import EngineFailed, Refused
from es_model import Model
from es_sessions import Sessions

# After so many engine failures in a row the service says that it is not ready (an accelerator may be gone).
FAILURES_UNTIL_UNREADY = 3
# So often an unready service tries whether the engine computes again.
RETRY_SECONDS = 5.0


class Answer(object):
    """Status, header lines and body of an HTTP answer; `close` ends the connection after it."""

    __slots__ = ("status", "headers", "body", "close", "held")

    def __init__(self, status, headers, body, close=False):
        self.status, self.headers, self.body, self.close = status, headers, body, close
        self.held = 0  # Bytes of the budget that were taken for it beside those of the request.


def json_answer(status, document, headers="", close=False):
    """Return an Answer with a JSON body."""
    body = json.dumps(document).encode("utf-8")
    return Answer(status, "Content-Type: application/json\r\n" + headers, body, close)


def refusal(error):
    """Return the Answer for a Refused."""
    headers = "".join("%s: %s\r\n" % pair for pair in error.headers)
    return json_answer(error.status, {"error": error.reason}, headers, error.close)


def log(event, **facts):
    """Write one line of JSON to stderr."""
    facts["event"] = event
    sys.stderr.write(json.dumps(facts, sort_keys=True) + "\n")
    sys.stderr.flush()


def answered(compute, failed):
    """Return the Answer of compute(held), or the one that says why there is none; `failed` is told what the engine
    failed at. `held`: a list of one number, the bytes of the budget taken for the answer. None stays None.
    """
    held = [0]
    try:
        answer = compute(held)
        if answer is None:
            return None
    except Refused as error:
        answer = refusal(error)
    except EngineFailed as error:
        failed(error)
        answer = json_answer(500, {"error": "the engine failed: %s" % error})
    except Exception as error:  # Whatever it is, the next request deserves an answer too.
        log("internal-error", kind=type(error).__name__, reason=str(error)[:300], line=_line(error))
        answer = json_answer(500, {"error": "internal error (%s)" % type(error).__name__})
    answer.held = held[0]
    return answer


class Answering(Model):
    """A Model that answers HTTP requests."""

    def __init__(self, release, metrics, budget, name=None):
        Model.__init__(self, release, name)
        self._metrics, self._budget = metrics, budget
        self.sessions = None
        if self.states:
            self.sessions = Sessions(lambda: load_engine(release, self.spec), release.limits)
        self.failures = 0
        self._retry = None

    @property
    def healthy(self):
        """Whether the engine has not failed several times in a row."""
        return self.failures < FAILURES_UNTIL_UNREADY

    def due(self):
        """Return the monotonic time at which `chores` has something to do, None where it has nothing."""
        times = [] if self.healthy else [self._retry]
        if self.sessions is not None:
            times.append(self.sessions.due())
        return min((moment for moment in times if moment is not None), default=None)

    def chores(self):
        """Do what no request asks for: close sessions that fell silent, and try an engine that failed again."""
        if self.sessions is not None:
            self.sessions.sweep()
        if not self.healthy and time.monotonic() >= self._retry:
            try:
                self.run(self.zeros())
                self.failures = 0
                log("engine-recovered")
            except EngineFailed as error:
                self.failed(error)

    def failed(self, error):
        """Note that the engine failed."""
        self.failures += 1
        self._retry = time.monotonic() + RETRY_SECONDS
        log("engine-failed", reason=str(error), in_a_row=self.failures)

    def answer(self, request, deadline, quick=False):
        """Return the Answer to one POST .../infer. `deadline` is the monotonic time until which it may wait for
        its turn, and a request of several runs begin another. With `quick`, None for one of several runs.
        """
        return answered(lambda held: self._computed(request, deadline, quick, held), self.failed)

    def _computed(self, request, deadline, quick, held):
        if self.sessions is not None:
            self.sessions.sweep()
        if time.monotonic() > deadline:
            raise Refused(503, "the request waited too long in the queue", [("Retry-After", "1")])
        call = es_infer.decode(request, self)
        if quick and call.runs > 1:
            return None
        self.take_room(call, request, held)
        headers, body = es_infer.encode(call, self.outputs(call, deadline), self)
        return Answer(200, headers, body)

    def take_room(self, call, request, held):
        """Take what the answer needs beside the request's body, whose place it takes, of the budget; the body goes."""
        further = es_batch.answer_bytes(call, self) - request.length
        held[0] = self._budget.take(further, request.length)
        request.body = b""  # Megabytes, for a large tensor; what is needed of it stands in the call.

    def _blame(self, error):
        """Raise Refused (400) where the engine still computes, so that it failed by what the request holds (an index
        beyond a table): no client can take the service away from the others with such values.
        """
        self.run(self.zeros())
        self.failures = 0
        log("values-refused", reason=str(error))
        raise Refused(400, "the engine computes other values (zeros), but not these: %s" % error)

    def outputs(self, call, deadline):
        """Return the output tensors' bytes, those of several runs joined; raises Refused (413) where time ran
        out between them.

        In a session the runs are its next steps, in order. One that failed on the way is gone: nobody can tell
        how far its state was changed.
        """
        found, run = [], None
        try:
            for part in es_batch.parts(call.samples, call.runs):
                if found and time.monotonic() > deadline:
                    text = "%d of %d samples were computed within %g s; send fewer at a time"
                    batch = call.samples[0][2][0] // call.runs
                    seconds = self.release.limits["request_seconds"]
                    raise Refused(413, text % (batch * len(found), batch * call.runs, seconds))
                tensors = self.encode(part)
                run = run or (self.sessions.engine(call.sequence).run if call.sequence else self.run)
                begun = time.perf_counter()
                try:
                    found.append(run(tensors))
                except EngineFailed as error:
                    self._blame(error)
                    raise
                seconds = time.perf_counter() - begun
                self._metrics.inference.observe(seconds)
                call.seconds += seconds
                self.failures = 0
        except Exception:
            if call.sequence and run:
                self.sessions.drop(call.sequence)
            raise
        if call.sequence:
            self.sessions.done(call.sequence)
        return found[0] if len(found) == 1 else [b"".join(pieces) for pieces in zip(*found)]


def _line(error):
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else "%s:%d" % (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
