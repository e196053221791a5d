"""Cross-layer equalisation: channels of unlike size between two layers are made alike, the answers stay.

A channel between two layers may be divided by s in the first and multiplied by s in the second as long as what stands
between hands a factor on (RELU, pools, PAD, reshapes). With s = sqrt(r1 / r2), r1 and r2 being the channel's ranges in
both, one scale for all channels fits all of them (Nagel et al., "Data-Free Quantization Through Weight Equalization
and Bias Correction", 2019). Where the target gives every channel a scale, the first range is that of the activations
instead, which share one scale on every target.

RELU6 does not hand a factor on where it cuts: its channels are moved only as far as they stay under it on samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.held import SHARING
from edgeship.compress.samples import Samples
from edgeship.compress.tap import Tap, side_by_side
from edgeship.compress.work import Outcome, Work
from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.refit import unpacked
from edgeship.tflite.soundness import BIASED
from edgeship.tflite.weights import Layer, constant, layers_of, weight_limits, with_weights

Floats = NDArray[np.float64]
HANDS_ON = (
    "RELU", "LEAKY_RELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "PAD", "RESHAPE", "SQUEEZE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
)  # fmt: skip
"""Operations that a factor of a channel (of the last axis) passes through."""
PASSES = 10
SEEN = 256
"""Samples that are looked at."""
ROOM = 0.9
"""Share of RELU6's end up to which a channel is taken for one that is never cut."""
MOST = 1e4
"""Factors lie between 1 / MOST and MOST."""
SAME = 1e-3
"""Share of the largest answer by which answers may differ before what RELU6 allowed is undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two layers with a factor to move between them."""

    first: Layer
    second: Layer
    channels: int
    cut: bool
    """Whether RELU6 ends the first."""


def apply(work: Work) -> Outcome:
    """Equalise all pairs of layers; weights on a grid or with shared values stay as they are."""
    file = parse(Path("model.tflite"), work.content, "")
    model, _ = unpacked(work.content)
    told = weight_limits(model)
    if told or any(step.method in SHARING for step in work.before):
        note = "nothing was equalised: an earlier step has put weights on a grid or made them share values"
        return Outcome(content=work.content, figures={"pairs": 0.0}, notes=(note,))
    samples = work.train or work.calibration
    samples = None if samples is None else samples.some(SEEN, work.step.seed)
    pairs = pairs_of(file)
    if samples is None:
        pairs = [pair for pair in pairs if not pair.cut]
    content, spread = _equalised(work, file, pairs, samples)
    differs = 0.0
    if samples is not None and pairs:
        differs = difference(work.content, content, samples)
        if differs > SAME and any(pair.cut for pair in pairs):
            pairs = [pair for pair in pairs if not pair.cut]
            content, spread = _equalised(work, file, pairs, samples)
            differs = difference(work.content, content, samples)
    notes = () if pairs else ("no two layers follow one another with nothing between them but RELU or pools",)
    figures = {"pairs": float(len(pairs)), "largest_factor": spread, "largest_difference": differs}
    return Outcome(content=content, figures=figures, notes=notes)


def pairs_of(file: TfliteFile) -> list[Pair]:
    """Return the pairs of layers between which factors can be moved, in the order they run."""
    graph = file.main
    readers: dict[int, list[Operator]] = {}
    for op in graph.operators:
        for index in op.inputs:
            readers.setdefault(index, []).append(op)
    buffers = Counter(t.buffer for g in file.subgraphs for t in g.tensors if t.has_data)
    own = [
        layer
        for layer in layers_of(graph)
        if len(readers[layer.weight]) == 1
        and buffers[graph.tensors[layer.weight].buffer] == 1
        and layer.weight not in graph.outputs
    ]
    layers = {layer.operator.index: layer for layer in own}
    found = []
    for layer in own:
        act = layer.operator.options.get("fused_activation", "NONE")
        if act not in ("NONE", "RELU", "RELU6") or not _own_bias(file, layer, readers, buffers):
            continue
        channels = graph.tensors[layer.weight].shape[layer.axis]
        second = _behind(file, layer.operator.outputs[0], channels, readers, layers)
        if second is not None:
            found.append(Pair(first=layer, second=second, channels=channels, cut=act == "RELU6"))
    return found


def _own_bias(
    file: TfliteFile, layer: Layer, readers: dict[int, list[Operator]], buffers: Counter[int]
) -> bool:
    """Return whether the bias of a layer, where it has one, is a constant that nothing else reads."""
    position = BIASED[layer.operator.op][2]
    inputs = layer.operator.inputs
    if len(inputs) <= position or inputs[position] < 0:
        return True
    bias = layer.bias
    return bias is not None and len(readers[bias]) == 1 and buffers[file.main.tensors[bias].buffer] == 1


def _over_places(file: TfliteFile, op: Operator) -> bool:
    """Return whether a MEAN leaves the last axis alone."""
    axes, rank = file.main.tensors[op.inputs[1]], len(file.main.tensors[op.inputs[0]].shape)
    if not axes.has_data:
        return False
    told = np.frombuffer(file.tensor_bytes(axes.index), np.int32)
    return all(int(axis) % rank != rank - 1 for axis in told)


def _behind(
    file: TfliteFile,
    tensor: int,
    channels: int,
    readers: dict[int, list[Operator]],
    layers: dict[int, Layer],
) -> Layer | None:
    """Return the layer that reads a tensor, with nothing between that factors do not pass through."""
    graph = file.main
    while True:
        behind = readers.get(tensor, [])
        if len(behind) != 1 or tensor in graph.outputs or not graph.tensors[tensor].shape:
            return None
        op, width = behind[0], graph.tensors[tensor].shape[-1]
        if width <= 0 or width % channels:
            return None
        if op.index in layers:
            layer = layers[op.index]
            data = op.inputs[BIASED[op.op][0]]
            weight = graph.tensors[layer.weight].shape
            entries = weight[1] if op.op == "FULLY_CONNECTED" else width
            fits = entries % channels == 0 and (op.op == "FULLY_CONNECTED" or width == channels)
            return layer if data == tensor and fits else None
        if op.op not in HANDS_ON or op.inputs[0] != tensor or len(op.outputs) != 1:
            return None
        if op.options.get("fused_activation", "NONE") not in ("NONE", "RELU"):
            return None
        tensor = op.outputs[0]
        after = graph.tensors[tensor].shape
        if not after or after[-1] % channels or (op.op not in ("RESHAPE", "SQUEEZE") and after[-1] != width):
            return None
        if op.op == "MEAN" and not _over_places(file, op):
            return None


def _equalised(
    work: Work, file: TfliteFile, pairs: Sequence[Pair], samples: Samples | None
) -> tuple[bytes, float]:
    """Return the changed file and the largest factor in it."""
    values = {
        index: constant(file, index).astype(np.float64)
        for pair in pairs
        for layer in (pair.first, pair.second)
        for index in (layer.weight, layer.bias)
        if index is not None
    }
    heights = _heights(file, pairs, samples)
    total = [np.ones(pair.channels) for pair in pairs]
    for _ in range(PASSES):
        largest = 1.0
        for place, pair in enumerate(pairs):
            factor = _factors(work, pair, values, heights.get(pair.first.weight))
            factor = np.clip(total[place] * factor, 1 / MOST, MOST) / total[place]
            total[place] *= factor
            _move(pair, values, factor)
            if pair.first.weight in heights:
                heights[pair.first.weight] = heights[pair.first.weight] / factor
            largest = max(largest, float(np.maximum(factor, 1 / factor).max()))
        if largest < 1.001:
            break
    spread = max((float(np.maximum(f, 1 / f).max()) for f in total), default=1.0)
    if not pairs:
        return work.content, spread
    changed = {index: value.astype(np.float32) for index, value in values.items()}
    return with_weights(work.content, changed), spread


def _factors(work: Work, pair: Pair, values: dict[int, Floats], heights: Floats | None) -> Floats:
    """Return s of each channel."""
    first = _ranges(np.moveaxis(values[pair.first.weight], pair.first.axis, 0))
    second = _ranges(_by_entry(pair.second, values[pair.second.weight], pair.channels))
    if pair.first.operator.op not in work.one_scale and heights is not None:
        first = heights.copy()
    if pair.second.operator.op == "DEPTHWISE_CONV_2D" and pair.second.operator.op not in work.one_scale:
        second = np.where(second > 0, 1.0, 0.0)  # each channel has a scale: its own size does not matter
    alive = (first > 0) & (second > 0)
    if not alive.any():
        return np.ones(pair.channels)
    factor = np.sqrt(np.where(alive, first, 1.0) / np.where(alive, second, 1.0))
    factor /= np.exp(np.log(factor[alive]).mean())
    factor = np.where(alive, factor, 1.0)
    if pair.cut:
        assert heights is not None
        end = 6.0 * ROOM
        factor = np.where(heights < end, np.maximum(factor, heights / end), 1.0)
    return factor


def _ranges(rows: Floats) -> Floats:
    return np.asarray(np.abs(rows).reshape(len(rows), -1).max(axis=1))


def _by_entry(layer: Layer, weight: Floats, channels: int) -> Floats:
    """Return the weight of a layer as `[channels, ...]`: what reads each channel of its input."""
    op = layer.operator.op
    if op == "DEPTHWISE_CONV_2D":
        return np.moveaxis(weight, 3, 0).reshape(channels, -1)
    if op == "FULLY_CONNECTED":
        return np.moveaxis(weight.reshape(len(weight), -1, channels), 2, 0)
    groups = channels // weight.shape[3]
    parts = weight.reshape(groups, -1, *weight.shape[1:])  # [groups, out, h, w, in]
    return np.moveaxis(parts, 4, 1).reshape(channels, -1)


def _move(pair: Pair, values: dict[int, Floats], factor: Floats) -> None:
    """Divide the channels of the first layer by the factors, and multiply what reads them."""
    first, second = pair.first, pair.second
    spread = [1] * values[first.weight].ndim
    spread[first.axis] = -1
    values[first.weight] = values[first.weight] / factor.reshape(spread)
    if first.bias is not None:
        bias = values[first.bias]
        values[first.bias] = (bias.reshape(-1) / factor).reshape(bias.shape)
    weight = values[second.weight]
    op = second.operator.op
    if op == "DEPTHWISE_CONV_2D":
        values[second.weight] = weight * np.repeat(factor, weight.shape[3] // pair.channels)
    elif op == "FULLY_CONNECTED":
        values[second.weight] = weight * np.tile(factor, weight.shape[1] // pair.channels)
    else:
        groups = pair.channels // weight.shape[3]
        parts = weight.reshape(groups, -1, *weight.shape[1:]) * factor.reshape(groups, 1, 1, 1, -1)
        values[second.weight] = parts.reshape(weight.shape)


def _heights(file: TfliteFile, pairs: Sequence[Pair], samples: Samples | None) -> dict[int, Floats]:
    """Return the largest magnitude of each channel behind the first layer of each pair, by its weight."""
    if samples is None or not pairs:
        return {}
    tap = Tap(file.content, [pair.first.operator.outputs[0] for pair in pairs], samples)
    found = {pair.first.weight: np.zeros(pair.channels) for pair in pairs}
    for block in tap.blocks():
        for pair, value in zip(pairs, block, strict=True):
            seen = np.abs(value).reshape(-1, pair.channels).max(axis=0)
            found[pair.first.weight] = np.maximum(found[pair.first.weight], seen)
    return found


def difference(before: bytes, after: bytes, samples: Samples) -> float:
    """Return by how much answers differ at most, as a share of the largest answer."""
    outputs = list(parse(Path("model.tflite"), before, "").main.outputs)
    largest, worst = 0.0, 0.0
    for old, new in side_by_side(before, after, outputs, samples):
        for one, other in zip(old, new, strict=True):
            if one.dtype.kind != "f":
                continue
            largest = max(largest, float(np.abs(one).max(initial=0.0)))
            worst = max(worst, float(np.abs(one - other).max(initial=0.0)))
    return worst / max(largest, 1e-30)
