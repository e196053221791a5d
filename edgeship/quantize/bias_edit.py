"""Biases that do not fit, found and made to fit in a freshly quantized file: `fit_biases`. Runs inside a worker.

Works on the object form of the flatbuffer; what fits, and why nothing that is seen gets lost, is `bias_fit`'s.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.quantize.bias_fit import Fit, Floats, Layer, fit, rounded
from edgeship.quantize.finish import operator_name, tensor_name, tensor_types, weights_of
from edgeship.tflite.buffers import own_buffer
from edgeship.tflite.layer_names import layer_name
from edgeship.tflite.soundness import BIASED, RANGES

LIMITS = {"INT32": (2.0**30,), "INT64": (2.0**38, 2.0**46)}
"""Type of a bias -> the largest values that may be stored, to be tried in this order; what there is beyond them is left
to the sum of products."""
CLIPPED = 2.0**31 - 1
"""Where ai-edge-quantizer clips a bias, of 64 bits too."""
CHANNELS_LAST = ("DEPTHWISE_CONV_2D", "CONV_3D")
"""Operations whose output channels are the last axis of the weights; of the others it is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was done to a model."""

    channels: int = 0
    """Channels whose bias did not fit, in how many layers, and the first of these in the user's words."""
    layers: int = 0
    first: str = ""
    lost: int = 0
    """Channels of which a step of the output or more may be rounded away, the worst bound, and the first layer."""
    worst: float = 0.0
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a layer stands: its operation in the quantized graph, and its name in the user's words."""

    op: Any
    kind: str
    name: str

    @property
    def weights(self) -> int:
        return int(self.op.inputs[BIASED[self.kind][1]])

    @property
    def bias(self) -> int:
        """Return the tensor of the bias, -1 where there is none."""
        position = BIASED[self.kind][2]
        return int(self.op.inputs[position]) if len(self.op.inputs) > position else -1


def fit_biases(model: Any, original: Any) -> Fitted:
    """Raise the weight scales of channels whose bias does not fit, with the real values of the float model `original`,
    and return what was done. To be called before biases are corrected.

    Weights that several operations share get scales that suit all their biases; other readers keep the old weights.
    Where the operations of the two models cannot be matched, and where weights or biases are computed, nothing is done.
    """
    groups: dict[int, list[tuple[Place, Layer]]] = defaultdict(list)
    for place, twin in _pairs(model, original):
        layer = _layer(model, original, place, twin)
        if layer is not None:
            groups[place.weights].append((place, layer))
    done = Fitted()
    for group in groups.values():
        done = _fit_group(model, group, done)
    return done


def notes(fitted: Fitted) -> list[str]:
    """Return what people should know of it: one sentence, or none."""
    if not fitted.channels:
        return []
    where = f"of layer '{fitted.first}'"
    if fitted.layers > 1:
        where = f"in {fitted.layers:,} layers, the first of them '{fitted.first}',"
    words = (
        f"the bias of {_count(fitted.channels, 'channel')} {where} did not fit beside weights that are near 0 (dead "
        "channels): their weight scales were raised"
    )
    return [words + ("" if fitted.lost else "; what that rounds away is below a step of the output")]


def warnings(fitted: Fitted) -> list[str]:
    """Return what may be lost: one sentence, or none."""
    if not fitted.lost:
        return []
    count = _count(fitted.lost, "channel")
    words = (
        f"making biases fit may round away up to {fitted.worst:.3g} steps of the output of {count}, first in layer "
        f"'{fitted.where}': compare the scores, or train that layer with weight decay"
    )
    return [words]


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def _pairs(model: Any, original: Any) -> list[tuple[Place, Any]]:
    """Return each operation with weights beside its twin in the float model; none where the two differ."""
    found = []
    for held in (model, original):
        named = (
            (operator_name(held.operatorCodes[op.opcodeIndex]), op) for op in held.subgraphs[0].operators
        )
        found.append([(name, op) for name, op in named if name in BIASED])
    if [name for name, _ in found[0]] != [name for name, _ in found[1]]:
        return []
    tensors = original.subgraphs[0].tensors
    names = [tensor_name(tensor) for tensor in tensors]
    pairs = []
    for number, ((kind, op), (_, twin)) in enumerate(zip(*found, strict=True)):
        own = [names[i] for i in (*twin.outputs, *twin.inputs[1:]) if i >= 0]
        place = Place(op=op, kind=kind, name=layer_name(own, names) or f"layer {number} with weights")
        pairs.append((place, twin))
    return pairs


def _layer(model: Any, original: Any, place: Place, twin: Any) -> Layer | None:
    """Return the real values of a layer, or None where it is not computed in integers, or not from constants."""
    tensors, kinds = model.subgraphs[0].tensors, {n: name for name, n in tensor_types().items()}
    data, weights, output = (
        tensors[place.op.inputs[BIASED[place.kind][0]]],
        tensors[place.weights],
        tensors[place.op.outputs[0]],
    )
    whole = [_whole(tensor, kinds) for tensor in (data, output)]
    if kinds[weights.type] != "INT8" or None in whole:
        return None
    exact = weights_of(original, twin.inputs[BIASED[place.kind][1]])
    held = weights_of(model, place.weights)
    if exact is None or held is None or exact.shape != held.shape:
        return None
    exact, held = (_by_channel(values, place.kind) for values in (exact, held))
    bias: Floats | None = np.zeros(len(exact))
    if place.bias >= 0:
        bias = weights_of(original, twin.inputs[BIASED[place.kind][2]])
        if bias is None or bias.size != len(exact) or kinds[tensors[place.bias].type] not in LIMITS:
            return None
    (entry, least, most), (step, low, high) = (w for w in whole if w is not None)
    assert bias is not None
    return Layer(
        weights=exact,
        held=held,
        bias=bias.reshape(-1),
        entry=entry,
        largest=max(-least, most),
        step=step,
        low=low,
        high=high,
    )


def _whole(tensor: Any, kinds: dict[int, str]) -> tuple[float, float, float] | None:
    """Return (scale, smallest and largest value it can hold) of a tensor with one scale; None for another."""
    held, limits = tensor.quantization, RANGES.get(kinds[tensor.type].lower())
    if limits is None or held is None or held.scale is None or len(held.scale) != 1 or not held.scale[0] > 0:
        return None
    scale, zero = float(held.scale[0]), int(held.zeroPoint[0])
    return scale, scale * (limits[0] - zero), scale * (limits[1] - zero)


def _by_channel(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Return weights as [C, K]."""
    axis = values.ndim - 1 if kind in CHANNELS_LAST else 0
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _fit_group(model: Any, group: Sequence[tuple[Place, Layer]], done: Fitted) -> Fitted:
    """Make the biases of layers that share their weights fit; return `done` with what that took."""
    graph, kinds = model.subgraphs[0], {n: name for name, n in tensor_types().items()}
    places, layers = [place for place, _ in group], [layer for _, layer in group]
    types = {kinds[graph.tensors[place.bias].type] for place in places if place.bias >= 0}
    if len(types) != 1:
        return done
    tensor = graph.tensors[places[0].weights]
    scales = np.asarray(tensor.quantization.scale, np.float64)
    best, limit = _best(layers, scales, LIMITS[types.pop()])
    changed = best.scales > scales
    if changed.any():
        before = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(tensor.shape)
        kind = places[0].kind
        stored = _by_channel(before, kind)
        stored = np.where(changed[:, None], rounded(layers[0].weights, best.scales), stored).astype(np.int8)
        _store(
            model,
            [(place.op, BIASED[kind][1]) for place in places],
            _as_laid(stored, before.shape, kind),
            best.scales[: scales.size],
        )
    for place, layer in group:
        if place.bias >= 0:
            _store_bias(model, place, layer, scales, best.scales, limit)
    return _counted(done, group, best)


def _best(layers: Sequence[Layer], scales: Floats, limits: Sequence[float]) -> tuple[Fit, float]:
    """Return the fit to the first limit under which less than a step is lost, else the one that loses least."""
    tried = [(fit(layers, scales, limit), limit) for limit in limits]
    fine = [pair for pair in tried if pair[0].steps.max() < 1]
    return fine[0] if fine else min(tried, key=lambda pair: float(pair[0].steps.max()))


def _as_laid(values: NDArray[Any], shape: Sequence[int], kind: str) -> NDArray[Any]:
    """Return weights [C, K] in the shape of their tensor: the way back of `_by_channel`."""
    if kind in CHANNELS_LAST:
        return np.moveaxis(values.reshape(shape[-1], *shape[:-1]), 0, -1)
    return values.reshape(shape)


def _store_bias(model: Any, place: Place, layer: Layer, before: Floats, scales: Floats, limit: float) -> None:
    """Store a bias anew in those channels whose scale changed, or that did not fit as they were."""
    tensor = model.subgraphs[0].tensors[place.bias]
    kind: Any = np.int64 if tensor.type == tensor_types()["INT64"] else np.int32
    stored = np.frombuffer(bytes(model.buffers[tensor.buffer].data), kind)
    steps = layer.bias / (layer.entry * scales)
    renewed = (scales > before) | (np.abs(steps) > min(limit, CLIPPED))
    if not renewed.any():
        return
    values = np.where(renewed, np.rint(np.clip(steps, -limit, limit)), stored).astype(kind)
    products = (layer.entry * scales)[: len(tensor.quantization.scale)]
    _store(model, [(place.op, BIASED[place.kind][2])], values, products)


def _store(model: Any, readers: Sequence[tuple[Any, int]], values: NDArray[Any], scales: Floats) -> None:
    """Put a constant's integers and scales in place for `readers`, (operation, position of the input); whoever else
    reads the tensor or its buffer keeps what was there.
    """
    graph = model.subgraphs[0]
    index = int(readers[0][0].inputs[readers[0][1]])
    uses = sum(int(i) == index for op in graph.operators for i in op.inputs)
    if uses > len(readers) or index in graph.outputs:
        graph.tensors.append(copy.deepcopy(graph.tensors[index]))
        index = len(graph.tensors) - 1
        for op, position in readers:
            op.inputs = [index if n == position else int(i) for n, i in enumerate(op.inputs)]
    tensor = graph.tensors[index]
    own_buffer(model, tensor)
    model.buffers[tensor.buffer].data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    tensor.quantization.scale = scales.astype(np.float32)


def _counted(done: Fitted, group: Sequence[tuple[Place, Layer]], best: Fit) -> Fitted:
    """Return `done` with what a group took added."""
    raised, lost = int(best.raised.sum()), best.steps >= 1
    if not raised:
        return done
    name = group[0][0].name
    done = replace(done, channels=done.channels + raised, layers=done.layers + 1, first=done.first or name)
    if lost.any():
        worst = max(done.worst, float(best.steps.max()))
        done = replace(done, lost=done.lost + int(lost.sum()), worst=worst, where=done.where or name)
    return done
