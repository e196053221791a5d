"""Chains of training steps on a small model: what each promises is in the file at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.tflite.flat import parse
from edgeship.tflite.refit import unpacked
from edgeship.tflite.weights import Layer, constant, layers_of, weight_limits, with_weights
from edgeship.toolchain import run_worker

pytestmark = pytest.mark.slow
SETTINGS = ",epochs=2,steps=8,batch=32,augment=none"
CHAINS = [
    (["finetune" + SETTINGS], "float_fp32"),
    (["prune-60" + SETTINGS], "static_wi8_ai8"),
    (["prune-60" + SETTINGS, "cluster-8" + SETTINGS], "static_wi8_ai8"),
    (["prune-60" + SETTINGS, "cluster-8" + SETTINGS, "qat-int8" + SETTINGS], "static_wi8_ai8"),
    (["qat-int4" + SETTINGS], "static_wi4_ai8"),
    (["cluster-8" + SETTINGS], "float_fp32"),
    (["prune-2x4" + SETTINGS], "float_fp32"),
]
LEARNING = ",epochs=3,steps=30,batch=32,augment=none,rate=0.01,labels=1"
CAME = [
    (["finetune" + LEARNING], "float_fp32"),
    (["finetune,given=free" + LEARNING], "float_fp32"),
    (["qat-int8" + LEARNING], "static_wi8_ai8"),
    (["prune-30" + LEARNING], "static_wi8_ai8"),
]
"""The same of a model that others pruned and clustered, towards labels that make it change."""


class Made:
    """The file of one chain."""

    def __init__(self, path: Path, told: dict[str, Any]) -> None:
        self.content = path.read_bytes()
        self.file, self.told = parse(path, self.content, ""), told
        self.layers = layers_of(self.file.main)

    def weight(self, layer: Layer) -> np.ndarray[Any, Any]:
        return np.asarray(constant(self.file, layer.weight))

    @property
    def large(self) -> list[Layer]:
        total = sum(self.weight(layer).size for layer in self.layers)
        return [layer for layer in self.layers if self.weight(layer).size >= 0.01 * total]

    def limits(self, layer: Layer) -> np.ndarray[Any, Any]:
        told, axis = weight_limits(unpacked(self.content)[0])[self.file.main.tensors[layer.weight].name]
        shape = [1] * self.weight(layer).ndim
        if told.size > 1:
            shape[axis] = told.size
        return told.reshape(shape)


@pytest.fixture(scope="module")
def made(once: Callable[..., Path], tiny_models: ModuleType) -> list[Made]:
    """What came of every chain, done once."""
    import json

    def fill(folder: Path) -> None:
        path = tiny_models.classifier(folder / "model.tflite")
        np.save(folder / "x.npy", tiny_models.pictures(200))
        graph = parse(path, path.read_bytes(), "").main
        payload = {
            "model": str(path),
            "folder": str(folder),
            "train": {"inputs": [str(folder / "x.npy")], "labels": None},
            "ranges": {t.name: [-4.0, 4.0] for t in graph.tensors if t.dtype == "float32" and not t.has_data},
            "chains": [*CHAINS, *([*chain, str(folder / "came.tflite")] for chain in CAME)],
            "labelled": {"inputs": [str(folder / "x.npy")], "labels": str(folder / "y.npy")},
        }
        np.save(folder / "y.npy", np.random.default_rng(2).integers(0, 2, 200))
        (folder / "came.tflite").write_bytes(pruned_and_clustered(path.read_bytes()))
        told = run_worker("chains:run", payload, python_path=(Path(__file__).parent,)).value
        (folder / "told.json").write_text(json.dumps(told))

    folder = once("compress-chains", fill)
    told = json.loads((folder / "told.json").read_text())
    return [Made(folder / f"{k}.tflite", told[str(k)]) for k in range(len(CHAINS) + len(CAME))]


def pruned_and_clustered(content: bytes) -> bytes:
    """Return the classifier with 60 % zeros in its convolution and four values in its depthwise one."""
    file = parse(Path("m.tflite"), content, "")
    first, second, _ = layers_of(file.main)
    pruned, shared = constant(file, first.weight).copy(), constant(file, second.weight)
    pruned[np.abs(pruned) < np.quantile(np.abs(pruned), 0.6)] = 0
    edges = np.quantile(shared, [0.25, 0.5, 0.75])
    clustered = np.array([-0.6, -0.2, 0.3, 0.7], np.float32)[np.digitize(shared, edges)]
    return with_weights(content, {first.weight: pruned, second.weight: clustered})


def test_zeros_and_shared_values_that_a_model_came_with_stay(
    made: list[Made], once: Callable[..., Path]
) -> None:
    path = once("compress-chains", lambda folder: None) / "came.tflite"
    came = Made(path, {})
    first, second, _ = came.layers
    zeros = came.weight(first) == 0
    kept, free, on_grid, pruned = made[len(CHAINS) :]
    for one in (kept, on_grid, pruned):
        assert (one.weight(first)[zeros] == 0).all()
        assert not np.array_equal(one.weight(first), came.weight(first)), "it learned"
        notes = " ".join(one.told["notes"])
        assert "1 of 3 weights came pruned (60% zeros): their zeros are kept" in notes
        assert "1 of 3 weights came clustered: their values stay shared" in notes
    assert np.unique(kept.weight(second)).size <= 4 and np.unique(pruned.weight(second)).size <= 5
    assert (pruned.weight(second) == 0).any(), "pruning may add zeros to what is shared"
    integers = on_grid.weight(second) / on_grid.limits(second) * 127
    np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
    assert np.unique(np.rint(integers)).size <= 4
    assert (free.weight(first)[zeros] != 0).mean() > 0.5 and np.unique(free.weight(second)).size > 60
    assert not free.told["notes"]


def test_pruned_files_hold_the_zeros_and_tell_them(made: list[Made]) -> None:
    pruned = made[1]
    weights = np.concatenate([pruned.weight(layer).reshape(-1) for layer in pruned.large])
    assert 0.57 < (weights == 0).mean() < 0.63


def test_later_steps_keep_zeros_and_shared_values(made: list[Made]) -> None:
    zeros = {layer.weight: made[1].weight(layer) == 0 for layer in made[1].large}
    for number in (2, 3):
        for layer in made[number].large:
            weight = made[number].weight(layer)
            assert (weight[zeros[layer.weight]] == 0).all()
            integers = weight / made[number].limits(layer) * 127
            np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
            assert np.unique(np.rint(integers)).size <= 8
    assert made[3].told["figures"]["zeros"] > 0.5


def test_trained_ranges_and_grids_are_in_the_file(made: list[Made]) -> None:
    for layer in made[4].layers:
        integers = made[4].weight(layer) / made[4].limits(layer) * 7
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
        assert np.abs(integers).max() < 7.01
    tensors = made[4].file.main.tensors
    assert len(tensors[made[4].layers[0].operator.outputs[0]].maximum) == 1
    assert made[1].file.main.tensors[made[1].layers[0].operator.outputs[0]].maximum == ()


def test_without_a_grid_the_values_themselves_are_shared(made: list[Made]) -> None:
    for layer in made[5].large:
        assert np.unique(made[5].weight(layer)).size <= 8


def test_two_of_four_are_zero(made: list[Made]) -> None:
    for layer in made[6].large:
        weight = made[6].weight(layer)
        if weight.shape[-1] % 4 == 0:
            assert ((weight.reshape(-1, 4) == 0).sum(axis=1) >= 2).all()


def test_the_teacher_itself_is_not_made_worse(made: list[Made]) -> None:
    figures = made[0].told["figures"]
    assert figures["held_out_loss"] <= figures["held_out_loss_before"] < 1e-6
