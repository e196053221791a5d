"""`figures`: how long every variant that may serve takes on this machine, each measured in a process of its own."""

import json
import os
import subprocess
import sys
import time

from es_errors import CannotRun, EngineFailed

FIGURES_SCHEMA = "edgeship.figures/1"
THREADS = (1, 2, 4)
# Seconds after which a process that measures one variant is given up.
_LIMIT = 60.0
# A first run longer than this is of a slow model: of the counts of threads only the largest is tried beside its own.
_SLOW = 0.25
# Seconds that one count of threads is measured for, at the most: hundreds of runs of small models.
_EACH = 0.5


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
        answer = ask_child(release, row["variant"], left / (len(rows) - number), left + _LIMIT)
        (failed if isinstance(answer, str) else found)[row["variant"]] = answer
    beaten, within = left_out(release, found)
    return {
        "schema": FIGURES_SCHEMA,
        "release": release.id,
        "rungs": found,
        "failed": failed,
        "left_out": beaten,
        "within": within,
    }


def left_out(release, found):
    """Return [[variant, why]] of those that are not used where these figures hold, since another one is at least as
    accurate and not slower; and [[variant, cascade]] of those that only the cascade uses. Nothing where a figure is
    missing: the host's say nothing about this machine.
    """
    governor = release.service.get("governor")
    if not isinstance(governor, dict) or len(found) < len(rows_of(release)):
        return [], []
    from es_govern_profile import profile_of

    profile = profile_of(governor, None, found, release.service["chosen"])
    parts = {name: rung.name for rung in profile.rungs if rung.cascade for name in rung.cascade[:2]}
    beaten = [list(pair) for pair in profile.left_out if pair[0] not in parts]
    return beaten, [[name, parts[name]] for name, _ in profile.left_out if name in parts]


def one(release, name, seconds):
    """Return what es_timing.rung_figures says of one variant, `memory_bytes` without what the engine takes itself."""
    from es_model import Model
    from es_timing import cores, rung_figures

    try:  # Once before anything is measured: the engine's own memory is no rung's.
        model = Model(release, name)
        try:
            first = model.warm_up(1)[0] / 1e3
        finally:
            model.close()
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    counts = [count for count in THREADS if count <= cores()]
    if first > _SLOW:
        counts = counts[-1:]
    return rung_figures(release, name, min(_EACH, seconds / (len(counts) + 1)), counts)


def ask_child(release, name, seconds, limit):
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
