"""Worker side of the conversion: the only file of this room that imports TensorFlow and Keras.

Each function is one route: `(payload {source, out, batch}, report) -> {}`; it writes a float `.tflite` to
`out`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeship.errors import InputError, ToolError

Report = Callable[..., None]
"""How both generations of Keras say that they lack a class or function."""


def from_keras3(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load with Keras 3, trace with fixed shapes, convert."""
    model = _load_keras3(payload["source"])
    return _convert_keras(model, payload, report)


def from_keras3_export(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load with Keras 3, export as a SavedModel, convert its signature."""
    model = _load_keras3(payload["source"])
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        return from_signature({**payload, "source": folder}, report)


def from_tf_keras(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load with tf_keras (Keras 2), trace with fixed shapes, convert."""
    import tf_keras

    try:
        model = tf_keras.models.load_model(payload["source"], compile=False)
    except Exception as error:
        raise _load_error(error, payload["source"]) from error
    if not hasattr(model, "inputs"):
        raise InputError(
            "saved-model-not-keras",
            "the SavedModel was not saved by Keras",
            context={"model": payload["source"]},
            hint="export it with a serving_default signature",
        )
    return _convert_keras(model, payload, report)


def from_signature(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load a SavedModel, wrap its signature in a function of fixed shapes, convert."""
    import tensorflow as tf

    loaded = _load_saved_model(tf, payload["source"])
    key = _pick_signature(list(loaded.signatures), payload["source"], report)
    signature = loaded.signatures[key]
    wanted = signature.structured_input_signature[1]
    specs = {
        name: tf.TensorSpec(_fixed(spec.shape, name, payload), spec.dtype, name=name)
        for name, spec in wanted.items()
    }
    function = tf.function(lambda **inputs: signature(**inputs)).get_concrete_function(**specs)
    _convert(tf.lite.TFLiteConverter.from_concrete_functions([function], loaded), payload, report)
    return {"inputs": list(wanted), "outputs": list(signature.structured_outputs)}


def from_saved_model(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Hand a SavedModel to the converter as it is; an open batch stays open and is closed afterwards."""
    import tensorflow as tf

    loaded = _load_saved_model(tf, payload["source"])
    key = _pick_signature(list(loaded.signatures), payload["source"], report)
    converter = tf.lite.TFLiteConverter.from_saved_model(payload["source"], signature_keys=[key])
    _convert(converter, payload, report)
    signature = loaded.signatures[key]
    return {
        "inputs": list(signature.structured_input_signature[1]),
        "outputs": list(signature.structured_outputs),
    }


def _load_keras3(source: str) -> Any:
    import keras

    try:
        return keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        raise _load_error(error, source) from error


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
        return InputError(
            "model-lambda",
            "the model holds a Lambda layer: Python code inside the file, which edgeship does not run",
            context={"model": source},
            hint="export it where you trust it: model.export(FOLDER), then give the folder",
        )
    if "No model config found" in text or "No model found in config" in text:
        return InputError(
            "model-weights-only",
            "the file holds weights without the model",
            context={"model": source},
            hint="load them into the model in Python (model.load_weights), then model.save('model.keras')",
        )
    return ToolError(
        "model-not-loadable",
        f"the model does not load: {type(error).__name__}: {_short(text)}",
        context={"model": source},
    )


def _short(text: str) -> str:
    """Return the beginning and the end of a long message: Keras names the layer first and the reason last."""
    return text if len(text) <= 320 else f"{text[:120]} [...] {text[-180:]}"


def _is_keras_own(name: str) -> bool:
    """Return whether Keras has such a layer or model itself: then the file is of another generation of
    Keras."""
    import keras

    return name in ("Functional", "Sequential", "Model") or hasattr(keras.layers, name)


def _load_saved_model(tf: Any, source: str) -> Any:
    """Return the loaded SavedModel; those with several graphs are loaded by the tag `serve`."""
    try:
        return tf.saved_model.load(source)
    except (ValueError, RuntimeError) as error:
        if "tags" not in str(error):
            raise
        return tf.saved_model.load(source, tags=["serve"])


def _pick_signature(keys: Sequence[str], source: str, report: Report) -> str:
    """Return the signature to convert: serving_default, or the only one."""
    if "serving_default" in keys:
        others = sorted(set(keys) - {"serving_default"})
        if others:
            report(f"converting the signature serving_default; left out: {', '.join(others)}", note=True)
        return "serving_default"
    if len(keys) == 1:
        return str(keys[0])
    raise InputError(
        "saved-model-signatures",
        "the SavedModel has several signatures and none is named serving_default"
        if keys
        else "the SavedModel has no signature: nothing says what its inputs and outputs are",
        context={
            "model": source,
            "signatures": ", ".join(sorted(keys)) or "none",
            "wanted": "serving_default",
        },
        hint="tf.saved_model.save(model, FOLDER, signatures={'serving_default': function})",
    )


def _convert_keras(model: Any, payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Convert a Keras model of either generation through one traced function of fixed shapes.

    The names of inputs are the model's own; so is the name of a single output. Several outputs are output_0,
    output_1, ..., because TensorFlow would sort names and so change their order.
    """
    import tensorflow as tf

    inputs = list(model.inputs or ())
    if not inputs:
        raise InputError(
            "model-no-input-shape",
            "the model does not say what shape its input has: it was saved before it was ever called",
            context={"model": payload["source"]},
            hint="give it an Input(shape=...) layer, or call it once on a sample, and save it again",
        )
    names = [re.sub(r"\W", "_", str(getattr(tensor, "name", "input")).split(":")[0]) for tensor in inputs]
    specs = [
        tf.TensorSpec(_fixed(tensor.shape, name, payload), tensor.dtype, name=name)
        for tensor, name in zip(inputs, names, strict=True)
    ]
    structure = getattr(model, "_inputs_struct", None)
    nested = structure if structure is not None else getattr(model, "_nested_inputs", None)
    outputs = list(getattr(model, "output_names", None) or ())

    def call(*tensors: Any) -> Any:
        flat: Any = tensors[0] if len(tensors) == 1 else list(tensors)
        given = flat if nested is None else tf.nest.pack_sequence_as(nested, list(tensors))
        made = tf.nest.flatten(model(given, training=False))
        if len(made) == 1 and len(outputs) == 1:
            return {re.sub(r"\W", "_", outputs[0]): made[0]}
        return {f"output_{index:0{len(str(len(made) - 1))}}": tensor for index, tensor in enumerate(made)}

    report(f"tracing {len(inputs)} input(s): {', '.join(str(list(spec.shape)) for spec in specs)}")
    function = tf.function(call).get_concrete_function(*specs)
    # Keras 3 hides its variables from TensorFlow's tracking: handed over with the model itself they stay
    # variables (VAR_HANDLE, READ_VARIABLE) in the file instead of becoming weights.
    holder = tf.Module()
    holder.kept = [v if callable(v.value) else v.value for v in model.variables]
    _convert(tf.lite.TFLiteConverter.from_concrete_functions([function], holder), payload, report)
    return {"inputs": names, "outputs": list(function.structured_outputs)}


def _fixed(shape: Any, name: str, payload: dict[str, Any]) -> list[int]:
    """Return a shape with the batch put in; raises `model-dynamic-shape` for any other open size."""
    rank = getattr(shape, "rank", None) if not isinstance(shape, tuple | list) else len(shape)
    sizes = [None if size is None else int(size) for size in shape] if rank is not None else []
    if sizes and sizes[0] is None:
        sizes[0] = int(payload["batch"])
    if rank is None or None in sizes:
        raise InputError(
            "model-dynamic-shape",
            f"the input '{name}' has no fixed size",
            context={
                "model": payload["source"],
                "shape": "unknown rank" if rank is None else sizes,
                "wanted": "fixed sizes on every axis but the first",
            },
            hint="export the model with fixed input sizes: Input(shape=(height, width, channels))",
        )
    return [size for size in sizes if size is not None]


def _convert(converter: Any, payload: dict[str, Any], report: Report) -> None:
    """Run the converter with TFLite's own operations only, and write the file."""
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    report("converting")
    try:
        content = converter.convert()
    except Exception as error:
        raise _conversion_error(error, payload["source"]) from error
    Path(payload["out"]).write_bytes(content)


def _conversion_error(error: Exception, source: str) -> Exception:
    """Return `unsupported-operation` with operations and layers where that is why, else
    `converter-failed`."""
    text = str(error)
    operations = {
        name.strip().removeprefix("tf.")
        for line in re.findall(r"(?:TF Select|Flex|Custom) ops:([^\n]*)", text)
        for name in line.split(",")
        if name.strip()
    }
    operations |= set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text))
    if not operations:
        return ToolError(
            "converter-failed",
            f"the TFLite converter failed: {_short(' '.join(text.split()))}",
            context={"model": source},
        )
    layers: dict[str, None] = {}
    for entry in getattr(error, "errors", ()):
        if entry.operator.name.removeprefix("tf.") in operations and entry.location.call:
            layers[entry.location.call[0].name.partition("@")[0]] = None
    return InputError(
        "unsupported-operation",
        f"TFLite has no operation for {', '.join(sorted(operations))}",
        context={
            "model": source,
            "operations": ", ".join(sorted(operations)),
            "in": ", ".join(list(layers)[:6]) or "not told by the converter",
        },
        hint="use layers that TFLite has (TensorFlow's own kernels are not shipped to devices), "
        "or cut the model before them and compute the rest outside",
    )
