"""Train a small CNN on scikit-learn's handwritten digits. Runs in a worker process only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

HELD_OUT = 100
"""Digits that only the finished service is asked."""
EVALUATION = 400
CALIBRATION = 200
SEED = 7
EPOCHS = 16


def train(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Write digits.keras, train.npz, calibration.npz, eval.npz and held_out.npz into `payload["folder"]`.

    Raw samples are uint8 `[n, 8, 8, 1]` with values 0..16; the model is trained on sample / 16. The four sets do not
    overlap, except that calibration is the first part of the training set. Returns the sizes and the accuracy (percent)
    of the float model on the evaluation set.
    """
    report("loading scikit-learn's handwritten digits")
    import numpy as np
    from sklearn.datasets import load_digits

    folder = Path(payload["folder"])
    digits = load_digits()
    x = digits.images.astype(np.uint8)[..., np.newaxis]
    y = digits.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(x))
    x, y = x[order], y[order]
    cut = len(x) - HELD_OUT - EVALUATION
    sets = {
        "train": slice(0, cut),
        "calibration": slice(0, CALIBRATION),
        "eval": slice(cut, cut + EVALUATION),
        "held_out": slice(cut + EVALUATION, len(x)),
    }
    for name, part in sets.items():
        np.savez(folder / f"{name}.npz", x=x[part], y=y[part])

    report("training a small CNN on 8 x 8 digits")
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="digit"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", strides=2, activation="relu"),
            keras.layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 1, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="digits",
    )
    model.compile(keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])

    class Told(keras.callbacks.Callback):  # type: ignore[misc]
        """Reports the epochs as progress."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            report("epochs", epoch + 1, EPOCHS)

    scaled = x.astype(np.float32) / 16.0
    model.fit(
        scaled[sets["train"]], y[sets["train"]], batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[Told()]
    )
    _, accuracy = model.evaluate(scaled[sets["eval"]], y[sets["eval"]], verbose=0)
    model.save(folder / "digits.keras")
    return {"train": cut, "evaluation": EVALUATION, "held_out": HELD_OUT, "accuracy": 100.0 * float(accuracy)}
