"""Method `mixed`: the file tells the precision of operations, the recipe honours it, the contract knows of it."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgeship.compress import mixed
from edgeship.compress.methods import step_of
from edgeship.compress.mixed import Priced
from edgeship.compress.plan import planned, recipe_for
from edgeship.digest import sha256_file
from edgeship.errors import InputError
from edgeship.pipeline.search_plan import may_mix
from edgeship.pipeline.sensitivity import Place, resolved
from edgeship.progress import Silent
from edgeship.quantize import contract
from edgeship.quantize.derive import derive_all
from edgeship.quantize.recipes import RECIPES
from edgeship.tflite.precisions import ENTRY, with_precisions
from edgeship.tflite.reader import read_tflite
from edgeship.values import FloatModel, PreparedSamples

INT8, INT4 = "static_wi8_ai8", "static_wi4_ai8"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers run here: each start of one costs seconds, and none of these models harms anybody."""

    def run(worker: str, payload: dict[str, Any], **_: Any) -> Any:
        module, _, function = worker.partition(":")
        return SimpleNamespace(
            value=getattr(importlib.import_module(module), function)(payload, lambda *a: None)
        )

    for user in ("quantize.derive", "quantize.by_layer", "score.runs"):
        monkeypatch.setattr(f"edgeship.{user}.run_worker", run)


@pytest.fixture(scope="module")
def prepared(samples: Path) -> PreparedSamples:
    return PreparedSamples(paths=(samples,), sha256="of samples")


def told(model: FloatModel, out: Path, layers: dict[str, str]) -> FloatModel:
    out.write_bytes(with_precisions(model.path.read_bytes(), layers))
    return replace(model, path=out, sha256=sha256_file(out))


def held(path: Path) -> dict[str, list[str]]:
    """Return the types of the inputs of each operation."""
    graph = read_tflite(path).main
    return {op.op: [graph.tensors[i].dtype for i in op.inputs] for op in graph.operators}


def test_a_file_tells_precisions_and_the_recipe_honours_them(
    float_model: FloatModel, prepared: PreparedSamples, tmp_path: Path, make_profile: Any
) -> None:
    profile = make_profile()
    model = told(float_model, tmp_path / "told.tflite", {"a": "float", "b": "int16x8", "d": "int4"})
    made = derive_all(model, [RECIPES["int8"]], prepared, tmp_path / "out", profile=profile)
    assert not made.failed, made.failed
    file = made.artifacts[0].path
    kinds = held(file)
    assert kinds["CONV_2D"] == ["float32", "float32", "float32"]
    assert kinds["DEPTHWISE_CONV_2D"][:2] == ["int16", "int8"]
    assert kinds["FULLY_CONNECTED"][:2] == ["int8", "int4"] and kinds["SOFTMAX"] == ["int8"]
    assert read_tflite(file).metadata_bytes(ENTRY) is None, "what was told is for the quantizer alone"
    assert ENTRY.encode() not in file.read_bytes()

    verdicts = {g.name: g for g in contract.check(file, RECIPES["int8"], profile, in_float=["a"])}
    assert verdicts["fully-integer"].verdict == "pass" and "a in float" in verdicts["fully-integer"].reason
    unasked = {g.name: g for g in contract.check(file, RECIPES["int8"], profile)}
    assert unasked["fully-integer"].verdict == "inconclusive"
    strict = make_profile(precision={"accepts": ("int8",), "wants": ("int8",)})
    stopped = {g.name: g for g in contract.check(file, RECIPES["int8"], strict, in_float=["a"])}
    assert stopped["fully-integer"].verdict == "fail"
    assert "runs no float operations" in stopped["fully-integer"].reason


def test_an_output_left_in_float_is_float_where_the_target_says_no_type(
    float_model: FloatModel, prepared: PreparedSamples, tmp_path: Path, make_profile: Any
) -> None:
    profile = make_profile(precision={"io": "as_model"})
    model = told(float_model, tmp_path / "told.tflite", {"y": "float"})
    made = derive_all(model, [RECIPES["int8"]], prepared, tmp_path / "out", profile=profile)
    file = made.artifacts[0].path
    checked = {g.name: g for g in contract.check(file, RECIPES["int8"], profile, in_float=["y"])}
    assert checked["io-types"].verdict == "pass" and "in float" in checked["io-types"].reason
    assert {g.name: g for g in contract.check(file, RECIPES["int8"], profile)}["io-types"].verdict == "fail"


def test_a_recipe_in_float_refuses_what_the_file_tells(
    float_model: FloatModel, prepared: PreparedSamples, tmp_path: Path, make_profile: Any
) -> None:
    model = told(float_model, tmp_path / "told.tflite", {"a": "int4"})
    made = derive_all(model, [RECIPES["dynamic"]], prepared, tmp_path / "out", profile=make_profile())
    assert "other precision" in made.failed[0][1]


@pytest.fixture(scope="module")
def broken(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory, model_of: Any) -> FloatModel:
    model: FloatModel = model_of(tiny.unequal(tmp_path_factory.mktemp("broken") / "m.tflite"))
    return model


def place(model: FloatModel, recipe: str, profile: Any, prepared: PreparedSamples, folder: Path) -> Place:
    return Place(
        model=model, recipe=RECIPES[recipe], profile=profile, calibration=prepared, folder=folder, progress=Silent()
    )  # fmt: skip


def test_what_loses_by_int8_is_found_and_given_back(
    broken: FloatModel, prepared: PreparedSamples, tmp_path: Path, make_profile: Any
) -> None:
    profile = make_profile(precision={"granularity": "per_tensor", "io": "as_model"})
    where = place(broken, INT8, profile, prepared, tmp_path)
    found = resolved(where, step_of("mixed-float"))
    assert set(found.layers) & {"a", "b"} and len(found.layers) <= 3
    assert found.figures["snr_db"] >= found.figures["snr_db_before"] + 6.0
    assert "float" in found.notes[0] and "dB became" in found.notes[0]
    one = resolved(where, step_of("mixed-float,layers=1"))
    assert len(one.layers) == 1 and one.figures["snr_db"] <= found.figures["snr_db"] + 0.5
    wide = resolved(where, step_of("mixed-int16x8"))
    assert set(wide.layers) <= {"a", "b", "c", "d"}, "outputs keep the type that the target says"
    assert wide.figures["snr_db"] > wide.figures["snr_db_before"] + 2.0


def test_four_bits_go_where_they_cost_least(
    float_model: FloatModel, prepared: PreparedSamples, tmp_path: Path, make_profile: Any
) -> None:
    profile = make_profile()
    saved = resolved(place(float_model, INT8, profile, prepared, tmp_path), step_of("mixed-int4,decibels=30"))
    assert set(saved.layers.values()) == {"int4"} and set(saved.layers) <= {"a", "d"}
    back = resolved(place(float_model, INT4, profile, prepared, tmp_path), step_of("mixed-int8"))
    assert len(back.layers) == 1, "with both it would be plain int8"
    with pytest.raises(InputError, match=r"costs more than 0\.1 dB"):
        resolved(place(float_model, INT8, profile, prepared, tmp_path), step_of("mixed-int4,decibels=0.1"))


def test_layers_are_named_without_measuring(
    float_model: FloatModel, prepared: PreparedSamples, tmp_path: Path, make_profile: Any
) -> None:
    where = place(float_model, INT8, make_profile(), prepared, tmp_path)
    assert resolved(where, step_of("mixed-float,layers=a:d")).layers == {"a": "float", "d": "float"}
    with pytest.raises(InputError) as error:
        resolved(where, step_of("mixed-int4,layers=nowhere"))
    assert error.value.reference == "unknown-layer" and "mixed-int4,layers=" in error.value.render()


def test_the_choice() -> None:
    found = [Priced(index=0, price=1.0), Priced(index=1, price=0.1), Priced(index=2, price=1.0)]
    singles = {(0,): 25.0, (1,): 23.0, (2,): 20.01}
    assert mixed.ordered(found, singles, 20.0, "float") == [1, 0], "by price; 2 gives nothing"
    assert mixed.ordered(found, singles | {(1, 2): 40.0}, 20.0, "float") == [1, 2, 0], "2 does with 1"
    assert mixed.ordered(found, {(0,): 19.0, (1,): 19.9, (2,): 10.0}, 20.0, "int4") == [1, 0, 2]
    assert mixed.counts(7) == [1, 2, 3, 4, 6, 7] and mixed.counts(1) == [1]
    assert mixed.enough({1: 22.0, 2: 27.0, 3: 30.0}, 20.0, 6.0, "float") == 2
    assert mixed.enough({1: 22.0, 2: 23.0, 3: 22.5}, 20.0, 6.0, "float") == 2, "what gives most"
    assert mixed.enough({1: 19.0, 2: 15.0, 3: 9.0}, 20.0, 6.0, "int4") == 2
    assert mixed.enough({1: 9.0}, 20.0, 6.0, "int4") == 0


def test_chains_and_targets(make_profile: Any) -> None:
    assert recipe_for([step_of("mixed-int8")], (INT8, INT4)) == INT4
    assert recipe_for([step_of("mixed-int4")], (INT4, INT8)) == INT8
    assert recipe_for([step_of("mixed-float")], ("float_fp32",)) is None
    with pytest.raises(InputError, match="nothing comes after it"):
        planned(["mixed-float+equalise"], [INT8], samples=True, seed=0)
    integers = make_profile(precision={"accepts": ("int8", "int16x8"), "wants": ("int8",)})
    (_, named) = planned(["mixed-float"], [INT8], samples=True, seed=0)
    with pytest.raises(InputError) as error:
        may_mix(named, integers)
    assert "left to a CPU" in str(error.value) and error.value.hint == "--method mixed-int16x8"
    assert not may_mix(replace(named, named=False), integers) and may_mix(named, make_profile())
    assert may_mix(planned(["mixed-int16x8"], [INT8], samples=True, seed=0)[1], integers)
