"""Rounding that knows the inputs: its products, its integers, and what they are worth."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.compress.lattice import loss_of, nearest_integers
from edgeship.compress.patches import Form
from edgeship.compress.rewriting.loops import unroll_loops
from edgeship.compress.rounding import apply
from edgeship.compress.samples import Samples
from edgeship.compress.tap import Tap
from edgeship.tflite.draft import Draft
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import FOUR_BITS, constant, layers_of, limits_by_index, with_weights
from edgeship.values import Step

Array = np.ndarray[Any, Any]


def moments(size: int, seed: int) -> Array:
    """Return second moments of inputs that go together."""
    x = np.random.default_rng(seed).normal(size=(200, size)) @ np.random.default_rng(seed + 1).normal(
        size=(size, size)
    )
    return x.T @ x / 200


@pytest.mark.parametrize("seed", range(6))
def test_integers_are_as_good_as_the_best_of_all(seed: int) -> None:
    """Against every choice of integers near the weights, at the scale that was found."""
    h, w = moments(5, seed), np.random.default_rng(seed + 9).normal(size=(3, 5))
    made = nearest_integers(w, h, 7, free=np.ones(w.shape, bool), one_scale=False)
    damped = h + np.eye(5) * 0.01 * np.trace(h) / 5
    for row in range(3):
        scale = made.scales[row : row + 1]
        base = np.floor(w[row] / scale)
        tried = [
            np.clip(base + np.array(step), -7, 7)[None] for step in itertools.product((-1, 0, 1, 2), repeat=5)
        ]
        best = min(float(loss_of(t, w[row : row + 1], damped, scale)[0]) for t in tried)
        assert made.loss[row] <= 1.5 * best + 1e-12


@pytest.mark.parametrize("one_scale", [False, True])
@pytest.mark.parametrize("steps", [7, 127])
def test_integers_beat_rounding_each_weight_by_itself(one_scale: bool, steps: int) -> None:
    h, w = moments(40, 3), np.random.default_rng(4).normal(size=(12, 40))
    free = np.random.default_rng(5).random(w.shape) > 0.3
    made = nearest_integers(w * free, h, steps, free=free, one_scale=one_scale)
    assert np.abs(made.integers).max() <= steps and not made.integers[~free].any()
    assert not one_scale or np.ptp(made.scales) == 0
    top = np.abs(w * free).max(axis=None if one_scale else 1) * np.ones(12)
    plain = np.rint(w * free / (top / steps)[:, None])
    damped = h + np.eye(40) * 0.01 * np.trace(h) / 40
    assert (
        made.loss.sum() < (0.5 if steps == 7 else 0.75) * loss_of(plain, w * free, damped, top / steps).sum()
    )


def layer_cases(nets: ModuleType) -> dict[str, bytes]:
    cases: dict[str, Callable[[Any, int], int]] = {
        "conv": lambda n, x: n.conv(x, 5, act=0),
        "strided": lambda n, x: n.conv(x, 5, stride=2, act=0),
        "pointwise": lambda n, x: n.conv(x, 5, 1, act=0),
        "grouped": lambda n, x: n.conv(x, 6, groups=2, act=0),
        "depthwise": lambda n, x: n.depthwise(x, 2, act=0),
        "dense": lambda n, x: n.dense(x, 7),
        "kept": lambda n, x: n.dense(x, 7, keep=True),
    }
    made = {}
    for name, build in cases.items():
        net = nets.Net(2)
        made[name] = net.build(build(net, net.input(1, 7, 9, 4)))
    net = nets.Net(2)
    net.conv(net.input(1, 7, 9, 4), 5, act=0)
    options = net.graph.operators[-1].builtinOptions
    options.dilationWFactor = options.dilationHFactor = 2
    made["dilated"] = net.build(net.graph.operators[-1].outputs[0])
    net = nets.Net(2)
    net.conv(net.input(1, 7, 9, 4), 5, act=0)
    net.graph.operators[-1].builtinOptions.padding = 1
    net.graph.tensors[net.graph.operators[-1].outputs[0]].shape = [1, 5, 7, 5]
    made["valid"] = net.build(net.graph.operators[-1].outputs[0])
    return made


def test_rows_times_weights_are_what_the_runtime_computes(nets: ModuleType, steps: ModuleType) -> None:
    for name, content in layer_cases(nets).items():
        file = parse(Path("m.tflite"), content, "")
        (layer,) = layers_of(file.main)
        op, weight = layer.operator, constant(file, layer.weight).astype(np.float64)
        form = Form.of(op, weight.shape, tuple(file.main.tensors[op.inputs[0]].shape))
        assert form is not None
        matrix = form.matrix(weight)
        np.testing.assert_array_equal(form.weight(matrix), weight)
        (values,) = Tap(content, [op.inputs[0], op.outputs[0]], steps.samples_for(content, 1)).blocks()
        count = form.places(op, values[0])
        rows = form.rows(op, values[0], np.arange(count))
        made = np.einsum("gmk,grk->mgr", rows, matrix).reshape(count, -1)
        bias = 0 if layer.bias is None else constant(file, layer.bias)
        np.testing.assert_allclose(made + bias, values[1].reshape(count, -1), atol=1e-5, err_msg=name)


def test_blocks_are_what_single_samples_give(nets: ModuleType, steps: ModuleType) -> None:
    """A model that flattens by a fixed size takes one sample a run, others many; both give the same."""
    sizes = {}
    for name in ("plain_cnn", "resnet", "siamese", "text"):
        content = nets.kind(name)
        graph = parse(Path("m.tflite"), content, "").main
        samples = steps.samples_for(content, 20)
        tap = Tap(content, [*graph.inputs, *graph.outputs], samples)
        sizes[name] = tap.size
        together = [np.concatenate(parts) for parts in zip(*tap.blocks(), strict=True)]
        single = Tap(content, graph.outputs, samples)
        single.size, single.interpreter = 1, single._opened(None)
        alone = [np.concatenate(parts) for parts in zip(*single.blocks(), strict=True)]
        for one, other in zip(alone, together[len(graph.inputs) :], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert sizes["resnet"] == 20


@pytest.mark.parametrize("name", ["plain_cnn", "mobilenet", "resnet", "decoder", "siamese"])
def test_weights_lie_on_the_grid_and_answers_stay_near(
    nets: ModuleType, steps: ModuleType, name: str
) -> None:
    content = nets.kind(name)
    samples = steps.samples_for(content, 64)
    outcome = apply(steps.work_for(content, "round-int4", samples))
    file = parse(Path("m.tflite"), outcome.content, "")
    limits = limits_by_index(outcome.content)
    touched = [layer for layer in layers_of(file.main) if layer.weight in limits]
    assert len({layer.weight for layer in touched}) == outcome.figures["layers"] > 1
    for layer in touched:
        most = 7 if layer.operator.op in FOUR_BITS else 127
        limit, axis = limits[layer.weight]
        spread = [1] * constant(file, layer.weight).ndim
        spread[axis] = -1
        integers = constant(file, layer.weight) / (limit / most).reshape(spread)
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
        assert np.abs(integers).max() < most + 0.01
    assert 0 < outcome.figures["left_error"] < 0.02


def test_zeros_of_pruning_stay_and_shared_values_are_left_alone(nets: ModuleType, steps: ModuleType) -> None:
    content = nets.kind("plain_cnn")
    file = parse(Path("m.tflite"), content, "")
    random = np.random.default_rng(0)
    weights = {layer.weight: constant(file, layer.weight) for layer in layers_of(file.main)}
    pruned = with_weights(content, {i: w * (random.random(w.shape) > 0.6) for i, w in weights.items()})
    before = (Step(label="prune-60", method="prune", settings=(), seed=0),)
    made = apply(steps.work_for(pruned, "round-int4", steps.samples_for(content, 64), before=before)).content
    held = [parse(Path("m.tflite"), c, "") for c in (pruned, made)]
    for index in weights:
        zero, after = constant(held[0], index) == 0, constant(held[1], index)
        assert zero.mean() > 0.5 and not after[zero].any() and after.any()
    shared = (Step(label="cluster-16", method="cluster", settings=(), seed=0),)
    kept = apply(steps.work_for(content, "round-int4", steps.samples_for(content, 64), before=shared))
    assert kept.content == content and "stay as an earlier step left them" in kept.notes[0]


def test_samples_fewer_than_a_batch_are_enough(nets: ModuleType, steps: ModuleType) -> None:
    net = nets.Net(4)
    content = net.build(net.dense(net.flat(net.conv(net.input(4, 8, 8, 3), 6)), 3))
    one = steps.samples_for(content, 2)
    assert (
        apply(steps.work_for(content, "round-int8", Samples(one.inputs, None, np.arange(2)))).figures[
            "layers"
        ]
        == 2
    )


def test_a_weight_of_several_turns_is_rounded_by_what_all_of_them_see(
    nets: ModuleType, steps: ModuleType, answers: Callable[..., list[Array]]
) -> None:
    """The first turn of a recurrent layer begins with zeros, and the second sees little of what comes."""
    net = nets.Net(3)
    x = net.reshape(net.dense(net.input(1, 6, 3), 8, keep=True), 6, 1, 8)
    draft = Draft(net.build(net.dense(net.recurrent(x, 16, every=False), 4)))
    unroll_loops(draft)
    content = draft.packed()
    file = parse(Path("m.tflite"), content, "")
    weights = {layer.weight for layer in layers_of(file.main)}
    outcome = apply(steps.work_for(content, "round-int4", steps.samples_for(content, 64)))
    assert outcome.figures["layers"] == len(weights) == 4 and not outcome.notes
    limits, after = limits_by_index(outcome.content), parse(Path("m.tflite"), outcome.content, "")
    assert limits.keys() == weights
    plain = {}
    for index in weights:
        value = constant(file, index)
        top = np.abs(value).max(axis=1, keepdims=True) / 7
        plain[index] = (np.rint(value / top) * top).astype(np.float32)
        held = constant(after, index) / limits[index][0][:, None] * 7
        np.testing.assert_allclose(held, np.rint(held), atol=1e-3)
    exact = np.concatenate([answers(content, seed)[0] for seed in range(20)])
    errors = [
        float(np.mean((np.concatenate([answers(c, seed)[0] for seed in range(20)]) - exact) ** 2))
        for c in (outcome.content, with_weights(content, plain))
    ]
    assert errors[0] < 0.5 * errors[1], errors
