"""Recipes as data, the choice between them, and the settings they become."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgeship.assets import targets_folder
from edgeship.errors import InputError
from edgeship.profile import load_profile
from edgeship.quantize.choose import choose, explain
from edgeship.quantize.derive import order_of
from edgeship.quantize.recipes import RECIPES, ROWS, io_type, recipe_of, registry_of, row_of, without_ranges
from edgeship.quantize.settings import settings
from edgeship.values import Precision, Recipe


def test_names_and_plain_aliases_mean_the_same() -> None:
    pairs = {
        "fp32": "float_fp32",
        "fp16": "weight_fp16",
        "dynamic": "dynamic_wi8_afp32",
        "int8": "static_wi8_ai8",
        "int4": "static_wi4_ai8",
        "int16x8": "static_wi8_ai16",
        "weight-int8": "weight_wi8_afp32",
        "weight-int4": "weight_wi4_afp32",
    }
    assert {alias: RECIPES[alias].name for alias in pairs} == pairs
    assert set(RECIPES) == set(pairs.values())


def test_an_unknown_recipe_says_what_is_near() -> None:
    with pytest.raises(InputError) as caught:
        _ = RECIPES["int9"]
    text = caught.value.render()
    assert text.startswith("error: unknown-recipe\n  unknown recipe 'int9'")
    assert "known: float_fp32, weight_fp16" in text
    assert text.endswith("hint: did you mean 'int8'?")


def test_a_row_more_is_all_that_a_new_recipe_takes() -> None:
    base = row_of("int8")
    recipe = dataclasses.replace(base.recipe, name="static_wi8_ai8_tensor", alias="int8-t")
    rows = (*ROWS, dataclasses.replace(base, recipe=recipe, ranges="full"))
    assert registry_of(rows)["int8-t"] is recipe
    made = settings(row_of("int8-t", rows), per_channel=False, per_channel_dense=False, io="int8")
    assert made[0]["op_config"]["weight_tensor_config"]["granularity"] == "TENSORWISE"


@pytest.mark.parametrize(
    ("recipe", "wanted", "expected"),
    [
        ("int8", "int8", "int8"),
        ("int8", "uint8", "uint8"),
        ("int8", "float32", "float32"),
        ("int8", "as_model", "int8"),
        ("int16x8", "int8", "int16"),
        ("int16x8", "float32", "float32"),
        ("fp16", "int8", "float32"),
        ("dynamic", "uint8", "float32"),
    ],
)
def test_io_type(recipe: str, wanted: str, expected: str) -> None:
    assert io_type(RECIPES[recipe], wanted) == expected


def test_recipe_of_a_model_that_came_quantized() -> None:
    assert recipe_of(Precision(weights="int8", activations="int8", io="uint8")).name == "static_wi8_ai8"
    old = recipe_of(Precision(weights="uint8", activations="uint8", io="uint8"))
    assert (old.name, old.alias) == ("given_wuint8_auint8", "as-given")


def test_settings_float_keeps_the_file() -> None:
    assert settings(row_of("fp32"), per_channel=True, per_channel_dense=True, io="float32") == []


def test_settings_of_the_boundary_and_of_dense_layers() -> None:
    plain = settings(row_of("int8"), per_channel=True, per_channel_dense=True, io="int8")
    assert [e["operation"] for e in plain] == ["*"]
    careful = settings(row_of("int8"), per_channel=True, per_channel_dense=False, io="float32")
    assert [e["operation"] for e in careful] == ["*", "FULLY_CONNECTED", "INPUT", "OUTPUT"]
    assert careful[1]["op_config"]["weight_tensor_config"]["granularity"] == "TENSORWISE"
    assert {e["algorithm_key"] for e in careful[2:]} == {"no_quantize"}
    unsigned = settings(row_of("int8"), per_channel=True, per_channel_dense=True, io="uint8")
    assert unsigned[-1]["op_config"]["activation_tensor_config"]["dtype"] == "UINT"


def test_the_profile_chooses_in_its_own_order(make_profile: Any) -> None:
    profile = make_profile(precision={"wants": ("int16x8", "int8"), "accepts": ("int8", "int16x8")})
    chosen = choose(profile)
    assert [r.alias for r in chosen] == ["int16x8", "int8"]
    lines = explain(profile, chosen)
    assert lines[0].startswith("static_wi8_ai16 (int16x8): ")
    assert lines[0].endswith("what test-target wants first")
    assert lines[1].endswith("choice 2 of test-target")


def test_what_is_asked_wins_once_each(make_profile: Any) -> None:
    profile = make_profile(precision={"wants": ("int8",), "accepts": ("int8", "fp16")})
    chosen = choose(profile, ("fp16", "weight_fp16", "int8"))
    assert [r.alias for r in chosen] == ["fp16", "int8"]
    assert explain(profile, chosen, ("fp16",))[0].endswith("asked for")


def test_a_recipe_that_the_target_does_not_run_is_refused(make_profile: Any) -> None:
    profile = make_profile(precision={"wants": ("int8",), "accepts": ("int8",)})
    with pytest.raises(InputError) as caught:
        choose(profile, ("fp16",))
    assert caught.value.render() == (
        "error: recipe-not-accepted\n"
        "  test-target does not run weight_fp16 (float16 weights, float32 activations)\n"
        "  target:  test-target\n"
        "  key:     precision.accepts\n"
        "  accepts: int8\n"
        "hint: --recipe int8"
    )


def test_a_model_that_came_quantized_is_its_own_only_recipe(make_profile: Any) -> None:
    profile = make_profile(precision={"wants": ("fp16",), "accepts": ("fp16", "int8")})
    int8 = Precision(weights="int8", activations="int8", io="int8")
    assert [r.name for r in choose(profile, given=int8)] == ["static_wi8_ai8"]
    assert [r.name for r in choose(profile, ("int8",), int8)] == ["static_wi8_ai8"]
    uint8 = Precision(weights="uint8", activations="uint8", io="uint8")
    given: tuple[Recipe, ...] = choose(profile, given=uint8)
    assert given[0].alias == "as-given"
    with pytest.raises(InputError) as caught:
        choose(profile, ("fp16",), int8)
    text = caught.value.render()
    assert "'fp16' cannot be derived from it" in text
    assert "hand over the float model" in text


def test_targets_that_differ_in_nothing_that_counts_get_the_same_files() -> None:
    recipes = (RECIPES["int8"], RECIPES["fp32"])
    host, pi, coral = (load_profile(name, folders=[targets_folder()]) for name in ("host", "pi5", "coral"))
    assert order_of(recipes, host) == order_of(recipes, pi)
    assert order_of(recipes, host) != order_of(recipes, coral)
    assert order_of(recipes, host) != order_of(recipes[:1], host)


def test_what_has_no_ranges_is_told_of_recipes_that_the_target_takes(base_profile: Any) -> None:
    """A loop's inside cannot be calibrated; where a target takes integers only, no other recipe is named."""
    from types import SimpleNamespace

    from edgeship.quantize.worker import _in_a_loop

    assert without_ranges(base_profile.precision.accepts) == ("dynamic", "fp16")
    assert without_ranges(("int8", "int16x8")) == ()
    model = SimpleNamespace(subgraphs=[0, 1])
    told = _in_a_loop(model, {"ranges": "narrowed", "others": ["dynamic", "fp16"]})
    assert told is not None and told.endswith(
        "rewrite-loops, or built with unroll=True, and dynamic and fp16 do without ranges"
    )
    told = _in_a_loop(model, {"ranges": "narrowed", "others": []})
    assert told is not None and told.endswith("unroll=True")
