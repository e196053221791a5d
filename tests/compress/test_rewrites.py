"""Rewrites: each finds what it is for, leaves what only looks like it, and computes the same; on random graphs too."""

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

from edgeship.compress import worker
from edgeship.compress.methods import step_of
from edgeship.compress.plan import chain_of
from edgeship.compress.rewrites import apply, rewritten
from edgeship.compress.rewriting.loops import unroll_loops
from edgeship.compress.rewriting.proof import ROUNDING, Proof
from edgeship.compress.rewriting.rules import RULES, WORDS, rules_of
from edgeship.compress.samples import Samples
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.tflite.draft import Draft
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import layers_of

Array = np.ndarray[Any, Any]


def samples_for(content: bytes, count: int = 6) -> Samples:
    random = np.random.default_rng(3)
    graph = parse(Path("m.tflite"), content, "").main
    shapes = [graph.tensors[i].shape[1:] for i in graph.inputs]
    held = tuple(random.normal(size=(count, *shape)).astype(np.float32) for shape in shapes)
    return Samples(held, None, np.arange(count))


def rewrite(content: bytes, which: str = "all") -> Outcome:
    label = f"rewrite-{which}"
    return apply(
        Work(
            content=content, step=step_of(label), before=(), original=content, recipe="float_fp32",
            train=samples_for(content), held_out=None, calibration=None,
        )
    )  # fmt: skip


def operations(content: bytes) -> list[str]:
    return [op.op for op in parse(Path("m.tflite"), content, "").main.operators]


def vector(net: Any, *values: float, shape: tuple[int, ...] = ()) -> int:
    held = np.array(values, np.float32).reshape(shape or (-1,))
    return int(net.tensor(list(held.shape), held, "c"))


def channels(net: Any, x: int) -> int:
    """A constant of one value a channel."""
    return int(net.weights(net.shape(x)[-1]))


def valid(net: Any, x: int, out: int, size: int = 3, stride: int = 1) -> int:
    """A convolution that does not pad."""
    y = net.conv(x, out, size, stride=stride, act=0)
    net.graph.operators[-1].builtinOptions.padding = 1
    n, high, wide, _ = net.shape(x)
    net.graph.tensors[y].shape = [n, (high - size) // stride + 1, (wide - size) // stride + 1, out]
    return int(y)


def image(net: Any, depth: int = 4) -> int:
    return int(net.input(1, 8, 8, depth))


def batch_norm_behind(net: Any) -> list[int]:
    x = net.conv(image(net), 6, act=0)
    return [net.pair("ADD", net.pair("MUL", x, channels(net, x)), channels(net, x))]


def behind_depthwise_with_activation(net: Any) -> list[int]:
    x = net.depthwise(image(net), 2, act=0)
    y = net.pair("SUB", channels(net, x), x)
    net.graph.operators[-1].builtinOptions.fusedActivationFunction = 3
    return [y]


def divided_dense(net: Any) -> list[int]:
    x = net.dense(net.flat(image(net)), 5, bias=False)
    return [net.pair("DIV", net.pair("ADD", x, vector(net, 0.3)), vector(net, 3.0))]


def scaled_transposed(net: Any) -> list[int]:
    x = net.up(image(net), 3)
    return [net.pair("MUL", x, channels(net, x))]


def scaled_in_front(net: Any) -> list[int]:
    x = image(net)
    return [net.depthwise(net.pair("MUL", channels(net, x), x), 2)]


def normed_and_flattened(net: Any) -> list[int]:
    x = net.unary("TANH", image(net))
    x = net.pair("ADD", net.pair("MUL", x, channels(net, x)), channels(net, x))
    return [net.dense(net.flat(x), 3)]


def normed_and_flattened_by_the_layer(net: Any) -> list[int]:
    x = net.unary("TANH", image(net))
    return [net.dense(net.pair("SUB", channels(net, x), x), 3, bias=False)]


def normed_and_reshaped_for_a_convolution(net: Any) -> list[int]:
    x = image(net)
    return [net.conv(net.reshape(net.pair("MUL", x, channels(net, x)), 1, 8, 4, 8), 3)]


def shifted_in_front(net: Any) -> list[int]:
    x = image(net)
    return [valid(net, net.pair("SUB", x, channels(net, x)), 5)]


def shifted_in_front_of_padding(net: Any) -> list[int]:
    """The border reads fewer shifted values: it must stay."""
    x = image(net)
    return [net.conv(net.pair("ADD", x, channels(net, x)), 5)]


def scaled_and_centred(net: Any) -> list[int]:
    """Of images, as Keras does it, in front of a layer that pads."""
    x = image(net)
    x = net.pair("SUB", net.pair("MUL", x, vector(net, 1 / 255)), channels(net, x))
    return [net.conv(net.pair("MUL", x, channels(net, x)), 5)]


def scaled_and_centred_depthwise(net: Any) -> list[int]:
    x = image(net)
    return [net.depthwise(net.pair("ADD", net.pair("MUL", x, channels(net, x)), vector(net, 0.4)), 2)]


def scaled_and_read_twice(net: Any) -> list[int]:
    x = net.conv(image(net), 4, act=0)
    return [net.pair("ADD", x, net.pair("MUL", x, channels(net, x)))]


def shared_weights(net: Any) -> list[int]:
    """A weight of two layers cannot be scaled for one."""
    w = net.weights(4, 3, 3, 4)
    x = net.conv(image(net), 4, act=0, w=w)
    return [net.conv(net.pair("MUL", x, channels(net, x)), 4, w=w)]


def scaled_behind_activation(net: Any) -> list[int]:
    x = net.conv(image(net), 4, act=1)
    return [net.unary("TANH", net.pair("MUL", x, channels(net, x)))]


def two_products(net: Any) -> list[int]:
    x = net.unary("TANH", image(net))
    return [net.pair("MUL", net.pair("MUL", x, vector(net, 0.5)), channels(net, x))]


def activations(net: Any) -> list[int]:
    x = net.unary("RELU6", net.conv(image(net), 4, act=0))
    return [net.unary("RELU", net.pair("ADD", x, image(net)))]


def same_padding(net: Any) -> list[int]:
    return [valid(net, net.pad(image(net), (0, 0), (1, 1), (1, 1), (0, 0)), 5)]


def torch_padding(net: Any) -> list[int]:
    """With stride 2, SAME pads behind only: (1, 1) must stay."""
    return [valid(net, net.pad(image(net), (0, 0), (1, 1), (1, 1), (0, 0)), 5, stride=2)]


def transposes_around_activation(net: Any) -> list[int]:
    x = net.unary("TANH", net.transpose(image(net), 0, 3, 1, 2))
    return [net.conv(net.transpose(x, 0, 2, 3, 1), 4)]


def transposes_that_add_up(net: Any) -> list[int]:
    return [net.transpose(net.transpose(image(net), 0, 3, 1, 2), 0, 3, 1, 2)]


def transpose_of_nothing(net: Any) -> list[int]:
    x = net.mean(image(net), 1, 2, keep=True)
    return [net.dense(net.flat(net.transpose(x, 0, 3, 1, 2)), 3)]


def split_and_joined(net: Any) -> list[int]:
    return [net.conv(net.concat(*net.split(image(net), 2)), 4)]


def split_and_swapped(net: Any) -> list[int]:
    a, b = net.split(image(net), 2)
    return [net.concat(b, a)]


def joined_and_split(net: Any) -> list[int]:
    a, b = net.conv(image(net), 3), net.conv(image(net), 3)
    c, d = net.split(net.concat(a, b), 2)
    return [net.pair("SUB", net.unary("TANH", c), d)]


def twin_branches(net: Any) -> list[int]:
    x, branches = image(net), []
    state = net.random.bit_generator.state
    for _ in range(2):
        net.random.bit_generator.state = state
        branches.append(net.conv(net.conv(x, 4), 4))
    return [net.pair("MUL", *branches)]


def unlike_branches(net: Any) -> list[int]:
    x = image(net)
    return [net.pair("MUL", net.conv(x, 4), net.conv(x, 4))]


def times_zero(net: Any) -> list[int]:
    x = image(net)
    gone = net.pair("MUL", net.conv(net.conv(x, 4), 4), vector(net, 0.0))
    return [net.pair("ADD", net.conv(x, 4), gone)]


def nobody_reads(net: Any) -> list[int]:
    x = image(net)
    net.conv(net.conv(x, 4), 4)
    return [net.conv(x, 2)]


def nothing_done(net: Any) -> list[int]:
    x = net.reshape(net.transpose(net.pad(image(net), *[(0, 0)] * 4), 0, 1, 2, 3), 1, 8, 8, 4)
    return [net.conv(net.pair("MUL", net.pair("ADD", x, vector(net, 0.0)), vector(net, 1.0)), 3)]


def constant_branch(net: Any) -> list[int]:
    x = image(net)
    made = net.op("EXP", [net.weights(4)], [[4]])[0]
    return [net.conv(net.unary("TANH", net.pair("MUL", net.reshape(made, 1, 1, 1, 4), x)), 3)]


def two_outputs_alike(net: Any) -> list[int]:
    """Each output is a tensor of its own: both stay."""
    x = image(net)
    return [net.unary("TANH", x), net.unary("TANH", x)]


def output_is_a_copy(net: Any) -> list[int]:
    return [net.reshape(net.conv(image(net), 3), 1, 8, 8, 3)]


CASES: dict[Callable[[Any], list[int]], list[str]] = {
    batch_norm_behind: ["CONV_2D"],
    behind_depthwise_with_activation: ["DEPTHWISE_CONV_2D"],
    divided_dense: ["RESHAPE", "FULLY_CONNECTED"],
    scaled_transposed: ["TRANSPOSE_CONV"],
    scaled_in_front: ["DEPTHWISE_CONV_2D"],
    normed_and_flattened: ["TANH", "RESHAPE", "FULLY_CONNECTED"],
    normed_and_flattened_by_the_layer: ["TANH", "FULLY_CONNECTED"],
    normed_and_reshaped_for_a_convolution: ["MUL", "RESHAPE", "CONV_2D"],
    shifted_in_front: ["CONV_2D"],
    shifted_in_front_of_padding: ["ADD", "CONV_2D"],
    scaled_and_centred: ["ADD", "CONV_2D"],
    scaled_and_centred_depthwise: ["ADD", "DEPTHWISE_CONV_2D"],
    scaled_and_read_twice: ["CONV_2D", "MUL", "ADD"],
    shared_weights: ["CONV_2D", "MUL", "CONV_2D"],
    scaled_behind_activation: ["CONV_2D", "MUL", "TANH"],
    two_products: ["TANH", "MUL"],
    activations: ["CONV_2D", "ADD"],
    same_padding: ["CONV_2D"],
    torch_padding: ["PAD", "CONV_2D"],
    transposes_around_activation: ["TANH", "CONV_2D"],
    transposes_that_add_up: ["TRANSPOSE"],
    transpose_of_nothing: ["MEAN", "RESHAPE", "FULLY_CONNECTED"],
    split_and_joined: ["CONV_2D"],
    split_and_swapped: ["SPLIT", "CONCATENATION"],
    joined_and_split: ["CONV_2D", "CONV_2D", "TANH", "SUB"],
    twin_branches: ["CONV_2D", "CONV_2D", "MUL"],
    unlike_branches: ["CONV_2D", "CONV_2D", "MUL"],
    times_zero: ["CONV_2D"],
    nobody_reads: ["CONV_2D"],
    nothing_done: ["CONV_2D"],
    constant_branch: ["MUL", "TANH", "CONV_2D"],
    two_outputs_alike: ["TANH", "TANH"],
    output_is_a_copy: ["CONV_2D"],
}
"""A model, and the operations that are left of it."""


@pytest.mark.parametrize("made", CASES, ids=lambda made: made.__name__)
def test_what_is_left_of_a_model(
    nets: ModuleType, answers: Callable[..., list[Array]], made: Callable[[Any], list[int]]
) -> None:
    net = nets.Net(5)
    content = net.build(*made(net))
    outcome = rewrite(content)
    assert operations(outcome.content) == CASES[made], outcome.notes
    for was, now in zip(answers(content), answers(outcome.content), strict=True):
        np.testing.assert_allclose(now, was, rtol=0, atol=1e-5)
    file, before = (parse(Path("m.tflite"), c, "") for c in (outcome.content, content))
    assert file.signature == before.signature, "names, shapes and types of what goes in and out"
    assert rewrite(outcome.content).content == outcome.content, "what is done is done"
    if operations(content) == CASES[made]:
        assert outcome.content == content and outcome.notes == ("nothing was found to rewrite",)


def test_counts_and_notes_say_what_was_done(nets: ModuleType) -> None:
    net = nets.Net(5)
    outcome = rewrite(net.build(*twin_branches(net)))
    figures = dict(outcome.figures)
    assert figures["rewritten_twins"] == 2
    assert (figures["operations_before"], figures["operations_after"]) == (5, 3)
    assert figures["parameters_after"] == figures["parameters_before"] / 2
    assert figures["macs_after"] == figures["macs_before"] / 2
    assert "2 operations left out, as another one computes the same of the same" in outcome.notes[0]
    assert "equal to the bit" in outcome.notes[0]


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.5, -0.1])
def test_leaky_relu_is_spelled_where_it_is_asked_for(
    nets: ModuleType, answers: Callable[..., list[Array]], slope: float
) -> None:
    net = nets.Net(5)
    x = net.conv(image(net), 4, act=0)
    content = net.build(net.op("LEAKY_RELU", [x], [net.shape(x)], kind="LeakyReluOptionsT", alpha=slope)[0])
    assert rewrite(content).content == content, "`all` leaves it"
    left = rewrite(content, "leaky").content
    other = "MAXIMUM" if slope <= 1 else "MINIMUM"
    assert operations(left) == (["CONV_2D", "MUL", other] if slope >= 0 else ["CONV_2D", "LEAKY_RELU"])
    np.testing.assert_array_equal(answers(left)[0], answers(content)[0])


def test_hard_swish_is_spelled_where_it_is_asked_for(
    nets: ModuleType, answers: Callable[..., list[Array]]
) -> None:
    net = nets.Net(5)
    content = net.build(net.unary("HARD_SWISH", net.conv(image(net), 4, act=0)))
    assert rewrite(content).content == content, "`all` leaves it"
    left = rewrite(content, "hard-swish").content
    assert operations(left) == ["CONV_2D", "ADD", "MUL", "MUL"]
    np.testing.assert_allclose(answers(left)[0], answers(content)[0], atol=1e-6)


@pytest.mark.parametrize("by", [(3.0,), (2.0, -0.5, 7.0, 1e-3), (1.0, 0.0, 1.0, 1.0)])
def test_divisions_by_constants_are_products_where_it_is_asked_for(
    nets: ModuleType, answers: Callable[..., list[Array]], by: tuple[float, ...]
) -> None:
    net = nets.Net(5)
    x = net.conv(image(net), 4)
    y = net.pair("DIV", x, vector(net, *by))
    net.graph.operators[-1].builtinOptions.fusedActivationFunction = 3
    content = net.build(net.pair("DIV", net.unary("RELU", y), net.pair("ADD", y, vector(net, 1.0))))
    left = rewrite(content, "divisions").content
    first = "DIV" if 0 in by else "MUL"
    assert operations(left) == ["CONV_2D", first, "RELU", "ADD", "DIV"]
    np.testing.assert_allclose(answers(left)[0], answers(content)[0], atol=1e-6)


@pytest.mark.parametrize(("steps", "every"), [(1, True), (7, True), (7, False), (128, False)])
def test_loops_of_a_fixed_number_of_turns_are_unrolled(
    nets: ModuleType, answers: Callable[..., list[Array]], steps: int, every: bool
) -> None:
    net = nets.Net(5)
    x = net.reshape(net.dense(net.input(1, steps, 3), 4, keep=True), steps, 1, 4)
    y = net.recurrent(x, 5, every=every)
    y = net.recurrent(y, 3, every=False) if every else y
    content = net.build(net.dense(net.flat(y) if every else y, 2))
    assert "WHILE" in operations(rewrite(content).content), "`all` leaves it"
    outcome = rewrite(content, "loops")
    file = parse(Path("m.tflite"), outcome.content, "")
    assert len(file.subgraphs) == 1 and "WHILE" not in operations(outcome.content)
    assert operations(outcome.content).count("TANH") == (2 if every else 1) * steps
    assert operations(outcome.content).count("UNPACK") == (2 if every else 1), "rows are taken apart once"
    assert "SLICE" not in operations(outcome.content), "where a row goes is known"
    layers = layers_of(file.main)
    weights = {file.main.tensors[layer.weight].buffer for layer in layers}
    assert len(weights) == (4 if steps == 1 or not every else 6), "a first turn has a state of zeros"
    np.testing.assert_array_equal(answers(outcome.content)[0], answers(content)[0])
    assert outcome.figures["difference"] == 0 and "equal to the bit" in outcome.notes[0]


def test_the_state_of_zeros_that_a_loop_begins_with_feeds_no_layer(nets: ModuleType) -> None:
    net = nets.Net(5)
    content = net.build(net.recurrent(net.reshape(net.input(1, 4, 3), 4, 1, 3), 5, every=False))
    graph = parse(Path("m.tflite"), rewrite(content, "loops").content, "").main
    fed = [graph.tensors[op.inputs[0]] for op in graph.operators if op.op == "FULLY_CONNECTED"]
    assert len(fed) == 7, "one of the input in each of four turns, one of the state in all but the first"
    assert not [tensor.name for tensor in fed if tensor.has_data]


def test_results_of_a_loop_may_be_outputs(nets: ModuleType, answers: Callable[..., list[Array]]) -> None:
    net = nets.Net(5)
    content = net.build(net.recurrent(net.reshape(net.input(1, 4, 3), 4, 1, 3), 5))
    left = rewrite(content, "loops").content
    names = [[t.name for t in parse(Path("m"), c, "").signature.outputs] for c in (left, content)]
    assert names[0] == names[1] and "WHILE" not in operations(left)
    np.testing.assert_array_equal(answers(left)[0], answers(content)[0])


@pytest.mark.parametrize(("steps", "by"), [(129, 1), (4, 0)])
def test_loops_that_go_on_too_long_stay(nets: ModuleType, steps: int, by: int) -> None:
    net = nets.Net(5)
    content = net.build(
        net.recurrent(net.reshape(net.input(1, steps, 3), steps, 1, 3), 5, every=False, by=by)
    )
    draft = Draft(content)
    unroll_loops(draft)
    assert not draft.done and draft.packed() == content


def test_one_kind_of_rewrite_alone(nets: ModuleType) -> None:
    net = nets.Net(5)
    x = net.conv(image(net), 4, act=0)
    content = net.build(net.unary("RELU", net.pair("MUL", x, channels(net, x))))
    assert operations(rewrite(content, "activations").content) == ["CONV_2D", "MUL"]
    assert operations(rewrite(content, "layers").content) == ["CONV_2D", "RELU"]
    assert operations(rewrite(content).content) == ["CONV_2D"]


def test_the_worker_does_the_step(nets: ModuleType, tmp_path: Path) -> None:
    net = nets.Net(5)
    content = net.build(*batch_norm_behind(net))
    (tmp_path / "m.tflite").write_bytes(content)
    np.save(tmp_path / "x.npy", samples_for(content, 20).inputs[0])
    told = worker.apply(
        {
            "model": str(tmp_path / "m.tflite"), "original": str(tmp_path / "m.tflite"), "before": [],
            "step": step_of("rewrite").to_json(), "recipe": "static_wi8_ai8", "train": None, "ranges": {},
            "calibration": {"inputs": [str(tmp_path / "x.npy")], "labels": None}, "out": str(tmp_path / "out.tflite"),
        },
        lambda *_: None,
    )  # fmt: skip
    assert operations((tmp_path / "out.tflite").read_bytes()) == ["CONV_2D"]
    assert told["figures"]["rewritten_layers"] == 2 and len(told["notes"]) == 1


def test_a_chain_begins_with_it(nets: ModuleType) -> None:
    assert [step.method for step in chain_of("rewrite+prune-50+qat-int8", seed=0)] == [
        "rewrite",
        "prune",
        "qat",
    ]
    with pytest.raises(InputError) as error:
        chain_of("prune-50+rewrite", seed=0)
    assert error.value.reference == "bad-chain"


def wrongly_halved(draft: Draft) -> None:
    """A rewrite that is right of RELU and wrong of TANH."""
    for op in draft.operators:
        if draft.name(op) in ("RELU", "TANH") and draft.may(op):
            draft.bypass(op, op.inputs[0])


def test_what_differs_is_undone_and_the_rest_stays(nets: ModuleType) -> None:
    net = nets.Net(5)
    x = net.unary("TANH", net.unary("RELU", net.conv(image(net), 4, act=1)))
    content = net.build(net.conv(x, 3))

    class Wrong:
        """A row whose function is of this file."""

        name, about, usual = "wrong", "left out", True
        run = staticmethod(wrongly_halved)

    left, changes = rewritten(content, [Wrong()], Proof(content, samples_for(content), 0))  # type: ignore[list-item]
    assert operations(left) == ["CONV_2D", "TANH", "CONV_2D"]
    assert [(c.kept, len(c.sites)) for c in changes] == [(False, 1), (True, 1)]
    assert changes[0].sites[0].startswith("tanh") and changes[0].difference.share > ROUNDING


def test_nothing_is_proven_by_what_is_no_number(nets: ModuleType) -> None:
    net = nets.Net(5)
    x = net.pair("ADD", image(net), vector(net, np.nan))
    content = net.build(net.pair("MUL", net.conv(x, 4, act=0), vector(net, 2.0)))
    outcome = rewrite(content)
    assert outcome.content == content
    assert "undone" in outcome.notes[0] and "no numbers" in outcome.notes[0]


def shortened(draft: Draft) -> None:
    """A rewrite whose file LiteRT refuses."""
    for op in draft.operators:
        if draft.name(op) == "CONV_2D" and draft.may(op):
            draft.store(op.inputs[2], np.zeros(1, np.float32))


def test_a_file_that_does_not_run_is_undone(nets: ModuleType) -> None:
    net = nets.Net(5)
    content = net.build(net.conv(image(net), 4))

    class Wrong:
        """A row whose function is of this file."""

        name, about, usual = "wrong", "shortened", True
        run = staticmethod(shortened)

    left, changes = rewritten(content, [Wrong()], Proof(content, samples_for(content), 0))  # type: ignore[list-item]
    assert left == content and [c.kept for c in changes] == [False]


def test_of_a_model_that_does_not_run_nothing_is_rewritten(nets: ModuleType) -> None:
    net = nets.Net(5)
    x = net.conv(image(net), 4, act=0)
    content = net.build(net.unary("RELU", net.op("CUSTOM", [x], [net.shape(x)])[0]))
    outcome = rewrite(content)
    assert outcome.content == content
    assert outcome.notes[0].startswith("nothing was rewritten, as nothing can be proven: LiteRT does not run")


def scaled(net: Any, x: int, choose: random.Random) -> int:
    name, shape = choose.choice(("ADD", "SUB", "MUL", "DIV")), choose.choice(([1], [1, 1, 1, -1], [-1]))
    value = net.weights(*[net.shape(x)[-1] if size < 0 else size for size in shape])
    return int(
        net.pair(name, *choose.choice(((x, value), (x, value), (value, x) if name != "DIV" else (x, value))))
    )


def moved(net: Any, x: int, choose: random.Random) -> int:
    n, high, wide, depth = net.shape(x)
    x = net.transpose(x, 0, 3, 1, 2)
    x = choose.choice((net.unary, lambda _, y: net.reshape(y, n, depth, wide, high)))("TANH", x)
    return int(net.transpose(x, 0, 2, 3, 1))


def padded(net: Any, x: int, choose: random.Random) -> int:
    one, two = (choose.choice(((1, 1), (1, 1), (0, 2), (2, 0))) for _ in range(2))
    return valid(net, net.pad(x, (0, 0), one, two, (0, 0)), 4)


def zeroed(net: Any, x: int, choose: random.Random) -> int:
    y = net.pair("MUL", net.conv(x, net.shape(x)[3]), vector(net, choose.choice((0.0, 1.0, 0.5))))
    return int(net.pair(choose.choice(("ADD", "SUB", "MAXIMUM")), x, y))


def parted(net: Any, x: int, choose: random.Random) -> int:
    x = net.conv(x, 4, act=0)
    parts = net.split(x, 2)
    return int(net.concat(*choose.choice((parts, parts[::-1]))))


def again(net: Any, x: int, choose: random.Random) -> int:
    state, made = net.random.bit_generator.state, []
    for _ in range(2):
        net.random.bit_generator.state = state
        made.append(net.conv(x, 3, 1, act=choose.choice((0, 0, 1))))
    return int(net.pair("ADD", *made))


def activated(net: Any, x: int, choose: random.Random) -> int:
    x = choose.choice(
        (lambda y: net.conv(y, 4, act=choose.choice((0, 0, 3))), lambda y: scaled(net, y, choose))
    )(x)
    return int(net.unary(choose.choice(("RELU", "RELU6", "RELU_N1_TO_1")), x))


def shifted_by_a_result(net: Any, x: int, choose: random.Random) -> int:
    """By what an operation makes of a constant."""
    name, depth = choose.choice(("EXP", "TANH")), net.shape(x)[3]
    made = net.op(name, [net.weights(depth)], [[depth]])[0]
    return int(net.pair("ADD", x, choose.choice((made, net.reshape(made, 1, 1, 1, depth)))))


REWRITTEN = (scaled, scaled, moved, padded, zeroed, parted, again, activated, shifted_by_a_result)


@given(seed=st.integers(0, 1 << 40))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_graphs_compute_the_same(
    nets: ModuleType, answers: Callable[..., list[Array]], seed: int
) -> None:
    """Layers and joins of all sorts between what can be rewritten: nothing is undone, and nothing is left to do."""
    choose = random.Random(seed)
    net = nets.Net(choose.randrange(1 << 30))
    maps = [net.input(1, 8, 8, choose.randint(1, 4))]
    for _ in range(choose.randint(3, 8)):
        x = choose.choice(maps[-2:])
        steps: Any = choose.choice((REWRITTEN, nets.STEPS))
        step = choose.choice(steps)
        maps.append(step(net, x, choose) if steps is REWRITTEN else step(net, x, maps, choose))
    content = net.build(*dict.fromkeys((maps[-1], choose.choice(maps[1:]))))
    proof = Proof(content, samples_for(content), 0)
    left, changes = rewritten(content, RULES, proof)
    assert all(change.kept for change in changes), changes
    assert rewritten(left, RULES, proof)[0] == left
    for was, now in zip(answers(content), answers(left), strict=True):
        np.testing.assert_allclose(now, was, rtol=0, atol=2 * ROUNDING * max(1.0, float(np.abs(was).max())))


def test_every_rule_can_be_named() -> None:
    assert list(WORDS) == ["all", *(rule.name for rule in RULES)]
    assert [rule.name for rule in rules_of("leaky")] == ["leaky"]
    assert not any(rule.spells for rule in rules_of("all"))
    with pytest.raises(InputError, match="which is all, constants"):
        step_of("rewrite-some")
