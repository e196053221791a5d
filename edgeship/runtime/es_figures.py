"""`figures`: how long every variant that may serve takes on this machine, each measured in a process of its own."""

import json
import os
import subprocess
import sys
import time

from es_errors import CannotRun, EngineFailed

FIGURES_SCHEMA = "edgeship.figures/1"
THREADS = (1, 2, 4)
# What a process takes to start and to load a model beside what it measures.
_STARTING = 15.0


def rows_of(release):
    """Return the entries of the variants that may serve as service.json has them, without those made of two others."""
    governor = release.service.get("governor")
    rows = governor.get("rungs") if isinstance(governor, dict) else None
    good = [row for row in rows or [] if isinstance(row, dict) and not row.get("cascade")]
    return good or [{"variant": release.service["chosen"]}]


def figures(release, name, seconds):
    """Return the figures of one variant, measured in this process within about `seconds`; name None: the
    edgeship.figures/1 document of all that may serve, which share the seconds.
    """
    if name is not None:
        return one(release, name, seconds)
    rows, until = rows_of(release), time.monotonic() + seconds
    found, failed = {}, {}
    for number, row in enumerate(rows):
        left = max(0.2, until - time.monotonic())
        answer = _ask_child(release, row["variant"], left / (len(rows) - number), left + _STARTING)
        (failed if isinstance(answer, str) else found)[row["variant"]] = answer
    return {
        "schema": FIGURES_SCHEMA,
        "release": release.id,
        "rungs": found,
        "failed": failed,
        "left_out": left_out(rows, found),
    }


def left_out(rows, found):
    """Return [[variant, why]] of those that another one beats by what was measured: at least as accurate, not slower,
    and better in one of both; of equals the one that stands first stays.
    """
    told, known = [], []
    for row in rows:
        times = found.get(row["variant"])
        quality = row.get("accuracy") if row.get("accuracy") is not None else row.get("agreement")
        if times is not None and quality is not None:
            known.append((row["variant"], quality, times["seconds"]))
    for place, (name, quality, seconds) in enumerate(known):
        for rank, (other, better, quicker) in enumerate(known):
            if better < quality or quicker > seconds or rank == place:
                continue
            if (better, quicker) == (quality, seconds) and rank > place:
                continue
            how = "as accurate as" if better == quality else "more accurate than"
            ratio = " (%.3g against %.3g ms)" % (quicker * 1e3, seconds * 1e3)
            told.append([name, "%s is %s %s and not slower here%s" % (other, how, name, ratio)])
            break
    return told


def one(release, name, seconds):
    """Return the figures of one variant: seconds of the first run and of later ones (median, 95th percentile), the
    best number of threads, and resident bytes that loading it takes.
    """
    try:
        return _timed(release, name, seconds, [n for n in THREADS if n <= cpus()])
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))


def _timed(release, name, seconds, threads):
    from es_model import Model
    from es_prove import percentile

    by_threads, document = {}, {}
    for number in threads:
        release.engine["threads"] = number
        before = _resident()
        model = Model(release, name)
        try:
            first = model.warm_up(1)[0] / 1e3
            times, until, inputs = [], time.perf_counter() + seconds / len(threads), model.zeros()
            while len(times) < 3 or (time.perf_counter() < until and len(times) < 200):
                model.fresh()
                begun = time.perf_counter()
                model.engine.run(inputs)
                times.append(time.perf_counter() - begun)
            grown = _resident() - before
        finally:
            model.close()
        times.sort()
        by_threads[str(number)] = percentile(times, 0.5)
        if not document:
            document = {"cold_seconds": model.load_ms / 1e3 + first, "memory_bytes": max(0, grown)}
        if number == threads[0] or by_threads[str(number)] < document["seconds"]:
            document.update(
                seconds=percentile(times, 0.5), p95_seconds=percentile(times, 0.95), threads=number
            )
    return dict(document, by_threads=by_threads, fixed_seconds=None, each_seconds=None, joules=None)


def _resident():
    """Return the bytes of this process that are in memory."""
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpus():
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def _ask_child(release, name, seconds, limit):
    """Return the figures of a variant from a process of its own, or the reason why there are none."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "main.py")
    command = [sys.executable, "-I", "-B", main, "figures", "--release", release.directory]
    command += ["--variant", name, "--seconds", "%.3f" % seconds]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=limit)
        answer = json.loads(done.stdout.decode("utf-8"))
    except subprocess.TimeoutExpired:
        return "not through after %d s" % limit
    except (OSError, ValueError) as error:
        return "no answer (%s)" % type(error).__name__
    if done.returncode == 0 and isinstance(answer.get("seconds"), float):
        return answer
    return str(answer.get("reason") or answer.get("error") or "no figures")
