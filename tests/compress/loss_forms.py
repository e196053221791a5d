"""What the tests of losses run in a worker, where TensorFlow may be loaded: small models of every kind of output, each
taught its own answers again after its weights were shaken."""

from __future__ import annotations

import tempfile
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from graph_forms import convolution, maker
from operation_cases import Array, Maker

from edgeship.compress.constraints import Constraints
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.methods import step_of
from edgeship.compress.objective import Objective
from edgeship.compress.samples import Samples
from edgeship.compress.training import Plan, objective_of, train
from edgeship.compress.work import Work
from edgeship.errors import InputError

SHORT = "finetune,epochs=2,steps=80,batch=32,augment=none,rate=0.01"


class Case:
    """A model, samples, and labels where there are some."""

    def __init__(self, build: Callable[[Maker], tuple[int, Sequence[int]]], shape: Sequence[int]) -> None:
        m = maker()
        x, outputs = build(m)
        self.content = m.builder.build([x], list(outputs))
        self.x = np.random.default_rng(1).uniform(-1, 1, [64, *shape]).astype(np.float32)
        self.teacher = TrainableGraph(self.content)
        self.answers = [np.asarray(o) for o in self.teacher([self.x])]

    def work(self, settings: str = "", labels: Array | None = None, folder: str | None = None) -> Work:
        samples = Samples((self.x,), labels, np.arange(64))
        return Work(
            content=self.content,
            step=step_of(SHORT + settings),
            before=(),
            original=self.content,
            recipe="float_fp32",
            train=samples,
            held_out=samples,
            calibration=None,
            folder=folder,
        )

    def objective(self, settings: str = "", labels: Array | None = None) -> Objective:
        return objective_of(self.work(settings, labels), self.teacher)

    def kinds(self, settings: str = "", labels: Array | None = None) -> list[str]:
        return [output.kind for output in self.objective(settings, labels).outputs]

    def holds(
        self, settings: str = "", labels: Array | None = None, folder: str | None = None
    ) -> list[Array]:
        """Train the model with shaken weights; hold that the teacher itself has no loss (where labels do not count),
        that gradients are finite, and that training lowers the loss by a third. Return the distances left from the
        teacher's answers, as shares of those before."""
        import tensorflow as tf

        work = self.work(settings, labels, folder)
        objective = objective_of(work, self.teacher)
        told = None if labels is None else tf.constant(labels)
        at_home = float(objective.loss(self.teacher([self.x]), self.teacher([self.x]), told))
        graph, rng = TrainableGraph(self.content), np.random.default_rng(2)
        shaken = {
            i: v * (1 + 0.5 * rng.normal(size=v.shape).astype(np.float32)) if v.ndim > 1 else v
            for i, v in graph.values().items()
        }
        graph.assign(shaken)
        with tf.GradientTape() as tape:
            loss = objective.loss(graph([self.x]), self.teacher([self.x]), told)
        for gradient in tape.gradient(loss, list(graph.variables.values())):
            assert np.isfinite(tf.convert_to_tensor(gradient)).all()
        if objective.labels == 0:
            assert abs(at_home) < 1e-6 < float(loss), (at_home, float(loss))
        before = [np.abs(np.asarray(o) - a) for o, a in zip(graph([self.x]), self.answers, strict=True)]
        figures = train(graph, Constraints(), self.teacher, work, Plan.of(work.step)).figures
        assert figures["held_out_loss"] < 0.7 * figures["held_out_loss_before"] or objective.labels, figures
        assert figures["held_out_loss"] < figures["held_out_loss_before"], figures
        after = [np.abs(np.asarray(o) - a) for o, a in zip(graph([self.x]), self.answers, strict=True)]
        return [a.mean(axis=0) / b.mean(axis=0) for a, b in zip(after, before, strict=True)]


def dense(m: Maker, x: int, of: int, to: int, size: float = 1.0, middle: float = 0.0) -> int:
    """Add a dense layer, and constants that make its outputs `size` times as large, around `middle`, as detectors
    decode boxes; return the output."""
    made = m.op("FULLY_CONNECTED", [x, m.weight([to, of]), m.weight([to])], "FullyConnectedOptions")[0]
    if size != 1.0:
        made = m.op("MUL", [made, m.const(np.full(to, size), "FLOAT32")], "MulOptions")[0]
    if middle:
        made = m.op("ADD", [made, m.const(np.full(to, middle), "FLOAT32")], "AddOptions")[0]
    return made


def hidden(m: Maker) -> tuple[int, int]:
    """Add an input of 6 numbers and a layer of 8; return both."""
    x = m.input([1, 6])
    made = m.op(
        "FULLY_CONNECTED",
        [x, m.weight([8, 6]), m.weight([8])],
        "FullyConnectedOptions",
        fusedActivationFunction=1,
    )
    return x, made[0]


def headed(to: int, end: str = "", size: float = 1.0) -> Case:
    """Return a case of dense layers with `to` outputs that end in an operation."""

    def build(m: Maker) -> tuple[int, Sequence[int]]:
        x, h = hidden(m)
        last = dense(m, h, 8, to, size)
        if end == "SOFTMAX":
            last = m.op("SOFTMAX", [last], "SoftmaxOptions", beta=1.0)[0]
        elif end:
            last = m.op(end, [last])[0]
        return x, [last]

    return Case(build, [6])


def regression() -> None:
    """One number around 300; several of unlike size, with labels and without."""

    def build(m: Maker) -> tuple[int, Sequence[int]]:
        x, h = hidden(m)
        return x, [dense(m, h, 8, 1, 5.0, 300.0)]

    one = Case(build, [6])
    assert one.kinds() == ["numbers"]
    one.holds()
    labels = one.answers[0][:, 0] + 1.0
    assert one.kinds(",labels=0.5", labels) == ["numbers"]

    def unlike(m: Maker) -> tuple[int, Sequence[int]]:
        x, h = hidden(m)
        parts = [dense(m, h, 8, 2, size) for size in (1000.0, 1.0, 0.001)]
        return x, [m.op("CONCATENATION", parts, "ConcatenationOptions", axis=1)[0]]

    several = Case(unlike, [6])
    (left,) = several.holds()
    assert left.reshape(3, 2).mean(axis=1).max() < 0.75, f"columns were left behind: {left}"


def segmentation() -> None:
    """Classes at each place: softmax at the end, or logits with a map of integers, some of which nobody knows."""
    import tensorflow as tf

    def build(m: Maker, end: bool) -> tuple[int, Sequence[int]]:
        x = m.input([1, 6, 6, 3])
        made = convolution(m, x, (3, 4), "stem")
        last = m.op(
            "CONV_2D", [made, m.weight([5, 1, 1, 4]), m.weight([5])], "Conv2DOptions", strideH=1, strideW=1
        )
        return x, m.op("SOFTMAX", last, "SoftmaxOptions", beta=1.0) if end else last

    case = Case(lambda m: build(m, True), [6, 6, 3])
    assert case.kinds() == ["classes"]
    case.holds()
    logits = Case(lambda m: build(m, False), [6, 6, 3])
    assert logits.kinds() == ["numbers"]
    maps = logits.answers[0].argmax(axis=-1)
    assert logits.kinds("", maps) == logits.kinds("", maps[..., None]) == ["logits"]
    maps[:, 0], maps[:, 1] = 255, -1
    logits.holds(",labels=0.5", maps.astype(np.int16))
    objective = logits.objective(",labels=1.0", maps)
    other = logits.answers[0].copy()
    other[:, :2] += np.arange(5)
    same = [
        float(objective.loss([tf.constant(o)], [tf.constant(logits.answers[0])], tf.constant(maps)))
        for o in (logits.answers[0], other)
    ]
    assert np.isclose(*same), "what nobody knows counts"


def detection() -> None:
    """Boxes of 0..300 and scores of 0..1: joined in one output, either way round, and in two."""

    def heads(m: Maker) -> tuple[int, int, int]:
        x, h = hidden(m)
        boxes = m.op("RESHAPE", [dense(m, h, 8, 20, 60.0, 150.0), m.const([1, 5, 4])], "ReshapeOptions")[0]
        scores = m.op("LOGISTIC", [dense(m, h, 8, 10)])[0]
        return x, boxes, m.op("RESHAPE", [scores, m.const([1, 5, 2])], "ReshapeOptions")[0]

    def joined(m: Maker, turned: bool) -> tuple[int, Sequence[int]]:
        x, boxes, scores = heads(m)
        both = m.op("CONCATENATION", [boxes, scores], "ConcatenationOptions", axis=2)
        return x, m.op("TRANSPOSE", [both[0], m.const([0, 2, 1])]) if turned else both

    for turned in (False, True):
        case = Case(lambda m, turned=turned: joined(m, turned), [6])  # type: ignore[misc]
        (output,) = case.objective().outputs
        assert output.kind == "numbers" and output.scale is not None
        scale = output.scale.reshape(-1)
        assert output.scale.shape == ((6, 1) if turned else (1, 6)), output.scale.shape
        assert scale[:4].min() > 20 and scale[4:].max() < 0.5, scale
        if turned:
            continue
        (left,) = case.holds()
        assert left[:, :4].mean() < 0.6 and left[:, 4:].mean() < 0.6, left

    def apart(m: Maker) -> tuple[int, Sequence[int]]:
        x, boxes, scores = heads(m)
        return x, [boxes, scores]

    case = Case(apart, [6])
    assert case.kinds() == ["numbers", "shares"]
    left = case.holds()
    assert max(part.mean() for part in left) < 0.6, [part.mean() for part in left]
    assert [o.labelled for o in case.objective("", case.answers[1].round()).outputs] == [False, True]


def shares() -> None:
    """Several labels at once, by LOGISTIC or as logits; yes or no by one logit."""
    case = headed(4, "LOGISTIC", 3.0)
    assert case.kinds() == ["shares"]
    case.holds()
    several = (case.answers[0] > 0.5).astype(np.int64)
    case.holds(",labels=0.5", several)
    logits = headed(4, "", 3.0)
    assert logits.kinds("", several) == ["odds"]
    logits.holds(",labels=0.5", several)
    assert headed(1, "", 3.0).kinds("", several[:, 0]) == ["odds"]


def classes() -> None:
    """One-hot and integer labels, of probabilities and of logits, tell the same; zeros in probabilities are no
    trouble; targets that are numbers are no classes."""
    import tensorflow as tf

    for case, kind in ((headed(3, "SOFTMAX", 3.0), "classes"), (headed(3, "", 3.0), "logits")):
        told = case.answers[0].argmax(axis=-1)
        losses = []
        for labels in (
            told,
            told[:, None].astype(np.float32),
            np.eye(3)[told],
            np.eye(3, dtype=np.uint8)[told],
        ):
            assert case.kinds("", labels) == [kind], (kind, labels.shape, labels.dtype)
            losses.append(
                float(
                    case.objective(",labels=0.5", labels).loss(
                        tensors(case), tensors(case), tf.constant(labels)
                    )
                )
            )
        assert np.ptp(losses) < 1e-6 and losses[0] > 0, losses
        case.holds(",labels=0.5", told)
    sure = headed(3, "SOFTMAX", 400.0)
    assert (sure.answers[0] == 0).any()
    sure.holds()
    assert headed(3).kinds("", sure.x[:, :3]) == ["numbers"]
    for labels, why in ((None, "has no labels"), (sure.x, "labels [6] fit none of the outputs [3]")):
        assert why in refused(lambda labels=labels: sure.objective(",labels=0.5", labels)).message  # type: ignore[misc]


def tensors(case: Case) -> list[Any]:
    import tensorflow as tf

    return [tf.constant(held) for held in case.answers]


def several_outputs() -> None:
    """Probabilities, numbers and an index: each is compared as what it is, and labels are of the one that they fit."""

    def build(m: Maker) -> tuple[int, Sequence[int]]:
        x, h = hidden(m)
        parts = [m.op("SOFTMAX", [dense(m, h, 8, 3, 3.0)], "SoftmaxOptions", beta=1.0)[0] for _ in range(2)]
        stood = [m.op("EXPAND_DIMS", [part, m.const(1)])[0] for part in parts]
        both = m.op("CONCATENATION", stood, "ConcatenationOptions", axis=1)[0]
        best = m.op("ARG_MAX", [both, m.const(2)], "ArgMaxOptions", outputType=2, kinds=["INT32"])[0]
        return x, [both, dense(m, h, 8, 4, 50.0), best]

    case = Case(build, [6])
    assert case.kinds()[:2] == ["classes", "numbers"], case.kinds()
    labels = case.answers[0].argmax(axis=-1)
    assert [o.labelled for o in case.objective("", labels).outputs][:2] == [True, False]
    case.holds(",labels=0.3", labels)


OWN = {
    "good": "return tf.reduce_mean(tf.square(outputs[0] - teacher[0]))",
    "each": "return tf.reduce_mean(tf.abs(outputs[0] - teacher[0]), axis=-1)",
    "branches": """
        total = tf.constant(0.0)
        if tf.reduce_mean(outputs[0]) > 0.0:
            total += tf.reduce_mean(tf.square(outputs[0] - teacher[0]))
        else:
            total += tf.reduce_mean(tf.square(teacher[0] - outputs[0]))
        return total""",
    "raises": "raise KeyError('my own trouble')",
    "unfit": "return tf.reduce_mean(outputs[0] - tf.zeros([7, 5]))",
    "labelled": "return tf.reduce_mean(tf.square(outputs[0] - labels))",
    "places": "return tf.square(outputs[0] - teacher[0])",
    "nothing": "pass",
    "text": "return {'loss': outputs[0]}",
    "whole": "return tf.argmax(outputs[0][0])",
    "flat": "return tf.reduce_mean(teacher[0])",
    "endless": "return tf.reduce_mean(tf.math.log(outputs[0] * 0.0))",
    "eager": "return float(outputs[0].numpy().mean())",
}
REFUSED = {
    "raises": "failed: KeyError: 'my own trouble' (myloss.py, line ",
    "unfit": "failed: ValueError: Dimensions must be equal, but are",
    "labelled": "failed: ValueError: ",
    "places": "gives numbers of shape [8, 3], not one, or one a sample",
    "nothing": "gives a NoneType, no number",
    "text": "gives a dict, no number",
    "whole": "gives int64, no number with a fraction",
    "flat": "does not depend on the outputs: it has no gradient",
    "endless": "is no finite number, or its gradient is none",
    "eager": "failed: AttributeError: ",
    "missing": "cannot be had: AttributeError: module 'myloss' has no attribute 'missing'",
}


def a_loss_of_ones_own() -> None:
    """Found beside edgeship.yaml; what is wrong with it is told in a line."""
    case = headed(3, "SOFTMAX", 3.0)
    with tempfile.TemporaryDirectory() as folder:
        lines = ["import tensorflow as tf", ""]
        for name, body in OWN.items():
            lines += [
                f"def {name}(outputs, teacher, labels):",
                textwrap.indent(textwrap.dedent(body), "    "),
                "",
            ]
        (Path(folder) / "myloss.py").write_text("\n".join(lines))
        for name in ("good", "branches"):
            case.holds(f",loss=myloss:{name}", folder=folder)
        objective_of(case.work(",loss=myloss:each", folder=folder), case.teacher)
        for name, why in REFUSED.items():
            work = case.work(f",loss=myloss:{name}", folder=folder)
            error = refused(lambda work=work: objective_of(work, case.teacher))  # type: ignore[misc]
            assert error.reference == "loss-unusable" and error.hint
            assert f"myloss:{name} {why}" in error.message, error.message
            assert "\n" not in error.message, error.message
        (Path(folder) / "broken.py").write_text("def loss(:\n")
        for reference, why in (
            ("broken:loss", "SyntaxError"),
            ("nowhere:loss", "ModuleNotFound"),
            ("loss", "is no"),
        ):
            work = case.work(f",loss={reference}", folder=folder)
            assert why in refused(lambda work=work: objective_of(work, case.teacher)).message  # type: ignore[misc]


def refused(call: Callable[[], object]) -> InputError:
    """Return the error that a call ends with."""
    try:
        call()
    except InputError as error:
        return error
    raise AssertionError("it was taken")


CHECKS: dict[str, Callable[[], None]] = {
    check.__name__: check
    for check in (
        regression,
        segmentation,
        detection,
        shares,
        classes,
        several_outputs,
        a_loss_of_ones_own,
    )
}


def run_all(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, str]:
    """Return what is wrong by check, "" where nothing is."""
    import time

    wrong = {}
    for name, check in CHECKS.items():
        begun = time.monotonic()
        try:
            check()
            wrong[name] = ""
        except Exception:
            wrong[name] = traceback.format_exc()
        report(f"{name}: {time.monotonic() - begun:.1f} s")
    return wrong
