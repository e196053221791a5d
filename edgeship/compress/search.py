"""The search under a budget: cheap candidates first, probes of the dear ones, then those that promise most in full.

Pure: what a candidate is worth is a function's business, which the pipeline hands over; so is time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgeship.compress.plan import Planned, probe_of
from edgeship.pareto import front

R = TypeVar("R")
KEPT = 0.5
"""Share of the probes that is trained in full: successive halving with one round (Jamieson and Talwalkar, 2016)."""
FEWEST = 4
"""Where no more than this many are to be trained, no probe is worth its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way(Generic[R]):
    """What the search is told of the world."""

    make: Callable[[Planned], R | None]
    """Makes and measures a candidate, however it ends; None where the time was up before that. Called from several
    threads where `jobs` is more than 1."""
    costs: Callable[[R], tuple[float, ...] | None]
    """What it costs in every respect that counts, less is better; None: it is no use."""
    clock: Callable[[], float]
    """Seconds."""
    known: Callable[[Planned], bool]
    """Whether it was made before and costs nothing now."""
    tell: Callable[[Sequence[R], int], None]
    """Called with all results so far and how many are left to do."""
    needless: Callable[[Planned, Sequence[R]], bool] = lambda planned, results: False
    """Whether what was found so far makes a quick one needless."""
    stop: Callable[[], None] = lambda: None
    """Ends what is being made in other threads, soon."""


@dataclass(slots=True, kw_only=True)
class Found(Generic[R]):
    """What a search came to."""

    results: dict[str, R] = field(default_factory=dict)
    """By the digest of the candidate, in the order of the plan."""
    probes: dict[str, R] = field(default_factory=dict)
    """By the digest of the whole that a probe was of."""
    left: list[Planned] = field(default_factory=list)
    """What there was no time for."""
    passed_over: list[Planned] = field(default_factory=list)
    """What probes did not speak for."""
    needless: list[Planned] = field(default_factory=list)
    """What there was no need for: the recipe that it would help loses hardly anything."""


def search(plan: Sequence[Planned], way: Way[R], *, seconds: float = math.inf, jobs: int = 1) -> Found[R]:
    """Try the plan within `seconds` and return what came of it.

    What was made before is always taken. A candidate is not begun after the time is up, nor where the slowest of its
    stage so far would not fit any more. The order of the results is that of the plan, however many run side by side.
    """
    found: Found[R] = Found()
    clock = Clock(way.clock, seconds)
    dear = [p for p in plan if p.stage == "training"]
    quick = [p for p in plan if p.stage == "quick"]
    plain = [p for p in plan if p.stage == "plain"]
    chosen = [p for p in dear if p.named]
    others = [p for p in dear if not p.named]
    probed = len(others) > FEWEST
    in_full = len(chosen) + (math.ceil(len(others) * KEPT) if probed else len(others))
    trainings = in_full + (len(others) if probed else 0)
    found.results |= _all(plain, way, found, clock, jobs, more=len(quick) + trainings)
    found.needless = [p for p in quick if way.needless(p, tuple(found.results.values()))]
    quick = [p for p in quick if p not in found.needless]
    found.results |= _all(quick, way, found, clock, jobs, more=trainings)
    if probed:
        probes, before = [probe_of(p) for p in others], list(found.left)
        made = _all(probes, way, found, clock, jobs, more=in_full)
        found.left = before
        found.probes = {
            p.candidate.digest: made[q.candidate.digest]
            for p, q in zip(others, probes, strict=True)
            if q.candidate.digest in made
        }
        kept = promising(others, found.probes, way.costs)
        found.passed_over = [p for p in others if p not in kept and p.candidate.digest in found.probes]
        found.left += [p for p in others if p not in kept and p not in found.passed_over]
        others = kept
    dear_made = _all([p for p in dear if p in chosen or p in others], way, found, clock, jobs)
    found.results |= dear_made
    order = {p.candidate.digest: place for place, p in enumerate(plan)}
    found.results = dict(sorted(found.results.items(), key=lambda pair: order[pair[0]]))
    found.left.sort(key=lambda p: order[p.candidate.digest])
    return found


def promising(
    others: Sequence[Planned], probes: dict[str, R], costs: Callable[[R], tuple[float, ...] | None]
) -> list[Planned]:
    """Return the better half by their probes: front after front, until half of them are taken. Those whose probe had no
    time are kept in their order behind."""
    known = [(p, costs(probes[p.candidate.digest])) for p in others if p.candidate.digest in probes]
    useful = [(p, cost) for p, cost in known if cost is not None]
    untried = [p for p in others if p.candidate.digest not in probes]
    wanted = math.ceil(len(others) * KEPT)
    taken: list[Planned] = []
    while useful and len(taken) < wanted:
        best = front(useful, lambda pair: pair[1])
        taken += [planned for planned, _ in best]
        useful = [pair for pair in useful if pair not in best]
    taken += untried[: max(0, wanted - len(taken))]
    return [p for p in others if p in taken]


class Clock:
    """What is left of the budget, and how long things of a stage take."""

    def __init__(self, now: Callable[[], float], seconds: float) -> None:
        self.now, self.until = now, now() + seconds
        self.slowest: dict[str, float] = {}

    def fits(self, planned: Planned) -> bool:
        """Return whether one more of its stage can be expected to end in time: the first of a stage takes at least
        as long as those of the cheaper ones before it."""
        expected = self.slowest.get(planned.stage, max(self.slowest.values(), default=0.0))
        return self.now() + expected < self.until

    def took(self, planned: Planned, seconds: float) -> None:
        self.slowest[planned.stage] = max(seconds, self.slowest.get(planned.stage, 0.0))


def _all(
    plan: Sequence[Planned], way: Way[R], found: Found[R], clock: Clock, jobs: int, *, more: int = 0
) -> dict[str, R]:
    """Make candidates, `jobs` side by side, and return the results by digest; what does not fit goes into
    `found.left`."""
    made: dict[str, R] = {}
    waiting = list(plan)

    def done(planned: Planned, result: R | None, seconds: float) -> None:
        clock.took(planned, seconds)
        if result is None:
            found.left.append(planned)
            return
        made[planned.candidate.digest] = result
        way.tell([*found.results.values(), *made.values()], len(waiting) + more)

    def timed(planned: Planned) -> tuple[R | None, float]:
        begun = way.clock()
        result = way.make(planned)
        return result, way.clock() - begun

    def next_one() -> Planned | None:
        while waiting:
            planned = waiting.pop(0)
            if way.known(planned) or clock.fits(planned):
                return planned
            found.left.append(planned)
        return None

    if jobs == 1:
        while (planned := next_one()) is not None:
            done(planned, *timed(planned))
        return made
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[tuple[R | None, float]], Planned] = {}
        try:
            while True:
                while len(running) < jobs and (planned := next_one()) is not None:
                    running[pool.submit(timed, planned)] = planned
                if not running:
                    return made
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done(running.pop(future), *future.result())
        except BaseException:
            way.stop()
            raise
