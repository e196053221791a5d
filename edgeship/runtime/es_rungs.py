"""Several variants of one release resident at once, of which a governor chooses for each request.

`Ladder` stands where a single model stands in a service without a governor: the worker loads it, the worker or the
loop asks it for answers.
"""

import threading
import time

import es_batch
import es_infer
from es_answers import Answer, answered
from es_errors import EngineFailed, Refused
from es_rung_set import RungSet
from es_streams import Streams
from es_worker import HERE_SECONDS


class Ladder(object):
    """The chosen variant is loaded at once, the others by `load_next`, one a call. `company(most,
    accept)`, set by the worker, gives the next jobs that wait, as long as accept(job) takes them; `leave(jobs)` has
    them answered.
    """

    sessions = None

    def __init__(self, release, metrics, budget, governor):
        self._release, self._governor = release, governor
        self._engines = threading.Lock()  # Held while an engine computes: none is closed under a run.
        self._set = RungSet(release, metrics, budget, governor, self._engines)
        self._last = {}  # Seconds of the last answer by each rung.
        self._streams = Streams(governor)
        self.metrics = metrics
        self.company, self.leave = (lambda most, accept: []), (lambda jobs: None)

    # --- what the worker and the server ask of a model --------------------------------------------------------

    @property
    def engine(self):
        """The chosen variant's engine."""
        return self._set.chosen.engine

    @property
    def healthy(self):
        """Whether one variant at least can answer."""
        return any(model.healthy for model in self._set.models.values())

    def warm_up(self, runs):
        """Run the chosen variant on zeros."""
        return self._set.chosen.warm_up(runs)

    def due(self):
        """Return the monotonic time at which `chores` has something to do, None where it has nothing."""
        times = [model.due() for model in self._set.models.values()]
        return min((moment for moment in times if moment is not None), default=None)

    def chores(self):
        """Try engines that failed again."""
        for model in self._set.models.values():
            was = model.healthy
            model.chores()
            if not model.healthy:
                self._set.try_again(model.name)
            elif not was:
                self._set.tell()

    @property
    def joins(self):
        """Whether runs of some variant may be joined."""
        return bool(self._set.joins)

    def to_load(self):
        """Return whether a variant is to be loaded, or loaded anew."""
        return self._set.next() is not None or self._governor.loading

    def load_next(self):
        """Load one."""
        self._set.load_next()

    # --- answering --------------------------------------------------------------------------------------------

    def answer(self, request, deadline, quick=False, queued=0):
        """Return the Answer to one POST .../infer, as Answering.answer does; `queued` requests wait behind it. With
        `quick`, None where it would take too long for the loop.
        """
        return answered(
            lambda held: self._computed(request, deadline, quick, queued, held), lambda error: None
        )

    def _computed(self, request, deadline, quick, queued, held):
        now = time.monotonic()
        if now > deadline:
            raise Refused(503, "the request waited too long in the queue", [("Retry-After", "1")])
        asked = request.asked
        call, model = self.decoded(request)
        if quick and call.runs > 1:
            return None
        if asked.stream is not None or asked.period is not None:
            answer = self._streams.before(asked, call, now)
            if answer is not None:
                return answer
        queued = asked.behind if quick else queued
        rung, decision, reason = self._governor.dispatch(now, asked, queued, call.runs)
        if quick and (self._engines.locked() or not self._usual(rung.name) <= HERE_SECONDS):
            return None
        tally = self._governor.tally
        tally.count(reason)
        if asked.variant is None:
            tally.serves(now, rung.name, reason)
        model.take_room(call, request, held)
        call.said = dict(call.said or (), reason=reason)
        most = decision.coalesce if call.runs == 1 and not quick else 1
        # Whoever names a variant has chosen its time, too: nothing to learn from.
        due = asked.due if asked.variant is None else None
        with self._engines:
            teller, tensors = self._run(rung, (call, model, deadline, due), most)
        if asked.stream is not None:
            self._streams.after(asked, call, now, (teller, tensors))
        answer = Answer(200, *es_infer.encode(call, tensors, teller))
        took = time.monotonic() - now
        self._last[rung.name] = took
        tally.served(max(0.0, took - call.seconds) / call.said.get("joined", 1))
        return answer

    def _usual(self, name):
        """Return the seconds that an answer by a rung took last; of one that never ran what a run is expected to."""
        last = self._last.get(name)
        return self._governor.expected(name) if last is None else last

    def decoded(self, request):
        """Return (Call, the model it was decoded for) of a request: the variant it names, else the chosen one. Raises
        Refused (400, 413, 503).
        """
        asked = request.asked
        asked.open(request, self._release.limits["body_bytes"])
        model = self._set.chosen if asked.variant is None else self._pinned(asked.variant)
        if asked.call is None:
            asked.call = es_infer.call_of(asked.body[0], asked.body[1], model)
            asked.body = ()  # Lists of numbers take eighty bytes for each.
        return asked.call, model

    def _pinned(self, name):
        """Return the model that decodes for a variant that a request names."""
        profile, whole = self._governor.profile, self._governor.whole
        place = profile.index(name)
        if place >= 0:
            rung = profile.every[place]
            return self._set.models[rung.cascade[0] if rung.cascade else rung.name]
        place = whole.index(name)
        if place < 0:
            known = ", ".join(self._governor.names())
            raise Refused(400, "there is no variant %r here; there are: %s" % (name, known))
        if whole.pin_reason == "off":
            raise Refused(400, "variant %r is not loaded: governor.mode is off" % name)
        why = self._governor.failed.get(name, "it is being loaded")
        raise Refused(503, "variant %r cannot answer: %s" % (name, why), [("Retry-After", "1")])

    def _run(self, rung, work, most):
        """Return (model whose answer it is, output tensors). `work`: (Call, the model it was decoded for, when no
        further run begins, when it is due or None).
        """
        call, model, deadline, due = work
        models = self._set.models
        model = models[model.name]  # It may have been loaded anew since.
        if rung.cascade:
            pair = [models[name] for name in rung.cascade[:2]]
            if all(one is model or fits(one, call) for one in pair):
                from es_cascade import Cascaded

                return Cascaded(rung, pair, self.timed, self._governor.expected).run(call, deadline, due)
            return model, self.timed(model, call, deadline, due)
        own = models[rung.name]
        if own is not model and not fits(own, call):
            own = model  # A client sends what only the variant it was decoded for takes.
        if most > 1 and own.name in self._set.joins:
            from es_company import Company

            company = Company(self, (rung, own), call, deadline, due)
            tensors = company.answer(most, self._governor.expected(own.name))
            if tensors is not None:
                return own, tensors
        return own, self.timed(own, call, deadline, due)

    def timed(self, model, call, deadline, due=None):
        """Return the output tensors, and tell the governor what they took."""
        before, healthy = call.seconds, model.healthy
        try:
            if call.runs > 1 and model.name in self._set.joins:
                return self._joined(model, call, deadline)
            model.engine.widen(1)
            return model.outputs(call, deadline)
        except EngineFailed as error:
            model.failed(error)
            raise
        finally:
            self.ran(model, call.seconds - before, call.runs, due)
            if model.healthy != healthy:
                self._set.tell()

    def ran(self, model, seconds, runs, due=None):
        """Tell the governor what runs of a model took, and whether that was too long for an answer due then."""
        if seconds > 0.0:
            self._governor.done(time.monotonic(), model.name, seconds, runs, due)

    def count(self, reason):
        """Count the decision for a request that joined another."""
        self._governor.tally.count(reason)

    def _joined(self, model, call, deadline):
        """Return the output tensors of the samples of one request, computed together."""
        found = self.together(
            model, [model.encode(part) for part in es_batch.parts(call.samples, call.runs)], call
        )
        if found is None:  # As without joining.
            return model.outputs(call, deadline)
        return [b"".join(pieces) for pieces in zip(*found)]

    def together(self, model, inputs, call):
        """Return [output tensors] of several runs computed at once, their seconds counted as the call's; None where the
        engine fails: one of them may hold what it never can compute.
        """
        from es_joining import together

        begun = time.perf_counter()
        try:
            found = together(model, inputs)
        except EngineFailed:
            model.engine.widen(1)
            return None
        seconds = time.perf_counter() - begun
        self.metrics.inference.observe(seconds)
        call.seconds += seconds
        model.failures = 0
        return found

    def guest(self, request, model):
        """Return the Call of a request that waits where it may be answered together with one for `model`, else None."""
        asked = request.asked
        if request.coding or asked.stream is not None or asked.period is not None:
            return None
        try:
            call, own = self.decoded(request)
        except Exception:
            return None  # What is wrong with it is told when its turn comes.
        if call.runs != 1 or asked.stream is not None or asked.period is not None:
            return None
        if asked.variant not in (None, model.name) or not (own is model or fits(model, call)):
            return None
        return call


def fits(model, call):
    """Return whether a Call that was decoded for another variant is one for this model, too."""
    try:
        runs = [es_batch.runs_of(e, s[1], s[2]) for e, s in zip(model.encoders, call.samples)]
    except Refused:
        return False
    return set(runs) == {call.runs}
