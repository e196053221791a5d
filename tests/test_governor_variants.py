"""Variants that `governor:` names are held against what a build or a search can make, before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeship.assets import targets_folder
from edgeship.compress.plan import planned
from edgeship.errors import InputError
from edgeship.pipeline.governing import check_candidates, check_variants
from edgeship.profile import TargetProfile, load_profile
from edgeship.project import load_project
from edgeship.quantize.recipes import RECIPES


def project(tmp_path: Path, governor: str) -> Any:
    (tmp_path / "edgeship.yaml").write_text(f"governor: {governor}\n")
    return load_project(tmp_path / "edgeship.yaml")


@pytest.fixture(scope="module")
def board() -> TargetProfile:
    return load_profile("raspberry-pi-4", folders=(targets_folder(),))


@pytest.mark.parametrize("said", ["static_wi8_ai8", "int8"])
def test_a_build_can_have_its_recipes_by_either_name(tmp_path: Path, board: TargetProfile, said: str) -> None:
    recipes = (RECIPES["int8"], RECIPES["fp32"])
    check_variants(project(tmp_path, f"{{variant: {said}}}"), board, recipes)
    check_variants(project(tmp_path, "{watts: 3}"), board, recipes)
    with pytest.raises(InputError) as caught:
        check_variants(project(tmp_path, f"{{variant: {said}}}"), board, recipes[1:])
    assert caught.value.reference == "unknown-variant" and "it can have: float_fp32" in caught.value.render()


def test_a_microcontroller_has_no_service_to_name_one_for(tmp_path: Path) -> None:
    small = load_profile("ethos-u55-128", folders=(targets_folder(),))
    check_variants(project(tmp_path, "{variant: nothing}"), small, (RECIPES["int8"],))


@pytest.mark.parametrize(
    ("said", "sure", "fine"),
    [
        ("cluster-16+static_wi8_ai8", True, True),
        ("cluster-16+static_wi8_ai8", False, True),
        ("cluster-17+static_wi8_ai8", False, False),
        ("rewrite-lstm+cluster-16+static_wi8_ai8", False, True),
        ("rewrite-lstm+cluster-16+static_wi8_ai8", True, False),
        ("cluster-16+static_wi8_ai8~1a2b3c4d", True, True),
        ("int8", True, True),
        ("int4", True, False),
    ],
)
def test_a_search_can_have_what_it_tries(
    tmp_path: Path, board: TargetProfile, said: str, sure: bool, fine: bool
) -> None:
    """Which rewrites a model needs is known once it is converted, digests of names once a candidate is made."""
    plan = planned((), ["static_wi8_ai8", "float_fp32"], samples=True, seed=0)
    asked = project(tmp_path, f"{{battery: [{{below_percent: 20, variant: '{said}'}}]}}")
    if fine:
        check_candidates(asked, board, plan, sure=sure)
        return
    with pytest.raises(InputError) as caught:
        check_candidates(asked, board, plan, sure=sure)
    told = caught.value.render()
    assert caught.value.reference == "unknown-variant" and f"variant '{said}'" in told
    assert "governor: {battery: [{below_percent: 30, variant: " in told
    assert said != "cluster-17+static_wi8_ai8" or "variant: cluster-16+static_wi8_ai8}" in told
