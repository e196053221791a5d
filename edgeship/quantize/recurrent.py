"""Int8 for fused LSTM layers: ai-edge-quantizer leaves them in float, TensorFlow's own quantizer has their int8 form.

Its calibration, unlike ours, does not begin each sample with a fresh state, so ranges come out somewhat wide; the
scores tell what that costs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeship.data.batches import batch_of
from edgeship.errors import EdgeshipError, InputError
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import WorkerLimits, run_worker

if TYPE_CHECKING:
    from edgeship.progress import Progress
    from edgeship.values import PreparedSamples

FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"
WORKER = "edgeship.quantize.recurrent:quantize"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerForm:
    """What a target wants of an int8 file."""

    io: str
    """Type of its inputs and outputs: int8, uint8 or float32."""
    per_channel: bool
    """Whether weights have a scale a channel."""
    per_channel_dense: bool
    """Whether those of FULLY_CONNECTED may."""


def needs_tensorflow(model: Path) -> bool:
    """Return whether a float `.tflite` holds operations that only TensorFlow's quantizer has an int8 form of."""
    return any(operator.op == FUSED for operator in read_tflite(model).main.operators)


def derive_fused(
    model: Path,
    calibration: PreparedSamples,
    out: Path,
    *,
    form: IntegerForm,
    limits: WorkerLimits,
    progress: Progress | None = None,
) -> tuple[str | None, dict[str, str]]:
    """Write the int8 form of `model` to `out`; return (why it could not be made, or None; versions of tools)."""
    payload = {
        "model": str(model),
        "calibration": [str(path) for path in calibration.paths],
        "out": str(out),
        **asdict(form),
    }
    try:
        value = run_worker(WORKER, payload, limits=limits, progress=progress).value
    except InputError:
        raise
    except EdgeshipError as error:
        why = f"TensorFlow's quantizer, the only one with an int8 form of {FUSED}, failed: {error.message}"
        return why, {}
    return None, dict(value["tools"])


def quantize(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Worker: quantize `payload["model"]` with the samples of `payload["calibration"]` (.npy in model units, one an
    input) into `payload["out"]`; return `{"tools"}`."""
    import tensorflow as tf
    from tensorflow.lite.python import convert
    from tensorflow.lite.python.optimize import calibrator

    report("calibrating with TensorFlow")
    content = calibrator.add_intermediate_tensors(Path(payload["model"]).read_bytes())
    samples = [np.load(path, mmap_mode="r") for path in payload["calibration"]]
    graph = read_tflite(Path(payload["model"])).main
    entries: list[dict[str, Any]] = [
        {"shape": graph.tensors[i].shape, "dtype": graph.tensors[i].dtype} for i in graph.inputs
    ]
    batch = batch_of(entries, samples)

    def blocks() -> Any:
        for start in range(0, len(samples[0]) - batch + 1, batch):
            yield [
                np.asarray(held[start : start + batch], dtype=entry["dtype"]).reshape(entry["shape"])
                for entry, held in zip(entries, samples, strict=True)
            ]

    calibrated = calibrator.Calibrator(content).calibrate(blocks)
    report("quantizing with TensorFlow")
    kind = getattr(tf, payload["io"])
    made = convert.mlir_quantize(
        calibrated,
        disable_per_channel=not payload["per_channel"],
        input_data_type=kind,
        output_data_type=kind,
        disable_per_channel_for_dense_layers=not payload["per_channel_dense"],
    )
    Path(payload["out"]).write_bytes(made)
    return {"tools": {"tensorflow": str(tf.__version__)}}
