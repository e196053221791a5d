"""The JSON document of a build: `edgeship.build/1`."""

from __future__ import annotations

from typing import Any

from edgeship.bundle.service import identity
from edgeship.compile.backend import Part
from edgeship.pipeline.build import BuildReport, TargetBuild
from edgeship.score.warn import warnings
from edgeship.values import GateResult, Variant, as_json


def build_document(report: BuildReport) -> dict[str, Any]:
    """Return the `edgeship.build/1` document."""
    return {
        "schema": "edgeship.build/1",
        "model": {"path": str(report.model.path), "sha256": report.model.sha256},
        "seconds": round(report.seconds, 3),
        "targets": [_target(built) for built in report.targets],
    }


def _target(built: TargetBuild) -> dict[str, Any]:
    none = {"unavailable": _without_bundle(built)}
    chosen = built.chosen
    return {
        "target": built.target,
        "bundle": str(built.bundle.path) if built.bundle else none,
        "sha256": built.bundle.sha256 if built.bundle else none,
        "model_file": str(built.model_file)
        if built.model_file
        else {
            "unavailable": "the model is in its segments" if built.segments else "the model is in the bundle"
        },
        "segments": [_part(part) for part in built.segments],
        "co_compiled": [_part(part) for part in built.together],
        "chosen": chosen.artifact.name if chosen else none,
        "reason": built.reason,
        "ladder": [variant.artifact.name for variant in built.ladder],
        "warnings": list(warnings(built.chosen, built.variants)),
        "variants": [_variant(variant) | {"compile": _compile(variant, built)} for variant in built.variants],
        "failed": [{"recipe": recipe, "reason": reason} for recipe, reason in built.failed],
        "gates": [_gate(gate) for gate in (chosen.gates if chosen else ())],
    }


def _without_bundle(built: TargetBuild) -> str:
    if built.segments:
        return f"the model is {len(built.segments)} segments; a service runs one model on one accelerator"
    return f"the target runs no Linux: the model is {built.model_file}" if built.model_file else built.reason


def _part(part: Part) -> dict[str, Any]:
    document: dict[str, Any] = as_json(part)
    return {name: document[name] for name in document if name != "source"} | {"source": part.source.name}


def _variant(variant: Variant) -> dict[str, Any]:
    artifact, card = variant.artifact, variant.scorecard
    return {
        **identity(artifact),
        "bytes": artifact.bytes,
        "sha256": artifact.sha256,
        "precision": as_json(artifact.precision),
        "notes": list(artifact.notes),
        "metric": {
            "name": card.metric.name,
            "value": as_json(card.metric.value),
            "float": as_json(card.metric.float_value),
            "drop": as_json(card.metric.drop),
            "drop_unit": card.metric.drop_unit,
            "higher_is_better": {"unavailable": f"{card.metric.name} does not say"}
            if card.metric.higher_is_better is None
            else card.metric.higher_is_better,
            "about": card.metric.about,
        },
        "agreement": as_json(card.agreement),
        "latency_ms": as_json(card.latency_ms),
        "peak_rss_mb": as_json(card.peak_rss_mb),
        "gates": [_gate(gate) for gate in variant.gates],
    }


def _compile(variant: Variant, built: TargetBuild) -> dict[str, Any]:
    """Return what the target's compiler made of a variant, or why it was not asked."""
    result = built.compiled
    if built.chosen is None:
        return {"unavailable": "nothing was chosen to be compiled" if result is None else built.reason}
    if result is None:
        return {"unavailable": "the target needs no compiler"}
    if variant is not built.chosen:
        return {"unavailable": "only the chosen variant is compiled"}
    return {
        "compiled": result.compiled,
        "reason": result.words,
        "mapped": result.mapped,
        "total": result.total,
        "subgraphs": as_json(result.subgraphs),
        "files": [{"bytes": a.bytes, "sha256": a.sha256} for a in result.artifacts],
        "estimates": as_json(result.estimates),
        "tools": result.tools,
        "log": result.log,
    }


def _gate(gate: GateResult) -> dict[str, Any]:
    document: dict[str, Any] = as_json(gate)
    return document
