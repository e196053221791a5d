"""How long a rung of the ladder takes on this machine: cold, steady, by threads, and what it holds in memory."""

import os
import time

from es_errors import CannotRun, EngineFailed
from es_metrics import percentile, resident_bytes
from es_model import Model

# More threads must be worth their energy and the cores that others want.
_WORTH = 0.9
_FEWEST, _MOST = 5, 10000
# Of a model whose runs take seconds, two are enough: the others would keep a device waiting for minutes.
_LONGEST = 3.0


def cores():
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def trimmed_bytes():
    """Return the resident memory of this process, what its allocator holds free given back first; None where /proc
    does not tell.
    """
    try:
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass  # musl has no such call.
    return resident_bytes()


def timed(model, seconds, most=_MOST):
    """Return the seconds of each run of a warmed-up model, sorted: `seconds` long, five runs at least; two of runs so
    long that they take _LONGEST.
    """
    inputs = model.zeros()
    times = []
    begun = time.perf_counter()
    now = begun
    while (
        len(times) < 2
        or (len(times) < _FEWEST and now - begun < _LONGEST)
        or (now - begun < seconds and len(times) < most)
    ):
        model.fresh()
        started = time.perf_counter()
        model.engine.run(inputs)
        now = time.perf_counter()
        times.append(now - started)
    times.sort()
    return times


def _measured(release, name, seconds):
    """Return (seconds of the first run, sorted seconds of the steady ones, bytes by which memory grew or None)."""
    before = trimmed_bytes()
    try:
        model = Model(release, name)
        try:
            cold = model.warm_up(1)[0] / 1e3
            after = trimmed_bytes()
            model.warm_up(2)
            times = timed(model, seconds)
        finally:
            model.close()
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    return cold, times, None if before is None or after is None else max(0, after - before)


def counts_of(release, threads):
    """Return the thread counts to try, the release's own first: those that the machine has cores for, and one alone
    where an accelerator computes.
    """
    own = release.engine["threads"]
    if not release.on_cpu:
        return [own]
    return [own] + [count for count in sorted(set(threads)) if count != own and 1 <= count <= cores()]


def best_count(by_threads):
    """Return the number of threads to use of {count: seconds}: another thread must save a tenth of the time."""
    best = None
    for count in sorted(by_threads):
        if best is None or by_threads[count] < by_threads[best] * _WORTH:
            best = count
    return best


def rung_figures(release, name, seconds=1.0, threads=(1, 2, 4)):
    """Return the figures of one rung, measured here: {"cold_seconds", "seconds" (p50), "p95_seconds", "threads" (the
    best count), "by_threads": {"1": p50, ...}, "fixed_seconds", "each_seconds", "memory_bytes", "joules"}.

    Each thread count of `threads` is measured for `seconds`. Running n samples joined takes fixed + n * each seconds; 0
    and `seconds` where they cannot be joined or nothing is gained by it.
    `joules`: of one inference above what the board takes idle; null where no meter can tell.
    `memory_bytes` is right for the first rung that a process measures; later ones find memory already there.
    """
    by_threads, kept = {}, {}
    for count in counts_of(release, threads):
        cold, times, memory = _measured(release.with_threads(count), name, seconds)
        kept[count] = cold, times, memory
        by_threads[count] = percentile(times, 0.5)
    own = release.engine["threads"]
    best = best_count(by_threads)
    joules = _joules(release.with_threads(best), name, seconds)
    fixed = by_threads[best] * _fixed_share(release.with_threads(best), name, seconds)
    return {
        "cold_seconds": kept[own][0],
        "seconds": by_threads[best],
        "p95_seconds": percentile(kept[best][1], 0.95),
        "threads": best,
        "by_threads": {str(count): by_threads[count] for count in sorted(by_threads)},
        "fixed_seconds": fixed,
        "each_seconds": by_threads[best] - fixed,
        "memory_bytes": kept[own][2],
        "joules": joules,
    }


def _fixed_share(release, name, seconds):
    """Return the share of a run that joining it with others saves."""
    from es_joining import measured

    model = Model(release, name)
    try:
        model.warm_up(2)
        fixed, each = measured(model, seconds / 2)
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    finally:
        model.close()
    return fixed / (fixed + each) if fixed else 0.0


def _joules(release, name, seconds):
    """Return the joules of one run above idle, or None where there is no meter or it is too coarse to tell."""
    from es_energy import Energy

    energy = Energy(release)
    if not energy.measured:
        return None
    energy.idle(max(1.0, seconds))
    model = Model(release, name)
    try:
        model.warm_up(2)
        inputs, runs, until = model.zeros(), 0, time.perf_counter() + max(1.0, seconds)
        energy.begin()
        while runs < _FEWEST or time.perf_counter() < until:
            model.run(inputs)
            runs += 1
            if time.perf_counter() > energy.due:
                energy.look()
        joules = energy.end(runs)["joules_per_run"]
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    finally:
        model.close()
    return joules if isinstance(joules, float) else None
