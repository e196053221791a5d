"""What quantizing costs, layer by layer, for people and as `edgeship.explain/1`."""

from __future__ import annotations

import math
import shlex
from typing import Any

from edgeship.pipeline.explaining import Explanation
from edgeship.report.figures import duration, figure
from edgeship.report.table import table
from edgeship.values import LayerCost, Unavailable, as_json

SHOWN = 15
"""Rows of the table; the document has all."""


def explain_document(told: Explanation) -> dict[str, Any]:
    """Return the `edgeship.explain/1` document."""
    metric = told.metric
    return {
        "schema": "edgeship.explain/1",
        "model": {"path": str(told.inputs.source.path), "sha256": told.inputs.source.sha256},
        "target": told.target,
        "recipe": told.recipe,
        "evaluation": told.evaluation,
        "samples": told.samples,
        "metric": {
            "name": metric.name,
            "value": as_json(metric.value),
            "float": as_json(metric.float_value),
            "drop": as_json(metric.drop),
            "drop_unit": metric.drop_unit,
        },
        "snr_db": as_json(told.snr_db),
        "layers": [as_json(layer) for layer in told.layers],
        "seconds": round(told.seconds, 3),
    }


def explain_text(told: Explanation) -> str:
    """Return what a person reads: the table of layers, and the causes with the command that helps."""
    metric = told.metric
    unit = "points" if metric.drop_unit == "points" else "%"
    beside = f"(float {figure(metric.float_value)}, drop {figure(metric.drop)} {unit})"
    lost = f"{metric.name} {figure(metric.value)} {beside}"
    lines = [
        f"{told.inputs.source.path} as {told.recipe} for {told.target}: {lost}, {figure(told.snr_db, 1)} dB",
        f"on {told.samples} samples of {told.evaluation}, in {duration(told.seconds)}",
        "",
        table(
            ["layer", "operation", f"alone, {unit}", "alone, dB", f"left float, {unit}", "left float, dB"],
            [_row(layer) for layer in told.layers[:SHOWN]],
            right=range(2, 6),
        ),
        "alone: what the metric loses and how clean outputs are with this operation alone quantized",
        "left float: what comes back where it alone is not quantized",
    ]
    if len(told.layers) > SHOWN:
        lines.append(f"({len(told.layers) - SHOWN} more operations: --json)")
    lines += ["", *_causes(told)]
    return "\n".join(lines)


def _row(layer: LayerCost) -> list[str]:
    return [
        layer.layer,
        layer.op,
        figure(layer.alone_drop),
        figure(layer.alone_snr_db, 1),
        _signed(layer.back_drop, 2),
        _signed(layer.back_snr_db, 1),
    ]


def _signed(value: Any, digits: int) -> str:
    return figure(value) if isinstance(value, Unavailable) else f"{value + 0.0:+.{digits}f}"


def _gain(layer: LayerCost) -> float:
    return -math.inf if isinstance(layer.back_snr_db, Unavailable) else layer.back_snr_db


def _causes(told: Explanation) -> list[str]:
    lines = []
    for layer in told.layers:
        for cause in layer.causes:
            lines.append(f"{layer.layer} ({layer.op}): {cause.kind}: {cause.words}")
            lines.append(f"  {cause.command}")
    if not told.loses:
        return [*lines, "nothing to speak of is lost: there is nothing to explain"]
    best = max(told.layers, key=_gain, default=None)
    if not lines and told.other and best is not None and _gain(best) >= 1.0:
        return [
            f"no layer shows a cause; {best.layer} ({best.op}) gives most back, {_gain(best):.1f} dB:",
            f"  edgeship compress {told.typed} --method {shlex.quote(f'mixed-{told.other},layers={best.layer}')}",
        ]
    return lines or ["no layer shows a cause: what is lost is the rounding of all of them together"]
