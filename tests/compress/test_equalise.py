"""Equalisation: unlike channels become alike, and the answers stay."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeship.compress.equalise import apply, difference, pairs_of
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import PLACES, constant, layers_of
from edgeship.values import Step

Array = np.ndarray[Any, Any]
Answers = Callable[..., list[Array]]
PAIRS = {"plain_cnn": 3, "resnet": 4, "mobilenet": 4, "squeezed": None, "conv1d": None, "decoder": None}
"""Kind -> pairs of layers, counted by hand where it says a number."""


@pytest.mark.parametrize("name", PAIRS)
def test_answers_stay_and_channels_become_alike(nets: ModuleType, steps: ModuleType, name: str) -> None:
    content = steps.unlike(nets.kind(name))
    samples = steps.samples_for(content, 24)
    outcome = apply(steps.work_for(content, "equalise", samples, one_scale=frozenset(PLACES)))
    expected = PAIRS[name]
    found = outcome.figures["pairs"]
    assert found == expected if expected is not None else found >= 0
    assert difference(content, outcome.content, samples) < 1e-4
    if name == "plain_cnn":
        assert outcome.figures["largest_factor"] > 3
        before, after = (_unlike_by(c) for c in (content, outcome.content))
        assert before > 20 and after < 6


def _unlike_by(content: bytes) -> float:
    """Return how many times larger the largest output channel of the first layer is than the smallest."""
    file = parse(Path("m.tflite"), content, "")
    first = layers_of(file.main)[0]
    size = np.abs(constant(file, first.weight)).max(axis=(1, 2, 3))
    return float(size.max() / size.min())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 40), one_scale=st.booleans(), seen=st.booleans())
def test_random_graphs_answer_the_same(
    nets: ModuleType, steps: ModuleType, answers: Answers, seed: int, one_scale: bool, seen: bool
) -> None:
    content = nets.random_net(random.Random(seed))
    samples = steps.samples_for(content, 8) if seen else None
    work = steps.work_for(
        content, "equalise", samples, one_scale=frozenset(PLACES) if one_scale else frozenset()
    )
    made = apply(work).content
    if seen:
        assert samples is not None
        assert difference(content, made, samples) < 1e-4
    elif made != content:
        for old, new in zip(answers(content), answers(made), strict=True):
            np.testing.assert_allclose(new, old, atol=1e-4 * max(1e-6, float(np.abs(old).max())), rtol=1e-4)


def test_a_mean_over_channels_joins_no_pair(nets: ModuleType, steps: ModuleType) -> None:
    net = nets.Net(0)
    x = net.mean(net.conv(net.input(1, 8, 8, 3), 8), 3)
    content = net.build(net.dense(net.flat(x), 4))
    assert pairs_of(parse(Path("m.tflite"), content, "")) == []


def test_relu6_is_moved_only_with_samples_and_only_under_its_end(nets: ModuleType, steps: ModuleType) -> None:
    net = nets.Net(1)
    content = net.build(net.conv(net.conv(net.input(1, 8, 8, 3), 8, act=3), 4, 1, act=0))
    alone = apply(steps.work_for(content, "equalise", None))
    assert alone.content == content and alone.figures["pairs"] == 0
    samples = steps.samples_for(content, 24)
    outcome = apply(steps.work_for(content, "equalise", samples))
    assert outcome.figures["pairs"] == 1 and outcome.figures["largest_factor"] > 1.1
    assert outcome.figures["largest_difference"] < 1e-4


def test_shared_values_and_given_limits_stay(nets: ModuleType, steps: ModuleType) -> None:
    content = nets.kind("plain_cnn")
    shared = Step(label="cluster-16", method="cluster", settings=(), seed=0)
    outcome = apply(steps.work_for(content, "equalise", None, before=(shared,)))
    assert outcome.content == content and "grid or made them share" in outcome.notes[0]
