"""How long each variant of a ladder takes on this device: measured by the release's own runtime, kept for its
service, which reads the figures of its own release and of no other."""

import contextlib
import json
import os

from .base import call, canonical, python_command
from .files import make_folder, write_whole
from .kept import is_governed
from .state import DIGEST

FIGURES_SCHEMA = "edgeship.figures/1"
FIGURES_SECONDS = 12.0
"""What all variants of a release share for being measured."""
FIGURES_LIMIT = 120.0
"""Seconds after which processes that measure are ended."""
FIGURES_STEM = "figures-"


def figures_path(place, release):
    """Return where the figures of a release are kept."""
    return place.of("kept", "%s%s.json" % (FIGURES_STEM, release))


def measured_ladder(place, release, seconds):
    """Measure every variant of a release that may serve, and keep what was measured; return {"ladder": {"rungs",
    "left_out"}} for the proof, {"ladder": {"unavailable": why}} where a variant could not be timed, {} for a release
    without a ladder.

    `seconds`: for all of it. Figures that an earlier proof kept are gone where new ones cannot be had: they are from
    another state of the device.
    """
    if not is_governed(place, release):
        return {}
    folder = place.release(release)
    argv = python_command(os.path.join(folder, "runtime", "main.py"), "figures", "--release", folder)
    argv += ["--seconds", "%.1f" % min(FIGURES_SECONDS, seconds)]
    status, out, err = call(argv, min(FIGURES_LIMIT, seconds), cwd=folder)
    document, reason = sound_figures(status, out, err)
    if document is None:
        with contextlib.suppress(OSError):
            os.unlink(figures_path(place, release))
        return {"ladder": {"unavailable": reason}}
    kept = {"schema": FIGURES_SCHEMA, "release": release, "rungs": document["rungs"]}
    try:
        make_folder(place.of("kept"))
        write_whole(figures_path(place, release), canonical(kept))
    except OSError as error:  # a release is right without them, and a full disk is told where it matters
        return {"ladder": {"unavailable": "the figures could not be kept: %s" % (error.strerror or error)}}
    told = {"rungs": document["rungs"], "left_out": document["left_out"]}
    if isinstance(document.get("within"), list):  # not said by the runtimes of before
        told["within"] = document["within"]
    return {"ladder": told}


def sound_figures(status, out, err):
    """Return (document, None) of what the runtime printed, or (None, why it is no figures of every variant)."""
    if status is None:
        return None, "the variants were not timed in time"
    try:
        document = json.loads(out.decode("utf-8"))
        canonical(document)  # numbers that are none (NaN) are refused here, and not by whoever reads the file
        rungs, failed, left_out = document["rungs"], document["failed"], document["left_out"]
        sound = isinstance(left_out, list) and all(figure["seconds"] > 0 for figure in rungs.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        said = (err or out.decode("utf-8", "replace")).strip().splitlines() or ["no output"]
        return None, "the runtime timed nothing: %s" % said[-1][-300:]
    if failed or not rungs or not sound:
        name, why = sorted(failed.items())[0] if failed else ("", "no figures")
        return None, "%s could not be timed: %s" % (name or "it", why)
    return document, None


def drop_figures(place, kept):
    """Delete figures of releases that are not among `kept`."""
    folder = place.of("kept")
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        release = name[len(FIGURES_STEM) : -len(".json")]
        if name.startswith(FIGURES_STEM) and DIGEST.match(release) and release not in kept:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
