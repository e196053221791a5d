"""Layers split in two: equal where nothing is lost, smaller by what was asked, nearest where inputs lie."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.compress import low_rank
from edgeship.compress.factors import Splittable, ranks_of, spectrum_of
from edgeship.compress.methods import step_of
from edgeship.compress.samples import Samples
from edgeship.compress.surgery import counted
from edgeship.compress.work import Work
from edgeship.errors import InputError
from edgeship.tflite.draft import Draft
from edgeship.tflite.flat import parse

Array = np.ndarray[Any, Any]
Answers = Callable[..., list[Array]]
KINDS = [
    "plain_cnn", "resnet", "padded_resnet", "mobilenet", "unet", "inception", "detector", "conv1d", "pixel_shuffle",
    "siamese", "text", "attention",
]  # fmt: skip


def work(content: bytes, label: str, samples: tuple[Array, ...] = ()) -> Work:
    given = Samples(samples, None, np.arange(len(samples[0]))) if samples else None
    return Work(
        content=content,
        step=step_of(label),
        before=(),
        original=content,
        recipe="static_wi8_ai8",
        train=None,
        held_out=None,
        calibration=given,
    )


def inputs_of(content: bytes, count: int = 24) -> tuple[Array, ...]:
    """Return random inputs as the fixture `answers` gives them."""
    graph = parse(Path("m.tflite"), content, "").main
    rng = np.random.default_rng(3)
    tensors = [graph.tensors[i] for i in graph.inputs]
    many = [(rng.random((count, *t.shape[1:])), t.dtype) for t in tensors]
    return tuple((v * (1 if kind == "float32" else 8)).astype(kind) for v, kind in many)


def split_all(content: bytes) -> tuple[bytes, int]:
    """Return the model with every layer split at its full rank, and how many there were."""
    file, draft = parse(Path("m.tflite"), content, ""), Draft(content)
    found = list(low_rank.targets(file, draft))
    for target in found:
        spectrum = spectrum_of(target.matrix)
        low_rank.split(draft, file, target, spectrum, len(spectrum.lost) - 1, None)
    return draft.packed(), len(found)


def unlike(one: bytes, other: bytes, answers: Answers) -> float:
    """Return the largest difference between outputs, relative to the largest value of that output."""
    pairs = [pair for seed in range(3) for pair in zip(answers(one, seed), answers(other, seed), strict=True)]
    return max(float(np.abs(a - b).max() / max(1e-6, np.abs(b).max())) for a, b in pairs)


@pytest.mark.parametrize("name", KINDS)
def test_at_full_rank_the_answers_stay(name: str, nets: ModuleType, answers: Answers) -> None:
    content = nets.kind(name)
    made, count = split_all(content)
    assert count > 0
    before, after = (len(parse(Path("m.tflite"), c, "").main.operators) for c in (content, made))
    assert after == before + count
    assert unlike(made, content, answers) < 1e-4


@pytest.mark.parametrize("seed", range(25))
def test_random_graphs_stay_valid_and_equal(seed: int, nets: ModuleType, answers: Answers) -> None:
    content = nets.random_net(random.Random(seed))
    assert unlike(split_all(content)[0], content, answers) < 2e-4


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1)])
def test_strides_dilations_and_borders(
    stride: int, dilation: int, nets: ModuleType, answers: Answers
) -> None:
    net = nets.Net(4)
    content = net.build(net.conv(net.input(1, 9, 11, 5), 12, 3))
    draft = Draft(content)
    op = next(op for op in draft.operators if draft.name(op) == "CONV_2D")
    draft.may(op)
    op.builtinOptions.dilationHFactor = op.builtinOptions.dilationWFactor = dilation
    if stride > 1:
        op.builtinOptions.strideH = op.builtinOptions.strideW = stride
        shape = draft.graph.tensors[op.outputs[0]]
        shape.shape = [1, 5, 6, 12]
    content = draft.packed()
    made, count = split_all(content)
    assert count == 1 and unlike(made, content, answers) < 1e-4


@pytest.mark.parametrize(("of", "place"), [("parameters", 0), ("macs", 1)])
@pytest.mark.parametrize("name", ["resnet", "unet", "attention"])
def test_as_much_goes_as_was_asked(
    name: str, of: str, place: int, nets: ModuleType, answers: Answers
) -> None:
    content = nets.kind(name)
    outcome = low_rank.apply(work(content, f"low-rank-25,of={of}", inputs_of(content)))
    left = counted(outcome.content)[place] / counted(content)[place]
    assert left <= 0.75 + 0.03 or "less than what was asked" in " ".join(outcome.notes)
    assert left < 0.95
    assert outcome.figures[f"{of}_after"] == counted(outcome.content)[place]
    assert np.isfinite(answers(outcome.content)[0]).all()
    assert low_rank.apply(work(content, f"low-rank-25,of={of}", inputs_of(content))) == outcome


def test_what_inputs_never_do_costs_no_rank(nets: ModuleType) -> None:
    """Inputs of two directions: at rank 2 nothing is lost, though the weights are of full rank."""
    net = nets.Net(8)
    content = net.build(net.dense(net.input(1, 30), 30))
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(200, 2)) @ rng.normal(size=(2, 30)) + 3.0).astype(np.float32)
    outcome = low_rank.apply(work(content, "low-rank-80", (x,)))

    def run(model: bytes) -> Array:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        told, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        rows = []
        for row in x[:20]:
            interpreter.set_tensor(told["index"], row[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(out["index"])[0].copy())
        return np.array(rows)

    whole = run(content)
    assert np.abs(run(outcome.content) - whole).max() < 2e-3 * np.abs(whole).max()
    blind = low_rank.apply(work(content, "low-rank-80"))
    assert np.abs(run(blind.content) - whole).max() > 0.05 * np.abs(whole).max()
    assert "no samples" in " ".join(blind.notes)


def test_ranks_lose_least_for_what_they_save() -> None:
    rng = np.random.default_rng(2)
    layers = []
    for size in (4, 5, 6):
        energy = np.sort(rng.random(size))[::-1] ** 4
        lost = np.append(np.cumsum(energy[::-1])[::-1], 0.0) / energy.sum()
        layers.append(Splittable(lost=lost, whole=10.0 * size, step=10.0))

    def judged(ranks: Any) -> tuple[float, float]:
        pairs = list(zip(layers, ranks, strict=True))
        cost = sum(layer.cost(r) for layer, r in pairs)
        return cost, sum(0.0 if r is None else float(layer.lost[r]) for layer, r in pairs)

    every = [judged(r) for r in itertools.product(*([None, *range(1, len(x.lost) - 1)] for x in layers))]
    for saved in (20.0, 50.0, 80.0):
        cost, lost = judged(ranks_of(layers, saved))
        assert 150.0 - cost >= saved
        assert lost <= min(loss for c, loss in every if c <= cost) + 1e-12, "nothing as small loses less"


def test_a_model_that_gains_nothing_is_told_so(nets: ModuleType) -> None:
    net = nets.Net()
    content = net.build(net.dense(net.input(1, 1), 4))
    with pytest.raises(InputError) as caught:
        low_rank.apply(work(content, "low-rank-30"))
    assert caught.value.reference == "no-layers-to-split"
