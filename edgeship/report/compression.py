"""What a search under a budget came to, for people and as `edgeship.compress/1`."""

from __future__ import annotations

import shlex
from typing import Any

from edgeship import __version__
from edgeship.bundle.service import identity
from edgeship.pipeline.compressing import CompressReport, file_of
from edgeship.report.figures import duration, figure, size
from edgeship.report.table import table
from edgeship.score.interval import interval_of
from edgeship.values import Dataset, Metric, Scorecard, Tried, Unavailable, as_json


def compress_document(report: CompressReport) -> dict[str, Any]:
    """Return the `edgeship.compress/1` document."""
    inputs, chosen = report.inputs, report.chosen
    none = {"unavailable": report.reason}
    control = next((t for t in report.tried if t.control and t.variant), None)
    return {
        "schema": "edgeship.compress/1",
        "edgeship": __version__,
        "model": {"path": str(inputs.source.path), "sha256": inputs.source.sha256},
        "target": report.target,
        "chosen": file_of(chosen) if chosen else none,
        "reason": report.reason,
        "bundle": report.bundle.path.name if report.bundle else none,
        "model_file": report.model_file.name
        if report.model_file
        else {"unavailable": "the model is in the bundle" if report.bundle else report.reason},
        "prefer": report.prefer,
        "goals": {
            name: {"unavailable": "not asked for"} if value is None else value
            for name, value in (
                ("max_drop", report.goals.max_drop),
                ("max_kb", report.goals.max_kb),
                ("max_download_kb", report.goals.max_download_kb),
                ("max_ms", report.goals.max_ms),
                ("max_rss_mb", report.goals.max_rss_mb),
            )
        },
        "data": [
            {
                "role": role,
                "reference": data.info.reference,
                "sha256": data.info.sha256,
                "count": data.info.count,
            }
            for role, data in _data(report)
        ],
        "chosen_by": _chosen_by(report),
        "variants": [_variant(t, report) for t in report.tried if t.variant is not None],
        "control": _variant(control, report)
        if control
        else {"unavailable": "nothing that is trained was tried"},
        "sensitivity": _sensitivity(report),
        "failed": [{"candidate": t.candidate.name, "reason": t.failed} for t in report.tried if t.failed],
        "left": list(report.left),
        "passed_over": list(report.passed_over),
        "tried": len(report.tried),
        "seconds": round(report.seconds, 3),
    }


def _sensitivity(report: CompressReport) -> dict[str, Any]:
    """Return what each layer loses; layers as `edgeship.explain/1` has them, in the order of the graph."""
    found = report.layers
    if isinstance(found, Unavailable):
        return {"unavailable": found.reason}
    return {
        "recipe": found.recipe,
        "samples": found.samples,
        "drop": as_json(found.metric.drop),
        "snr_db": as_json(found.snr_db),
        "looked_at": found.looked_at,
        "layers": [as_json(layer) for layer in found.layers],
    }


def _data(report: CompressReport) -> list[tuple[str, Dataset]]:
    inputs = report.inputs
    held = (
        ("train", inputs.train),
        ("calibration", inputs.calibration),
        ("held_out", report.held_out),
        ("evaluation", inputs.evaluation),
    )
    return [(role, data) for role, data in held if data is not None]


def _chosen_by(report: CompressReport) -> str:
    if report.held_out is None:
        return "nothing: there are no samples"
    data = report.held_out.info
    how = "labels" if report.labelled else "agreement with the float model (there are no labels)"
    return f"{how} of {data.reference}; evaluation data chose nothing"


def _variant(tried: Tried, report: CompressReport) -> dict[str, Any]:
    variant, contents = tried.variant, tried.contents
    assert variant is not None and contents is not None
    artifact, card = variant.artifact, variant.scorecard
    rung = tried.candidate.digest in report.ladder
    return {
        **identity(artifact),
        "file": file_of(tried) if rung else {"unavailable": "it is no rung of the ladder"},
        "steps": [
            record.to_json()
            | {"seconds": round(record.seconds, 1), "notes": list(record.notes)}
            | ({"layers": dict(record.layers)} if record.layers else {})
            for record in tried.steps
        ],
        "bytes": artifact.bytes,
        "bytes_compressed": contents.download,
        "sha256": artifact.sha256,
        "parameters": contents.parameters,
        "sparsity": round(contents.sparsity, 6),
        "unique_weights": contents.unique_weights,
        "metric": {
            "name": card.metric.name,
            "higher_is_better": {"unavailable": f"{card.metric.name} does not say"}
            if card.metric.higher_is_better is None
            else card.metric.higher_is_better,
            "drop_unit": card.metric.drop_unit,
            "held_out": _metric(card, report.held_out),
            "evaluation": _metric(tried.evaluated, report.inputs.evaluation)
            if tried.evaluated
            else {
                "unavailable": "no evaluation data was given"
                if report.inputs.evaluation is None
                else "only the ladder, plain recipes and controls are evaluated"
            },
        },
        "agreement": {"argmax": as_json(card.agreement.argmax), "cosine": as_json(card.agreement.cosine)},
        "latency_ms": as_json(card.latency_ms),
        "peak_rss_mb": as_json(card.peak_rss_mb),
        "expected_loss": {"unavailable": "nothing tells"} if tried.loss is None else round(tried.loss, 4),
        "pareto": rung,
        "control": tried.control,
        "admitted": tried.admitted,
        "gates": [as_json(gate) for gate in variant.gates],
        "seconds": round(tried.seconds, 1),
    }


def _metric(card: Scorecard, data: Dataset | None) -> dict[str, Any]:
    metric, count = card.metric, data.info.count if data else 0
    interval = interval_of(metric, count)
    return {
        "value": as_json(metric.value),
        "low": interval[0] if interval else _no_interval(metric),
        "high": interval[1] if interval else _no_interval(metric),
        "float": as_json(metric.float_value),
        "drop": as_json(metric.drop),
        "count": count,
    }


def _no_interval(metric: Metric) -> dict[str, str]:
    known = not isinstance(metric.value, Unavailable)
    return {"unavailable": f"{metric.name} is no share of samples" if known else "the metric is not known"}


def compress_text(report: CompressReport) -> str:
    """Return what a person reads at the end."""
    made = [t for t in report.tried if t.variant is not None]
    many = f"{len(report.tried)} candidates tried in {duration(report.seconds)}"
    lines = [f"{report.inputs.source.path} for {report.target}: {many}", ""]
    if made:
        lines += [candidates_table(report), ""]
    lines.append(f"chosen by {_chosen_by(report)}")
    lines += [f"not made: {t.candidate.name}: {t.failed}" for t in report.tried if t.failed]
    if report.passed_over:
        lines.append(f"passed over after a short probe: {', '.join(report.passed_over)}")
    if report.needless:
        lines.append(f"no need for {', '.join(report.needless)}: the plain recipe keeps the limit")
    if report.left:
        lines.append(
            f"no time was left for {', '.join(report.left)}: the same command with more --minutes goes on"
        )
    lines += _noisiest(report)
    lines.append(f"{'chosen' if report.chosen else 'nothing chosen'}: {report.reason}")
    lines += ["", f"report: {report.out / 'report.html'}"]
    if report.model_file:
        lines.append(f"model: {report.model_file}")
    if report.bundle:
        lines.append(f"bundle: {report.bundle.path}  {size(report.bundle.bytes)}")
        folder = shlex.quote(str(report.out))
        lines.append(f"  edgeship deploy {folder} --target {report.target} --host USER@HOST")
    return "\n".join(lines)


def _noisiest(report: CompressReport) -> list[str]:
    """Return which layer loses most by the plain recipe, where that is known."""
    found = report.layers
    if isinstance(found, Unavailable):
        return []
    known = [(d, layer) for layer in found.layers if not isinstance(d := layer.alone_snr_db, Unavailable)]
    if not known:
        return []
    decibels, layer = min(known, key=lambda pair: pair[0])
    most = f"{found.recipe} loses most in {layer.layer} ({layer.op})"
    return [f"{most}: {decibels:.1f} dB with it alone quantized, {figure(found.snr_db, 1)} dB with all"]


def candidates_table(report: CompressReport) -> str:
    """Return the table of candidates: `*` is chosen, `+` a rung of the ladder, `=` the control."""
    rows = []
    metric = next(t.variant.scorecard.metric for t in report.tried if t.variant)
    for tried in report.tried:
        if tried.variant is None or tried.contents is None:
            continue
        card, contents = tried.variant.scorecard, tried.contents
        mark = "+" if tried.candidate.digest in report.ladder else "=" if tried.control else ""
        mark = "*" if report.chosen and tried.candidate == report.chosen.candidate else mark
        evaluated = tried.evaluated.metric if tried.evaluated else None
        failed = [gate.name for gate in tried.variant.gates if gate.stops]
        rows.append(
            [
                mark,
                tried.candidate.name,
                _with_interval(card.metric, report.held_out),
                figure(card.agreement.argmax, 3),
                "n/a" if tried.loss is None else f"{tried.loss:.2f}",
                _with_interval(evaluated, report.inputs.evaluation) if evaluated else "",
                f"{contents.download:,}",
                f"{tried.variant.artifact.bytes:,}",
                figure(card.latency_ms.p50, 3),
                f"{contents.sparsity:.0%}",
                f"{contents.unique_weights:,}",
                "no: " + ", ".join(failed) if failed else "yes",
            ]
        )
    header = [
        "", "candidate", f"{metric.name} held-out", "argmax", "loss", f"{metric.name} evaluation", "download", "file",
        "p50 ms", "zeros", "values", "admitted",
    ]  # fmt: skip
    return table(header, rows, right=range(2, 11))


def _with_interval(metric: Metric, data: Dataset | None) -> str:
    if isinstance(metric.value, Unavailable):
        return figure(metric.value)
    interval = interval_of(metric, data.info.count if data else 0)
    value = f"{metric.value:.2f}" if metric.drop_unit == "points" else f"{metric.value:.4g}"
    return value + (f" ({interval[0]:.1f}-{interval[1]:.1f})" if interval else "")
