"""manifest.json: what a release is, what it asks of a device, where it came from, and the digest of every
file in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgeship
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.payload import BASE_RAM_MB, Payload
from edgeship.bundle.service import identity, model_name
from edgeship.compile.ship import Shipped
from edgeship.digest import sha256_bytes, sha256_file
from edgeship.profile import TargetProfile
from edgeship.score.gates import AGREEMENT
from edgeship.tflite.flaws import CODES, flaws
from edgeship.tflite.reader import read_tflite
from edgeship.values import Variant, as_json

SCHEMA = "edgeship.manifest/1"
MIB = 1 << 20


def make_manifest(
    parts: BundleParts,
    payload: Payload,
    files: Mapping[str, Path | bytes],
    golden_source: str,
    resident: Mapping[str, int],
) -> dict[str, Any]:
    """Return the edgeship.manifest/1 document over `files` (name in the release -> content, all but the
    manifest). `resident`: name -> bytes of the variants that stay loaded together, empty without a governor.

    Nothing in it depends on a clock, on the machine that builds, or on where things lay there; of a governor's variants
    the figures do, which were measured there once.
    """
    profile, source, variants = parts.profile, parts.source, parts.carried
    calibration, evaluation = parts.calibration, parts.evaluation
    return {
        "schema": SCHEMA,
        "app": parts.app,
        "version": parts.version,
        "target": profile.name,
        "requires": requirements(profile, payload, variants, files) | ladder_entry(profile, resident),
        "engine": {
            "name": profile.runtime.engine,
            "version": profile.runtime.version,
            "delegate": profile.runtime.delegate,
            **({"reason": parts.engine_reason} if parts.engine_reason else {}),
        },
        "chosen": parts.chosen.artifact.name,
        "variants": [
            variant_entry(v) | accepted_entry(v, parts.project.accept) | compile_entry(parts.shipped_as(v))
            for v in variants
        ],
        "provenance": {
            "edgeship": edgeship.__version__,
            "model": {"name": source.path.name, "sha256": source.sha256},
            "profile_sha256": profile.digest(),
            "calibration_sha256": calibration.info.sha256 if calibration else None,
            "evaluation_sha256": evaluation.info.sha256 if evaluation else None,
            "golden": golden_source,
            "variants": [made_entry(variant) for variant in variants],
            "tools": {k: v for variant in variants for k, v in variant.artifact.tools.items()},
            "packages": payload.versions,
        },
        "files": {name: file_entry(content) for name, content in sorted(files.items())},
    }


def requirements(
    profile: TargetProfile, payload: Payload, variants: Sequence[Variant], files: Mapping[str, Path | bytes]
) -> dict[str, Any]:
    """Return what a device must have. Versions of glibc and libstdc++ are what the files need, not what tags
    say."""
    model = max(variant.artifact.bytes for variant in variants)  # one of them is loaded at a time
    # Weights are unpacked for the kernels, fp16 ones to twice their size, and activations come on top.
    ram_mb = BASE_RAM_MB[profile.runtime.engine] + -(-4 * model // MIB)
    return (
        {
            "machine": profile.architecture,
            "libc": {"kind": profile.libc.kind, "version": payload.needs.glibc},
            "libstdcxx": payload.needs.glibcxx,
            "python": list(payload.python),
            "cpu_flags": list(profile.cpu_flags),
            "packages": list(payload.packages),
            "libraries": list(payload.libraries),
            "ram_mb": ram_mb,
            "disk_bytes": sum(file_entry(content)["bytes"] for content in files.values()),
            "service": profile.service.manager,
            "devices": [{"name": d.name, "any_of": list(d.any_of)} for d in profile.devices if d.required],
        }
        | interpreter_entry(profile)
        | delegate_entry(profile)
    )


def interpreter_entry(profile: TargetProfile) -> dict[str, Any]:
    """Return which interpreter of the device runs the service, where that is not its python3."""
    return {"interpreter": profile.python.command} if profile.python.command != "python3" else {}


def ladder_entry(profile: TargetProfile, resident: Mapping[str, int]) -> dict[str, Any]:
    """Return the memory that a ladder takes, MiB: of the service beside its models, and of each variant that stays
    loaded; nothing where only one is."""
    if len(resident) < 2:
        return {}
    base = BASE_RAM_MB[profile.runtime.engine]
    return {
        "ladder": {"base_mb": base, "resident_mb": {name: -(-size // MIB) for name, size in resident.items()}}
    }


def delegate_entry(profile: TargetProfile) -> dict[str, Any]:
    """Return which release of a delegate's library pairs with the engine, where the profile says so."""
    runtime = profile.runtime
    if not (runtime.delegate_library and runtime.delegate_version):
        return {}
    return {"delegate": {"library": runtime.delegate_library, "version": runtime.delegate_version}}


def variant_entry(variant: Variant) -> dict[str, Any]:
    """Return what the manifest says of a variant: figures, and why there is none; no latency, no memory."""
    artifact, metric = variant.artifact, variant.scorecard.metric
    return {
        **identity(artifact),
        "file": model_name(artifact.name),
        "bytes": artifact.bytes,
        "sha256": artifact.sha256,
        "precision": as_json(artifact.precision),
        **({"layers": artifact.layers} if artifact.layers else {}),
        "metric": {
            "name": metric.name,
            "value": as_json(metric.value),
            "float": as_json(metric.float_value),
            "drop": as_json(metric.drop),
        },
        "agreement": as_json(variant.scorecard.agreement),
    }


def accepted_entry(variant: Variant, accepted: Sequence[str]) -> dict[str, Any]:
    """Return which flaws the model really has that the user ships all the same; nothing where there is none."""
    if not accepted:
        return {}
    found: set[str] = {flaw.code for flaw in flaws(read_tflite(variant.artifact.path)) if flaw.effect}
    found |= {AGREEMENT} if any(part.dead for part in variant.scorecard.agreement.parts) else set()
    codes = [code for code in (*CODES, AGREEMENT) if code in found and code in accepted]
    return {"accepted": codes} if codes else {}


def made_entry(variant: Variant) -> dict[str, Any]:
    """Return what a variant was made by: every step with its settings, its seed and the digests of the data it saw.

    The digest says the same of the chain alone, so that two builds can be compared by it. A figure that is none (the
    loss of a training that diverged) is told as such.
    """
    artifact = variant.artifact
    steps = [record.to_json() for record in artifact.steps]
    for step in steps:
        step["figures"] = {
            name: value if math.isfinite(value) else {"unavailable": "not a finite number"}
            for name, value in step["figures"].items()
        }
    return {
        **identity(artifact),
        "steps": steps,
        "model_sha256": artifact.model_sha256,
        "calibration_sha256": artifact.calibration_sha256,
    }


def compile_entry(shipped: Shipped | None) -> dict[str, Any]:
    """Return what the manifest says of compiling a variant; nothing for targets without a compiler."""
    if shipped is None or shipped.result is None:
        return {}
    result = shipped.result
    return {
        "compile": {
            "compiled": result.compiled,
            "reason": result.words,
            "mapped": result.mapped,
            "total": result.total,
            "from_sha256": shipped.twin.artifact.sha256,
            "tools": result.tools,
        }
    }


def file_entry(content: Path | bytes) -> dict[str, Any]:
    """Return digest and size of one file. Nothing in a release is run by name, so nothing is executable."""
    if isinstance(content, bytes):
        return {"sha256": sha256_bytes(content), "bytes": len(content), "executable": False}
    return {"sha256": sha256_file(content), "bytes": content.stat().st_size, "executable": False}
