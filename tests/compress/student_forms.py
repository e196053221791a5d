"""What the tests of a student of one's own run in a worker, where Keras may be loaded."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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

    def work(self, model: str) -> Work:
        samples = Samples((self.x,), None, np.arange(len(self.x)))
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
    for check in (a_keras_file, a_tf_keras_file, a_function, what_is_refused):
        try:
            check(lesson)
            wrong[check.__name__] = ""
        except Exception:
            wrong[check.__name__] = traceback.format_exc()
    return wrong
