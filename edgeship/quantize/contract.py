"""The contract check: what a produced `.tflite` really is, against what the target needs. Reads the file, not
the request.

Every check is a GateResult whose value is the number of things found wrong (limit 0) and whose reason names
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeship.quantize.recipes import RECIPES, io_type
from edgeship.quantize.versions import equivalent_release, needed_version, per_channel_dense, supports
from edgeship.tflite import soundness
from edgeship.tflite.file import Operator, Subgraph, Tensor, TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.values import GateResult, Recipe, Verdict

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile

SHOWN = 5
"""Findings that a reason spells out; the rest are counted."""
INTEGERS = ("int8", "uint8", "int16", "int32", "int64", "bool")
BYTES = ("int8", "uint8")
PLAIN = ("int32", "int64", "bool")
"""What stands for itself at a boundary where it has no scale."""


def check(
    path: Path, recipe: Recipe, profile: TargetProfile, *, given: bool = False
) -> tuple[GateResult, ...]:
    """Return the verdicts on a file: precision, io-types, fully-integer, static-shapes, operators, quantization.

    `given` says that the model came quantized: nothing of it was edgeship's choice. Raises InputError where the
    file cannot be read at all.
    """
    held = read_tflite(path)
    checks: tuple[tuple[str, Callable[[], tuple[Verdict, list[str], str]]], ...] = (
        ("precision", lambda: _precision(held, recipe)),
        ("io-types", lambda: _io(held, recipe, profile, given)),
        ("fully-integer", lambda: _integer(held, recipe, profile)),
        ("static-shapes", lambda: _static(held)),
        ("operators", lambda: _operators(held, recipe, profile)),
        ("quantization", lambda: _quantization(held)),
    )
    return tuple(_result(name, *run()) for name, run in checks)


def _result(name: str, verdict: Verdict, found: list[str], good: str) -> GateResult:
    text = "; ".join(found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    return GateResult(name=name, verdict=verdict, limit=0.0, value=float(len(found)), reason=text or good)


def _precision(held: TfliteFile, recipe: Recipe) -> tuple[Verdict, list[str], str]:
    """Return whether the recipe had any effect: its weights are of the type its name promises."""
    wanted = recipe.precision.weights
    if recipe.name not in RECIPES or wanted == "float32":
        return "pass", [], "the weights are as they were handed over"
    kinds = {t.dtype for graph in held.subgraphs for t in graph.tensors if t.has_data and t.elements > 1}
    if wanted in kinds:
        return "pass", [], f"the file holds {wanted} weights"
    why = f"no tensor holds {wanted}: the model has no operation that {recipe.name} covers"
    return "fail", [why], ""


def _io(
    held: TfliteFile, recipe: Recipe, profile: TargetProfile, given: bool
) -> tuple[Verdict, list[str], str]:
    """Return whether input and output are stored as the target wants them.

    Plain integers (token ids, class indices: no scale) are what they are; so are plain bytes (a camera's pixels
    before a CAST) where no compiler has to take them. A model that came quantized may have either byte type
    where an integer is wanted: the runtime feeds both, and most were exported with uint8. On a CPU that runs
    float recipes as well it may have float32, TensorFlow Lite's own default.
    """
    wanted = io_type(recipe, profile.precision.io)
    on_cpu = profile.compiler.backend == "none"
    fine = BYTES if given and wanted in BYTES else (wanted,)
    runs_float = any(RECIPES[name].precision.io == "float32" for name in profile.precision.accepts)
    if given and on_cpu and runs_float:
        fine = (*fine, "float32")
    plain = (*PLAIN, *BYTES) if on_cpu else PLAIN
    graph = held.main
    found = [
        f"{side} '{tensor.name}' is {tensor.dtype}, {profile.name} wants {wanted}"
        for side, indices in (("input", graph.inputs), ("output", graph.outputs))
        for tensor in (graph.tensors[i] for i in indices)
        if tensor.dtype not in fine and not (tensor.dtype in plain and tensor.quantization is None)
    ]
    if found:
        found[min(len(found), SHOWN) - 1] += _io_advice(graph, wanted, given)
    kinds = sorted({graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)})
    return ("fail" if found else "pass"), found, f"inputs and outputs are {' and '.join(kinds)}"


def _io_advice(graph: Subgraph, wanted: str, given: bool) -> str:
    """Return what to do about a boundary of another type, where that is in the user's hands."""
    if given and wanted in BYTES:
        return (
            f"; convert it again with converter.inference_input_type = tf.{wanted} and "
            f"converter.inference_output_type = tf.{wanted}, or hand over the float model"
        )
    inputs = [graph.tensors[i] for i in graph.inputs]
    if any(tensor.dtype in BYTES and tensor.quantization is None for tensor in inputs):
        return "; give the .keras or .h5 file, whose input edgeship makes float32, or export it with such an input"
    return ""


def _integer(held: TfliteFile, recipe: Recipe, profile: TargetProfile) -> tuple[Verdict, list[str], str]:
    """Return whether everything that is computed is an integer, where the recipe promises it.

    A target that accepts integer recipes only cannot run the rest; elsewhere float parts are slower, not
    wrong.
    """
    if recipe.precision.activations not in ("int8", "uint8", "int16"):
        return "pass", [], f"{recipe.name} computes in float by design"
    found: list[str] = []
    conversions: list[str] = []
    for graph in held.subgraphs:
        float_boundary = {i for i in (*graph.inputs, *graph.outputs) if graph.tensors[i].dtype == "float32"}
        for op in graph.operators:
            for index in op.outputs:
                tensor = graph.tensors[index]
                if tensor.dtype in INTEGERS or (index in float_boundary and op.op == "DEQUANTIZE"):
                    continue
                converts = op.op in ("DEQUANTIZE", "QUANTIZE")
                (conversions if converts else found).append(_float_tensor(op, tensor, recipe))
    found = (
        found or conversions
    )  # a conversion is there for an operation in float: that one is what to change
    only_integers = all(
        RECIPES[name].precision.activations.startswith("int") for name in profile.precision.accepts
    )
    verdict: Verdict = "pass" if not found else "fail" if only_integers else "inconclusive"
    return verdict, found, "every computed tensor is an integer"


def _float_tensor(op: Operator, tensor: Tensor, recipe: Recipe) -> str:
    """Return what is wrong with one tensor: where, why, and the fix."""
    if op.op in ("DEQUANTIZE", "QUANTIZE"):
        why = "a conversion for a neighbour that stayed in float; fix the neighbour"
    elif op.custom:
        why = "a custom operation cannot be quantized; replace it with built-in ones"
    else:
        why = f"{op.op} has no {recipe.precision.activations} form here; replace it, or move it to the host"
    return f"op {op.index} {op.op} '{tensor.name}' is {tensor.dtype}: {why}"


def _static(held: TfliteFile) -> tuple[Verdict, list[str], str]:
    found = []
    for graph in held.subgraphs:
        for tensor in graph.tensors:
            if tensor.is_dynamic:
                sizes = list(tensor.shape_signature)
                found.append(f"tensor '{tensor.name}' {sizes} is open, made by {_producer(graph, tensor)}")
    if found:
        found[0] += "; pin the batch and the shape at export"
    return ("fail" if found else "pass"), found, "every shape is fixed"


def _producer(graph: Subgraph, tensor: Tensor) -> str:
    for op in graph.operators:
        if tensor.index in op.outputs:
            return f"op {op.index} {op.op}"
    return "the caller: it is an input" if tensor.index in graph.inputs else "no operation"


def _operators(held: TfliteFile, recipe: Recipe, profile: TargetProfile) -> tuple[Verdict, list[str], str]:
    """Return whether the runtime has every operator in the version that the file and its types ask for."""
    runtime = profile.runtime
    available = equivalent_release(runtime.engine, runtime.version)
    missing: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for graph in held.subgraphs:
        for op in graph.operators:
            needed = max(op.version, _needed(graph, op))
            support = supports(available, op.op, needed)
            if op.custom:
                if not (op.op == "edgetpu-custom-op" and runtime.delegate == "edgetpu"):
                    kind = "a TensorFlow (Flex)" if op.op.startswith("Flex") else "a custom"
                    text = f"{op.op} is {kind} operation, which {runtime.engine} lacks"
                    missing.setdefault(text, []).append(str(op.index))
            elif support.verdict == "no":
                text = f"{op.op} version {needed} is of TensorFlow {support.since}, the runtime is older"
                missing.setdefault(text, []).append(str(op.index))
            elif support.verdict == "unknown":
                text = f"nothing is recorded of {op.op} version {needed} in this runtime"
                unknown.setdefault(text, []).append(str(op.index))
            elif _is_wrong_dense(graph, op, recipe, available):
                text = f"FULLY_CONNECTED has a scale per channel, too new for TensorFlow {available}"
                missing.setdefault(text, []).append(str(op.index))
        for tensor in graph.tensors:
            if tensor.is_variable and runtime.engine == "litert":
                text = (
                    f"'{tensor.name}' is a variable (a state kept between runs), which LiteRT's C API refuses"
                )
                readers = [str(op.index) for op in graph.operators if tensor.index in op.inputs]
                missing.setdefault(text, []).extend(readers)
    name = f"{runtime.engine} {runtime.version}"
    verdict: Verdict = "fail" if missing else "inconclusive" if unknown else "pass"
    found = [f"{text} ({name}; op {', '.join(ops)})" for text, ops in (missing or unknown).items()]
    return verdict, found, f"{name} has every operator"


def _needed(graph: Subgraph, op: Operator) -> int:
    tensors = [graph.tensors[i] if i >= 0 else None for i in op.inputs]
    return needed_version(
        op.op,
        [t.dtype if t else None for t in tensors],
        [graph.tensors[i].dtype for i in op.outputs],
        per_channel=any(
            t is not None and t.has_data and t.quantization is not None and len(t.quantization.scales) > 1
            for t in tensors
        ),
    )


def _is_wrong_dense(graph: Subgraph, op: Operator, recipe: Recipe, available: str) -> bool:
    """Return whether this is a per-channel FULLY_CONNECTED that the runtime computes wrongly without a word."""
    if op.op != "FULLY_CONNECTED" or recipe.precision.activations not in ("int8", "int16"):
        return False
    weights = graph.tensors[op.inputs[1]]
    per_channel = weights.quantization is not None and len(weights.quantization.scales) > 1
    return per_channel and not per_channel_dense("static", available)


def _quantization(held: TfliteFile) -> tuple[Verdict, list[str], str]:
    """Return whether a runtime or a compiler would choke on a scale, zero point or bias, or compute nonsense."""
    found = [text for graph in held.subgraphs for text in _unsound(held, graph)]
    return ("fail" if found else "pass"), found, "scales, zero points and biases are sound"


SCALE_WORDS = {
    "not finite": "is {scale}: look for NaN or infinity in weights or samples",
    "zero or negative": "is {scale:g}, not above 0: look for a channel of zeros",
    "denormal": "is {scale:g}, denormal: its channel holds almost nothing",
}


def _unsound(held: TfliteFile, graph: Subgraph) -> Iterator[str]:
    """Yield one line per unsound scale, zero point or bias of a graph, naming tensor, channel and value."""
    for bad in soundness.bad_scales(graph):
        where = f"'{bad.tensor.name}'" + (f" channel {bad.channel}" if bad.channels > 1 else "")
        yield f"the scale of {where} " + SCALE_WORDS[bad.kind].format(scale=bad.scale)
    for point in soundness.bad_zero_points(graph):
        where = f"'{point.tensor.name}' is outside {point.tensor.dtype}, channel {point.channel}"
        yield f"zero point {point.zero_point} of {where}"
    for clipped in soundness.bad_biases(held, graph):
        where = f"op {clipped.operator.index} {clipped.operator.op} bias '{clipped.bias.name}'"
        yield f"{where} channel {clipped.channel} overflows int32: its weights are far smaller than its bias"
    for odd in soundness.odd_bias_scales(graph):
        where = f"op {odd.operator.index} {odd.operator.op} bias '{odd.bias.name}' channel {odd.channel}"
        yield f"{where} has scale {odd.scale:g}, input times weight is {odd.product:g}"
