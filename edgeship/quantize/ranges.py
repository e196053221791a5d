"""The range of every activation of a float model, as a recipe's calibration finds it: `ranges_of(...)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeship.progress import Progress
from edgeship.quantize.recipes import row_of
from edgeship.toolchain import run_worker
from edgeship.values import PreparedSamples


def ranges_of(
    model: Path, samples: PreparedSamples, recipe: str, progress: Progress
) -> dict[str, tuple[float, float]]:
    """Return (low, high) by tensor name. Raises what `run_worker` raises."""
    how = row_of(recipe).ranges
    payload = {
        "model": str(model),
        "samples": [str(path) for path in samples.paths],
        "how": "full" if how == "none" else how,
    }
    value = run_worker("edgeship.quantize.ranges:observed", payload, progress=progress).value
    return {name: (low, high) for name, (low, high) in value.items()}


def observed(payload: dict[str, Any], report: Any) -> dict[str, list[float]]:
    """The worker's side: `{"model", "samples", "how"}` -> name -> [low, high]."""
    from ai_edge_litert.tools import flatbuffer_utils

    from edgeship.quantize.finish import constants_of
    from edgeship.quantize.observe import observe

    content = Path(payload["model"]).read_bytes()
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    report("finding the ranges of activations")
    seen = observe(
        content,
        [Path(path) for path in payload["samples"]],
        constants_of(model),
        lambda done, total: report("samples", done, total),
    )
    return {name: [float(low), float(high)] for name, (low, high) in seen.ranges(payload["how"]).items()}
