"""Several variants of one release resident at once, of which a governor chooses for each request.

`Ladder` stands where a single model stands in a service without a governor: the worker loads it, the worker or the
loop asks it for answers.
"""

import time

import es_batch
import es_infer
from es_answers import Answer, Answering, answered, log
from es_errors import CannotRun, Refused

WARM_UP_RUNS = 2
_STREAMS = 16  # Periodic jobs remembered; the one that was silent longest gives way.
_HERE_SECONDS = 0.002  # As in es_worker: what the loop itself may answer.


class Ladder(object):
    """The chosen variant is loaded at once, the others by `load_next`, one a call."""

    sessions = None

    def __init__(self, release, metrics, budget, governor):
        self._make = lambda name: Answering(release, metrics, budget, name)
        self._release, self._governor = release, governor
        self.name = release.variant()["name"]
        self._models = {self.name: self._make(self.name)}
        self._failed = {}
        self._last = {}  # Seconds of the last answer by each rung.
        self._retry = None
        self._still, self._jobs = None, {}

    # --- what the worker and the server ask of a model --------------------------------------------------------

    @property
    def engine(self):
        """The chosen variant's engine."""
        return self._models[self.name].engine

    @property
    def healthy(self):
        """Whether one variant at least can answer."""
        return any(model.healthy for model in self._models.values())

    def warm_up(self, runs):
        """Run the chosen variant on zeros."""
        return self._models[self.name].warm_up(runs)

    def due(self):
        """Return the monotonic time at which `chores` has something to do, None where it has nothing."""
        times = [model.due() for model in self._models.values()]
        return min((moment for moment in times if moment is not None), default=None)

    def chores(self):
        """Try engines that failed again."""
        for model in self._models.values():
            was = model.healthy
            model.chores()
            if model.healthy and not was:
                self._tell()

    # --- loading ----------------------------------------------------------------------------------------------

    def to_load(self):
        """Return the name of the variant to load next, None where all are that should be."""
        for name in self._governor.wanted():
            if name not in self._models and name not in self._failed:
                return name
        return None

    def load_next(self):
        """Load one variant more; one that cannot be loaded is left out, and said so."""
        name = self.to_load()
        if name is None:
            return
        try:
            self._load(name)
        except CannotRun as error:
            self._leave_out(name, error.reason)
        except Exception as error:
            self._leave_out(name, "%s: %s" % (type(error).__name__, error))
        self._tell()

    def _load(self, name):
        begun = time.monotonic()
        model = self._make(name)
        try:
            model.warm_up(WARM_UP_RUNS)
        except Exception:
            model.close()
            raise
        self._models = dict(self._models, **{name: model})  # The loop may be looking at the old one.
        log("rung-loaded", variant=name, seconds=round(time.monotonic() - begun, 4))

    def _leave_out(self, name, why):
        self._failed[name] = "it cannot be loaded: %s" % why
        log("rung-left-out", variant=name, reason=why)

    def _tell(self):
        """Tell the governor which variants can answer."""
        healthy = [name for name, model in self._models.items() if model.healthy]
        failed = dict(self._failed)
        for name in self._models:
            if name not in healthy:
                failed[name] = "its engine failed several times in a row"
        self._governor.available(healthy or [self.name], failed, self.to_load() is None)

    # --- answering --------------------------------------------------------------------------------------------

    def answer(self, request, deadline, quick=False, queued=0):
        """Return the Answer to one POST .../infer, as Answering.answer does; `queued` requests wait behind it. With
        `quick`, None where it would take too long for the loop.
        """
        return answered(
            lambda held: self._computed(request, deadline, quick, queued, held), lambda error: None
        )

    def _computed(self, request, deadline, quick, queued, held):
        began = now = time.monotonic()
        if now > deadline:
            raise Refused(503, "the request waited too long in the queue", [("Retry-After", "1")])
        asked = request.asked
        call, model = self.decoded(request)
        if quick and call.runs > 1:
            return None
        limit = self._governor.profile.settings["still"]
        if limit is not None and asked.stream is not None:
            answer = self._again(asked, call, now, limit)
            if answer is not None:
                return answer
        if asked.period is not None:
            self._portion(asked, call, now)
        rung, decision, reason = self._governor.dispatch(now, asked, queued, call.runs)
        if quick and not self._last.get(rung.name, 0.0) <= _HERE_SECONDS:
            return None
        tally = self._governor.tally
        tally.count(reason)
        if asked.variant is None:
            tally.serves(now, rung.name, reason)
        model.take_room(call, request, held)
        call.said = dict(call.said or (), reason=reason)
        teller, tensors = self._run(rung, call, model, deadline, asked)
        if limit is not None and asked.stream is not None:
            self._still.computed(asked.stream, call.samples, now, (teller, tensors, call.said))
        answer = Answer(200, *es_infer.encode(call, tensors, teller))
        took = time.monotonic() - began
        self._last[rung.name] = took
        tally.served(max(0.0, took - call.seconds))
        return answer

    def decoded(self, request):
        """Return (Call, the model it was decoded for) of a request: the variant it names, else the chosen one. Raises
        Refused (400, 413, 503).
        """
        asked = request.asked
        asked.open(request, self._release.limits["body_bytes"])
        model = self._models[self.name] if asked.variant is None else self._pinned(asked.variant)
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
            return self._models[rung.cascade[0] if rung.cascade else rung.name]
        place = whole.index(name)
        if place < 0:
            known = ", ".join(rung.name for rung in whole.every)
            raise Refused(400, "there is no variant %r here; there are: %s" % (name, known))
        if whole.pin_reason == "off":
            raise Refused(400, "variant %r is not loaded: governor.mode is off" % name)
        why = self._governor.failed.get(name, "it is being loaded")
        raise Refused(503, "variant %r cannot answer: %s" % (name, why), [("Retry-After", "1")])

    def _run(self, rung, call, model, deadline, asked):
        """Return (model whose answer it is, output tensors)."""
        if rung.cascade:
            pair = [self._models[name] for name in rung.cascade[:2]]
            if all(one is model or fits(one, call) for one in pair):
                from es_cascade import Cascaded

                return Cascaded(rung, pair, self._timed, self._governor.expected).run(call, deadline, asked)
            return model, self._timed(model, call, deadline)
        own = self._models[rung.name]
        if own is not model and not fits(own, call):
            own = model  # A client sends what only the variant it was decoded for takes.
        return own, self._timed(own, call, deadline)

    def _timed(self, model, call, deadline):
        """Return the output tensors, and tell the governor what they took."""
        before = call.seconds
        failures = model.failures
        try:
            tensors = model.outputs(call, deadline)
        except Exception as error:
            if type(error).__name__ == "EngineFailed":
                model.failed(error)
            raise
        finally:
            if call.seconds > before:
                self._governor.done(time.monotonic(), model.name, call.seconds - before, call.runs)
            if model.failures and not model.healthy or failures and not model.failures:
                self._tell()
        return tensors

    # --- streams and periodic jobs ----------------------------------------------------------------------------

    def _again(self, asked, call, now, limit):
        """Return the last answer of a stream in which nothing moves, None where something does."""
        if self._still is None:
            from es_still import Still

            self._still = Still(limit)
        self._still.limit = limit
        if not self._still.same(asked.stream, call.samples, now):
            return None
        teller, tensors, said = self._still.answer(asked.stream)
        call.said = dict(said, skipped=True)
        self._governor.tally.skipped += 1
        return Answer(200, *es_infer.encode(call, tensors, teller))

    def _portion(self, asked, call, now):
        """Cut a periodic job down to the share of its samples that the load leaves room for."""
        from es_duty import duty, share

        items, busy = call.runs, self._governor.tally.busy
        key = asked.stream or ""
        work, at, before = self._jobs.pop(key, (1.0, None, 0.0))
        if at is not None and now > at:
            load = (busy - before) / max(asked.period, now - at)
            work = duty(work, load, self._governor.profile.settings["load"], items=items)
        self._jobs[key] = (work, now, busy)
        while len(self._jobs) > _STREAMS:
            del self._jobs[next(iter(self._jobs))]
        wanted = share(work, items)
        batch = call.samples[0][2][0] // items if call.samples[0][2] else 1
        if wanted < items:
            es_batch.first(call, wanted)
        call.said = {"done": wanted * batch, "work": round(work, 4)}


def fits(model, call):
    """Return whether a Call that was decoded for another variant is one for this model, too."""
    try:
        runs = [es_batch.runs_of(e, s[1], s[2]) for e, s in zip(model.encoders, call.samples)]
    except Refused:
        return False
    return set(runs) == {call.runs}
