"""Which weights of a model count as pruned or clustered by others, and for how long."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.compress.came import came_with
from edgeship.compress.methods import step_of
from edgeship.compress.work import Work
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import layers_of, with_weights

Array = np.ndarray[Any, Any]


def net(nets: ModuleType, value: Array) -> bytes:
    """A model of one convolution with this weight."""
    build = nets.Net(1)
    x = build.input(1, 6, 6, value.shape[-1])
    w = build.tensor(list(value.shape), value.astype(np.float32), "w")
    return bytes(build.build(build.conv(x, len(value), value.shape[1], w=w)))


def work(
    content: bytes, original: bytes | None = None, label: str = "distill", one: tuple[str, ...] = ()
) -> Work:
    return Work(
        content=content, step=step_of(label), before=(), original=original or content, recipe="static_wi8_ai8",
        train=None, held_out=None, calibration=None, one_scale=frozenset(one),
    )  # fmt: skip


def told(content: bytes, **how: Any) -> tuple[bool, Array | None]:
    """Return (whether the weight came pruned, the limits that its values are few in)."""
    file = parse(Path("m.tflite"), content, "")
    came = came_with(work(content, **how), file)
    (layer,) = layers_of(file.main)
    return layer.weight in came.pruned, came.shared.get(layer.weight)


def drawn(*shape: int) -> Array:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("share", "pruned"), [(0.0, False), (0.25, False), (0.35, True), (1.0, True)])
def test_who_pruned_left_many_exact_zeros(nets: ModuleType, share: float, pruned: bool) -> None:
    value = drawn(8, 3, 3, 4)
    value[np.abs(value) <= np.quantile(np.abs(value), share)] = 0 if share else value.flat[0]
    assert told(net(nets, value))[0] is pruned


def test_small_weights_say_nothing(nets: ModuleType) -> None:
    assert told(net(nets, np.zeros((3, 3, 3, 2)))) == (False, None)


def test_zeros_that_came_by_a_step_or_are_gone_are_not_held_as_the_models(nets: ModuleType) -> None:
    whole = drawn(8, 3, 3, 4)
    zeros = np.where(np.abs(whole) > 1, whole, 0)
    assert told(net(nets, zeros), original=net(nets, zeros))[0]
    assert not told(net(nets, zeros), original=net(nets, whole))[0]
    assert not told(net(nets, whole), original=net(nets, zeros))[0]
    assert told(net(nets, zeros), label="qat-int8,given=free") == (False, None)


def test_few_values_in_all_or_in_units_of_each_channel(nets: ModuleType) -> None:
    values = np.sign(drawn(8, 3, 3, 4)) * np.random.default_rng(1).integers(1, 8, (8, 3, 3, 4))
    values.reshape(8, -1)[:, 0] = 7
    pruned, limits = told(net(nets, values / 7))
    assert not pruned and limits is not None and limits.tolist() == [1.0]
    folded = values / 7 * np.linspace(0.3, 1.9, 8)[:, None, None, None]  # as a batch norm does
    limits = told(net(nets, folded))[1]
    np.testing.assert_allclose(limits, np.linspace(0.3, 1.9, 8), rtol=1e-6)
    assert told(net(nets, folded), one=("CONV_2D",))[1] is None, "one scale in all: they are many there"
    assert told(net(nets, drawn(8, 3, 3, 4)))[1] is None


def test_values_are_few_in_units_that_stand_in_the_file(nets: ModuleType) -> None:
    integers = np.random.default_rng(2).integers(-6, 7, (8, 3, 3, 4))
    scales = np.linspace(0.2, 3.0, 8)
    content = net(nets, integers * scales[:, None, None, None] / 7)
    file = parse(Path("m.tflite"), content, "")
    (layer,) = layers_of(file.main)
    limits = {layer.weight: scales.astype(np.float32)}
    held = with_weights(content, {}, limits=limits, axes={layer.weight: 0})
    np.testing.assert_array_equal(told(held)[1], scales.astype(np.float32))
