"""`bench`: how long the engine takes on this device, warm-up apart from the steady state, and with what energy."""

import time

from es_energy import Energy
from es_errors import CannotRun, EngineFailed
from es_metrics import percentile
from es_model import Model
from es_prove import peak_rss_mb

BENCH_SCHEMA = "edgeship.bench/1"
_GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def governor():
    """Return the CPU frequency governor's name, or why it is not known."""
    try:
        with open(_GOVERNOR) as stream:
            return stream.read().strip()
    except OSError as error:
        return {"unavailable": "%s: %s" % (_GOVERNOR, error.strerror or error)}


def bench(release, name, seconds, runs, idle=0.0):
    """Return the edgeship.bench/1 document: at least `runs` runs and `seconds` seconds after the warm-up. Before that
    the board is measured for `idle` seconds while nothing is done.
    """
    energy = Energy(release)
    if idle:
        energy.idle(idle)
    model = Model(release, name)
    try:
        warm = model.warm_up(5)
        inputs = model.zeros()
        times = []
        energy.begin()
        begun = time.perf_counter()
        now = begun
        resets = []
        while len(times) < runs or now - begun < seconds:
            model.fresh()
            started = time.perf_counter()
            resets.append((started - now) * 1e3)
            model.engine.run(inputs)
            now = time.perf_counter()
            times.append((now - started) * 1e3)
            if now > energy.due:
                energy.look()
                now = time.perf_counter()
        used = energy.end(len(times))
        peak = peak_rss_mb()
        info = model.engine.info()
        delegated, how = model.engine.delegated()
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    finally:
        model.close()
    times.sort()
    state = {"state": state_entry(model, resets)} if model.states else {}
    return dict(
        state,
        schema=BENCH_SCHEMA,
        release=release.id,
        variant=model.name,
        engine=dict(info, delegated=delegated, detail=how),
        threads=release.engine["threads"],
        governor=governor(),
        runs=len(times),
        seconds=round(now - begun, 3),
        load_ms=round(model.load_ms, 3),
        latency_ms={
            "cold": round(warm[0], 4),
            "p50": round(percentile(times, 0.5), 4),
            "p95": round(percentile(times, 0.95), 4),
            "mean": round(sum(times) / len(times), 4),
        },
        peak_rss_mb=peak,
        energy=used,
    )


def bench_rungs(release, seconds):
    """Return {"rungs": {variant: its figures}, "failed": {variant: why}} of every variant in the release, each measured
    in a process of its own for about `seconds`.
    """
    from es_figures import ask_child

    found, failed = {}, {}
    for variant in release.service["variants"]:
        answer = ask_child(release, variant["name"], seconds, seconds * 5 + 60.0)
        (failed if isinstance(answer, str) else found)[variant["name"]] = answer
    return {"rungs": found, "failed": failed}


def state_entry(model, resets):
    """Return what the model keeps between runs, how it is set back, and the median milliseconds that takes."""
    return {
        "kept": [state["name"] for state in model.states],
        "reset": model.engine.resets_by,
        "reset_ms": round(percentile(sorted(resets), 0.5), 4),
    }
