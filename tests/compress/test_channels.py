"""Methods that take channels and blocks out of a model, and what they tell of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.compress import channels, student
from edgeship.compress.blocks import blocks_of, without_blocks
from edgeship.compress.methods import step_of
from edgeship.compress.samples import Samples
from edgeship.compress.surgery import counted
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import constant, layers_of, with_weights

Array = np.ndarray[Any, Any]
Answers = Callable[..., list[Array]]


def read(content: bytes) -> TfliteFile:
    return parse(Path("m.tflite"), content, "")


def work(content: bytes, label: str, *, samples: int = 0, before: tuple[str, ...] = ()) -> Work:
    """Return work on a model; its samples are smooth random pictures."""
    given = None
    if samples:
        random = np.random.default_rng(5)
        shapes = [read(content).main.tensors[i].shape for i in read(content).main.inputs]
        rows = tuple(
            np.cumsum(random.normal(size=(samples, *s[1:])), axis=1).astype(np.float32) for s in shapes
        )
        given = Samples(rows, None, np.arange(samples))
    return Work(
        content=content,
        step=step_of(label),
        before=tuple(step_of(one) for one in before),
        original=content,
        recipe="static_wi8_ai8",
        train=None,
        held_out=None,
        calibration=given,
    )


def distance(content: bytes, whole: bytes, answers: Answers) -> float:
    """Return how far a model's answers are from the whole one's, relative to how much these vary over inputs."""
    given, known = ([answers(c, seed)[0] for seed in range(20)] for c in (content, whole))
    return float(np.mean((np.array(given) - known) ** 2) / np.var(np.array(known), axis=0).mean())


@pytest.mark.parametrize(("of", "count"), [("channels", None), ("parameters", 0), ("macs", 1)])
@pytest.mark.parametrize("name", ["resnet", "unet", "shuffled"])
def test_as_much_goes_as_was_asked(name: str, of: str, count: int | None, nets: ModuleType) -> None:
    content = nets.kind(name)
    outcome = channels.apply(work(content, f"channels-30,of={of}"))
    made = outcome.figures
    assert counted(content) == (made["parameters_before"], made["macs_before"])
    assert counted(outcome.content) == (made["parameters_after"], made["macs_after"])
    if count is None:
        left = made["channels_after"] / made["channels_before"]
        assert 0.6 < left < 0.8  # channels of the outputs stay, those of a layer are whole numbers
    else:
        least = 0.4 if name == "shuffled" else 0.55  # where few large groups go, the last one overshoots
        assert least < counted(outcome.content)[count] / counted(content)[count] <= 0.7
    assert len(outcome.content) < len(content)


def test_the_step_is_the_same_to_the_byte_every_time_and_changes_no_name(nets: ModuleType) -> None:
    content = nets.kind("mobilenet")
    job = work(content, "channels-40", samples=8)
    first, second = channels.apply(job), channels.apply(job)
    assert first == second
    before, after = read(content), read(first.content)
    assert after.signature_defs == before.signature_defs and after.description == before.description
    assert [t.name for t in after.main.tensors] == [t.name for t in before.main.tensors]
    assert [(o.op, o.inputs, o.outputs) for o in after.main.operators] == [
        (o.op, o.inputs, o.outputs) for o in before.main.operators
    ]
    for side in ("inputs", "outputs"):
        assert getattr(after.signature, side) == getattr(before.signature, side)


def test_numbers_of_channels_are_multiples_for_accelerators(nets: ModuleType) -> None:
    net = nets.Net()
    x = net.conv(net.input(1, 8, 8, 3), 32)
    x = net.depthwise(net.conv(x, 48, 1))
    x = net.conv(net.conv(x, 6), 40)
    content = net.build(net.dense(net.mean(x, 1, 2), 10))
    outcome = channels.apply(work(content, "channels-45,multiple=8"))
    layers = layers_of(read(outcome.content).main)
    widths = [constant(read(outcome.content), layer.weight).shape[layer.axis] for layer in layers]
    # 32, 48, 48, 40 less 45 %; six channels are fewer than a multiple and stay.
    assert widths == [16, 24, 24, 6, 24, 10]


def test_every_layer_keeps_its_least(nets: ModuleType, answers: Answers) -> None:
    content = nets.kind("resnet")
    outcome = channels.apply(work(content, "channels-95,layers=global,least=50"))
    assert "every tensor keeps 50 %" in " ".join(outcome.notes)
    for layer in layers_of(read(outcome.content).main)[:-1]:
        whole = {a.name: a for a in layers_of(read(content).main)}[layer.name]
        kept = constant(read(outcome.content), layer.weight).shape[0]
        assert kept * 2 >= constant(read(content), whole.weight).shape[0]
    answers(outcome.content)


def test_a_model_without_a_channel_to_spare_is_told_why(nets: ModuleType) -> None:
    net = nets.Net()
    content = net.build(net.softmax(net.dense(net.input(1, 6), 4)))
    with pytest.raises(InputError) as caught:
        channels.apply(work(content, "channels-30"))
    assert caught.value.reference == "no-channels-to-prune"
    assert "SOFTMAX" in caught.value.context["why"] and "keeps 4" in caught.value.context["why"]


def test_ranges_that_training_left_go_and_limits_of_weights_are_cut(nets: ModuleType) -> None:
    content = nets.kind("plain_cnn")
    layer = layers_of(read(content).main)[0]
    limits = np.arange(1, 9, dtype=np.float32)
    out = layer.operator.outputs[0]
    content = with_weights(
        content, {}, ranges={out: (0.0, 6.0)}, limits={layer.weight: limits}, axes={layer.weight: 0}
    )
    told = read(channels.apply(work(content, "channels-50")).content).main.tensors
    assert told[out].maximum == () and read(content).main.tensors[out].maximum == (6.0,)
    kept = told[layer.weight].maximum
    weights = constant(read(content), layer.weight)
    strongest = np.sort(np.argsort((weights**2).sum((1, 2, 3)))[-4:])
    assert len(kept) == 4 and set(kept) <= set(limits.tolist())
    assert told[layer.weight].minimum == tuple(-v for v in kept)
    assert len(strongest) == told[layer.weight].shape[0]


def test_a_bias_that_layers_share_is_cut_for_each_of_them(nets: ModuleType, answers: Answers) -> None:
    net = nets.Net()
    x = net.conv(net.input(1, 6, 6, 3), 8)
    x = net.conv(x, 8)
    shared = net.graph.operators[0].inputs[2]
    net.graph.operators[1].inputs[2] = shared
    content = net.build(net.dense(net.mean(x, 1, 2), 3))
    outcome = channels.apply(work(content, "channels-30"))
    first, second, _ = layers_of(read(outcome.content).main)
    file = read(outcome.content)
    assert first.bias is not None and second.bias is not None
    whole = constant(read(content), shared)
    for layer in (first, second):
        assert layer.bias is not None and set(constant(file, layer.bias)) <= set(whole)
    assert constant(file, first.bias).tolist() != constant(file, second.bias).tolist()
    answers(outcome.content)


@pytest.mark.parametrize("name", ["plain_cnn", "resnet", "mobilenet", "squeezed", "unet"])
def test_what_is_left_is_fitted_to_what_the_whole_model_computes(
    name: str, nets: ModuleType, answers: Answers
) -> None:
    content = nets.kind(name)
    job = work(content, "channels-30", samples=96)
    fitted = channels.apply(job)
    plain = channels.apply(work(content, "channels-30,repair=no", samples=96))
    assert fitted.figures["layers_fitted"] >= 2 and plain.figures["layers_fitted"] == 0
    assert counted(fitted.content) == counted(plain.content)
    after, before = (distance(o.content, content, answers) for o in (fitted, plain))
    assert after < 0.7 * before, (after, before)


def test_zeros_of_an_earlier_step_stay_zeros(nets: ModuleType) -> None:
    content = nets.kind("plain_cnn")
    layer = layers_of(read(content).main)[1]
    value = constant(read(content), layer.weight).copy()
    value[np.abs(value) < np.median(np.abs(value))] = 0.0
    content = with_weights(content, {layer.weight: value})
    outcome = channels.apply(work(content, "channels-25", samples=16, before=("prune-50",)))
    left = constant(read(outcome.content), layers_of(read(outcome.content).main)[1].weight)
    assert 0.3 < (left == 0).mean() < 0.7 and outcome.figures["layers_fitted"] == 0
    assert "that would undo prune-50" in " ".join(outcome.notes)


def test_a_student_of_a_third_of_the_parameters(nets: ModuleType, answers: Answers) -> None:
    content = nets.kind("resnet")
    outcome: Outcome = student.width(work(content, "student-width-33,of=parameters", samples=16))
    assert 0.2 < counted(outcome.content)[0] / counted(content)[0] <= 0.33
    half = student.width(work(content, "student-width-50"))
    widths = [constant(read(half.content), a.weight).shape[0] for a in layers_of(read(half.content).main)]
    assert widths == [
        -(-constant(read(content), a.weight).shape[0] // 2) if n < 10 else 5
        for n, a in enumerate(layers_of(read(content).main))
    ]
    answers(outcome.content)


@pytest.mark.parametrize("fused", [False, True])
def test_a_block_that_adds_nothing_is_the_one_that_goes(
    fused: bool, nets: ModuleType, answers: Answers
) -> None:
    net = nets.Net(3)
    x = net.conv(net.input(1, 6, 6, 3), 8, act=0)
    for block in range(3):
        y = net.conv(net.conv(x, 8), 8, act=0)
        x = net.pair("ADD", x, y)
        if fused:
            net.graph.operators[-1].builtinOptions.fusedActivationFunction = 1
        else:
            x = net.unary("RELU", x)
        if block == 1:
            silent = net.graph.operators[-1 - (not fused) - 1]
            for index in silent.inputs[1:]:
                buffer = net.model.buffers[net.graph.tensors[index].buffer]
                buffer.data = np.zeros_like(buffer.data)
    content = net.build(net.dense(net.mean(x, 1, 2), 3))
    assert [b.kind for b in blocks_of(read(content))] == ["residual"] * 3
    outcome = student.depth(work(content, "student-depth-1", samples=8))
    assert outcome.figures["blocks_after"] == 2
    assert len(layers_of(read(outcome.content).main)) == 6
    for a, b in zip(answers(content), answers(outcome.content), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    # The first block's input came through no activation: what its ADD ended in stays.
    first = without_blocks(read(content), blocks_of(read(content))[:1])[0]
    assert [op.op for op in read(first).main.operators][:2] == ["CONV_2D", "RELU"]
    answers(first)


def test_layers_behind_a_block_that_went_are_fitted(nets: ModuleType, answers: Answers) -> None:
    content = nets.kind("mobilenet")
    fitted = student.depth(work(content, "student-depth-1", samples=96))
    plain = student.depth(work(content, "student-depth-1,repair=no", samples=96))
    assert fitted.figures["layers_fitted"] >= 1 and plain.figures["layers_fitted"] == 0
    assert counted(fitted.content) == counted(plain.content) < counted(content)
    assert distance(fitted.content, content, answers) < 0.7 * distance(plain.content, content, answers)


def test_repeated_layers_go_with_their_depthwise_halves(nets: ModuleType, answers: Answers) -> None:
    net = nets.Net()
    x = net.conv(net.input(1, 8, 8, 1), 6)
    for _ in range(3):
        x = net.conv(net.depthwise(x), 6, 1)
    content = net.build(net.dense(net.mean(x, 1, 2), 3))
    blocks = blocks_of(read(content))
    assert [(b.kind, len(b.operators)) for b in blocks] == [("repeated", 2)] * 3
    outcome = student.depth(work(content, "student-depth-5"))
    assert [op.op for op in read(outcome.content).main.operators] == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert "only 3 blocks" in " ".join(outcome.notes)
    answers(outcome.content)


def test_all_uses_of_shared_weights_are_in_one_block(nets: ModuleType) -> None:
    net = nets.Net()
    w = net.weights(6, 3, 3, 6)
    x = net.conv(net.conv(net.conv(net.conv(net.input(1, 6, 6, 3), 6), 6, w=w), 6, w=w), 6)
    content = net.build(net.dense(net.mean(x, 1, 2), 3))
    assert [block.operators for block in blocks_of(read(content))] == [(1, 2), (3,)]


def test_every_kind_without_its_blocks_runs(nets: ModuleType, answers: Answers) -> None:
    dropped = 0
    for name in nets.KINDS:
        file = read(nets.kind(name))
        for block in blocks_of(file):
            answers(without_blocks(file, [block])[0])
            dropped += 1
        answers(without_blocks(file, blocks_of(file))[0])
    assert dropped >= 10


def test_a_model_without_such_blocks_is_told_so(nets: ModuleType) -> None:
    with pytest.raises(InputError) as caught:
        student.depth(work(nets.kind("plain_cnn"), "student-depth-1"))
    assert caught.value.reference == "no-blocks-to-drop"
