"""Rounding that knows the inputs: weights on the grid of a recipe, layer by layer, without labels or training.

Layers are taken in the order they run. Each sees the inputs that the layers before it, rounded already, really make,
and aims at what the float model computes there: first the weights that come nearest to it (least squares), then
integers for these (`lattice`), then the bias that takes the mean error away. Where a layer's output is added to another
that is rounded already (a residual connection), it takes over the error of that one as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.came import came_with, limits_in, told_of
from edgeship.compress.held import PRUNING, SHARING
from edgeship.compress.lattice import DAMPING, nearest_integers
from edgeship.compress.patches import Form
from edgeship.compress.samples import Samples
from edgeship.compress.tap import side_by_side
from edgeship.compress.work import Outcome, Work
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import FOUR_BITS, Layer, constant, layers_of, with_weights

Floats = NDArray[np.float64]
ROWS = 24
"""Rows of inputs for each weight of an output channel, at least."""
LEAST_ROWS = 16_384
MOST_SHARING = 8
"""Layers of one weight whose inputs are looked at."""
LARGEST = 4096
"""Inputs of an output channel above which second moments would take too long: such a layer is left to the recipe."""


@dataclass(slots=True)
class Moments:
    """Sums over rows of inputs: x of the rounded model, f of the float one, d what the output should move besides."""

    count: float
    xx: Floats
    """[groups, K, K]."""
    fx: Floats
    dx: Floats
    """[groups, rows, K]."""
    x: Floats
    """[groups, K]."""
    f: Floats
    d: Floats
    """[groups, rows]."""


def apply(work: Work) -> Outcome:
    """Round all layers to `precision`; weights that lie on a grid already stay."""
    bits = {"int8": 8, "int4": 4}[str(work.step.setting("precision"))]
    file = parse(Path("model.tflite"), work.content, "")
    samples = work.samples.some(int(work.step.setting("samples")), work.step.seed)
    rounding = _Rounding(file=file, samples=samples, bits=bits, work=work)
    layers = layers_of(file.main)
    for number, layer in enumerate(layers):
        work.report(f"{work.step.label}: {layer.name}", number, len(layers))
        rounding.round(layer)
    return rounding.outcome()


class _Rounding:
    """The state of a model that is rounded layer by layer."""

    def __init__(self, *, file: TfliteFile, samples: Samples, bits: int, work: Work) -> None:
        self.file, self.samples, self.bits = file, samples, bits
        self.one_scale, self.seed = work.one_scale, work.step.seed
        self.content = work.content
        layers, came = layers_of(file.main), came_with(work, file)
        self.layers = layers
        self.notes = told_of(work, file)
        everything = {layer.weight for layer in layers}
        self.pruned = everything if any(step.method in PRUNING for step in work.before) else came.pruned
        shared = any(step.method in SHARING for step in work.before)
        self.given = everything if shared else {*came.shared, *limits_in(file, layers)}
        self.values: dict[int, NDArray[np.float32]] = {}
        self.limits: dict[int, NDArray[np.float32]] = {**limits_in(file, layers), **came.shared}
        self.axes = {layer.weight: layer.axis for layer in layers}
        self.changes = bool(came.shared)
        self.rounded: set[int] = set()
        self.left: list[str] = []
        self.error, self.energy = 0.0, 0.0

    def round(self, layer: Layer) -> None:
        op, graph = layer.operator, self.file.main
        if layer.weight in self.values or layer.weight in self.given:
            return
        weight = constant(self.file, layer.weight).astype(np.float64)
        entry = graph.tensors[op.inputs[0]]
        if entry.has_data and self._sharing(layer):
            return  # as in the first turn of an unrolled loop: the next one shows what it sees
        form = None if entry.has_data else Form.of(op, weight.shape, tuple(entry.shape))
        if form is None or form.taps > LARGEST:
            self.left.append(layer.name)
            return
        moments = self._moments(layer, form, form.matrix(weight).shape[1])
        bias = layer.bias if layer.bias is not None and self._readers(layer.bias) == 1 else None
        held = None if bias is None else constant(self.file, bias).astype(np.float64)
        matrix, offset = self._rounded(layer, form, form.matrix(weight), moments, held is not None)
        self.values[layer.weight] = form.weight(matrix).astype(np.float32)
        if bias is not None and held is not None:
            self.values[bias] = (held.reshape(-1) + offset).reshape(held.shape).astype(np.float32)
        self.content = self._file(told=False)

    def _rounded(
        self, layer: Layer, form: Form, matrix: Floats, m: Moments, has_bias: bool
    ) -> tuple[Floats, Floats]:
        """Return (the weights on the grid `[groups, rows, K]`, what is to be added to the bias `[outputs]`)."""
        steps = 2 ** ((self.bits if layer.operator.op in FOUR_BITS else 8) - 1) - 1
        one_scale = layer.operator.op in self.one_scale
        mean_x, mean_f, mean_d = m.x / m.count, m.f / m.count, m.d / m.count
        spread = float(has_bias)  # a bias takes means away, so only what varies counts
        xx = m.xx / m.count - spread * mean_x[:, :, None] * mean_x[:, None, :]
        fx = m.fx / m.count - spread * mean_f[:, :, None] * mean_x[:, None, :]
        dx = m.dx / m.count - spread * mean_d[:, :, None] * mean_x[:, None, :]
        free = (matrix != 0) if layer.weight in self.pruned else np.ones(matrix.shape, bool)
        targets = np.stack(
            [_nearest(matrix[g], xx[g], matrix[g] @ (fx[g] - xx[g]) + dx[g]) for g in range(form.groups)]
        )
        scales = self._shared(targets, steps) if one_scale and form.groups > 1 else None
        found, limits = [], []
        for g in range(form.groups):
            if scales is None:
                made = nearest_integers(targets[g], xx[g], steps, free=free[g], one_scale=one_scale)
                integers, scale = made.integers.astype(np.float64), made.scales
            else:
                scale = np.full(len(targets[g]), scales)
                integers = np.clip(np.rint(targets[g] / scales), -steps, steps) * free[g]
            limit = (scale * steps).astype(np.float32).astype(np.float64)
            found.append(integers * (limit / steps)[:, None])
            limits.append(limit)
        result = np.stack(found)
        flat = np.concatenate(limits)
        self.limits[layer.weight] = np.asarray(flat[:1] if one_scale else flat, np.float32)
        self.rounded.add(layer.weight)
        change = result - targets
        self.error += float(np.einsum("grk,gkl,grl->", change, xx, change))
        self.energy += float(np.einsum("grk,gkl,grl->", matrix, xx, matrix))
        wanted = np.einsum("grk,gk->gr", matrix, mean_f) + mean_d
        offset = wanted - np.einsum("grk,gk->gr", result, mean_x)
        return result, offset.reshape(-1)

    @staticmethod
    def _shared(targets: Floats, steps: int) -> float:
        """Return the scale of all groups of a weight that has one in all."""
        return float(np.abs(targets).max() or 1.0) / steps

    def _sharing(self, layer: Layer) -> list[Layer]:
        """Return the layers of a weight that see inputs of one shape, some of them where they are many: turns of an
        unrolled loop, branches of a twin network."""
        tensors, entry = self.file.main.tensors, layer.operator.inputs[0]
        found = [
            one
            for one in self.layers
            if one.weight == layer.weight
            and not tensors[one.operator.inputs[0]].has_data
            and tensors[one.operator.inputs[0]].shape == tensors[entry].shape
        ]
        return found[:: max(1, -(-len(found) // MOST_SHARING))]

    def _moments(self, layer: Layer, form: Form, rows: int) -> Moments:
        """Return the sums over what all layers of a weight see."""
        g, k = form.groups, form.taps
        m = Moments(
            0.0, np.zeros((g, k, k)), np.zeros((g, k, k)), np.zeros((g, rows, k)), np.zeros((g, k)),
            np.zeros((g, k)), np.zeros((g, rows)),
        )  # fmt: skip
        sharing = self._sharing(layer)
        for one in sharing:
            self._add(m, one, form, len(sharing))
        return m

    def _add(self, m: Moments, layer: Layer, form: Form, parts: int) -> None:
        """Add what one layer sees to the sums, of which it is one of so many parts."""
        op, beside = layer.operator, self._added(layer)
        wanted = [op.inputs[0], *beside]
        blocks = side_by_side(self.file.content, self.content, wanted, self.samples)
        random = np.random.default_rng(self.seed)
        g, k, rows = form.groups, form.taps, m.d.shape[1]
        for float_values, values in blocks:
            places = form.places(op, values[0])
            size = max(1, len(values[0]) if values[0].ndim > 1 else 1)
            per_run = -(-max(LEAST_ROWS, ROWS * k) * size // (len(self.samples) * parts))
            chosen = random.permutation(places)[:per_run] if places > per_run else np.arange(places)
            x, f = form.rows(op, values[0], chosen), form.rows(op, float_values[0], chosen)
            x, f = x.astype(np.float32, copy=False), f.astype(np.float32, copy=False)
            m.count += len(chosen)
            m.xx += x.transpose(0, 2, 1) @ x
            m.fx += f.transpose(0, 2, 1) @ x
            m.x += x.sum(axis=1)
            m.f += f.sum(axis=1)
            if beside:
                d = (float_values[1] - values[1]).reshape(-1, g * rows)[chosen]
                d = d.reshape(len(chosen), g, rows).transpose(1, 2, 0)
                m.dx += d @ x
                m.d += d.sum(axis=2)

    def _added(self, layer: Layer) -> list[int]:
        """Return the tensor that the layer's output is added to, where it is final already; else nothing."""
        graph, out = self.file.main, layer.operator.outputs[0]
        readers = [op for op in graph.operators if out in op.inputs]
        if len(readers) != 1 or readers[0].op != "ADD" or out in graph.outputs:
            return []
        if layer.operator.options.get("fused_activation", "NONE") != "NONE":
            return []
        others = [i for i in readers[0].inputs if i != out]
        if len(others) != 1 or graph.tensors[others[0]].has_data:
            return []
        made = [op.index for op in graph.operators if others[0] in op.outputs]
        same = graph.tensors[others[0]].shape == graph.tensors[out].shape
        return others if same and all(index < layer.operator.index for index in made) else []

    def _readers(self, tensor: int) -> int:
        return sum(tensor in op.inputs for op in self.file.main.operators)

    def _file(self, *, told: bool) -> bytes:
        limits: Mapping[int, NDArray[np.float32]] = self.limits if told else {}
        return with_weights(self.file.content, self.values, limits=limits, axes=self.axes if told else {})

    def outcome(self) -> Outcome:
        count = len(self.rounded)
        figures = {"layers": float(count), "left_error": self.error / max(self.energy, 1e-30)}
        notes = []
        if self.left:
            notes.append(
                f"{len(self.left)} layers are left to the recipe, first '{self.left[0]}': rounding knows "
                "CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED of up to 4096 inputs an output"
            )
        if self.given:
            notes.append("weights on a grid or with shared values stay as an earlier step left them")
        content = self._file(told=True) if count or self.changes else self.file.content
        return Outcome(content=content, figures=figures, notes=(*notes, *self.notes))


def _nearest(weights: Floats, moments: Floats, towards: Floats) -> Floats:
    """Return the weights whose outputs are nearest to the float model's in the mean square: W + towards / H, damped."""
    damping = max(DAMPING * float(np.trace(moments)) / len(moments), 1e-12)
    return np.asarray(weights + np.linalg.solve(moments + np.eye(len(moments)) * damping, towards.T).T)
