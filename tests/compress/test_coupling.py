"""Channels that go together, over the kinds of models that people have and random ones."""

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

from edgeship.compress.choice import Wanted, chosen, families_of
from edgeship.compress.coupling import Coupling, couple
from edgeship.compress.surgery import Cost, _cut, counted, without
from edgeship.tflite.flat import parse

Array = np.ndarray[Any, Any]
Answers = Callable[..., list[Array]]
SIZES = {
    "plain_cnn": [8, 12, 16],
    "resnet": [8, 8, 8, 16, 16, 16],
    "padded_resnet": [16, 16],
    "mobilenet": [8, 24, 24],
    "unet": [8, 12, 16, 12, 12, 8, 8],
    "inception": [6, 4, 8, 5, 6, 4, 8, 5],
    "detector": [8, 8, 12, 10],
    "squeezed": [12, 4, 8],
    "shuffled": [4, 2, 4],
    "conv1d": [6, 8, 10],
    "pixel_shuffle": [4, 6],
    "siamese": [8, 6],
    "decoder": [6, 8],
    "text": [8, 12],
    "rare": [7, 10, 8],
    "attention": [6, 6, 20],
}
"""Of every kind, the groups of each family, told by hand from what the model is: 16 channels that a SPLIT halves are 8
pairs, one of the eight in `rare` is picked out by its place, and heads lose the same of queries and keys."""


def coupled(content: bytes) -> Coupling:
    return couple(parse(Path("m.tflite"), content, ""))


def zeroed(coupling: Coupling, stays: Array, roles: tuple[str, ...]) -> bytes:
    """Return the whole model with zeros for all weights of the groups that go, in these roles."""
    told = np.append(stays, True)
    values: dict[tuple[int, int], Array] = {}
    for cut in coupling.cuts:
        tensor = coupling.file.main.tensors[cut.tensor]
        if cut.role not in roles or tensor.dtype != "float32":
            continue
        raw = np.frombuffer(coupling.file.tensor_bytes(cut.tensor), np.float32).reshape(tensor.shape)
        value = values.setdefault((cut.operator, cut.position), raw.copy())
        gone = np.flatnonzero(~told[coupling.of(cut.atoms)])
        value[(slice(None),) * cut.axis + (gone,)] = 0.0
    return _cut(coupling, np.ones(coupling.groups, np.bool_), values)


def check(content: bytes, share: float, seed: int, answers: Answers, roles: tuple[str, ...]) -> None:
    """Leave channels out that add nothing, and hold the small model against the whole one."""
    coupling = coupled(content)
    everything = np.ones(coupling.groups, np.bool_)
    assert without(coupling, everything) == content
    for a, b in zip(answers(content), answers(_cut(coupling, everything, {})), strict=True):
        assert np.array_equal(a, b)
    scores = np.random.default_rng(seed).random(coupling.groups)
    stays = chosen(coupling, scores, Wanted(share=share, least=0.0)).stays
    whole = zeroed(coupling, stays, roles)
    small = without(coupled(whole), stays)
    for a, b in zip(answers(whole), answers(small), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    cost = Cost(coupling)
    assert counted(small) == (cost.parameters(stays), cost.macs(stays))
    assert (counted(small)[0] < counted(content)[0]) == (not stays.all())
    consistent(small, answers)


def consistent(content: bytes, answers: Answers) -> None:
    """Hold every shape that the file tells against the one that the runtime finds out by itself."""
    from ai_edge_litert.interpreter import Interpreter

    told = {t.index: t.shape for t in parse(Path("m.tflite"), content, "").main.tensors}
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for detail in interpreter.get_tensor_details():
        if detail["index"] in told:
            assert tuple(detail["shape"]) == told[detail["index"]], detail["name"]


@pytest.mark.parametrize("name", SIZES)
def test_kinds_of_models_lose_channels_that_add_nothing(
    name: str, nets: ModuleType, answers: Answers
) -> None:
    content = nets.kind(name)
    assert [len(f.groups) for f in families_of(coupled(content))] == SIZES[name]
    for seed, share in enumerate((0.2, 0.5, 1.0)):
        # What attention compares is read by no weights.
        roles = ("reads", "makes", "beside") if name == "attention" else ("reads",)
        check(content, share, seed, answers, roles)


@given(seed=st.integers(0, 1 << 40), share=st.sampled_from((0.2, 0.5, 0.9)))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_graphs_stay_valid_and_lose_only_what_adds_nothing(
    nets: ModuleType, answers: Answers, seed: int, share: float
) -> None:
    content = nets.random_net(random.Random(seed))
    check(content, share, seed, answers, ("reads",))
