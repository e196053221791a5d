"""A bundle simulated on a board: its own runtime is asked, as a program, in a folder of its own (`simulation`)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from edgeship.bundle.seal import extract
from edgeship.errors import InputError, ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.values import Bundle

SCHEMA = "edgeship.simulate/1"
POWER, THERMAL = ("idle_watts", "busy_watts"), ("ambient_c", "c_per_watt", "seconds")
"""What the model of a board needs; units: W, degrees Celsius, K/W, s."""
EXAMPLE = "--power idle=2.7,busy=3.6 --thermal ambient=25,c_per_watt=12,seconds=150"
HINTS = {
    "no-ladder": "edgeship build MODEL --target T --ladder ...   makes a bundle with several rungs",
    "no-board-figures": "edgeship simulate {bundle} " + EXAMPLE,
    "bad-trace": "edgeship simulate --help   says which forms a trace may have",
    "bad-settings": "edgeship simulate {bundle} --set governor.watts=3",
    "bad-simulation": "edgeship simulate {bundle} --rate 20 --seconds 600 --deadline-ms 150",
    "unknown-policy": "edgeship simulate {bundle} --policy governor --policy fixed --policy load-ladder",
    "unknown-pattern": "edgeship simulate {bundle} --pattern steady,diurnal,burst",
}
"""Reference of the runtime -> what to type, `{bundle}` the one that was asked for."""
PASSED_ON = {*HINTS, "bad-service-file"}
"""What the runtime says of a request or a bundle is said on as it is."""


def board_of(
    profile: TargetProfile, given: Mapping[str, Mapping[str, float] | None], bundle: Path
) -> dict[str, Any]:
    """Return the board of a request: what the profile says of power, heat and sensors, under what was `given`.

    Raises InputError `no-board-figures` for what neither of them says.
    """
    board: dict[str, Any] = {
        "title": profile.title,
        "sensors": [sensor.model_dump(mode="json") for sensor in profile.sensors],
    }
    for part, names in (("power", POWER), ("thermal", THERMAL)):
        own = getattr(profile, part)
        row = {**(own.model_dump(mode="json") if own else {}), **(given.get(part) or {})}
        lacking = [name for name in names if name not in row]
        if lacking:
            raise InputError(
                "no-board-figures",
                f"nothing says {_listed(part, lacking)} of {profile.title}: its profile has no such figure, "
                "and what is not known is not made up",
                context={"target": profile.name, "wanted": f"{part}: in its profile, or --{part}"},
                hint=f"edgeship simulate {shlex.quote(str(bundle))} --board {profile.name} {EXAMPLE}",
            )
        if given.get(part):
            row["basis"] = "given on the command line" + (f", over: {own.basis}" if own else "")
        board[part] = row
    return board


def _listed(part: str, names: list[str]) -> str:
    return f"{part}.{names[0]}" if len(names) == 1 else f"{part} ({', '.join(names)})"


def simulation(bundle: Bundle, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Return the `edgeship.simulate/1` document of a request; docs/simulator.md says what stands in either.

    Each trace is a process of its own, as many at a time as there are processors.

    Raises InputError `no-ladder`, `bad-trace`, `no-board-figures` and what else the runtime says of its request,
    ToolError `simulation-failed`.
    """
    with tempfile.TemporaryDirectory(prefix="edgeship-simulate-") as folder:
        release = Path(folder) / "release"
        extract(bundle, release)
        if not (release / "runtime" / "es_simulated.py").exists():
            raise InputError(
                "no-ladder",
                "the bundle has no governor: it carries one variant, and no setting of one",
                context={"bundle": bundle.path},
                hint=HINTS["no-ladder"],
            )
        traces = request["traces"]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            begun = [pool.submit(_one, bundle, release, {**request, "traces": [trace]}) for trace in traces]
            try:
                for number, done in enumerate(as_completed(begun), 1):
                    name = done.result()["traces"][0]["name"]
                    progress.step(f"simulated {name}, {number} of {len(traces)}")
            finally:
                pool.shutdown(cancel_futures=True)  # what failed for one would fail for the others
        documents = [done.result() for done in begun]
    document = {**documents[0], "traces": [trace for one in documents for trace in one["traces"]]}
    own = {"bundle": str(bundle.path), "release": bundle.release, "target": bundle.target}
    return {**document, **own, "schema": SCHEMA}


def _one(bundle: Bundle, release: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the runtime of an unpacked release says to a request of one trace."""
    with tempfile.NamedTemporaryFile("w", dir=release.parent, suffix=".json", encoding="utf-8") as asked:
        json.dump(request, asked)
        asked.flush()
        command = [sys.executable, "-I", "-B", str(release / "runtime" / "main.py"), "simulate"]
        command += ["--release", str(release), "--request", asked.name]
        return _answer(bundle, subprocess.run(command, capture_output=True, check=False))


def _answer(bundle: Bundle, done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        document = {}
    if done.returncode == 0 and document:
        return document
    if document.get("error") in PASSED_ON:
        raise InputError(
            document["error"],
            str(document["reason"]),
            context={"bundle": bundle.path},
            hint=HINTS.get(document["error"], "edgeship simulate --help").replace(
                "{bundle}", shlex.quote(str(bundle.path))
            ),
        )
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    raise ToolError(
        "simulation-failed",
        str(document.get("reason") or "the bundle's runtime ended without an answer"),
        context={
            "bundle": bundle.path,
            "status": done.returncode,
            "said": lines[-1][:300] if lines else "nothing",
        },
        hint=f"edgeship inspect {bundle.path}   says which edgeship made it",
    )
