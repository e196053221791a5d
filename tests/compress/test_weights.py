"""Values that weights are held to: centres, masks, limits; and a file with other weights."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeship.compress.codebook import centres_of, nearest
from edgeship.compress.fake_quant import best_limits, largest, shared_ranges
from edgeship.compress.prune import masks_of
from edgeship.compress.rewriting.loops import unroll_loops
from edgeship.tflite.draft import Draft
from edgeship.tflite.flat import parse
from edgeship.tflite.refit import unpacked
from edgeship.tflite.weights import constant, layers_of, weight_limits, with_weights

FLOATS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=9), elements=st.floats(-4, 4, width=32)
)


@given(FLOATS, st.integers(2, 20), st.booleans())
@settings(max_examples=60, deadline=None)
def test_centres_are_few_ascending_and_near(values: np.ndarray, count: int, zero: bool) -> None:  # type: ignore[type-arg]
    centres = centres_of(values, count, zero=zero)
    assert centres.size <= count and (np.diff(centres) >= 0).all()
    assert not zero or 0.0 in centres
    distinct = np.unique(values[values != 0] if zero else values)
    if distinct.size <= (count - 1 if zero else count):
        assert set(distinct) <= set(centres), "few values are their own centres"
    elif not zero:
        flat = values.reshape(-1).astype(np.float64)
        error = np.abs(flat - centres[nearest(flat, centres.astype(np.float64))]).max()
        assert error <= np.ptp(flat), "no value is farther from its centre than all are from each other"


@given(FLOATS, st.sampled_from([3, 4, 8]))
@settings(max_examples=60, deadline=None)
def test_the_best_limit_is_no_worse_than_the_largest_magnitude(values: np.ndarray, bits: int) -> None:  # type: ignore[type-arg]
    steps = 2 ** (bits - 1) - 1

    def error(limits: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        scale = (limits / steps).reshape(-1, *[1] * (values.ndim - 1)).astype(np.float64)
        wrong = (np.clip(np.rint(values / scale), -steps, steps) * scale - values) ** 2
        return np.asarray(wrong.reshape(len(values), -1).sum(axis=1))

    assert (error(best_limits(values, 0, bits)) <= error(largest(values, 0)) + 1e-6).all()


def test_masks_have_as_many_zeros_as_said(tiny_models: ModuleType, tmp_path: Path) -> None:
    file = parse(tmp_path, tiny_models.classifier(tmp_path / "m.tflite").read_bytes(), "")
    layers = layers_of(file.main)
    rng = np.random.default_rng(0)
    values = {
        layer.weight: rng.normal(size=(16, 3, 3, 16)).astype(np.float32) * 10**k
        for k, layer in enumerate(layers)
    }
    total = sum(v.size for v in values.values())
    for share in (0.0, 0.3, 0.8):
        masks = masks_of(layers, values, "free", share)
        assert abs(sum((m == 0).sum() for m in masks.values()) / total - share) < 0.005
        assert all((m != 0).any() for m in masks.values()), "no layer gives all its weights"
    halves = masks_of(layers, values, "2x4", 0.5)
    assert all((m.reshape(-1, 4).sum(axis=1) == 2).all() for m in halves.values())
    blocks = masks_of(layers, values, "blocks", 0.5)
    assert all(set(m.reshape(-1, 4).sum(axis=1)) <= {0.0, 4.0} for m in blocks.values())


def test_a_file_with_other_weights_tells_their_limits(tiny_models: ModuleType, tmp_path: Path) -> None:
    content = tiny_models.classifier(tmp_path / "m.tflite").read_bytes()
    file = parse(tmp_path, content, "")
    first = layers_of(file.main)[0]
    value = constant(file, first.weight) * 2
    limits = largest(value, first.axis)
    made = with_weights(
        content, {first.weight: value}, ranges={first.operator.outputs[0]: (0.0, 3.0)},
        limits={first.weight: limits}, axes={first.weight: first.axis},
    )  # fmt: skip
    changed = parse(tmp_path, made, "")
    np.testing.assert_array_equal(constant(changed, first.weight), value)
    told, axis = weight_limits(unpacked(made)[0])[file.main.tensors[first.weight].name]
    np.testing.assert_array_equal(told, limits)
    assert axis == first.axis
    assert changed.main.tensors[first.operator.outputs[0]].maximum == (3.0,)
    others = [layer for layer in layers_of(file.main) if layer.weight != first.weight]
    for layer in others:
        np.testing.assert_array_equal(constant(changed, layer.weight), constant(file, layer.weight))


def test_what_only_moves_values_shares_a_range(tiny_models: ModuleType, tmp_path: Path) -> None:
    graph = parse(tmp_path, tiny_models.classifier(tmp_path / "m.tflite").read_bytes(), "").main
    pools = [op for op in graph.operators if op.op in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE")]
    shared = shared_ranges(graph)
    assert pools and all(
        shared.get(op.inputs[0], op.inputs[0]) == shared.get(op.outputs[0], op.outputs[0]) for op in pools
    )


def test_what_the_turns_of_a_loop_make_has_one_range(nets: ModuleType) -> None:
    net = nets.Net(3)
    x = net.reshape(net.dense(net.input(1, 5, 3), 4, keep=True), 5, 1, 4)
    draft = Draft(net.build(net.dense(net.recurrent(x, 6, every=False), 2)))
    unroll_loops(draft)
    graph = parse(Path("m.tflite"), draft.packed(), "").main
    first = shared_ranges(graph)
    sums = [op.outputs[0] for op in graph.operators if op.op == "ADD"]
    assert len(sums) == 5 and len({first.get(index, index) for index in sums}) == 1
    floats = {t.index for t in graph.tensors if t.dtype == "float32" and not t.has_data}
    assert len({first.get(index, index) for index in floats}) < 10 < len(floats)
