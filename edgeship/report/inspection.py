"""What `edgeship inspect` shows of a model and of a bundle."""

from __future__ import annotations

from typing import Any

from edgeship.bundle.form import variant_name
from edgeship.data.rules import rule_of, words
from edgeship.model.inspect import Inspection
from edgeship.report.figures import size
from edgeship.report.table import table
from edgeship.tflite.state import State
from edgeship.values import Bundle, Preprocess, TensorSpec, as_json


def model_document(found: Inspection) -> dict[str, Any]:
    """Return the `edgeship.inspect/1` document of a model."""
    document: dict[str, Any] = as_json(found)
    for key in ("metadata", "min_runtime_version"):
        if document[key] is None:
            document[key] = {"unavailable": "the file does not carry it"}
    return {"schema": "edgeship.inspect/1", "what": "model", **document}


def model_text(found: Inspection, *, operations: bool) -> str:
    """Return the report for people: what it is, what goes in and out, what it costs, what it really holds."""
    held = found.precision
    weights = f"{found.parameters.count:,} parameters ({size(found.parameters.bytes)})"
    lines = [
        f"{found.path}: {found.kind}, {size(found.bytes)}, sha256 {found.sha256[:12]}",
        f"  precision: weights {held.weights}, activations {held.activations}, inputs and outputs {held.io}",
        f"  {found.macs:,} multiply-accumulates, {weights}",
    ]
    if found.converted:
        lines.append("  (operations and figures are those of the float .tflite it converts to)")
    lines += [f"  input   {_tensor(spec)}" for spec in found.signature.inputs]
    lines += [f"          {text}" for text in _fed(found)]
    lines += [f"  output  {_tensor(spec)}" for spec in found.signature.outputs]
    lines += [f"  state   {_state(state)}" for state in found.state]
    if found.state:
        lines.append(
            "          (kept between runs: a service begins each request anew, or keeps it in a session)"
        )
    if found.min_runtime_version:
        lines.append(f"  needs TensorFlow Lite {found.min_runtime_version} or later")
    lines += _metadata(found.metadata)
    lines += ["", *(_operations(found) if operations else _counts(found))]
    for finding in found.warnings:
        where = f" (operations {', '.join(map(str, finding.operations))})" if finding.operations else ""
        lines += ["", f"warning: {finding.message}{where} [{finding.code}]"]
    return "\n".join(lines)


def _state(state: State) -> str:
    return f"{state.name}: {state.dtype} [{' x '.join(map(str, state.shape)) or 'scalar'}]"


def _tensor(spec: TensorSpec) -> str:
    shape = " x ".join("?" if n < 0 else str(n) for n in spec.shape) or "scalar"
    text = f"{spec.name}: {spec.dtype} [{shape}]"
    if spec.quantization and len(spec.quantization.scales) == 1:
        text += f", real = {spec.quantization.scales[0]:.6g} * (q - {spec.quantization.zero_points[0]})"
    return text


def _fed(found: Inspection) -> list[str]:
    """Return what the inputs that came as integers take, a line each."""
    described = (found.metadata or {}).get("inputs", ())
    rules = [
        rule_of(spec, Preprocess(), described[i] if i < len(described) else None, says_arithmetic=False)
        for i, spec in enumerate(found.signature.inputs)
    ]
    return [text for rule in rules if (text := words(rule))]


def _metadata(metadata: dict[str, Any] | None) -> list[str]:
    if not metadata:
        return []
    if "unreadable" in metadata:
        return [f"  metadata: {metadata['unreadable']}"]
    shown = [("name", "name"), ("description", "description"), ("licence", "licence"), ("author", "author")]
    lines = [f"  {label}: {metadata[key]}" for key, label in shown if metadata.get(key)]
    if labels := metadata.get("labels"):
        some = ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
        lines.append(f"  labels: {len(labels)}: {some}")
    for tensor in metadata.get("inputs", ()):
        if scaled := tensor.get("normalisation"):
            lines.append(f"  normalisation: mean {scaled['mean']}, std {scaled['std']}")
    return lines


def _counts(found: Inspection) -> list[str]:
    return [table(["operation", "count"], [[op, str(n)] for op, n in found.operations.items()], right=(1,))]


def _operations(found: Inspection) -> list[str]:
    rows = [
        [
            str(row.index),
            f"{row.op} v{row.version}",
            "x".join(map(str, row.input_shape)),
            "x".join(map(str, row.output_shape)),
            row.dtype,
            row.weights_dtype or "",
            f"{row.macs:,}",
        ]
        for row in found.operation_list
    ]
    return [table(["#", "operation", "in", "out", "holds", "weights", "MACs"], rows, right=(0, 6))]


def bundle_document(bundle: Bundle) -> dict[str, Any]:
    """Return the `edgeship.inspect/1` document of a verified bundle."""
    return {
        "schema": "edgeship.inspect/1",
        "what": "bundle",
        "path": str(bundle.path),
        "bytes": bundle.bytes,
        "sha256": bundle.sha256,
        "release": bundle.release,
        "manifest": bundle.manifest,
    }


def bundle_text(bundle: Bundle) -> str:
    """Return the report for people: what the bundle is for, what is inside, what a device must have."""
    manifest = bundle.manifest
    needs, engine, files = manifest["requires"], manifest["engine"], manifest["files"]
    ran = [engine.get(key, "?") for key in ("name", "version", "delegate")]
    lines = [
        f"{bundle.path}: {size(bundle.bytes)}, every digest holds",
        f"  release {bundle.release}",
        f"  {bundle.app} version {manifest['version']} for {bundle.target}",
        f"  runs on {ran[0]} {ran[1]}, delegate {ran[2]}"
        + (f": {engine['reason']}" if "reason" in engine else ""),
        f"  a device must have: {needs.get('machine') or 'any processor'}, {_libc(needs)}, "
        f"Python {' or '.join(needs.get('python', ())) or 'of any version'}"
        + "".join(
            f", {name}"
            for name in (
                *needs.get("packages", ()),
                *needs.get("libraries", ()),
                *(d if isinstance(d, str) else d["name"] for d in needs.get("devices", ())),
            )
        ),
        f"  {len(files)} files, {size(sum(f['bytes'] for f in files.values()))} unpacked",
        "",
    ]
    rows = [
        [
            "*" if variant_name(v) == manifest["chosen"] else "",
            variant_name(v),
            f"{v['bytes']:,}" if "bytes" in v else "?",
            _metric(v["metric"]) if "metric" in v else "",
        ]
        for v in manifest["variants"]
    ]
    lines.append(table(["", "variant", "bytes", "metric"], rows, right=(2,)))
    if ladder := needs.get("ladder"):
        loaded = ladder["resident_mb"]
        lines.append(
            f"the device decides which answers; {len(loaded)} stay loaded, "
            f"{ladder['base_mb'] + sum(loaded.values())} MB with the service: {', '.join(loaded)}"
        )
    lines += [v["compile"]["reason"] for v in manifest["variants"] if "compile" in v]
    for v in manifest["variants"]:
        if layers := v.get("layers"):
            told = ", ".join(f"{name} as {precision}" for name, precision in layers.items())
            lines.append(f"{variant_name(v)}: {told}")
    made = manifest["provenance"]
    model = made.get("model", {}).get("sha256", "?")
    lines += ["", f"made from model {model[:12]} with edgeship {made.get('edgeship', '?')}"]
    lines += [line for entry in made.get("variants", ()) for line in _steps(entry)]
    return "\n".join(lines)


def _steps(entry: dict[str, Any]) -> list[str]:
    """Return how a variant was made, a line a step; nothing of a plain recipe."""
    if not entry.get("steps"):
        return []
    lines = [f"{entry.get('name', '?')}: candidate {entry.get('candidate', '?')[:12]}"]
    for number, step in enumerate(entry["steps"], 1):
        told = [f"{key} {_plain(value)}" for key, value in step.get("settings", {}).items()]
        told += [f"seed {step['seed']}"] if "seed" in step else []
        told += [f"{role} data {digest[:12]}" for role, digest in step.get("data", {}).items()]
        lines.append(f"  {number}. {step['label']}: {', '.join(told) or 'no settings'}")
        if figures := step.get("figures"):
            lines.append("     " + ", ".join(f"{name} {_plain(value)}" for name, value in figures.items()))
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return f"n/a ({value.get('unavailable', '?')})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _libc(needs: dict[str, Any]) -> str:
    libc = needs.get("libc")
    if not libc:
        return "any C library"
    return f"{libc['kind']} " + (f"{libc['version']} or later" if libc.get("version") else "of any version")


def _metric(metric: dict[str, Any]) -> str:
    from edgeship.score.metrics import METRICS

    name, value, drop = metric["name"], metric["value"], metric["drop"]
    if not isinstance(value, int | float):
        return f"{name} n/a" + (f": {value['unavailable']}" if value else "")
    points = name in METRICS and METRICS[name].drop_unit == "points"
    shown = f"{name} {value:.2f}" if points else f"{name} {value:.4g}"
    if not isinstance(drop, int | float):
        return shown
    return shown + (f" (drop {drop:.2f} points)" if points else f" (drop {drop:.4g} %)")
