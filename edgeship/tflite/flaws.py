"""Whether what is unsound in a file's quantization changes what it computes: `flaws(file)`.

`soundness` finds the facts; here each is weighed. Converters leave scales and biases behind that no kernel and no
compiler ever sees the effect of; refusing them would refuse files that Google's own compiler takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgeship.tflite import soundness
from edgeship.tflite.file import Operator, Subgraph, Tensor, TfliteFile
from edgeship.tflite.layer_names import layer_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Code = Literal["scale", "zero-point", "bias-overflow", "bias-scale"]
CODES: tuple[Code, ...] = ("scale", "zero-point", "bias-overflow", "bias-scale")
"""Names of flaws that `--accept` takes."""
WRAPPED = -(2**31)
"""What ai-edge-quantizer makes of a bias that it clips, of either sign and with 64 bits too: it clips to 2^31 - 1 in
float32, which is 2^31, and stores that as an int32."""
AEQ_LEAST_SCALE = 1e-9 / 127
"""The least scale that ai-edge-quantizer gives weights, and nobody else."""
CEILING = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0, "RELU_0_TO_1": 1.0}
FLOOR = {"RELU": 0.0, "RELU6": 0.0, "RELU_N1_TO_1": -1.0, "RELU_0_TO_1": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One unsound channel, value or tensor, and whether an output could ever differ for it."""

    code: Code
    layer: str
    """What people call it: the layer's own name where the converter's names tell, else the first of those it joined."""
    operation: int | None
    """Of the main graph; None where no operation reads the tensor."""
    channel: int
    effect: bool
    """False: what is computed stays within half a step of the output, whatever is fed."""
    says: str
    """Which channel, and the figure that is wrong."""


def flaws(file: TfliteFile) -> tuple[Flaw, ...]:
    """Return every flaw of a file, in the order of `CODES`; an empty tuple for a sound one."""
    return tuple(flaw for graph in file.subgraphs for flaw in (*_of_tensors(graph), *_of_biases(file, graph)))


def _of_tensors(graph: Subgraph) -> Iterator[Flaw]:
    """Yield scales that are no normal positive number, and zero points that their type cannot hold.

    A scale in error that no operation reads has no effect. A denormal scale of weights has none either: with all of
    its 127 steps a channel adds less than 1e-30 to anything.
    """
    readers = {t: o for o in reversed(graph.operators) for t in o.inputs if t >= 0}
    makers = {t: o for o in graph.operators for t in o.outputs if t >= 0}
    for bad in soundness.bad_scales(graph):
        reader = readers.get(bad.tensor.index) or makers.get(bad.tensor.index)
        tiny = bad.kind == "denormal" and bad.tensor.has_data
        yield Flaw(
            code="scale",
            layer=name_of(bad.tensor),
            operation=reader.index if reader else None,
            channel=bad.channel,
            effect=reader is not None and not tiny,
            says=f"channel {bad.channel}: the scale is {bad.scale:g}, {bad.kind}",
        )
    for point in soundness.bad_zero_points(graph):
        reader = readers.get(point.tensor.index) or makers.get(point.tensor.index)
        yield Flaw(
            code="zero-point",
            layer=name_of(point.tensor),
            operation=reader.index if reader else None,
            channel=point.channel,
            effect=reader is not None,
            says=f"channel {point.channel}: the zero point is {point.zero_point}, outside {point.tensor.dtype}",
        )


def _of_biases(file: TfliteFile, graph: Subgraph) -> Iterator[Flaw]:
    reach: dict[int, _Reach | None] = {}
    for bad in soundness.bad_biases(file, graph):
        index = bad.operator.index
        if index not in reach:
            reach[index] = _reach(file, graph, bad.operator)
        found = reach[index]
        yield Flaw(
            code="bias-overflow",
            layer=layer_of(graph, bad.operator),
            operation=index,
            channel=bad.channel,
            effect=found is None
            or not bad.clipped
            or _sign_is_lost(graph, bad)
            or not found.saturates(bad.channel, bad.stored),
            says=f"channel {bad.channel}: {bad.needed:.4g} steps",
        )
    for odd in soundness.odd_bias_scales(graph):
        stored = soundness.stored_bias(file, graph, odd.bias)
        value = stored[odd.channel] if odd.channel < len(stored) else 0
        output = graph.tensors[odd.operator.outputs[0]].quantization
        step = output.scales[0] if output else 0.0
        yield Flaw(
            code="bias-scale",
            layer=layer_of(graph, odd.operator),
            operation=odd.operator.index,
            channel=odd.channel,
            effect=abs(value * (odd.scale - odd.product)) > step / 2,
            says=f"channel {odd.channel}: its scale is {odd.scale:g}, input times weight is {odd.product:g}",
        )


def _sign_is_lost(graph: Subgraph, bad: soundness.BadBias) -> bool:
    """Return whether a clipped bias may have had either sign, so that no RELU hides it for sure."""
    weights = graph.tensors[bad.operator.inputs[soundness.BIASED[bad.operator.op][1]]].quantization
    scales = weights.scales if weights else ()
    scale = scales[bad.channel] if bad.channel < len(scales) else 0.0
    least = abs(scale - AEQ_LEAST_SCALE) < 1e-3 * AEQ_LEAST_SCALE
    return bad.stored == WRAPPED and (bad.bias.dtype == "int64" or least)


@dataclass(frozen=True, slots=True)
class _Reach:
    """What an operation's accumulator can reach: for each channel the most that weights and data add, in steps of
    the accumulator, the step's size, and the real ends of the output."""

    most: NDArray[Any]
    steps: NDArray[Any]
    low: float
    high: float

    def saturates(self, channel: int, bias: int) -> bool:
        """Return whether an output stays at one end of its range whatever is fed, with a bias that was clipped.

        The true bias lies still farther out, so it holds the output at the same end.
        """
        step = float(self.steps[min(channel, len(self.steps) - 1)])
        most = float(self.most[channel]) if channel < len(self.most) else math.inf
        if bias < 0:
            return (bias + most) * step <= self.low
        return (bias - most) * step >= self.high


def _reach(file: TfliteFile, graph: Subgraph, operator: Operator) -> _Reach | None:
    """Return how far sum((w - zero_w) * (x - zero_x)) can go: sum(|w - zero_w|) * max(|x - zero_x|)."""
    import numpy as np  # most files have no such bias, and reading them takes a tenth of this import

    positions = soundness.BIASED[operator.op]
    data, weights = (graph.tensors[operator.inputs[p]] for p in positions[:2])
    output = graph.tensors[operator.outputs[0]]
    kinds = {"int8": "i1", "uint8": "u1", "int16": "<i2"}
    if not (data.quantization and weights.quantization and output.quantization and weights.has_data):
        return None
    if weights.dtype not in kinds or data.dtype not in kinds or output.dtype not in kinds:
        return None
    axis = {"DEPTHWISE_CONV_2D": 3, "CONV_3D": 4}.get(operator.op, 0)
    stored = np.frombuffer(file.tensor_bytes(weights.index, graph.index), np.dtype(kinds[weights.dtype]))
    if stored.size != weights.elements or axis >= len(weights.shape):
        return None
    points = np.asarray(weights.quantization.zero_points or (0,), np.float64)
    channels = np.moveaxis(stored.reshape(weights.shape).astype(np.float64), axis, 0).reshape(
        weights.shape[axis], -1
    )
    low, high = soundness.RANGES[data.dtype]
    zero = data.quantization.zero_points[0]
    most = np.abs(channels - points.reshape(-1, 1)).sum(axis=1) * max(high - zero, zero - low)
    scale, point = output.quantization.scales[0], output.quantization.zero_points[0]
    ends = [scale * (q - point) for q in soundness.RANGES[output.dtype]]
    fused = operator.options.get("fused_activation") or ""
    return _Reach(
        most=most,
        steps=data.quantization.scales[0] * np.asarray(weights.quantization.scales, np.float64),
        low=max(ends[0], FLOOR.get(fused, -math.inf)),
        high=min(ends[1], CEILING.get(fused, math.inf)),
    )


WORDS: dict[Code, tuple[str, str]] = {
    "scale": (
        "a scale that is no normal positive number",
        "a channel of zeros, or NaN in weights or samples, makes such",
    ),
    "zero-point": ("a zero point that its type cannot hold", "convert it again"),
    "bias-overflow": (
        "a bias that does not fit 32 bits",
        "its weights are far smaller than its bias: hand over the float model, or drop the channel",
    ),
    "bias-scale": ("a bias of another scale than kernels take", "convert it again"),
}
"""Code -> what is wrong, and what to do about it, for sentences that count."""


def told(found: Sequence[Flaw]) -> str:
    """Return in words what flaws of one code are: how many channels of how many layers, and the first of them."""
    layers = list(dict.fromkeys(flaw.layer for flaw in found))
    what = WORDS[found[0].code][0]
    where = f"{len(layers)} layers" if len(layers) > 1 else "one layer"
    many = f"{len(found)} channels in {where} have" if len(found) > 1 else "one channel has"
    return f"{many} {what}, the first '{layers[0]}' ({found[0].says})"


def in_words(found: Sequence[Flaw]) -> list[str]:
    """Return a sentence a code: what is wrong, what to do about it, once, and the code."""
    grouped = [[flaw for flaw in found if flaw.code == code] for code in CODES]
    return [f"{told(same)}: {WORDS[same[0].code][1]} [{same[0].code}]" for same in grouped if same]


def name_of(tensor: Tensor) -> str:
    """Return a tensor's name as people know it: the first of several joined by ';'."""
    return tensor.name.split(";")[0] or f"tensor {tensor.index}"
