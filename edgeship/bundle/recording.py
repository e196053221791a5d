"""Golden vectors of a bundle: its release laid out once more with this machine's LiteRT, and asked: `record_golden`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeship.bundle import engines
from edgeship.bundle.figures import host_figures
from edgeship.bundle.governor import is_governed
from edgeship.bundle.limits import golden_count
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.render import render
from edgeship.bundle.service import golden_name, model_name, tensor_entry
from edgeship.digest import canonical_json
from edgeship.errors import ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.score.golden import record
from edgeship.score.selection import select_inputs
from edgeship.tflite.engine import refusal
from edgeship.tflite.reader import read_tflite
from edgeship.values import Artifact, Variant

HOST_DELEGATES = frozenset({"xnnpack", "none"})
"""Delegates that every host has; golden vectors for another are recorded with XNNPACK and compared by
tolerance."""
SPARE = 4
"""Vectors recorded beyond those wanted, so that undecided ones can be left out."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where fetched runtimes and figures are kept, and who is told."""

    cache: Path
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What this machine's runtime said of the variants of a release."""

    golden: dict[str, bytes]
    """Name in the release -> golden vectors."""
    source: str
    """Where their inputs come from, for people."""
    figures: dict[str, dict[str, Any] | str]
    """Name of a variant -> how long it takes here, or why that is not known; empty where no governor asks."""


def record_golden(
    parts: BundleParts,
    values: Mapping[str, Any],
    files: Mapping[str, Path | bytes],
    *,
    cache: Path,
    progress: Progress,
) -> Recorded:
    """Return the golden files of the variants carried, and for a governor their figures.

    The release is laid out once more with this machine's LiteRT in place of the device's engine; with the
    same version and delegate where there is one, so that a device of another processor must agree exactly.
    A compiled variant runs on its accelerator only: its twin, what it was compiled from, answers for it here, and the
    device is compared by tolerance.
    """
    stand_ins = []
    for variant, entry in zip(parts.carried, values["variants"], strict=True):
        shipped = parts.shipped_as(variant)
        stand_ins.append(_stand_in(variant, shipped.twin if shipped else variant, entry))
    library = {name: files[name] for name in files if name.startswith("runtime/")}
    failed: ToolError | None = None
    for engine in host_engines(parts.profile, [runs for runs, _ in stand_ins]):
        release = {**values, "engine": engine, "variants": [entry for _, entry in stand_ins]}
        lent = dict(library)
        if engine["library"]:
            lent[engine["library"]] = engines.host_litert(engine["version"], cache=cache, progress=progress)
        try:
            found = _recorded(parts, release, lent, [runs for runs, _ in stand_ins], Desk(cache, progress))
        except ToolError as error:
            if error.reference != "golden-cannot-record":
                raise
            failed = failed or error
            continue
        if parts.samples is None:
            progress.note(
                "no data was given: golden vectors are seeded noise; real samples prove more (--eval D)"
            )
        return found
    assert failed is not None
    raise failed


def _recorded(
    parts: BundleParts,
    release: dict[str, Any],
    lent: Mapping[str, Path | bytes],
    files: Sequence[Artifact],
    desk: Desk,
) -> Recorded:
    """Return what one engine of this machine answers.

    `release` is what service.json says of it, `lent` its runtime and library, `files` what runs for each variant.
    """
    profile, variants, count = parts.profile, parts.carried, parts.project.golden.vectors
    pinned = (profile.runtime.engine, profile.runtime.version)
    here = (release["engine"]["name"], release["engine"]["version"])
    same_triple = here == pinned and profile.runtime.delegate in HOST_DELEGATES
    golden: dict[str, bytes] = {}
    figures: dict[str, dict[str, Any] | str] = {}
    where = ""
    with tempfile.TemporaryDirectory(prefix="edgeship-twin-") as folder:
        twin = Path(folder)
        text = render("service.json.j2", release)
        lay_out(twin, lent)
        lay_out(twin, {model_name(v.artifact.name): f.path for v, f in zip(variants, files, strict=True)})
        lay_out(twin, {"service.json": text.encode()})
        for variant, runs, entry in zip(variants, files, json.loads(text)["variants"], strict=True):
            same = same_triple and runs.sha256 == variant.artifact.sha256
            count = golden_count(parts.project.golden.vectors, entry, among=len(variants))
            selection = select_inputs(entry, parts.samples, count if same else count + SPARE)
            where = selection.source
            document = record(
                twin,
                variant.artifact.name,
                selection,
                tolerance=profile.tolerances.as_value(),
                exact=same,
                keep=count,
                model=runs.path,
                progress=desk.progress,
            )
            document["recorded_with"]["model_sha256"] = runs.sha256
            golden[golden_name(variant.artifact.name)] = canonical_json(document)
        for variant, runs in zip(variants, files, strict=True) if is_governed(parts) else ():
            name = variant.artifact.name
            desk.progress.step(f"measuring {name}")
            figures[name] = host_figures(twin, name, runs, release["engine"], desk.cache)
    return Recorded(golden=golden, source=where, figures=figures)


def _stand_in(variant: Variant, twin: Variant, entry: dict[str, Any]) -> tuple[Artifact, dict[str, Any]]:
    """Return the file that answers for a variant on this machine, and its entry of service.json."""
    if twin.artifact.sha256 == variant.artifact.sha256:
        return variant.artifact, entry
    sides = {
        side: [
            {**one, "name": spec.name, "tensor": tensor_entry(spec)}
            for one, spec in zip(entry[side], getattr(twin.artifact.signature, side), strict=True)
        ]
        for side in ("inputs", "outputs")
    }
    return twin.artifact, {**entry, **sides, "sha256": twin.artifact.sha256}


def host_engines(profile: TargetProfile, files: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Return the engines with which this machine can record for a target, the one to try first in front.

    LiteRT's C API comes first; for a device that has an interpreter, LiteRT's own records what that refuses.
    """
    litert, interpreter = host_engine(profile), host_engine(profile, interpreter=True)
    if any(refusal(read_tflite(one.path), "litert") for one in files):
        return [interpreter]
    return [litert, interpreter] if profile.runtime.engine == "tflite_runtime" else [litert]


def host_engine(profile: TargetProfile, *, interpreter: bool = False) -> dict[str, Any]:
    """Return the `engine` with which this machine records what a device of the target must answer.

    LiteRT's C API, or LiteRT's `interpreter` (engine tflite_runtime, from this environment) for what that refuses.
    """
    runtime = profile.runtime
    if interpreter:
        return {
            "name": "tflite_runtime",
            "version": engines.installed_version(),
            "delegate": runtime.delegate if runtime.delegate in HOST_DELEGATES else "xnnpack",
            "delegate_library": None,
            "threads": 1,
            "library": None,
            "site": None,
        }
    return {
        "name": "litert",
        "version": runtime.version if runtime.engine == "litert" else engines.installed_version(),
        "delegate": runtime.delegate if runtime.delegate in HOST_DELEGATES else "xnnpack",
        "delegate_library": None,
        "threads": 1,
        "library": f"lib/{engines.LIBRARY}",
        "site": None,
    }


def lay_out(folder: Path, files: Mapping[str, Path | bytes]) -> None:
    """Write `files` below `folder`."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
