"""The smallest change that brings an operation back to the Edge TPU, by the code of the rule that kept it off."""

from __future__ import annotations

from collections import defaultdict

from edgeship.compile.edgetpu.predict import Prediction
from edgeship.compile.report import Finding
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.layer_names import layer_name

FIX: dict[str, str] = {
    "fused-activation": "apply the activation as a layer of its own behind the operation",
    "concat-constant": "pad with zeros only, or join the constant on the host",
    "dilation": "use the same dilation for height and width",
    "runtime-version": "update libedgetpu on the device and raise compiler.min_runtime_version in the target",
    "weights-format": "export fully connected weights in the default format",
    "dense-rows": "use a 1x1 convolution in place of Dense over several positions",
    "batch-axis": "operate on any axis but the batch",
    "mean-depth": "make the number of channels a multiple of 4, or average over height and width only",
    "mean-size": "pool first (AveragePooling2D), or split the tensor and average the parts",
    "prelu-alpha": "give PReLU shared_axes=[1, 2], so that each channel has one slope",
    "reshape-size": "leave out the reshape and lay out the result on the host, or use a smaller input",
    "resize-size": "enlarge in steps of two, or do the last resize on the host",
    "logistic-size": "do the sigmoid on the host; it is monotonic, so ranking needs none",
    "softmax-size": "leave softmax over long or many rows to the host",
    "strided-slice": "slice with stride 1; drop elements on the host or by a strided pooling",
    "transpose-size": "export channels-last (NHWC) so that no transposition is needed, or transpose on the host",
    "rank": "reshape so that only the 3 innermost dimensions are above 1",
    "batch": "fix the batch to 1 when exporting",
    "int16-activations": "quantize activations to 8 bits: edgeship build FLOAT_MODEL --target T --calibration DATA",
    "data-type": "compute sizes and indices before exporting, so that they are constants, or do this on the host",
    "weights-type": "quantize weights to 8 bits: edgeship build FLOAT_MODEL --target T --calibration DATA",
    "malformed": "convert the model again",
    "squeeze": "update libedgetpu on the device and raise compiler.min_runtime_version, or use RESHAPE",
    "not-constant": "make weights and sizes constants of the model; multiply two activations with MUL and SUM instead",
    "stays-float": "replace it by operations that have an int8 form, or do its work on the host: edgeship build would "
    "refuse the model for this target",
    "operation-version": "compile with edgetpu_compiler 16.0, or export without half-pixel centres",
}
SPELLED = "edgeship compress FLOAT_MODEL --target T --calibration DATA --method rewrite-{}"
FIX_OF_OPERATION: dict[str, str] = {
    "LEAKY_RELU": "write it as MAXIMUM(x, a * x), which is the same: " + SPELLED.format("leaky"),
    "HARD_SWISH": "write it as x * RELU6(x + 3) / 6, which is the same: " + SPELLED.format("hard-swish"),
    "ELU": "replace ELU by ReLU and train on for a few epochs",
    "GELU": "replace GELU by ReLU and train on for a few epochs",
    "ARG_MAX": "leave ARG_MAX to the host: end the model before it",
    "ARG_MIN": "leave ARG_MIN to the host: end the model before it",
    "TOPK_V2": "leave the top-k to the host: end the model before it",
    "CAST": "export without casts: keep every tensor int8",
    "GATHER": "replace GATHER by slices, or by a 1x1 convolution with one-hot weights",
    "GATHER_ND": "end the model before the decoding and gather on the host",
    "BATCH_MATMUL": "the product of two activations does not run there; use convolutions, or an attention-free variant",
    "DIV": "multiply by the inverse of the constant: " + SPELLED.format("divisions"),
    "SPLIT_V": "split into equal parts (SPLIT)",
    "UNPACK": "use SPLIT and RESHAPE",
    "DEPTH_TO_SPACE": "use a transposed convolution or RESIZE_NEAREST_NEIGHBOR",
    "SPACE_TO_BATCH_ND": "export with a TensorFlow that folds dilation into the convolution (1.15 or newer)",
    "BATCH_TO_SPACE_ND": "export with a TensorFlow that folds dilation into the convolution (1.15 or newer)",
    "MIRROR_PAD": "pad with zeros (PAD)",
    "EXP": "end the model before the decoding and do it on the host",
}
OWN_LINT = frozenset({"not-quantized", "float-io"})
"""Codes that `edgeship.compile.lint` reports with layers already."""


def advice(model: TfliteFile, prediction: Prediction) -> tuple[Finding, ...]:
    """Return one finding for each kind of limitation, with the operations it keeps off the Edge TPU."""
    groups: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    mapped = prediction.mapped
    for index, code in prediction.codes.items():
        if code not in OWN_LINT:
            groups[(code, prediction.operations[index].op, index in mapped)].append(index)
    return tuple(_finding(prediction, code, op, found, runs) for (code, op, runs), found in groups.items())


def _finding(prediction: Prediction, code: str, op: str, found: list[int], runs: bool) -> Finding:
    first = prediction.operations[found[0]]
    layer = layer_name([first.layer]) or first.layer
    count = f"{len(found)} {op}, the first at '{layer}'," if len(found) > 1 else f"{op} at '{layer}'"
    verb = "may stay" if runs else ("stay" if len(found) > 1 else "stays")
    reasons = list(dict.fromkeys(prediction.operations[i].reason for i in found))
    more = f"; and {len(reasons) - 2} more reasons" if len(reasons) > 2 else ""
    message = f"{count} {verb} on the CPU: {'; '.join(reasons[:2])}{more}"
    fix = FIX_OF_OPERATION.get(op, "") if code in ("not-supported", "stays-float") else ""
    fix = fix or FIX.get(code, "")
    if code == "custom-operation":
        fix = "decode on the host, or leave this one last operation to the CPU"
    return Finding(
        code=f"unsupported-{op.lower().replace('_', '-')}" if code == "not-supported" else code,
        severity="note"
        if runs or code == "custom-operation"
        else "error"
        if code == "stays-float"
        else "warning",
        message=message,
        fix=fix
        or "replace it by operations of the table at coral.ai/docs/edgetpu/models-intro, or do its work on the host",
        operations=tuple(found),
    )
