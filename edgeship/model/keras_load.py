"""Keras models out of their files, of either generation, and why one does not load. Worker side."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeship.errors import InputError, ToolError
from edgeship.model.keras_dtypes import in_float32
from edgeship.model.keras_guard import no_code_of_the_file
from edgeship.model.tfmot.file import plain_h5
from edgeship.model.tfmot.layers import settle, wrappers
from edgeship.model.tfmot.wrapper import CLUSTERED, PRUNED, QUANTIZED
from edgeship.model.zipped import with_model_at_top


def load_keras3(source: str, report: Callable[..., None]) -> Any:
    """Return the model of a `.keras` or `.h5` file, in float32. Raises what `_load_error` returns."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = _noted(source, folder, report)
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise _load_error(error, source) from error


def load_tf_keras(source: str, report: Callable[..., None]) -> Any:
    """Return the model of a `.keras`, `.h5` or SavedModel of Keras 2, in float32; none of its own code is run.

    Raises what `_load_error` returns, and `model-lambda`.
    """
    import tf_keras

    known = wrappers()
    with tempfile.TemporaryDirectory() as folder, no_code_of_the_file(known) as refused:
        try:
            path = plain_h5(Path(_noted(source, folder, report)), Path(folder))
            with tf_keras.utils.custom_object_scope(known):
                model = tf_keras.models.load_model(str(path), compile=False)
            _tell_wrappers(settle(model), report)
            return model
        except InputError:
            raise
        except Exception as error:
            raise (_holds_code(source, refused[0]) if refused else _load_error(error, source)) from error


def _tell_wrappers(counts: dict[str, int], report: Callable[..., None]) -> None:
    """Tell what tensorflow-model-optimization left in the model."""
    for words, kinds in (
        ("pruning: its wrappers are stripped", PRUNED),
        ("clustering: its wrappers are stripped, each weight is on its centroid", CLUSTERED),
        ("quantization: the ranges that training found are taken", QUANTIZED),
    ):
        if count := sum(counts.get(kind, 0) for kind in kinds):
            layers = f"{count} layer{'s' if count > 1 else ''}"
            report(f"{layers} stood in tensorflow-model-optimization's {words}", note=True)


def _noted(source: str, folder: str, report: Callable[..., None]) -> str:
    """Return where the model stands in float32, and tell what was changed for that."""
    if Path(source).is_dir():
        return source
    path, notes = in_float32(with_model_at_top(Path(source), Path(folder) / "top"), Path(folder))
    for note in notes:
        report(note, note=True)
    return str(path)


def _holds_code(source: str, what: str) -> InputError:
    return InputError(
        "model-lambda",
        f"the model holds {what}, which edgeship does not run",
        context={"model": source},
        hint="export it where you trust it: model.export(FOLDER), then give the folder",
    )


def _load_error(error: Exception, source: str) -> Exception:
    """Return the reason a Keras model did not load as our error where it is the user's to mend, else
    `error`."""
    text = " ".join(str(error).split())
    name = re.search(
        r"(?:Unknown (?:layer|object|\w+ function)|Could not locate (?:class|function))[:\s]+'?(\w+)", text
    )
    if name and not _is_keras_own(name.group(1)):
        return InputError(
            "model-custom-object",
            f"the model uses '{name.group(1)}', which Keras does not know: a layer or function of your own code",
            context={"model": source, "object": name.group(1)},
            hint="export it where that code is at hand: model.export(FOLDER), then give the folder",
        )
    if "lambda" in text.lower() and (
        "safe_mode" in text or "unsafe" in text.lower() or "arbitrary code" in text
    ):
        return _holds_code(source, "a Lambda layer: Python code inside the file")
    if "No model config found" in text or "No model found in config" in text:
        return InputError(
            "model-weights-only",
            "the file holds weights without the model",
            context={"model": source},
            hint="load them into the model in Python (model.load_weights), then model.save('model.keras')",
        )
    return ToolError(
        "model-not-loadable",
        f"the model does not load: {type(error).__name__}: {short(text)}",
        context={"model": source},
    )


def short(text: str) -> str:
    """Return the beginning and the end of a long message: Keras names the layer first and the reason last."""
    return text if len(text) <= 320 else f"{text[:120]} [...] {text[-180:]}"


def _is_keras_own(name: str) -> bool:
    """Return whether Keras has such a layer or model itself: then the file is of another generation of
    Keras."""
    import keras

    return name in ("Functional", "Sequential", "Model") or hasattr(keras.layers, name)
