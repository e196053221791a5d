"""Lower operator versions that the compiler does not know, where the number alone is too high for it.

A version number says which features of an operation a file needs (TFLite's op_version.cc). Some converters and
editors write a higher one than the tensor types and options ask for; then writing the needed number changes nothing
in what is computed. Where the feature itself is new (grouped convolution is CONV_2D 6, an int8 EXP is version 2) the
version stays and the compiler's refusal stands.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass

from edgeship.compile.edgetpu.table import newest_versions
from edgeship.tflite.file import Operator, Subgraph, TfliteFile
from edgeship.tflite.schema import tflite_schema

VERSION_FIELD = 8
"""Slot of OperatorCode.version in its vtable: the third field."""
PLAIN: dict[str, int] = {
    "ADD": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 4, "L2_NORMALIZATION": 2, "LOGISTIC": 2, "MAXIMUM": 2, "MAX_POOL_2D": 2, "MEAN": 2, "MINIMUM": 2,
    "MUL": 2, "PACK": 2, "PAD": 2, "QUANTIZE": 2, "REDUCE_MAX": 2, "REDUCE_MIN": 2, "RELU": 2, "RELU6": 2, "RESHAPE": 1,
    "SLICE": 2, "SOFTMAX": 2, "SPACE_TO_DEPTH": 2, "SPLIT": 2, "STRIDED_SLICE": 2, "SUB": 2, "SUM": 2, "TANH": 2,
    "TRANSPOSE": 2,
}  # fmt: skip
"""Version that an operation needs on int8 tensors of at most 4 dimensions with none of its later options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """One operator code whose version is lowered."""

    op: str
    before: int
    after: int
    operations: tuple[int, ...]


def needed_version(graph: Subgraph, operator: Operator) -> int | None:
    """Return the version that an 8-bit operation really needs, or None where that is not known for certain."""
    tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    data = [t for t in tensors if not t.has_data]
    if operator.custom or operator.op not in PLAIN or not data:
        return None
    if any(t.dtype not in ("int8", "uint8") or len(t.shape) > 4 for t in data) or any(
        t.is_sparse for t in tensors
    ):
        return None
    if operator.op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return _needed_with_weights(graph, operator)
    if operator.op == "MUL" and _rescales_up(graph, operator):
        return 3
    return PLAIN[operator.op]


def _needed_with_weights(graph: Subgraph, operator: Operator) -> int | None:
    if len(operator.inputs) < 3 or min(operator.inputs[:3]) < 0:
        return None
    image, weights = graph.tensors[operator.inputs[0]], graph.tensors[operator.inputs[1]]
    if weights.dtype not in ("int8", "uint8"):
        return None
    if operator.op == "CONV_2D" and weights.shape[-1] != image.shape[-1]:
        return None  # grouped: a feature of version 6, not a number too high
    if operator.op == "FULLY_CONNECTED":
        per_channel = weights.quantization is not None and weights.quantization.axis is not None
        if per_channel or operator.options.get("weights_format", "DEFAULT") != "DEFAULT":
            return None
        return 5 if operator.options.get("keep_num_dims") else PLAIN[operator.op]
    return PLAIN[operator.op]


def _rescales_up(graph: Subgraph, operator: Operator) -> bool:
    quantizations = [graph.tensors[i].quantization for i in (*operator.inputs[:2], operator.outputs[0])]
    if any(q is None for q in quantizations):
        return True
    one, other, result = (q.scales[0] for q in quantizations if q)
    return one * other / result >= 1.0


def lowerings(model: TfliteFile) -> tuple[Lowering, ...]:
    """Return what can be lowered safely: operator codes too new for the compiler, all of whose uses allow it."""
    newest = newest_versions()
    uses: dict[tuple[str, int], list[Operator]] = defaultdict(list)
    for operator in model.main.operators:
        if not operator.custom and operator.version > newest.get(operator.op, 0):
            uses[(operator.op, operator.version)].append(operator)
    found = []
    for (op, version), operators in uses.items():
        needed = [needed_version(model.main, o) for o in operators]
        known = [n for n in needed if n is not None and n <= newest.get(op, 0)]
        if len(known) == len(operators) and len(model.subgraphs) == 1:
            found.append(
                Lowering(
                    op=op, before=version, after=max(known), operations=tuple(o.index for o in operators)
                )
            )
    return tuple(found)


def lowered(content: bytes, changes: tuple[Lowering, ...]) -> bytes:
    """Return a `.tflite` with the versions of `changes` written in place; every other byte stays as it is."""
    schema = tflite_schema()
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    wanted = {(c.op, c.before): c.after for c in changes}
    result = bytearray(content)
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        op = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "")
        after = wanted.get((op, code.Version()))
        slot = code._tab.Offset(VERSION_FIELD)
        if after is not None and slot:
            struct.pack_into("<i", result, code._tab.Pos + slot, after)
    return bytes(result)
