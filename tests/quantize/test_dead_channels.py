"""Dead channels: a bias that does not fit beside its weights' scale is made to fit, and nothing seen gets lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeship.quantize import bias_edit, worker
from edgeship.quantize.contract import check
from edgeship.quantize.derive import derive
from edgeship.quantize.recipes import RECIPES, row_of
from edgeship.quantize.settings import settings
from edgeship.tflite.findings import find_problems
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.soundness import bad_biases, bad_scales, odd_bias_scales
from edgeship.values import PreparedSamples

SIDE, CHANNELS, OUT = 6, 4, 8
DEAD = {1: (0.0, 1.5), 3: (1e-12, 0.7), 6: (1e-8, -2.0)}
"""Channel -> (size of its weights, its bias)."""
NOTE = (
    "the bias of 2 channels of layer 'dull' did not fit beside weights that are near 0 (dead channels): their weight "
    "scales were raised; what that rounds away is below a step of the output"
)
KINDS = ("CONV_2D", "grouped", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
Array = np.ndarray[Any, Any]


def weights_for(kind: str, spread: float, dead: dict[int, tuple[float, float]]) -> tuple[Array, Array]:
    """Return random weights, laid out as `kind` wants them, and biases, with channels killed."""
    random = np.random.default_rng(11)
    shape = {
        "FULLY_CONNECTED": (OUT, CHANNELS),
        "grouped": (OUT, 3, 3, 2),
        "DEPTHWISE_CONV_2D": (OUT, 1, 3, 3),
    }
    weights = spread * random.normal(size=shape.get(kind, (OUT, 3, 3, CHANNELS)))
    biases = 0.3 * random.normal(size=OUT)
    for channel, (size, bias) in dead.items():
        weights[channel] *= size / spread
        biases[channel] = bias
    if kind == "DEPTHWISE_CONV_2D":
        weights = np.moveaxis(weights, 0, -1)
    return weights.astype(np.float32), biases.astype(np.float32)


def layers(
    tiny: ModuleType,
    path: Path,
    kind: str,
    *,
    spread: float = 0.3,
    dead: dict[int, tuple[float, float]] | None = None,
    relu: bool = True,
    times: int = 1,
) -> Path:
    """Write one layer of `kind` over x; `times` 2: the same weights over two inputs of unlike range, joined."""
    build = tiny.Builder()
    entry = [1, CHANNELS] if kind == "FULLY_CONNECTED" else [1, SIDE, SIDE, CHANNELS]
    x = build.tensor("x", entry)
    weights, biases = weights_for(kind, spread, DEAD if dead is None else dead)
    w = build.tensor("net/dull/Conv2D", list(weights.shape), weights)
    b = build.tensor("net/dull/BiasAdd/ReadVariableOp", [OUT], biases)
    sides = [1, OUT] if kind == "FULLY_CONNECTED" else [1, SIDE, SIDE, OUT]
    made = []
    for number in range(times):
        source = x
        if number:
            half = build.tensor("half", [1], np.array([0.125], np.float32))
            source = build.tensor("quarter", entry)
            build.operation("MUL", [x, half], [source], schema.MulOptionsT())
        y = build.tensor(f"net/dull/Relu{number or ''};net/dull/BiasAdd;net/dull/Conv2D", sides)
        _add(build, kind, [source, w, b], y, relu)
        made.append(y)
    if times == 1:
        return build.write(path, [x], made)
    total = build.tensor("total", sides)
    build.operation("ADD", made, [total], schema.AddOptionsT())
    return build.write(path, [x], [total])


def _add(build: Any, kind: str, inputs: list[int], y: int, relu: bool) -> None:
    code = schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
    name = "CONV_2D" if kind == "grouped" else kind
    options: Any = {
        "CONV_2D": schema.Conv2DOptionsT,
        "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptionsT,
        "FULLY_CONNECTED": schema.FullyConnectedOptionsT,
        "TRANSPOSE_CONV": schema.TransposeConvOptionsT,
    }[name]()
    options.fusedActivationFunction = code
    if name != "FULLY_CONNECTED":
        options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        options.dilationWFactor = options.dilationHFactor = 1
    if name == "DEPTHWISE_CONV_2D":
        options.depthMultiplier = OUT // CHANNELS
    if name == "TRANSPOSE_CONV":
        sizes = build.tensor("sizes", [4], np.array([1, SIDE, SIDE, OUT], np.int32), kind="INT32")
        inputs = [sizes, inputs[1], inputs[0], inputs[2]]
    build.operation(name, inputs, [y], options)


def inputs_for(kind: str, count: int, *, seed: int = 1) -> Array:
    """Return samples for `layers` in -1..1."""
    shape = (CHANNELS,) if kind == "FULLY_CONNECTED" else (SIDE, SIDE, CHANNELS)
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    path: Path
    notes: list[str]
    warnings: list[str]


def derived(path: Path, kind: str, recipe: str, *, per_channel: bool = True) -> Made:
    """Derive in this process, as the worker does: a process for each of so many files takes minutes."""
    samples, out, row = path.with_suffix(".npy"), path.with_name(f"{recipe}.tflite"), row_of(recipe)
    np.save(samples, inputs_for(kind, 40))
    job = {
        "recipe": recipe,
        "ranges": row.ranges,
        "correct_biases": row.corrects_biases,
        "out": str(out),
        "settings": settings(
            row, per_channel=per_channel, per_channel_dense=per_channel, io=row.recipe.precision.io
        ),
    }
    value = worker.derive({"model": str(path), "calibration": [str(samples)], "jobs": [job]}, lambda *_: None)
    assert value["failed"] == {}
    return Made(path=out, **value["told"][recipe])


def steps_off(artifact: Made, path: Path, kind: str) -> np.ndarray[Any, Any]:
    """Return the largest difference of each output channel to the float model, in steps of the output."""
    x = inputs_for(kind, 40)
    step = read_tflite(artifact.path).main
    scale = step.tensors[step.outputs[0]].quantization
    assert scale is not None
    off = np.abs(answers(artifact.path, x) - answers(path, x)).reshape(-1, 8).max(0) / scale.scales[0]
    return np.asarray(off)


def answers(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from edgeship.score.worker import Model

    model, rows = Model(str(path)), []
    for one in x:
        model.feed([one[None]])
        model.invoke()
        rows.append(model.read()[0])
    return np.concatenate(rows)


def assert_sound(path: Path) -> None:
    held = read_tflite(path)
    assert [list(f) for f in (bad_biases(held, held.main), bad_scales(held.main), odd_bias_scales(held.main))] == [
        [], [], [],
    ]  # fmt: skip


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_channel_answers_with_its_bias(
    kind: str, granularity: str, tiny: ModuleType, tmp_path: Path
) -> None:
    path = layers(tiny, tmp_path / "float.tflite", kind)
    artifact = derived(path, kind, "int8", per_channel=granularity == "per_channel")
    assert_sound(artifact.path)
    off = steps_off(artifact, path, kind)
    assert off[list(DEAD)].max() <= 1.01, off
    assert off.max() < 12, off
    if (
        granularity == "per_channel"
    ):  # the third dead channel is below 0 whatever comes in, and a RELU hides it
        assert artifact.notes == [NOTE]
        assert artifact.warnings == []
    else:  # one scale a tensor is the live channels', under which every bias fits
        assert artifact.notes == []


@pytest.mark.parametrize("kind", KINDS)
def test_int16_activations_keep_biases_beyond_32_bits(kind: str, tiny: ModuleType, tmp_path: Path) -> None:
    """ai-edge-quantizer stores 64 bits and clips at 32: the dead channels came out as 0."""
    path = layers(tiny, tmp_path / "float.tflite", kind)
    artifact = derived(path, kind, "int16x8")
    assert_sound(artifact.path)
    x = inputs_for(kind, 20)
    off = np.abs(answers(artifact.path, x) - answers(path, x)).reshape(-1, 8).max(0)
    assert off[list(DEAD)].max() < 2e-4, off
    assert off.max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_one_scale_that_is_too_small_for_every_bias_is_raised(
    kind: str, tiny: ModuleType, tmp_path: Path
) -> None:
    path = layers(tiny, tmp_path / "float.tflite", kind, spread=1e-10, dead={}, relu=False)
    artifact = derived(path, kind, "int8", per_channel=False)
    assert_sound(artifact.path)
    assert steps_off(artifact, path, kind).max() <= 1.01
    assert "did not fit" in artifact.notes[0] and artifact.warnings == []


def test_live_channels_keep_their_scale_beside_one_that_a_relu_hides(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """With one scale a tensor, raising it for a bias of -1e6 would round all the others away."""
    path = layers(tiny, tmp_path / "float.tflite", "CONV_2D", spread=1e-4, dead={2: (1e-4, -1e6)})
    artifact = derived(path, "CONV_2D", "int8", per_channel=False)
    assert_sound(artifact.path)
    assert artifact.notes == []
    assert steps_off(artifact, path, "CONV_2D").max() < 2
    kernel = next(t for t in read_tflite(artifact.path).main.tensors if t.name.startswith("net/dull/Conv2D"))
    assert kernel.quantization is not None and kernel.quantization.scales[0] < 1e-5


@pytest.mark.parametrize("kind", ["CONV_2D", "FULLY_CONNECTED"])
def test_weights_that_two_layers_share_suit_the_biases_of_both(
    kind: str, tiny: ModuleType, tmp_path: Path
) -> None:
    path = layers(tiny, tmp_path / "float.tflite", kind, times=2)
    artifact = derived(path, kind, "int8")
    assert_sound(artifact.path)
    assert steps_off(artifact, path, kind)[list(DEAD)].max() <= 2


def test_nothing_is_touched_where_every_bias_fits(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = layers(tiny, tmp_path / "float.tflite", "CONV_2D", dead={})
    artifact = derived(path, "CONV_2D", "int8")
    assert artifact.notes == []
    held = read_tflite(artifact.path)
    data, weights, bias = (held.main.tensors[i] for i in held.main.operators[0].inputs)
    assert (
        weights.quantization is not None and bias.quantization is not None and data.quantization is not None
    )
    products = [data.quantization.scales[0] * s for s in weights.quantization.scales]
    assert bias.quantization.scales == pytest.approx(products, rel=1e-6)


def test_the_artifact_tells_and_passes_its_contract(
    tiny: ModuleType, base_profile: Any, model_of: Any, tmp_path: Path
) -> None:
    path = layers(tiny, tmp_path / "float.tflite", "CONV_2D")
    np.save(tmp_path / "x.npy", inputs_for("CONV_2D", 40))
    prepared = PreparedSamples(paths=(tmp_path / "x.npy",), sha256="c" * 64)
    artifact = derive(model_of(path), RECIPES["int8"], prepared, tmp_path / "out", profile=base_profile)
    assert (artifact.notes, artifact.warnings) == ((NOTE,), ())
    results = check(artifact.path, RECIPES["int8"], base_profile)
    assert {g.name: g.reason for g in results if g.verdict == "fail"} == {}


def test_a_model_that_came_with_such_a_bias_is_told_in_one_line(
    tiny: ModuleType, base_profile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = layers(tiny, tmp_path / "float.tflite", "CONV_2D")
    monkeypatch.setattr(bias_edit, "fit_biases", lambda *_: bias_edit.Fitted())
    given = derived(path, "CONV_2D", "int8")
    gate = next(
        g for g in check(given.path, RECIPES["int8"], base_profile, given=True) if g.name == "quantization"
    )
    assert gate.verdict == "fail"
    assert gate.reason.startswith(
        "one channel has a bias that does not fit 32 bits, the first 'dull' (channel 1: -2.1"
    )
    assert gate.reason.count("dull") == 1, (
        "a positive bias that was clipped became the lowest int32: no RELU hides it"
    )
    found = [f.message for f in find_problems(read_tflite(given.path)) if f.code == "bias-overflow"]
    assert any("a bias that does not fit 32 bits, the first 'dull' (" in message for message in found)
    wide = derived(path, "CONV_2D", "int16x8")  # clipped at 32 of its 64 bits
    gates = check(wide.path, RECIPES["int16x8"], base_profile, given=True)
    assert "a bias that does not fit 32 bits" in next(g.reason for g in gates if g.name == "quantization")
