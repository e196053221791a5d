"""Pruning by tensorflow-model-optimization itself, on the Keras model (`tfmot-prune-80`): to compare with `prune-80`.

It knows the Keras of TensorFlow 2.15 and before (tf_keras) only, trains on labels only, and prunes every layer it knows
alike. What it made becomes a float `.tflite` as the model itself did. Runs in a worker that has tfmot on its path.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import counted
from edgeship.compress.work import Outcome, Report, Work
from edgeship.errors import EdgeshipError, InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent

RISE = 0.5
"""Share of the training in which zeros grow to their number, as `prune` has it."""
MASKINGS = 50
"""How often masks are made anew meanwhile."""
CLOSE = 1e-3
"""How near to 1 the sum of answers is that are probabilities."""


def prune(work: Work) -> Outcome:
    """Prune the model that the float one was converted from. Raises InputError `tfmot-takes-keras-2`, `labels-missing`,
    `bad-chain`."""
    source, samples = work.source, work.train
    if work.before:
        raise InputError(
            "bad-chain",
            f"{work.step.label} works on the Keras model, and {work.before[-1].label} before it left a .tflite",
            hint=f"--method {'+'.join(s.label for s in (work.step, *work.before))}",
        )
    if source is None or source.kind == "tflite":
        raise _not_keras_2(work, "a .tflite has no layers of Keras")
    if samples is None or samples.labels is None:
        raise InputError(
            "labels-missing",
            f"{work.step.label} trains on labels, and the training data has none",
            context={"model": source.path},
            hint=f"--method prune-{work.step.setting('percent')}   (needs none)",
        )
    model = _loaded(work)
    inputs, labels = samples.block(samples.rows)
    assert labels is not None
    with tempfile.TemporaryDirectory(prefix="edgeship-tfmot-") as folder:
        path = Path(folder) / "pruned.h5"
        settings = dict(work.step.settings)
        pruned(model, inputs, labels, settings, work.step.seed, work.report).save(
            str(path), include_optimizer=False
        )
        work.report("converting what tfmot pruned")
        batch = TrainableGraph(work.original).file.signature.inputs[0].shape[0]
        made = to_float_tflite(
            open_model(path, source.shapes), Path(folder), progress=Silent(), batch=int(batch)
        )
        content = made.path.read_bytes()
    graph = TrainableGraph(content)
    return Outcome(content=content, figures=counted(graph, graph.values()))


def pruned(
    model: Any, inputs: tuple[Any, ...], labels: Any, settings: Mapping[str, Any], seed: int, report: Report
) -> Any:
    """Return a tf_keras model pruned by tfmot's own recipe: masks that grow along a cubic, wrappers stripped."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    batch, epochs = int(settings["batch"]), int(settings["epochs"])
    steps = max(1, -(-len(labels) // batch) * epochs)
    keras = tfmot.sparsity.keras
    schedule = keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=settings["percent"] / 100,
        begin_step=0,
        end_step=max(1, int(RISE * steps)),
        frequency=max(1, int(RISE * steps) // MASKINGS),
    )
    wrapped = keras.prune_low_magnitude(model, pruning_schedule=schedule)
    wrapped.compile(tf_keras.optimizers.Adam(settings["rate"]), loss_for(model, inputs, labels))
    told = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report("epochs", epoch + 1, epochs)
    )
    wrapped.fit(
        inputs[0] if len(inputs) == 1 else list(inputs),
        labels,
        batch_size=batch,
        epochs=epochs,
        verbose=0,
        callbacks=[keras.UpdatePruningStep(), told],
    )
    return keras.strip_pruning(wrapped)


def loss_for(model: Any, inputs: tuple[Any, ...], labels: Any) -> Any:
    """Return Keras's loss for labels: cross-entropy of class numbers, by probabilities or by logits as a few answers
    tell; the mean square for anything else."""
    import tf_keras

    if not (np.issubdtype(labels.dtype, np.integer) and labels.ndim == 1):
        return "mse"
    few = [np.asarray(one[:32]) for one in inputs]
    answers = np.asarray(model.predict(few[0] if len(few) == 1 else few, verbose=0))
    sums = answers.reshape(len(answers), -1).sum(axis=1)
    probable = bool((answers >= 0).all() and (np.abs(sums - 1) < CLOSE).all())
    return tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not probable)


def _loaded(work: Work) -> Any:
    from edgeship.model.keras_load import load_tf_keras

    assert work.source is not None
    try:
        model = load_tf_keras(str(work.source.path), work.report)
    except EdgeshipError as error:
        raise _not_keras_2(work, error.message) from error
    if not hasattr(model, "get_layer"):
        raise _not_keras_2(work, "the SavedModel was not saved by Keras")
    return model


def _not_keras_2(work: Work, why: str) -> InputError:
    where = work.source.path if work.source else "the model"
    percent = work.step.setting("percent")
    return InputError(
        "tfmot-takes-keras-2",
        f"tensorflow-model-optimization takes models of tf_keras (Keras 2) only; --method prune-{percent} takes any",
        context={"model": where, "why": why},
        hint=f"edgeship compress {shlex.quote(str(where))} --method prune-{percent}",
    )
