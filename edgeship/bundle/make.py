"""make_bundle(): from a chosen variant to a sealed bundle, the same bytes whenever and wherever it is
made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgeship
from edgeship.assets import runtime_folder
from edgeship.bundle.governor import Figures, Governed, governed, is_governed
from edgeship.bundle.manifest import make_manifest
from edgeship.bundle.page import page_files
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.payload import Payload, engine_entry, make_payload
from edgeship.bundle.recording import record_golden
from edgeship.bundle.render import render
from edgeship.bundle.request import request_lines
from edgeship.bundle.seal import seal
from edgeship.bundle.service import check_names, golden_name, model_name, service_values
from edgeship.bundle.unit import needed_mb, sessions_that_fit, unit_values
from edgeship.digest import sha256_file
from edgeship.errors import InputError
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.values import Bundle

SIMULATION = re.compile(
    r"runtime/es_(simulate|simulated|world|traces|traces_read|policies|oracle|tally)\.py\Z"
)
"""What simulates a ladder: of no use to a release that has none, and an eighth of what a runtime weighs."""


def make_bundle(parts: BundleParts, *, out: Path, cache: Path, progress: Progress) -> Bundle:
    """Return the sealed bundle of `parts`, written into folder `out`. `cache` keeps fetched runtimes.

    Raises InputError `bad-app-name`, `unknown-variant`, `model-changed`, `model-not-servable`, ..., and
    ToolError where the runtime cannot be had, does not fit the target, or cannot reproduce the model's
    answers (`golden-...`).
    """
    parts = parts.told_apart()
    profile, project, app = parts.profile, parts.project, parts.app
    check_names(app, parts.version)
    _check_carried(parts)
    progress.step(f"bundle {app} for {profile.name}")
    payload = make_payload(profile, cache=cache, progress=progress)
    values = service_values(parts, engine_entry(profile, payload) | _threads(project))
    files: dict[str, Path | bytes] = {
        **payload.files,
        **runtime_files(),
        **{model_name(v.artifact.name): v.artifact.path for v in parts.carried},
    }
    if parts.labels:
        files["labels.txt"] = render("labels.txt.j2", {"labels": list(parts.labels)}).encode()
    recorded = record_golden(parts, values, files, cache=cache, progress=progress)
    golden, golden_source = recorded.golden, recorded.source
    governor = _governor(parts, values, recorded.figures, progress)
    loaded = _loaded_bytes(parts, values, governor, progress)
    unit = unit_values(
        profile,
        app=app,
        listen=project.service.listen,
        drain_seconds=values["limits"]["drain_seconds"],
        body_bytes=values["limits"]["body_bytes"],
        buffered_bytes=values["limits"]["buffered_bytes"],
        loaded_bytes=loaded,
        governed=bool(values.get("governor")),
    )
    if governor is None:
        files = {name: content for name, content in files.items() if not SIMULATION.match(name)}
    files |= page_files(parts, values)
    files |= {
        "service.json": render("service.json.j2", values).encode(),
        "service/edgeship.service": render("edgeship.service.j2", unit).encode(),
        "service/edgeship.initd": render("edgeship.initd.j2", unit).encode(),
        **golden,
    }
    vectors = len(json.loads(golden[golden_name(parts.chosen.artifact.name)])["vectors"])
    files["README.txt"] = _readme(parts, payload, values, vectors, golden_source)
    resident = governor.resident if governor else {}
    manifest = make_manifest(parts, payload, files, golden_source, resident)
    progress.step(f"seal {app} for {profile.name}")
    return seal(files, manifest, executable=(), out=out)


def runtime_files(folder: Path | None = None) -> dict[str, bytes]:
    """Return the island's modules as they go into a release: `runtime/<name>.py`, verbatim."""
    return {
        f"runtime/{path.name}": path.read_bytes()
        for path in sorted((folder or runtime_folder()).glob("*.py"))
    }


def _check_carried(parts: BundleParts) -> None:
    """Raise InputError unless each variant carried is one that was built, its file still what was scored."""
    known = {v.artifact.sha256 for v in parts.variants}
    for variant in parts.carried:
        artifact = variant.artifact
        if artifact.sha256 not in known:
            raise InputError(
                "unknown-variant",
                f"variant {artifact.name} is none of those that were built",
                context={"built": ", ".join(v.artifact.name for v in parts.variants) or "(none)"},
            )
        if not artifact.path.is_file() or sha256_file(artifact.path) != artifact.sha256:
            raise InputError(
                "model-changed",
                f"the file of variant {artifact.name} is not the one that was scored",
                context={"file": artifact.path, "wanted": f"sha256 {artifact.sha256}"},
                hint="build again; let nothing else write into the work folder meanwhile",
            )


def _governor(
    parts: BundleParts, values: dict[str, Any], figures: Figures, progress: Progress
) -> Governed | None:
    """Put `governor` into `values` where the bundle has one, and tell what does not answer by itself and why."""
    if not is_governed(parts):
        return None
    limits = values["limits"]
    found = governed(
        parts, values["variants"], figures, needed_mb(limits["body_bytes"], limits["buffered_bytes"], 0)
    )
    for note in found.notes:
        progress.note(f"{parts.profile.name}: {note}")
    if len(found.resident) < 2 and not parts.project.governor.model_fields_set:
        return None
    values["governor"] = found.entry
    return found


def _loaded_bytes(
    parts: BundleParts, values: Mapping[str, Any], governor: Governed | None, progress: Progress
) -> int:
    """Return the bytes of model files that the service loads at most: the largest one, or all that a governor chooses
    from; and one a session of a model with state. `limits.sessions` of `values` becomes what the device has memory for,
    which is told where it is less."""
    model, limits = max(v.artifact.bytes for v in parts.carried), values["limits"]
    if governor is not None and len(governor.resident) > 1:
        return governor.loaded_bytes
    if not any(entry["state"] for entry in values["variants"]):
        return model
    asked, limits["sessions"] = limits["sessions"], sessions_that_fit(parts.profile, limits, model)
    if limits["sessions"] < asked:
        progress.note(
            f"{limits['sessions']} sessions at a time, not {asked}: each loads the model once more, "
            f"{model:,} bytes and as much again, and {parts.profile.name} has no memory for more"
        )
    return model * (1 + int(limits["sessions"]))


def _threads(project: Project) -> dict[str, int]:
    return {"threads": project.service.threads} if project.service.threads else {}


def _readme(
    parts: BundleParts, payload: Payload, values: Mapping[str, Any], vectors: int, golden_source: str
) -> bytes:
    profile, chosen = parts.profile, parts.chosen
    text = render(
        "README.txt.j2",
        {
            "app": values["app"],
            "version": values["version"],
            "target": profile.name,
            "edgeship": edgeship.__version__,
            "model": parts.source.path.name,
            "model_bytes": chosen.artifact.bytes,
            "notes": [note for note in (values["variants"][0]["note"], *chosen.artifact.notes) if note],
            "chosen": chosen.artifact.name,
            "others": [variant.artifact.name for variant in parts.carried[1:]],
            "engine": values["engine"],
            "listen": values["listen"],
            "page": parts.project.service.page,
            "machine": profile.architecture,
            "libc": f"{profile.libc.kind} {payload.needs.glibc or 'of any version'}",
            "python": list(payload.python),
            "packages": list(payload.packages),
            "distribution": list(profile.runtime.distribution_packages),
            "libraries": list(payload.libraries),
            "vectors": vectors,
            "golden_source": golden_source,
            "request": list(request_lines(values)),
        },
    )
    return text.encode()
