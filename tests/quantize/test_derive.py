"""Deriving every recipe for real, from a tiny float model, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.quantize.contract import check
from edgeship.quantize.derive import Derivation, derive, derive_all
from edgeship.quantize.recipes import RECIPES
from edgeship.tflite.normalise import normalised
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import run_worker
from edgeship.values import Artifact, FloatModel, PreparedSamples


def fed(path: Path) -> PreparedSamples:
    return PreparedSamples(paths=(path,), sha256="c" * 64)


ALL = tuple(RECIPES[name] for name in RECIPES)


@pytest.fixture(scope="module")
def made(
    float_model: FloatModel, samples: Path, base_profile: Any, tmp_path_factory: pytest.TempPathFactory
) -> Derivation:
    out = tmp_path_factory.mktemp("derived")
    return derive_all(float_model, ALL, fed(samples), out, profile=base_profile)


def run(path: Path, x: np.ndarray) -> np.ndarray:
    """Return the real outputs of a model on samples `[n, ...]` (in this process: the interpreter is small)."""
    from edgeship.score.worker import Model

    model = Model(str(path))
    rows = []
    batch = model.inputs[0]["shape"][0]
    for start in range(0, len(x), batch):
        model.feed([x[start : start + batch]])
        model.invoke()
        rows.append(model.read()[0])
    return np.concatenate(rows)


def test_every_recipe_gives_a_file_that_holds_what_its_name_says(made: Derivation) -> None:
    assert made.failed == ()
    held = {a.recipe: (a.precision.weights, a.precision.activations) for a in made.artifacts}
    # int4 covers no depthwise layer: its weights stay float
    assert held == {
        "float_fp32": ("float32", "float32"),
        "weight_fp16": ("float16", "float32"),
        "dynamic_wi8_afp32": ("int8", "float32"),
        "static_wi8_ai8": ("int8", "int8"),
        "static_wi4_ai8": ("mixed", "int8"),
        "static_wi8_ai16": ("int8", "int16"),
        "weight_wi8_afp32": ("int8", "float32"),
        "weight_wi4_afp32": ("mixed", "float32"),
    }


def test_every_file_computes_what_the_float_model_computes(
    made: Derivation, float_model: FloatModel, tiny: ModuleType
) -> None:
    x = tiny.pictures(32, seed=11)
    exact = run(float_model.path, x)
    worst = {a.recipe: float(np.abs(run(a.path, x) - exact).max()) for a in made.artifacts}
    assert worst["float_fp32"] == 0
    assert worst["weight_fp16"] < 1e-3
    assert worst["static_wi8_ai16"] < 0.02
    assert worst["weight_wi8_afp32"] < 0.02
    assert worst["dynamic_wi8_afp32"] < 0.02
    assert worst["static_wi8_ai8"] < 0.03
    assert worst["static_wi4_ai8"] < 0.2
    assert worst["weight_wi4_afp32"] < 0.2


def test_every_file_passes_its_contract(made: Derivation, base_profile: Any) -> None:
    for artifact in made.artifacts:
        results = check(artifact.path, RECIPES[artifact.recipe], base_profile)
        assert {g.name: g.reason for g in results if g.verdict != "pass"} == {}, artifact.recipe
        assert [g.name for g in results] == [
            "precision",
            "io-types",
            "fully-integer",
            "static-shapes",
            "operators",
            "quantization",
        ]


def test_provenance_is_recorded(made: Derivation, float_model: FloatModel) -> None:
    by_recipe: dict[str, Artifact] = {a.recipe: a for a in made.artifacts}
    int8 = by_recipe["static_wi8_ai8"]
    assert int8.model_sha256 == float_model.source.sha256
    assert int8.calibration_sha256 == "c" * 64
    assert set(int8.tools) == {"ai-edge-quantizer", "ai-edge-litert"}
    assert by_recipe["float_fp32"].calibration_sha256 is None
    assert by_recipe["weight_fp16"].calibration_sha256 is None
    assert int8.bytes == int8.path.stat().st_size


def test_the_same_inputs_give_the_same_bytes(
    made: Derivation, float_model: FloatModel, samples: Path, base_profile: Any, tmp_path: Path
) -> None:
    again = derive_all(float_model, tuple(reversed(ALL)), fed(samples), tmp_path, profile=base_profile)
    assert {a.recipe: a.sha256 for a in again.artifacts} == {a.recipe: a.sha256 for a in made.artifacts}


def test_the_worker_never_loads_tensorflow(float_model: FloatModel, samples: Path, tmp_path: Path) -> None:
    from edgeship.quantize.recipes import row_of
    from edgeship.quantize.settings import settings

    job = {
        "recipe": "int8",
        "ranges": "narrowed",
        "correct_biases": True,
        "out": str(tmp_path / "out.tflite"),
        "settings": settings(row_of("int8"), per_channel=True, per_channel_dense=True, io="int8"),
    }
    payload = {"model": str(float_model.path), "calibration": [str(samples)], "jobs": [job]}
    value = run_worker("edgeship.quantize.worker:derive", payload).value
    assert value["failed"] == {}
    assert value["tensorflow"] is False


@pytest.mark.parametrize("io", ["float32", "uint8", "int8"])
def test_the_boundary_is_what_the_profile_wants(
    io: str, float_model: FloatModel, samples: Path, make_profile: Any, tmp_path: Path, tiny: ModuleType
) -> None:
    profile = make_profile(precision={"io": io})
    artifact = derive(float_model, RECIPES["int8"], fed(samples), tmp_path, profile=profile)
    assert {t.dtype for t in (*artifact.signature.inputs, *artifact.signature.outputs)} == {io}
    assert artifact.precision.activations == "int8" or io == "uint8"
    assert all(g.verdict == "pass" for g in check(artifact.path, RECIPES["int8"], profile))
    x = tiny.pictures(16, seed=5)
    assert np.abs(run(artifact.path, x) - run(float_model.path, x)).max() < 0.03


def test_one_scale_a_tensor_where_the_target_wants_it(
    float_model: FloatModel, samples: Path, make_profile: Any, tmp_path: Path
) -> None:
    from edgeship.tflite.reader import read_tflite

    profile = make_profile(precision={"granularity": "per_tensor"})
    artifact = derive(float_model, RECIPES["int8"], fed(samples), tmp_path, profile=profile)
    scales = {len(t.quantization.scales) for t in read_tflite(artifact.path).main.tensors if t.quantization}
    assert scales == {1}


def test_an_older_runtime_gets_dense_layers_it_computes_rightly(
    float_model: FloatModel, make_profile: Any, tmp_path: Path
) -> None:
    from edgeship.tflite.reader import read_tflite

    old = make_profile(runtime={"engine": "tflite_runtime", "version": "2.14.0"})
    artifact = derive(float_model, RECIPES["dynamic"], None, tmp_path, profile=old)
    held = read_tflite(artifact.path)
    dense = next(op for op in held.main.operators if op.op == "FULLY_CONNECTED")
    weights = held.main.tensors[dense.inputs[1]]
    assert (weights.dtype, dense.version) == ("int8", 3)
    assert weights.quantization is not None and len(weights.quantization.scales) == 1
    conv = next(op for op in held.main.operators if op.op == "CONV_2D")
    assert conv.version == 5, "per-channel hybrid convolution, which 2.4 already has"


def test_a_batch_above_one(
    tiny: ModuleType, model_of: Any, samples: Path, base_profile: Any, tmp_path: Path
) -> None:
    wide = model_of(tiny.classifier(tmp_path / "wide.tflite", batch=5))
    artifact = derive(wide, RECIPES["int8"], fed(samples), tmp_path / "out", profile=base_profile)
    x = tiny.pictures(10, seed=5)
    assert np.abs(run(artifact.path, x) - run(wide.path, x)).max() < 0.03


def test_calibration_missing(float_model: FloatModel, base_profile: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        derive(float_model, RECIPES["int8"], None, tmp_path, profile=base_profile)
    text = caught.value.render()
    assert "error: calibration-missing\n  static_wi8_ai8 (int8) needs calibration samples" in text
    assert "--recipe dynamic, which needs none" in text


def test_each_of_several_inputs_has_the_range_of_its_own_samples(
    tiny: ModuleType, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    two = model_of(tiny.adder(tmp_path / "two.tflite"))
    narrow, wide = tmp_path / "one.npy", tmp_path / "other.npy"
    source = np.random.default_rng(0)
    np.save(narrow, source.uniform(-1, 1, (50, 4)).astype(np.float32))
    np.save(wide, source.uniform(0, 255, (50, 4)).astype(np.float32))
    both = PreparedSamples(paths=(narrow, wide), sha256="c" * 64)
    made = derive(two, RECIPES["int8"], both, tmp_path / "out", profile=base_profile)
    one, other = (spec.quantization.scales[0] for spec in made.signature.inputs if spec.quantization)
    assert one == pytest.approx(2 / 255, rel=0.1) and other == pytest.approx(1, rel=0.1)
    with pytest.raises(InputError) as caught:
        derive(two, RECIPES["int8"], None, tmp_path, profile=base_profile)
    assert "(arrays one, other)" in caught.value.render()


def test_a_recipe_without_effect_fails_its_contract(
    tiny: ModuleType, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    two = model_of(tiny.adder(tmp_path / "two.tflite"))
    artifact = derive(two, RECIPES["weight-int8"], None, tmp_path / "out", profile=base_profile)
    found = {g.name: g for g in check(artifact.path, RECIPES["weight-int8"], base_profile)}
    assert found["precision"].verdict == "fail"
    assert found["precision"].reason == (
        "no tensor holds int8: the model has no operation that weight_wi8_afp32 covers"
    )


def test_a_model_that_came_quantized_passes_through(
    made: Derivation, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    int8 = next(a for a in made.artifacts if a.recipe == "static_wi8_ai8")
    given = model_of(int8.path)
    assert not given.is_float
    artifact = derive(given, RECIPES["int8"], None, tmp_path, profile=base_profile)
    assert (artifact.recipe, artifact.sha256) == ("static_wi8_ai8", int8.sha256)
    with pytest.raises(InputError) as caught:
        derive(given, RECIPES["fp16"], None, tmp_path, profile=base_profile)
    assert "weight_fp16 cannot be derived from it" in caught.value.render()


def test_one_recipe_that_fails_does_not_take_the_others(
    tiny: ModuleType, float_model: FloatModel, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    """NaN in a weight makes the int8 recipe fail in the quantizer; the float file is still made."""

    def poison(model: Any) -> None:
        graph = model.subgraphs[0]
        index = next(i for i, t in enumerate(graph.tensors) if t.name == b"conv_w")
        data = np.frombuffer(bytes(model.buffers[graph.tensors[index].buffer].data), np.float32).copy()
        data[:] = np.nan
        model.buffers[graph.tensors[index].buffer].data = np.frombuffer(data.tobytes(), np.uint8)

    bad = model_of(tiny.edited(float_model.path, tmp_path / "bad.tflite", poison))
    made = derive_all(
        bad, (RECIPES["fp32"], RECIPES["weight-int8"]), None, tmp_path / "out", profile=base_profile
    )
    assert made.artifacts[0].recipe == "float_fp32"
    if not made.failed:  # the quantizer let it through: then the contract must not
        results = check(made.artifacts[1].path, RECIPES["weight-int8"], base_profile)
        assert any(g.verdict == "fail" and g.name == "quantization" for g in results)


def test_a_loop_costs_the_recipes_that_need_ranges_and_no_other(
    tiny: ModuleType, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    """What a WHILE hands on cannot be read after a run, and what it computes inside is never seen."""
    model = model_of(tiny.looping(tmp_path / "loop.tflite"))
    samples = tmp_path / "x.npy"
    np.save(samples, np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32))
    made = derive_all(model, ALL, fed(samples), tmp_path / "out", profile=base_profile)
    assert {name for name, _ in made.failed} == {"static_wi8_ai8", "static_wi4_ai8", "static_wi8_ai16"}
    assert all("WHILE or IF" in why and "unroll=True" in why for _, why in made.failed), made.failed
    by_recipe = {a.recipe: a for a in made.artifacts}
    assert by_recipe["dynamic_wi8_afp32"].calibration_sha256 == "c" * 64
    x = np.load(samples)
    assert np.abs(run(by_recipe["weight_wi8_afp32"].path, x) - run(model.path, x)).max() < 0.3


def test_a_part_that_nobody_reads_is_typed_as_its_siblings(
    tiny: ModuleType, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    """The runtime refuses a SPLIT whose parts differ in type, as unrolled recurrent layers would have them."""
    model = model_of(tiny.gated(tmp_path / "gated.tflite"))
    samples = tmp_path / "x.npy"
    np.save(samples, np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    asked = (RECIPES["int8"], RECIPES["int16x8"])
    made = derive_all(model, asked, fed(samples), tmp_path / "out", profile=base_profile)
    assert made.failed == ()
    x = np.load(samples)
    exact = run(model.path, x)
    for artifact, wanted in zip(made.artifacts, ("int8", "int16"), strict=True):
        graph = read_tflite(artifact.path).subgraphs[0]
        (split,) = (op for op in graph.operators if op.op == "SPLIT")
        assert {graph.tensors[i].dtype for i in split.outputs} == {wanted}
        assert np.abs(run(artifact.path, x) - exact).max() < 0.1


@pytest.mark.parametrize("name", ["LEAKY_RELU", "PRELU", "ELU", "RELU6", "L2_NORMALIZATION"])
def test_operations_that_the_quantizer_leaves_in_float_get_their_integer_form(
    name: str, tiny: ModuleType, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    """An accelerator takes nothing else, and the runtime's kernels know it."""
    model = model_of(tiny.activated(tmp_path / "model.tflite", name))
    samples = tmp_path / "x.npy"
    np.save(samples, np.random.default_rng(0).normal(size=(60, 8, 8, 3)).astype(np.float32))
    made = derive_all(model, (RECIPES["int8"],), fed(samples), tmp_path / "out", profile=base_profile)
    assert made.failed == ()
    (artifact,) = made.artifacts
    graph = read_tflite(artifact.path).subgraphs[0]
    assert [op.op for op in graph.operators if op.op in ("QUANTIZE", "DEQUANTIZE")] in ([], ["QUANTIZE"])
    assert {graph.tensors[i].dtype for op in graph.operators for i in op.outputs} == {"int8"}
    assert not [g for g in check(artifact.path, RECIPES["int8"], base_profile) if g.stops]
    x = np.load(samples)
    exact, found = run(model.path, x), run(artifact.path, x)
    assert np.abs(found - exact).max() < 0.06 * np.ptp(exact)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("TILE", "middle"),
        ("TILE", "first"),
        ("TILE", "last"),
        ("DEPTH_TO_SPACE", "middle"),
        ("SPACE_TO_BATCH_ND", "middle"),
        ("BATCH_TO_SPACE_ND", "middle"),
        ("REVERSE_V2", "middle"),
    ],
)
def test_operations_that_move_values_do_so_in_int8(
    name: str, place: str, tiny: ModuleType, model_of: Any, make_profile: Any, tmp_path: Path
) -> None:
    """Repeated channels, sub-pixel layers and the dilated convolutions of old converters; also at either end."""
    model = model_of(tiny.moved(tmp_path / "model.tflite", name, place=place))
    (entry,) = model.signature.inputs
    samples = tmp_path / "x.npy"
    np.save(samples, np.random.default_rng(0).normal(size=(48, *entry.shape[1:])).astype(np.float32))
    profile = make_profile(precision={"io": "int8"})
    made = derive_all(model, (RECIPES["int8"],), fed(samples), tmp_path / "out", profile=profile)
    assert made.failed == ()
    (artifact,) = made.artifacts
    graph = read_tflite(artifact.path).subgraphs[0]
    assert name in [op.op for op in graph.operators]
    assert {graph.tensors[i].dtype for op in graph.operators for i in op.outputs} == {"int8"}
    assert {t.dtype for t in (*artifact.signature.inputs, *artifact.signature.outputs)} == {"int8"}
    assert not [g for g in check(artifact.path, RECIPES["int8"], profile) if g.stops]
    x = np.load(samples)
    exact, found = run(model.path, x), run(artifact.path, x)
    assert np.abs(found - exact).max() < 0.06 * np.ptp(exact)


def test_operations_in_a_row_that_the_quantizer_leaves_in_float_all_get_their_integer_form(
    builder: Any, model_of: Any, make_profile: Any, tmp_path: Path
) -> None:
    """A cosine of embeddings normalises what was normalised."""
    a, b, c, d, e = (builder.tensor(name, [1, 4]) for name in "abcde")
    for name, source, made in (
        ("RELU", a, b), ("L2_NORMALIZATION", b, c), ("L2_NORMALIZATION", c, d), ("RELU", d, e),
    ):  # fmt: skip
        options = builder.schema.L2NormOptionsT() if name != "RELU" else None
        builder.op(name, [source], [made], options)
    path, samples = tmp_path / "model.tflite", tmp_path / "x.npy"
    path.write_bytes(normalised(builder.build([a], [e])))
    np.save(samples, np.random.default_rng(0).uniform(0.1, 3, (40, 4)).astype(np.float32))
    profile, int8 = make_profile(precision={"io": "int8"}), (RECIPES["int8"],)
    made = derive_all(model_of(path), int8, fed(samples), tmp_path / "out", profile=profile)
    graph = read_tflite(made.artifacts[0].path).main
    assert {graph.tensors[i].dtype for op in graph.operators for i in op.outputs} == {"int8"}
    x = np.load(samples)
    assert np.abs(run(made.artifacts[0].path, x) - run(path, x)).max() < 0.02


def test_a_range_that_training_found_counts_before_the_samples(
    tflite_files: Any, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    builder = tflite_files.Builder()
    path, samples = tmp_path / "model.tflite", tmp_path / "x.npy"
    tflite_files.dense(builder)
    told = builder.schema.QuantizationParametersT()
    told.min, told.max = [0.0], [51.0]
    builder.graph.tensors[-1].quantization = told
    path.write_bytes(normalised(builder.build([0], [3])))
    np.save(samples, np.random.default_rng(0).uniform(0, 0.1, (40, 4)).astype(np.float32))
    made = derive_all(
        model_of(path), (RECIPES["int8"],), fed(samples), tmp_path / "out", profile=base_profile
    )
    assert made.failed == ()
    (held,) = (t for t in read_tflite(made.artifacts[0].path).main.tensors if t.name == "y")
    assert held.dtype == "int8" and held.quantization is not None
    assert held.quantization.scales[0] == pytest.approx(0.2)


def test_an_old_files_operations_are_read_as_what_they_are(
    float_model: FloatModel, tiny: ModuleType, model_of: Any, samples: Path, base_profile: Any, tmp_path: Path
) -> None:
    """Every recipe gives the same bytes as for the same model written today."""
    asked = tuple(recipe for recipe in ALL if recipe.name != "float_fp32")
    found = {}
    for word, change in (("new", bytes), ("old", tiny.before_tensorflow_2_4)):
        path = tmp_path / f"{word}.tflite"
        path.write_bytes(normalised(change(float_model.path.read_bytes())))
        made = derive_all(model_of(path), asked, fed(samples), tmp_path / word, profile=base_profile)
        assert made.failed == ()
        found[word] = [(a.recipe, a.sha256) for a in made.artifacts]
    assert found["old"] == found["new"]


def test_what_old_and_careless_converters_leave_out_costs_no_recipe(
    tiny: ModuleType, model_of: Any, make_profile: Any, tmp_path: Path
) -> None:
    """No signatures, two tensors of one name, data of no bytes, and a version entry that is empty, which the quantizer
    lets share a buffer with the input; the last operation has no int8 form of the quantizer's."""
    samples = tmp_path / "x.npy"
    np.save(samples, np.random.default_rng(0).normal(size=(48, 8, 8, 3)).astype(np.float32))

    def careless(model: Any) -> None:
        model.signatureDefs = None
        graph = model.subgraphs[0]
        for tensor in graph.tensors:
            if tensor.name in (b"a", b"b"):
                tensor.name = b"same"
            if not tensor.buffer:
                model.buffers.append(tiny.schema.BufferT())
                tensor.buffer = len(model.buffers) - 1
                model.buffers[-1].data = np.zeros(0, np.uint8) if tensor.name == b"c" else None
        entry = tiny.schema.MetadataT()
        model.buffers.append(tiny.schema.BufferT())
        entry.name, entry.buffer = b"min_runtime_version", len(model.buffers) - 1
        model.metadata = [entry]

    whole = tiny.activated(tmp_path / "whole.tflite", "PRELU")
    odd = tiny.edited(whole, tmp_path / "odd.tflite", careless)
    odd.write_bytes(normalised(odd.read_bytes()))
    assert len({t.name for t in read_tflite(odd).main.tensors}) == len(read_tflite(odd).main.tensors)
    profile = make_profile(precision={"io": "int8"})
    made = derive_all(model_of(odd), (RECIPES["int8"],), fed(samples), tmp_path / "out", profile=profile)
    assert made.failed == ()
    path = made.artifacts[0].path
    assert not read_tflite(path).main.tensors[0].has_data
    x = np.load(samples)
    exact, found = run(whole, x), run(path, x)
    assert np.abs(found - exact).max() < 0.06 * np.ptp(exact)


def test_samples_that_cannot_be_run_cost_the_recipes_that_need_ranges_only(
    float_model: FloatModel, base_profile: Any, tmp_path: Path
) -> None:
    samples = tmp_path / "wrong.npy"
    np.save(samples, np.zeros((4, 5), np.float32))
    asked = (RECIPES["int8"], RECIPES["dynamic"], RECIPES["fp32"])
    made = derive_all(float_model, asked, fed(samples), tmp_path / "out", profile=base_profile)
    assert [a.recipe for a in made.artifacts] == ["dynamic_wi8_afp32", "float_fp32"]
    assert made.artifacts[0].calibration_sha256 is None, "no sample was seen"
    ((recipe, why),) = made.failed
    assert recipe == "static_wi8_ai8" and why.startswith(
        "the calibration samples could not be run: ValueError"
    )


def test_token_ids_are_not_turned_into_floats(
    tiny: ModuleType, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    model = model_of(tiny.embedder(tmp_path / "embed.tflite"))
    samples = tmp_path / "ids.npy"
    np.save(samples, np.random.default_rng(0).integers(0, 20, size=(40, 6)).astype(np.int32))
    made = derive_all(model, ALL, fed(samples), tmp_path / "out", profile=base_profile)
    assert made.failed == ()
    x = np.load(samples)
    for artifact in made.artifacts:
        found = {g.name: g for g in check(artifact.path, RECIPES[artifact.recipe], base_profile)}
        assert found["io-types"].verdict == "pass", (artifact.recipe, found["io-types"])
        assert artifact.signature.inputs[0].dtype == "int32"
        assert np.abs(run(artifact.path, x) - run(model.path, x)).max() < 0.3, artifact.recipe


def test_a_transposed_convolution_to_one_channel(
    tiny: ModuleType, model_of: Any, base_profile: Any, tmp_path: Path
) -> None:
    """As it comes from the converter its bias has four axes, which the quantizer refuses; the reason is told."""
    raw = tiny.upsampler(tmp_path / "raw.tflite")
    x = tmp_path / "x.npy"
    samples = np.random.default_rng(1).random((20, 4, 4, 2)).astype(np.float32)
    np.save(x, samples)
    failed = derive_all(
        model_of(raw), (RECIPES["int8"],), fed(x), tmp_path / "a", profile=base_profile
    ).failed
    assert "Failed to quantize bias tensor" in failed[0][1]
    assert "(because of ValueError: Ranks of scales" in failed[0][1]
    fit = tmp_path / "fit.tflite"
    fit.write_bytes(normalised(raw.read_bytes()))
    made = derive(model_of(fit), RECIPES["int8"], fed(x), tmp_path / "b", profile=base_profile)
    exact, got = run(fit, samples), run(made.path, samples)
    assert np.abs(exact - got).max() < 0.05 * np.abs(exact).max()
