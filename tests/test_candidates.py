"""Names of candidates: readable, a file's name everywhere, and never two alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeship.bundle.seal import check_name
from edgeship.bundle.service import golden_name, model_name
from edgeship.values import (
    Artifact,
    Candidate,
    Precision,
    Setting,
    Signature,
    Step,
    StepRecord,
    ambiguous,
)
from edgeship.values.candidates import NAME_LENGTH

LABELS = st.from_regex(r"[a-z]+(-[a-zA-Z0-9.:=_/ +~é]{0,60})?", fullmatch=True)


def step(label: str, seed: int = 0, **settings: Setting) -> Step:
    return Step(label=label, method=label.split("-")[0], settings=tuple(sorted(settings.items())), seed=seed)


def chain(*labels: str, recipe: str = "static_wi8_ai8", seed: int = 0) -> Candidate:
    return Candidate(steps=tuple(step(label, seed) for label in labels), recipe=recipe)


def test_a_plain_recipe_is_called_by_its_name() -> None:
    assert chain().name == chain().name_apart == "static_wi8_ai8"


def test_a_chain_says_its_steps() -> None:
    assert chain("prune-80", "cluster-16").name == "prune-80+cluster-16+static_wi8_ai8"
    assert chain("qat-int4:epochs=6:rate=0.0005").name == "qat-int4,epochs=6,rate=0.0005+static_wi8_ai8"


def test_a_long_chain_is_cut_between_labels_and_keeps_recipe_and_digest() -> None:
    long = chain(*[f"prune-channels-{n}" for n in range(30, 60, 3)])
    assert re.fullmatch(
        r"prune-channels-30\+(prune-channels-\d\d\+)+\.\.\.\+static_wi8_ai8~[0-9a-f]{8}", long.name
    )
    assert long.digest[:8] in long.name and len(long.name) <= NAME_LENGTH
    other = chain(*[f"prune-channels-{n}" for n in range(30, 60, 3)], seed=1)
    assert other.name != long.name


def test_labels_that_no_file_may_have_in_its_name_are_told_apart_by_the_digest() -> None:
    one, two = chain("distill-./a.keras"), chain("distill-._a.keras")
    assert re.fullmatch(r"distill-\._a\.keras\+static_wi8_ai8~[0-9a-f]{8}", one.name)
    assert two.name == "distill-._a.keras+static_wi8_ai8"


@given(st.lists(LABELS, max_size=12), st.integers(0, 3))
def test_every_name_is_a_files_name(labels: list[str], seed: int) -> None:
    candidate = chain(*labels, seed=seed)
    for name in (candidate.name, candidate.name_apart):
        for file in (model_name(name), golden_name(name)):
            check_name(Path("b.edgeship"), file)
        assert len(name.encode()) <= NAME_LENGTH and name.isascii()
        assert not set(name) & set(" '\"\\$`;&|<>()*?[]{}#!%:/\n"), "typed behind --variant as it is"


def test_candidates_of_one_name_are_found_also_where_only_case_differs() -> None:
    quick, full = chain("prune-80"), Candidate(steps=(step("prune-80", epochs=9),), recipe="static_wi8_ai8")
    upper, lower = chain("distill-M:make"), chain("distill-m:make")
    found = ambiguous([quick, full, chain("cluster-16"), upper, lower, quick])
    assert found == {quick.digest, full.digest, upper.digest, lower.digest}
    assert quick.name == full.name and quick.name_apart != full.name_apart


@pytest.mark.parametrize("apart", [False, True])
def test_an_artifact_is_known_by_its_candidate(apart: bool) -> None:
    artifact = Artifact(
        path=Path("m.tflite"),
        recipe="static_wi8_ai8",
        bytes=1,
        sha256="0" * 64,
        signature=Signature(inputs=(), outputs=()),
        precision=Precision(weights="int8", activations="int8", io="int8"),
        model_sha256="0" * 64,
        calibration_sha256=None,
        steps=(StepRecord(step=step("prune-80", seed=4)),),
        apart=apart,
    )
    assert artifact.candidate == chain("prune-80", seed=4) and artifact.digest == artifact.candidate.digest
    ending = f"~{artifact.digest[:8]}" if apart else ""
    assert artifact.name == "prune-80+static_wi8_ai8" + ending
