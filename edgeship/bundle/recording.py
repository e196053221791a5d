"""Golden vectors of a bundle: its release laid out once more with this machine's LiteRT, and asked: `record_golden`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeship.bundle import engines
from edgeship.bundle.limits import golden_count
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.render import render
from edgeship.bundle.service import golden_name, model_name, tensor_entry
from edgeship.digest import canonical_json
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.score.golden import record, select_inputs
from edgeship.values import Artifact, Variant

HOST_DELEGATES = frozenset({"xnnpack", "none"})
"""Delegates that every host has; golden vectors for another are recorded with XNNPACK and compared by
tolerance."""
SPARE = 4
"""Vectors recorded beyond those wanted, so that undecided ones can be left out."""


def record_golden(
    parts: BundleParts,
    values: Mapping[str, Any],
    files: Mapping[str, Path | bytes],
    *,
    cache: Path,
    progress: Progress,
) -> tuple[dict[str, bytes], str]:
    """Return the golden files of the variants carried (name in the release -> content) and where their inputs come
    from.

    The release is laid out once more with this machine's LiteRT in place of the device's engine; with the
    same version and delegate where there is one, so that a device of another processor must agree exactly.
    A compiled variant runs on its accelerator only: its twin, what it was compiled from, answers for it here, and the
    device is compared by tolerance.
    """
    profile, samples, variants = parts.profile, parts.samples, parts.carried
    shipped = parts.shipped
    twins = {shipped.variant.artifact.recipe: shipped.twin} if shipped else {}
    same_triple = profile.runtime.engine == "litert" and profile.runtime.delegate in HOST_DELEGATES
    engine = host_engine(profile)
    stand_ins = [_stand_in(v, twins.get(v.artifact.recipe, v), e) for v, e in
                 zip(variants, values["variants"], strict=True)]  # fmt: skip
    golden: dict[str, bytes] = {}
    where = ""
    with tempfile.TemporaryDirectory(prefix="edgeship-twin-") as folder:
        twin = Path(folder)
        text = render("service.json.j2", {**values, "engine": engine, "variants": [e for _, e in stand_ins]})
        lay_out(twin, {name: files[name] for name in files if name.startswith("runtime/")})
        lay_out(
            twin,
            {
                model_name(v.artifact.recipe): runs.path
                for v, (runs, _) in zip(variants, stand_ins, strict=True)
            },
        )
        lay_out(twin, {"service.json": text.encode()})
        library = engines.host_litert(engine["version"], cache=cache, progress=progress)
        lay_out(twin, {engine["library"]: library})
        for variant, (runs, _), entry in zip(variants, stand_ins, json.loads(text)["variants"], strict=True):
            same = same_triple and runs.sha256 == variant.artifact.sha256
            count = golden_count(parts.project.golden.vectors, entry)
            selection = select_inputs(entry, samples, count if same else count + SPARE)
            where = selection.source
            document = record(
                twin,
                variant.artifact.recipe,
                selection,
                tolerance=profile.tolerances.as_value(),
                exact=same,
                keep=count,
                model=runs.path,
                progress=progress,
            )
            document["recorded_with"]["model_sha256"] = runs.sha256
            golden[golden_name(variant.artifact.recipe)] = canonical_json(document)
    if samples is None:
        progress.note(
            "no data was given: golden vectors are seeded noise; real samples prove more (--eval D)"
        )
    return golden, where


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


def host_engine(profile: TargetProfile) -> dict[str, Any]:
    """Return the `engine` with which this machine records what a device of the target must answer."""
    runtime = profile.runtime
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
