"""What rounding and equalisation are worth in the file that ships, made by the recipe itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgeship.assets import targets_folder
from edgeship.compress import equalise, rounding
from edgeship.digest import sha256_file
from edgeship.profile import TargetProfile, load_profile
from edgeship.quantize.derive import derive_all, one_scale_operations
from edgeship.quantize.recipes import RECIPES
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.precision import precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.weights import constant, layers_of, limits_by_index, with_weights
from edgeship.values import FloatModel, ModelSource, PreparedSamples

Array = np.ndarray[Any, Any]


def target(granularity: str) -> TargetProfile:
    plain = load_profile("x86-64-linux", folders=[targets_folder()])
    return plain.model_copy(
        update={"precision": plain.precision.model_copy(update={"granularity": granularity})}
    )


def made(
    content: bytes, recipes: Sequence[str], samples: Array, folder: Path, profile: TargetProfile
) -> list[Path]:
    """Return the files of recipes, derived from a float model."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.tflite"
    path.write_bytes(content)
    np.save(folder / "x.npy", samples)
    held = read_tflite(path)
    source = ModelSource(path=path, kind="tflite", sha256=sha256_file(path))
    model = FloatModel(
        path=path, source=source, sha256=source.sha256, signature=held.signature, is_float=True, tools={}
    )
    fed = PreparedSamples(paths=(folder / "x.npy",), sha256="c" * 64)
    derived = derive_all(model, [RECIPES[recipe] for recipe in recipes], fed, folder, profile=profile)
    assert derived.failed == ()
    return [artifact.path for artifact in derived.artifacts]


def answered(path: Path, x: Array) -> Array:
    from edgeship.score.worker import Model

    model, rows = Model(str(path)), []
    for sample in x:
        model.feed([sample[None]])
        model.invoke()
        rows.append(np.array(model.read()[0]).reshape(-1))
    return np.array(rows)


def integers_of(file: TfliteFile, name: str) -> Array:
    """Return the integers of a weight as `[...]` of its shape, unpacked where they are of 4 bits."""
    (tensor,) = (t for t in file.main.tensors if t.name == name)
    stored = np.frombuffer(file.tensor_bytes(tensor.index), np.int8)
    if tensor.dtype == "int4":
        stored = np.stack([np.left_shift(stored, 4) >> 4, stored >> 4], axis=-1).reshape(-1)
    return stored[: tensor.elements].reshape(tensor.shape)


def test_the_integers_are_those_of_the_grid(nets: ModuleType, steps: ModuleType, tmp_path: Path) -> None:
    """Rounded for 4 bits with zeros of pruning: the final file holds these integers whatever it stores them in."""
    net = nets.Net(3)
    x = net.depthwise(net.conv(net.input(1, 8, 8, 3), 8))
    content = net.build(net.dense(net.mean(net.conv(net.up(x, 6), 8), 1, 2), 10))
    samples = steps.samples_for(content, 48)
    file = parse(Path("m.tflite"), content, "")
    random = np.random.default_rng(0)
    weights = {layer.weight: constant(file, layer.weight) for layer in layers_of(file.main)}
    zeros = {i: random.random(w.shape) < 0.4 for i, w in weights.items()}
    content = with_weights(content, {i: np.where(zeros[i], 0, w) for i, w in weights.items()})
    before = (steps.step("prune-40"),)
    rounded = rounding.apply(steps.work_for(content, "round-int4", samples, before=before)).content
    profile = target("per_channel")
    paths = made(rounded, ["int4", "int8", "int16x8", "dynamic"], samples.inputs[0], tmp_path, profile)
    source, limits = parse(Path("m.tflite"), rounded, ""), limits_by_index(rounded)
    assert len(limits) == 4, "all but the transposed convolution"
    files = [read_tflite(path) for path in paths]
    for index, (limit, axis) in limits.items():
        spread = [1] * weights[index].ndim
        spread[axis] = -1
        narrow = weights[index].shape[0] != 1  # depthwise weights keep 8 bits
        grid = np.rint(constant(source, index) / (limit / (7 if narrow else 127)).reshape(spread))
        for held in files:
            found = integers_of(held, source.main.tensors[index].name)
            np.testing.assert_array_equal(found, grid, err_msg=source.main.tensors[index].name)
            assert not found[zeros[index]].any() and (not narrow or np.unique(found).size <= 15)
    told = precision_of(files[0])
    assert (told.weights, told.activations) == ("mixed", "int8"), "the depthwise layer has 8 bits"


def test_a_model_that_one_scale_breaks_recovers(nets: ModuleType, steps: ModuleType, tmp_path: Path) -> None:
    """Channels of sizes from 1/20 to 20, undone by the next layer: float answers as before, one scale a tensor does
    not. At least 80 % of what is lost comes back."""
    net = nets.Net(0)
    x = net.pool(net.conv(net.pool(net.conv(net.input(1, 8, 8, 1), 16)), 12))
    content = steps.unlike(net.build(net.dense(net.flat(x), 10)), 0)
    samples, unseen = steps.samples_for(content, 200, 1), steps.samples_for(content, 200, 2).inputs[0]
    profile = target("per_tensor")
    one_scale = frozenset(one_scale_operations(RECIPES["int8"], profile))
    better = equalise.apply(steps.work_for(content, "equalise", samples, one_scale=one_scale)).content
    both = rounding.apply(steps.work_for(better, "round-int8", samples, one_scale=one_scale)).content
    (tmp_path / "float.tflite").write_bytes(content)
    exact = answered(tmp_path / "float.tflite", unseen)
    usual = exact.mean(0)
    agreed = []
    for number, one in enumerate((content, better, both)):
        (path,) = made(one, ["int8"], samples.inputs[0], tmp_path / str(number), profile)
        agreed.append(float(((answered(path, unseen) - usual).argmax(1) == (exact - usual).argmax(1)).mean()))
    broken, equalised, rounded = agreed
    assert broken < 0.6
    assert min(equalised, rounded) > broken + 0.8 * (1 - broken)
