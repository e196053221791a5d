"""What people call the layer behind a tensor: `layer_name`. Converters give a tensor the joined paths of all that was
folded into it, which nobody recognises.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeship.tflite.file import Operator, Subgraph

PRODUCTS = (
    "convolution", "conv2d", "depthwise", "separable_conv2d", "conv2d_transpose", "conv_transpose", "matmul", "einsum",
    "tensordot",
)  # fmt: skip
"""Last part of a path that stands for a layer with weights (lower case, without numbers)."""
MADE_UP = ("arith.constant", "tfl.pseudo", "statefulpartitionedcall", "serving_default")
"""What the converter calls tensors that it knows no layer for."""
PARTS = ("ReadVariableOp", "resource", "BiasAdd")
"""Ends of a path below the layer's own folder that are no operation of it."""


def layer_of(graph: Subgraph, operator: Operator) -> str:
    """Return what people call the layer behind an operation; `operation 3` where no name tells."""
    tensors = [graph.tensors[i].name for i in (*operator.outputs, *operator.inputs[1:]) if i >= 0]
    return layer_name(tensors, (t.name for t in graph.tensors)) or f"operation {operator.index}"


def called(graph: Subgraph, operator: Operator) -> str:
    """Return the layer behind an operation, or where no name tells what the operation is: numbers of operations differ
    between a model and the file made of it."""
    name = layer_of(graph, operator)
    return operator.op if name == f"operation {operator.index}" else name


def layer_name(names: Iterable[str], graph: Iterable[str] = ()) -> str:
    """Return the layer's own name from the names of its tensors, the telling ones first; "" where none tells.

    `model/conv1/Relu;model/conv1/bn/FusedBatchNormV3;model/conv1/Conv2D` is `conv1`: of joined paths the one that
    ends in a product counts, and of it the folder. Keras 3 numbers every scope once more than the model does when it
    is exported (`functional_1/conv_1/convolution` of a layer `conv`): where all paths of `graph` have that, it is
    taken off.
    """
    paths = [path for name in names for path in name.split(";") if path and not _is_made_up(path)]
    if not paths:
        return ""
    best = next((path for path in paths if _is_product(path)), paths[0])
    parts = best.split("/")
    while len(parts) > 2 and (parts[-1] in PARTS and parts[-2] in PARTS):
        parts = parts[:-1]
    if len(parts) < 2:
        return best.removesuffix(":0")
    if _numbered_again(graph):
        parts = [part.removesuffix("_1") for part in parts]
    return parts[-2]


def _is_made_up(path: str) -> bool:
    return path.lower().startswith(MADE_UP)


def _is_product(path: str) -> bool:
    last = path.rsplit("/", 1)[-1].lower().rstrip("0123456789_")
    return last.startswith(PRODUCTS)


def _numbered_again(graph: Iterable[str]) -> bool:
    scopes = {
        part for name in graph for path in name.split(";") for part in path.split("/")[:-1][:2] if "/" in path
    }
    layers = {scope for scope in scopes if not _is_made_up(scope)}
    return bool(layers) and all(scope.endswith("_1") for scope in layers)
