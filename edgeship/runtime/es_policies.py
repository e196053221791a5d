"""What decides which rung answers, in the simulator: the governor, and what it has to beat.

A policy is asked as the service asks the governor: `admit` when a request comes, `dispatch` when the engine is free,
`done` when it ran, `tick` every two seconds. It knows the past only; what knows the future is es_oracle.
"""

from es_govern import begin, decide

# Every rule of thumb goes by this share of the time that the engine is busy.
TARGET_LOAD = 0.8
_LOW_LOAD = 0.5
_LARGEST_BATCH = 16
_BEST_EFFORT_SECONDS = 1.0


class Fixed(object):
    """One rung, always: what a service without a governor does. `refusing`: with the rule of the governor that what
    cannot finish in time is not begun.
    """

    kind = "fixed"

    def __init__(self, profile, rung, refusing=False):
        self._profile, self.rung, self._refusing = profile, rung, refusing
        self.name = "%s:%s" % ("refusing" if refusing else "fixed", profile.every[rung].name)
        self.kind = "refusing" if refusing else "fixed"

    def admit(self, now, queued, rate, left):
        """Return why a request is refused, or None."""
        seconds = self._profile.every[self.rung].seconds
        if self._refusing and left is not None and seconds * (queued + 1) > left:
            return "late"
        return None

    def wait(self, waiting, age, left):
        """Return for how many seconds the engine shall wait for more requests; 0: begin now."""
        return 0.0

    def dispatch(self, now, age, waiting, rate, left):
        """Return (rung or -1 to refuse, most requests in one run, threads or None, reason)."""
        seconds = self._profile.every[self.rung].seconds
        if self._refusing and left is not None and seconds > left:
            return -1, 1, None, "late"
        return self.rung, 1, None, self.kind

    def done(self, now, rung, seconds, runs, late):
        """Take note of what a run took; `late`: whether an answer of it missed its deadline, None without one."""

    def tick(self, now, busy, readings):
        """Take note of the share of the last seconds that the engine was busy, and of the sensors."""


class LoadLadder(Fixed):
    """A rung down while the load is above 0.8, a rung up while it is below 0.5: the usual threshold rule."""

    def __init__(self, profile):
        Fixed.__init__(self, profile, profile.top)
        self.name = self.kind = "load-ladder"

    def tick(self, now, busy, readings):
        if busy > TARGET_LOAD and self.rung > 0:
            self.rung -= 1
        elif busy < _LOW_LOAD and self.rung < self._profile.top:
            self.rung += 1


class BatchRule(Fixed):
    """The most accurate rung, requests gathered to batches: smaller ones above a load of 0.8, larger ones below.

    A batch that is not full yet waits for half of the time that its oldest request has.
    """

    def __init__(self, profile):
        Fixed.__init__(self, profile, profile.top)
        self.name = self.kind = "batch-rule"
        self.most = _LARGEST_BATCH // 2

    def wait(self, waiting, age, left):
        if waiting >= self.most:
            return 0.0
        whole = _BEST_EFFORT_SECONDS if left is None else age + left
        return max(0.0, whole / 2.0 - age)

    def dispatch(self, now, age, waiting, rate, left):
        return self.rung, self.most, None, self.kind

    def tick(self, now, busy, readings):
        self.most = max(1, min(_LARGEST_BATCH, self.most + (-1 if busy > TARGET_LOAD else 1)))


class AimdBatch(Fixed):
    """The most accurate rung, batches of what waits: one more while answers are in time, a tenth fewer after one that
    was not (Crankshaw et al., Clipper, NSDI 2017).
    """

    def __init__(self, profile):
        Fixed.__init__(self, profile, profile.top)
        self.name = self.kind = "aimd-batch"
        self.most = 1.0

    def dispatch(self, now, age, waiting, rate, left):
        return self.rung, int(self.most), None, self.kind

    def done(self, now, rung, seconds, runs, late):
        if late:
            self.most = max(1.0, self.most * 0.9)
        elif runs >= int(self.most):
            self.most = min(float(_LARGEST_BATCH), self.most + 1.0)


class Governor(object):
    """`es_govern.decide`, fed as the service feeds it."""

    name = kind = "governor"

    def __init__(self, profile):
        self._profile = profile
        self.state = begin(profile)
        self.reasons = {}

    def _ask(self, sample):
        self.state, decision, reason = decide(self.state, sample, self._profile)
        return decision, reason

    def admit(self, now, queued, rate, left):
        decision, reason = self._ask(("admit", now, queued, rate, left, None))
        return self._counted(reason) if decision.refuse else None

    def wait(self, waiting, age, left):
        return 0.0

    def dispatch(self, now, age, waiting, rate, left):
        decision, reason = self._ask(("dispatch", now, age, waiting, rate, left, None, 1))
        self._counted(reason)
        if decision.refuse:
            return -1, 1, None, reason
        return decision.rung, decision.coalesce, decision.threads, reason

    def done(self, now, rung, seconds, runs, late):
        self._ask(("done", now, rung, seconds, runs, None, late))

    def tick(self, now, busy, readings):
        self._ask(("tick", now, busy, readings))

    def _counted(self, reason):
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        return reason


def policies(profile, wanted=None):
    """Return [(name, a function that makes a fresh policy)] of all policies, or of those whose name or kind is in
    `wanted`. Raises KeyError with the first name in `wanted` that is none.
    """
    made = [("governor", lambda: Governor(profile))]
    for refusing in (False, True):
        for rung in range(len(profile.every)):
            name = Fixed(profile, rung, refusing).name
            made.append((name, lambda rung=rung, refusing=refusing: Fixed(profile, rung, refusing)))
    for make in (LoadLadder, BatchRule, AimdBatch):
        made.append((make(profile).name, lambda make=make: make(profile)))
    if wanted is None:
        return made
    known = {name for name, _ in made} | {name.partition(":")[0] for name, _ in made} | {"oracle"}
    for name in wanted:
        if name not in known:
            raise KeyError(name)
    return [(name, make) for name, make in made if name in wanted or name.partition(":")[0] in wanted]
