"""What the tests of a student of one's own run in a worker, where Keras may be loaded."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from nets import Net
from operation_cases import Array, litert

from edgeship.compress import own_student
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.methods import step_of
from edgeship.compress.samples import Samples
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError

SHORT = ",epochs=2,steps=120,batch=32,augment=none,rate=0.01"
BUILDER = """
import keras
import tf_keras


def build():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )


def raising():
    raise RuntimeError("no data today")


def other():
    return 7


def unbuilt():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")])


def narrow():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])


def logits():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])


def by_place():
    # Other names, and a dict whose keys are not declared in the order of the alphabet.
    picture, numbers = keras.Input((8, 8, 3), name="picture"), keras.Input((5,), name="numbers")
    x = keras.layers.Concatenate()([keras.layers.Flatten()(picture), numbers])
    x = keras.layers.Dense(16, activation="relu")(x)
    outputs = {
        "kind": keras.layers.Dense(4, activation="softmax")(x),
        "amount": keras.layers.Dense(4)(x),
    }
    return keras.Model([picture, numbers], outputs)


def by_name():
    # The names of the model, in another order.
    layers = tf_keras.layers
    numbers, picture = layers.Input((5,), name="inputs_1"), layers.Input((8, 8, 3), name="inputs_0")
    x = layers.Dense(16, activation="relu")(layers.Concatenate()([layers.Flatten()(picture), numbers]))
    outputs = [
        layers.Dense(4, name="outputs_1")(x),
        layers.Dense(4, activation="softmax", name="outputs_0")(x),
    ]
    return tf_keras.Model([numbers, picture], outputs)


def swapped():
    numbers, picture = keras.Input((5,)), keras.Input((8, 8, 3))
    x = keras.layers.Concatenate()([keras.layers.Flatten()(picture), numbers])
    return keras.Model([numbers, picture], [keras.layers.Dense(4)(x), keras.layers.Dense(4)(x)])


def frozen():
    model = build()
    model.trainable = False
    return model
"""
REFUSED = {
    "mine:raising": (
        "student-unusable",
        "mine:raising built no model: RuntimeError: no data today (mine.py, line",
    ),
    "mine:other": ("student-unusable", "mine:other gives int, no Keras model"),
    "mine:unbuilt": ("student-unusable", "the inputs of mine:unbuilt are not known"),
    "mine:narrow": ("student-unlike", "the student's inputs are [8, 8, 1], the model's [8, 8, 3]"),
    "mine:logits": ("student-unlike", "output 0 of the model is probabilities, that of the student is none"),
    "mine:frozen": ("student-unusable", "nothing of mine:frozen can be trained"),
    "mine:missing": ("student-unusable", "mine:missing cannot be had: AttributeError"),
    "teacher.tflite": ("student-unusable", "teacher.tflite is none"),
    "weights.h5": ("student-unusable", "weights.h5 cannot be read as a whole model: tf_keras: "),
    "nowhere.keras": ("model-not-found", "there is no such model"),
    "text.keras": ("model-unknown", ""),
    "": ("student-missing", "nothing says which student"),
}


class Lesson:
    """A teacher, samples, and a folder with students."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = (folder / "teacher.tflite").read_bytes()
        self.x = np.load(folder / "x.npy")
        self.more: Array | None = None

    def work(self, model: str) -> Work:
        inputs = (self.x,) if self.more is None else (self.x, self.more)
        samples = Samples(inputs, None, np.arange(len(self.x)))
        return Work(
            content=self.content,
            step=step_of(f"student,model={model}{SHORT}"),
            before=(),
            original=self.content,
            recipe="float_fp32",
            train=samples,
            held_out=samples,
            calibration=None,
            folder=str(self.folder),
        )

    def learns(self, model: str) -> Outcome:
        """Hold that a student learns, and that the file computes what was measured."""
        outcome = own_student.apply(self.work(model))
        figures = outcome.figures
        assert figures["held_out_loss"] < 0.6 * figures["held_out_loss_before"], figures
        assert figures["parameters"] < 2000
        mine, theirs = (
            litert(content, [self.x[:, None]])[0].reshape(len(self.x), -1)
            for content in (outcome.content, self.content)
        )
        again = np.asarray(TrainableGraph(outcome.content)([self.x])[0])
        assert np.allclose(mine, again, atol=1e-5)
        apart = 4 * np.mean(np.sum(softened(theirs) * np.log(softened(theirs) / softened(mine)), axis=-1))
        assert abs(apart - figures["held_out_loss"]) < 0.05 * figures["held_out_loss"] + 1e-4, (
            apart,
            figures,
        )
        return outcome


def softened(probabilities: Array) -> Array:
    """Return probabilities at temperature 2."""
    roots = np.sqrt(np.maximum(probabilities, 1e-7))
    return np.asarray(roots / roots.sum(axis=-1, keepdims=True))


def with_norm_and_dropout(keras: Any) -> Any:
    """Return a student that computes otherwise while it learns."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)) if keras.__name__ == "keras" else layers.Input((8, 8, 3)),
            layers.Conv2D(6, 3, strides=2, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.1),
            layers.Dense(4, activation="softmax"),
        ]
    )


def a_keras_file(lesson: Lesson) -> None:
    import keras

    keras.utils.set_random_seed(0)
    with_norm_and_dropout(keras).save(lesson.folder / "small.keras")
    lesson.learns("small.keras")


def a_tf_keras_file(lesson: Lesson) -> None:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = with_norm_and_dropout(tf_keras)
    model.save(str(lesson.folder / "small.h5"))
    model.save_weights(str(lesson.folder / "weights.h5"))
    lesson.learns("small.h5")


def a_function(lesson: Lesson) -> None:
    """The step's seed decides what a function draws: twice the same."""
    first = lesson.learns("mine:build")
    assert own_student.apply(lesson.work("mine:build")).figures == first.figures


def several_ends(lesson: Lesson) -> None:
    """A student of two inputs and two outputs of one shape learns each from its own, whatever their order is in Keras;
    what is written takes and gives them in the order of the model."""
    several = Lesson(lesson.folder)
    several.content, several.more = two_ends(), np.random.default_rng(4).normal(size=(len(several.x), 5))
    several.more = several.more.astype(np.float32)
    kind, amount = litert(several.content, [several.x[:, None], several.more[:, None]])
    for model in ("mine:by_place", "mine:by_name"):
        outcome = own_student.apply(several.work(model))
        figures = outcome.figures
        assert figures["held_out_loss"] < 0.6 * figures["held_out_loss_before"], (model, figures)
        made = litert(outcome.content, [several.x[:, None], several.more[:, None]])
        assert np.abs(made[0].sum(-1) - 1).max() < 1e-5, model
        alike = [[np.corrcoef(o.ravel(), t.ravel())[0, 1] for t in (kind, amount)] for o in made]
        assert min(alike[0][0], alike[1][1]) > 0.8 > max(alike[0][1], alike[1][0]), (model, alike)
        assert len(TrainableGraph(outcome.content)([several.x, several.more])) == 2
    try:
        own_student.apply(several.work("mine:swapped"))
    except InputError as error:
        text = error.render()
        assert "the student's inputs are [5], [8, 8, 3], the model's [8, 8, 3], [5]" in text
        assert "all of the same names" in text and "inputs_0 [8, 8, 3]" in text
    else:
        raise AssertionError("inputs in another order were taken")


def two_ends() -> bytes:
    """Return a teacher that takes a picture and numbers and gives a kind and an amount, both of four values."""
    net = Net(3)
    picture, numbers = net.input(1, 8, 8, 3), net.input(1, 5)
    x = net.concat(net.flat(net.conv(picture, 4)), numbers)
    return net.build(net.softmax(net.dense(x, 4)), net.dense(x, 4))


def what_is_refused(lesson: Lesson) -> None:
    (lesson.folder / "text.keras").write_text("no model at all, only words\n" * 20)
    for model, (reference, words) in REFUSED.items():
        try:
            own_student.apply(lesson.work(model))
        except InputError as error:
            assert error.reference == reference and words in error.message, (model, error.render())
            assert error.hint, model
        else:
            raise AssertionError(f"{model} was taken")


def run_all(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, str]:
    """Return what is wrong by check, "" where nothing is; from a folder that is not that of edgeship.yaml."""
    folder = Path(payload["folder"])
    (folder / "mine.py").write_text(BUILDER)
    os.chdir("/")
    lesson, wrong = Lesson(folder), {}
    for check in (a_keras_file, a_tf_keras_file, a_function, several_ends, what_is_refused):
        try:
            check(lesson)
            wrong[check.__name__] = ""
        except Exception:
            wrong[check.__name__] = traceback.format_exc()
    return wrong
