"""What in a `.tflite` is likely to hurt later, each with what to do: `find_problems(file)`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgeship.tflite.entry import other_entries
from edgeship.tflite.file import Subgraph, TfliteFile
from edgeship.tflite.flaws import CODES, WORDS, flaws, name_of, told
from edgeship.tflite.precision import activation_tensors, boundary, precision_of
from edgeship.tflite.soundness import producer_of, unlike_joins
from edgeship.tflite.tails import PROBABILITIES, moved_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem: a kebab-case code, what and what to do, and the operations of subgraph 0 that it is
    about."""

    code: str
    message: str
    operations: tuple[int, ...] = ()


MOVES = frozenset({
    "PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "TRANSPOSE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE",
    "STRIDED_SLICE",
})  # fmt: skip
"""What stands before the first layer of picture models and changes no value of theirs, or none by much."""
WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


def find_problems(file: TfliteFile) -> tuple[Finding, ...]:
    """Return everything found, in a fixed order; an empty tuple for a file without doubts."""
    graph = file.main
    return (
        *_unknown(file),
        *_entries(file),
        *_dynamic(graph),
        *_unsound(file),
        *_concatenations(graph),
        *_float_edges(file),
        *_operations(file),
        *_name(file),
    )


def _unknown(file: TfliteFile) -> Iterator[Finding]:
    if file.unknown:
        yield Finding(
            code="unknown-parts",
            message=f"TFLite as it is installed here does not know {', '.join(file.unknown[:4])}, and cannot run it: "
            "something newer made the file, or something very old",
        )


def _entries(file: TfliteFile) -> Iterator[Finding]:
    taken, others = other_entries(file)
    if others:
        yield Finding(
            code="several-signatures",
            message=f"{len(others) + 1} signatures: '{taken}' is what is shown and built; "
            f"--signature {' or '.join(others)} takes another",
        )


def _dynamic(graph: Subgraph) -> Iterator[Finding]:
    opens = [tensor for tensor in graph.tensors if tensor.is_dynamic]
    if not opens:
        return
    first, producers = opens[0], producer_of(graph)
    maker = producers.get(first.index)
    place = f"operation {maker.index} ({maker.op})" if maker else "an input"
    only_batch = all(-1 not in t.shape_signature[1:] for t in opens)
    yield Finding(
        code="dynamic-shape",
        message=f"{len(opens)} tensor(s) of open size, the first '{name_of(first)}' {list(first.shape_signature)} from "
        f"{place}: "
        + (
            "only the batch is open, building fixes it at 1"
            if only_batch
            else "close them with --input-shape, or export with fixed input sizes"
        ),
        operations=(maker.index,) if maker else (),
    )


def _unsound(file: TfliteFile) -> Iterator[Finding]:
    found = flaws(file)
    kinds = {"scale": "bad-scale", "zero-point": "bad-zero-point"}
    for effect in (True, False):
        for code in CODES:
            same = [flaw for flaw in found if flaw.code == code and flaw.effect == effect]
            if same:
                yield Finding(
                    code=kinds.get(code, code),
                    message=told(same) + (f": {WORDS[code][1]}" if effect else "; no output differs for it"),
                    operations=tuple(sorted({f.operation for f in same if f.operation is not None})),
                )


def _concatenations(graph: Subgraph) -> Iterator[Finding]:
    """Find concatenations whose inputs need unlike ranges and share one scale, now or once quantized."""
    producers = producer_of(graph)
    joins = {join.operator.index: join for join in unlike_joins(graph)}
    for operator in graph.operators:
        if operator.op != "CONCATENATION":
            continue
        makers = [moved_from(producers, i) for i in operator.inputs]
        bounded = [maker is not None and maker.op in PROBABILITIES for maker in makers]
        quantized = any(
            graph.tensors[i].quantization for i in (*operator.inputs, *operator.outputs) if i >= 0
        )
        if join := joins.get(operator.index):
            text = f"joins inputs whose scales differ {join.ratio:.0f}-fold and gives them one"
        elif not quantized and any(bounded) and not all(bounded):
            text = "joins scores of 0..1 with values that may be larger, and one 8-bit scale for all"
        else:
            continue
        what = "make them separate outputs" if join else "edgeship check --calibration D tells from samples"
        yield Finding(
            code="concat-unlike-ranges",
            message=f"operation {operator.index} (CONCATENATION) {text}: small values are rounded away (detectors then "
            f"find nothing); {what}",
            operations=(operator.index,),
        )


def _float_edges(file: TfliteFile) -> Iterator[Finding]:
    inner = {tensor.dtype for tensor in activation_tensors(file.main)}
    outer = {tensor.dtype for tensor in boundary(file)}
    quantizes = [o.index for o in file.main.operators if o.op in ("QUANTIZE", "DEQUANTIZE")]
    if "float32" in outer and inner & {"int8", "uint8", "int16"} and quantizes:
        yield Finding(
            code="float-io",
            message=f"inputs or outputs are float32 around an {'/'.join(sorted(inner - {'float32'}))} graph: each "
            "request converts on the CPU, and an Edge TPU leaves those steps out; convert with int8 inputs and outputs",
            operations=tuple(quantizes),
        )


def _operations(file: TfliteFile) -> Iterator[Finding]:
    custom = [o for o in file.main.operators if o.custom]
    if custom:
        names = sorted({o.op for o in custom})
        flex = [name for name in names if name.startswith("Flex")]
        yield Finding(
            code="custom-operation",
            message=f"needs kernels that a plain runtime lacks: {', '.join(names)}"
            + ("; these are TensorFlow's own: export without them" if flex else ""),
            operations=tuple(o.index for o in custom),
        )
    if any(o.op in ("WHILE", "IF") for o in file.main.operators):
        yield Finding(
            code="control-flow",
            message="loops or branches inside: their bodies are counted once in the MACs, and few accelerators take "
            "them; build recurrent layers with unroll=True, or save the model with tf_keras, which fuses them, or let "
            "edgeship compress --method rewrite-loops unroll them",
            operations=tuple(o.index for o in file.main.operators if o.op in ("WHILE", "IF")),
        )


def _name(file: TfliteFile) -> Iterator[Finding]:
    name, precision = file.path.name.lower(), precision_of(file)
    if any(word in name for word in ("float32", "fp32", "_float")) and precision.weights != "float32":
        yield Finding(
            code="name-says-float",
            message=f"the file's name says float, its weights are {precision.weights}",
        )


def rescalings_of(file: TfliteFile) -> tuple[float, ...]:
    """Return the constant by which the model multiplies each of its inputs before anything else; 1 for none."""
    return tuple(_rescaling(file, entry) or 1.0 for entry in file.main.inputs)


def unscaled_inputs(file: TfliteFile) -> tuple[bool, ...]:
    """Return for each input whether its values reach weights with nothing but moves of them in between."""
    return tuple(_reaches_weights(file.main, entry) for entry in file.main.inputs)


def _reaches_weights(graph: Subgraph, index: int) -> bool:
    users = [operator for operator in graph.operators if index in operator.inputs[:1]]
    if len(users) != 1:
        return False
    if users[0].op in MOVES:
        return _reaches_weights(graph, users[0].outputs[0])
    return users[0].op in WEIGHTED


def _rescaling(file: TfliteFile, entry: int) -> float | None:
    graph = file.main
    users = [operator for operator in graph.operators if entry in operator.inputs]
    if len(users) != 1 or users[0].op not in ("MUL", "DIV") or len(users[0].inputs) != 2:
        return None
    other = graph.tensors[next((i for i in users[0].inputs if i != entry), entry)]
    if other.dtype != "float32" or not other.has_data or other.elements != 1:
        return None
    value: float = struct.unpack("<f", file.buffer_bytes(other.buffer)[:4])[0]
    return (1.0 / value if value else None) if users[0].op == "DIV" else value
