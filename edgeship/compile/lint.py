"""What can be wrong with a quantized model on any target, found in the file itself, each with its smallest fix."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from edgeship.compile.report import Finding
from edgeship.data.named import as_said
from edgeship.model.closing import open_hint
from edgeship.tflite import soundness
from edgeship.tflite.file import Subgraph, TfliteFile
from edgeship.tflite.flaws import CODES, flaws, name_of, told
from edgeship.tflite.layer_names import layer_of
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.tails import float_tail

FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})
INTEGERS = frozenset({"int8", "uint8", "int16"})


def lint(model: TfliteFile, accepted: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Return the findings that hold on every target, in the order of the graph; `accepted` flaws are no errors."""
    return (
        *dynamic_shapes(model),
        *float_tensors(model),
        *unsound(model, accepted),
        *joins(model.main),
        *batches(model.main),
    )


SHAPED_BY = {"RESHAPE": 1, "RESIZE_BILINEAR": 1, "RESIZE_NEAREST_NEIGHBOR": 1, "PAD": 1, "PADV2": 1, "FILL": 0,
             "TILE": 1, "BROADCAST_TO": 1, "TRANSPOSE_CONV": 0, "SLICE": 2}  # fmt: skip
"""Operation -> input position that decides the size of its output."""
SIZED_BY_DATA = frozenset({"WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "RANGE"})


def dynamic_sources(model: TfliteFile) -> Iterator[tuple[int, str]]:
    """Yield (operation, or -1 for a model input; what is open about it) where a size is known only while running.

    An open batch axis does not count: a runtime takes it as 1.
    """
    graph = model.main
    for i in graph.inputs:
        if -1 in graph.tensors[i].shape_signature[1:]:
            yield -1, f"input {as_said(name_of(graph.tensors[i]))} {list(graph.tensors[i].shape_signature)}"
    for operator in graph.operators:
        position = SHAPED_BY.get(operator.op)
        if operator.op in SIZED_BY_DATA and not operator.custom:
            yield operator.index, f"{operator.op} makes as many results as the data asks for"
        elif position is not None and position < len(operator.inputs) and operator.inputs[position] >= 0:
            tensor = graph.tensors[operator.inputs[position]]
            if not tensor.has_data and tensor.dtype in ("int32", "int64"):
                yield operator.index, f"{operator.op} reads its output size from {name_of(tensor)}"


def dynamic_shapes(model: TfliteFile) -> Iterator[Finding]:
    """Yield one finding that names the first open size and how many there are."""
    sources = list(dynamic_sources(model))
    if sources:
        first, more = sources[0][1], len(sources) - 1
        yield Finding(
            code="dynamic-shape",
            severity="error",
            message=f"sizes are open: {first}" + (f", and {more} more" if more else ""),
            fix=_how_to_close(model),
            operations=tuple(i for i, _ in sources if i >= 0),
        )


def _how_to_close(model: TfliteFile) -> str:
    declared = {spec.name: [None if n < 0 else n for n in spec.shape] for spec in model.signature.inputs}
    if any(None in sizes for sizes in declared.values()):
        return open_hint(declared)
    return (
        "compute sizes before exporting, so that they are constants, or end the model before this operation"
    )


def how_to_quantize(model: TfliteFile) -> str:
    """Return what to type for an int8 form of a model; one that came quantized has none but its original's."""
    if is_float(precision_of(model)):
        return "edgeship build MODEL --target T --recipe int8 --calibration DATA"
    return "hand over the float model it was made of (.keras, .h5, SavedModel, float .tflite), with --calibration DATA"


def float_tensors(model: TfliteFile) -> Iterator[Finding]:
    """Yield what computes in float: all of a model, single operations inside an integer one, its inputs and outputs."""
    graph = model.main
    by_op: dict[str, list[int]] = defaultdict(list)
    boundary, integer = [], False
    joined = frozenset[int]().union(
        *(tail.operators for i in graph.outputs if (tail := float_tail(model, i)))
    )  # on purpose: one scale would lose the small parts
    for operator in graph.operators:
        if operator.op == "QUANTIZE" and any(
            graph.tensors[i].dtype in FLOATS for i in operator.inputs if i >= 0
        ):
            if set(operator.inputs) & set(graph.inputs):
                boundary.append(operator)
        elif operator.op == "DEQUANTIZE":
            if set(operator.outputs) & set(graph.outputs):
                boundary.append(operator)
        elif any(graph.tensors[i].dtype in FLOATS for i in (*operator.inputs, *operator.outputs) if i >= 0):
            if not operator.custom and operator.index not in joined:
                by_op[operator.op].append(operator.index)
        else:
            integer |= any(graph.tensors[i].dtype in INTEGERS for i in operator.outputs if i >= 0)
    if by_op:
        yield _inside(graph, by_op) if integer else _float(model, by_op)
    if boundary:
        ends = [graph.tensors[(o.inputs if o.op == "QUANTIZE" else o.outputs)[0]] for o in boundary[:4]]
        sides = ["input" if o.op == "QUANTIZE" else "output" for o in boundary[:4]]
        names = ", ".join(f"{side} '{as_said(name_of(t))}'" for side, t in zip(sides, ends, strict=True))
        yield Finding(
            code="float-io",
            severity="warning",
            message=f"input or output is float, so it is converted on the CPU: {names}",
            fix="set the converter's inference_input_type and inference_output_type to int8",
            operations=tuple(o.index for o in boundary),
        )


def _float(model: TfliteFile, by_op: Mapping[str, Sequence[int]]) -> Finding:
    graph = model.main
    indices, counts, layers = _counted(graph, by_op)
    first = graph.operators[indices[0]]
    weights = [
        t for t in (graph.tensors[i] for i in first.inputs if i >= 0) if t.has_data and t.dtype == "int8"
    ]
    kind = "dynamic-range quantized (int8 weights, float activations)" if weights else "float"
    return Finding(
        code="not-quantized",
        severity="error",
        message=f"{len(indices)} operations are {kind}: {counts}; first layers: {layers}",
        fix=f"quantize fully with a representative dataset: {how_to_quantize(model)}",
        operations=indices,
    )


def _inside(graph: Subgraph, by_op: Mapping[str, Sequence[int]]) -> Finding:
    indices, counts, layers = _counted(graph, by_op)
    return Finding(
        code="float-inside",
        severity="warning",
        message=f"computed in float inside an integer model: {counts}; first layers: {layers}",
        fix="TFLite has no int8 kernel for them, or calibration left them out: replace them by operations that have "
        "one, or end the model before them",
        operations=indices,
    )


def _counted(graph: Subgraph, by_op: Mapping[str, Sequence[int]]) -> tuple[tuple[int, ...], str, str]:
    """Return the indices in order, the operations counted by kind, and the first layers' names."""
    indices = tuple(sorted(i for found in by_op.values() for i in found))
    counts = ", ".join(f"{op} x{len(found)}" for op, found in by_op.items())
    return indices, counts, ", ".join(_layer(graph, i) for i in indices[:5])


def _layer(graph: Subgraph, operator: int) -> str:
    """Return what people call the layer of an operation; one that only stores something has no name of its own."""
    found = graph.operators[operator]
    return layer_of(graph, found) if found.outputs else f"operation {operator}"


FIXES: dict[str, tuple[str, str]] = {
    "scale": (
        "bad-scale",
        "calibrate again with clean data, and prune channels that are always zero",
    ),
    "zero-point": ("bad-zero-point", "convert the model again"),
    "bias-overflow": (
        "bias-overflow",
        "give the float model, which edgeship quantizes without that, or remove the channel",
    ),
    "bias-scale": ("bias-scale", "convert the model again"),
}
"""Code of a flaw -> that of its finding, and the smallest change that helps."""


def unsound(model: TfliteFile, accepted: Sequence[str] = ()) -> Iterator[Finding]:
    """Yield a finding a kind of flaw: an error where an output could differ for it, else a warning."""
    found = flaws(model)
    for code in CODES:
        for effect in (True, False):
            same = [flaw for flaw in found if flaw.code == code and flaw.effect == effect]
            if same:
                kind, fix = FIXES[code]
                yield Finding(
                    code=kind,
                    severity="error" if effect and code not in accepted else "warning",
                    message=told(same) + ("" if effect else "; no output differs for it"),
                    fix=fix if effect else "nothing to do",
                    operations=tuple(sorted({f.operation for f in same if f.operation is not None})),
                )


def joins(graph: Subgraph) -> Iterator[Finding]:
    """Yield the CONCATENATIONs that join tensors of very unlike ranges into one scale (boxes with scores)."""
    for join in soundness.unlike_joins(graph):
        yield Finding(
            code="unlike-ranges",
            severity="warning",
            message=f"CONCATENATION {name_of(join.joined)} gives {name_of(join.finest)} a scale {join.ratio:.0f} times "
            f"coarser than its own: about {max(0.0, 8 - math.log2(join.ratio)):.0f} of 8 bits are left",
            fix="do not join values of unlike range (boxes and scores): make them outputs of their own",
            operations=(join.operator.index,),
        )


def batches(graph: Subgraph) -> Iterator[Finding]:
    """Yield inputs whose batch is fixed at more than 1."""
    for i in graph.inputs:
        tensor = graph.tensors[i]
        if (
            len(tensor.shape_signature) > 1
            and tensor.shape_signature[0] > 1
            and len(tensor.shape_signature) >= 4
        ):
            yield Finding(
                code="batch",
                severity="warning",
                message=f"input {name_of(tensor)} has the batch {tensor.shape[0]}",
                fix="fix the batch to 1 when exporting; run several inferences for several samples",
            )
