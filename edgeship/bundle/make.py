"""make_bundle(): from a chosen variant to a sealed bundle, the same bytes whenever and wherever it is
made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgeship
from edgeship.assets import runtime_folder
from edgeship.bundle import engines
from edgeship.bundle.manifest import make_manifest
from edgeship.bundle.payload import Payload, engine_entry, make_payload
from edgeship.bundle.render import render
from edgeship.bundle.seal import seal
from edgeship.bundle.service import check_names, golden_name, model_name, service_values, tensor_entry
from edgeship.bundle.unit import unit_values
from edgeship.compile.backend import UNCOMPILED
from edgeship.compile.ship import Shipped
from edgeship.digest import canonical_json, sha256_file
from edgeship.errors import InputError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.values import Artifact, Bundle, Dataset, ModelSource, Preprocess, Variant

HOST_DELEGATES = frozenset({"xnnpack", "none"})
"""Delegates that every host has; golden vectors for another are recorded with XNNPACK and compared by
tolerance."""
SPARE = 4
"""Vectors recorded beyond those wanted, so that undecided ones can be left out."""


def make_bundle(
    *,
    profile: TargetProfile,
    project: Project,
    app: str,
    version: str,
    variants: Sequence[Variant],
    chosen: Variant,
    source: ModelSource,
    evaluation: Dataset | None,
    calibration: Dataset | None,
    preprocess: Preprocess,
    labels: Sequence[str],
    out: Path,
    progress: Progress,
    cache: Path,
    also: Sequence[Variant] = (),
    shipped: Shipped | None = None,
) -> Bundle:
    """Return the sealed bundle of `chosen` (and of `also`, for a governor to choose from) written into folder
    `out`.

    `variants` are all that were built, for `chosen` and `also` to be among. `cache` keeps fetched runtimes.
    `shipped` says how `chosen` was compiled; golden vectors are then recorded from its uncompiled twin.
    Raises InputError `bad-app-name`, `unknown-variant`, `model-changed`, `model-not-servable`, ..., and
    ToolError where the runtime cannot be had, does not fit the target, or cannot reproduce the model's
    answers (`golden-...`).
    """
    check_names(app, version)
    carried = _carried(variants, chosen, also)
    samples = evaluation or calibration
    progress.step(f"bundle {app} for {profile.name}")
    payload = make_payload(profile, cache=cache, progress=progress)
    values = service_values(
        app=app,
        version=version,
        listen=project.service.listen,
        limits=project.service.limits.model_dump(),
        engine=engine_entry(profile, payload) | _threads(project),
        variants=carried,
        chosen=chosen,
        samples=samples.info if samples else None,
        preprocess=preprocess,
        labels=labels,
        note=UNCOMPILED if shipped and shipped.uncompiled else None,
    )
    unit = unit_values(
        profile, app=app, listen=project.service.listen, drain_seconds=values["limits"]["drain_seconds"]
    )
    files: dict[str, Path | bytes] = {
        **payload.files,
        **runtime_files(),
        **{model_name(v.artifact.recipe): v.artifact.path for v in carried},
        "service.json": render("service.json.j2", values).encode(),
        "service/edgeship.service": render("edgeship.service.j2", unit).encode(),
        "service/edgeship.initd": render("edgeship.initd.j2", unit).encode(),
    }
    if labels:
        files["labels.txt"] = render("labels.txt.j2", {"labels": list(labels)}).encode()
    golden, golden_source = record_golden(
        profile,
        values,
        files,
        carried,
        samples,
        project.golden.vectors,
        twins={shipped.variant.artifact.recipe: shipped.twin} if shipped else {},
        cache=cache,
        progress=progress,
    )
    files |= golden
    files["README.txt"] = _readme(profile, payload, values, chosen, source, golden, golden_source)
    manifest = make_manifest(
        profile=profile,
        app=app,
        version=version,
        payload=payload,
        variants=carried,
        chosen=chosen,
        source=source,
        calibration=calibration,
        evaluation=evaluation,
        files=files,
        golden_source=golden_source,
        shipped=shipped,
    )
    progress.step(f"seal {app} for {profile.name}")
    return seal(files, manifest, executable=(), out=out)


def runtime_files(folder: Path | None = None) -> dict[str, bytes]:
    """Return the island's modules as they go into a release: `runtime/<name>.py`, verbatim."""
    return {
        f"runtime/{path.name}": path.read_bytes()
        for path in sorted((folder or runtime_folder()).glob("*.py"))
    }


def record_golden(
    profile: TargetProfile,
    values: Mapping[str, Any],
    files: Mapping[str, Path | bytes],
    variants: Sequence[Variant],
    samples: Dataset | None,
    count: int,
    *,
    twins: Mapping[str, Variant],
    cache: Path,
    progress: Progress,
) -> tuple[dict[str, bytes], str]:
    """Return the golden files of `variants` (name in the release -> content) and where their inputs come
    from.

    The release is laid out once more with this machine's LiteRT in place of the device's engine; with the
    same version and delegate where there is one, so that a device of another processor must agree exactly.
    A compiled variant runs on its accelerator only: `twins` (recipe -> what it was compiled from) answer for it
    here, and the device is compared by tolerance.
    """
    from edgeship.score.golden import record, select_inputs

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


def _carried(variants: Sequence[Variant], chosen: Variant, also: Sequence[Variant]) -> list[Variant]:
    """Return the variants that go in, the chosen one first, each file still what was scored."""
    carried = list({v.artifact.recipe: v for v in (chosen, *also)}.values())
    known = {v.artifact.sha256 for v in variants}
    for variant in carried:
        artifact = variant.artifact
        if artifact.sha256 not in known:
            raise InputError(
                "unknown-variant",
                f"variant {artifact.recipe} is none of those that were built",
                context={"built": ", ".join(v.artifact.recipe for v in variants) or "(none)"},
            )
        if not artifact.path.is_file() or sha256_file(artifact.path) != artifact.sha256:
            raise InputError(
                "model-changed",
                f"the file of variant {artifact.recipe} is not the one that was scored",
                context={"file": artifact.path, "wanted": f"sha256 {artifact.sha256}"},
                hint="build again; let nothing else write into the work folder meanwhile",
            )
    return carried


def _threads(project: Project) -> dict[str, int]:
    return {"threads": project.service.threads} if project.service.threads else {}


def _readme(
    profile: TargetProfile,
    payload: Payload,
    values: Mapping[str, Any],
    chosen: Variant,
    source: ModelSource,
    golden: Mapping[str, bytes],
    golden_source: str,
) -> bytes:
    document = json.loads(golden[golden_name(chosen.artifact.recipe)])
    text = render(
        "README.txt.j2",
        {
            "app": values["app"],
            "version": values["version"],
            "target": profile.name,
            "edgeship": edgeship.__version__,
            "model": source.path.name,
            "model_bytes": chosen.artifact.bytes,
            "note": values["variants"][0]["note"],
            "chosen": chosen.artifact.recipe,
            "engine": values["engine"],
            "listen": values["listen"],
            "machine": profile.architecture,
            "libc": f"{profile.libc.kind} {payload.needs.glibc or 'of any version'}",
            "python": list(payload.python),
            "packages": list(payload.packages),
            "distribution": list(profile.runtime.distribution_packages),
            "libraries": list(payload.libraries),
            "vectors": len(document["vectors"]),
            "golden_source": golden_source,
        },
    )
    return text.encode()
