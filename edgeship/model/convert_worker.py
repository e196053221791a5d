"""Worker side of the conversion: with the `keras_` files beside it all of this room that imports TensorFlow.

Each function is one route: `(payload {source, out, batch, signature}, report) -> {}`; it writes a float `.tflite` to
`out`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.model.closing import closed_sizes, open_hint
from edgeship.model.conversion_error import conversion_error
from edgeship.model.frozen import WRITES, NotPlain, entries_of, frozen_signature, graph_of
from edgeship.model.keras_ends import free_word, input_name, named_outputs, packed_inputs
from edgeship.model.keras_load import load_keras3, load_tf_keras
from edgeship.model.signatures import DEFAULT, Entry, pick_signature
from edgeship.model.tfmot.layers import mark

Report = Callable[..., None]


def from_keras3(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load with Keras 3, trace with fixed shapes, convert."""
    model = load_keras3(payload["source"], report)
    return _convert_keras(model, payload, report)


def from_keras3_export(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load with Keras 3, export as a SavedModel, convert its signature."""
    model = load_keras3(payload["source"], report)
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        return from_signature({**payload, "source": folder}, report)


def from_tf_keras(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load with tf_keras (Keras 2), trace with fixed shapes, convert."""
    model = load_tf_keras(payload["source"], report)
    if not hasattr(model, "inputs"):
        raise InputError(
            "saved-model-not-keras",
            "the SavedModel was not saved by Keras",
            context={"model": payload["source"]},
            hint="export it with a serving_default signature",
        )
    mark(model)
    return _convert_keras(model, payload, report)


def from_signature(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Load a SavedModel, wrap its signature in a function of fixed shapes, convert. One of TensorFlow 1 is frozen."""
    import tensorflow as tf

    graph = graph_of(payload["source"])
    if graph is not None:
        try:
            return _from_frozen(graph, payload, report)
        except NotPlain as reason:
            report(f"TensorFlow's own loader takes over: {reason}")
    loaded = _load_saved_model(tf, payload["source"])
    key = _pick(loaded, payload, report)
    signature = loaded.signatures[key]
    wanted = signature.structured_input_signature[1]
    fixed = _fixed({name: spec.shape for name, spec in wanted.items()}, payload)
    words = _words(wanted)
    specs = {
        words[name]: tf.TensorSpec(fixed[name], spec.dtype, name=words[name]) for name, spec in wanted.items()
    }
    function = _with_words(tf, signature, words).get_concrete_function(**specs)
    _convert_function(function, loaded, payload, report)
    return {"inputs": list(words.values()), "outputs": list(signature.structured_outputs)}


def _with_words(tf: Any, signature: Callable[..., Any], words: Mapping[str, str]) -> Any:
    """Return a signature as a function of other names; `words` are input -> its new name."""
    return tf.function(lambda **given: signature(**{name: given[word] for name, word in words.items()}))


def _from_frozen(graph: Any, payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Freeze a signature of TensorFlow 1, convert it. Raises NotPlain where it cannot be frozen by itself."""
    import tensorflow as tf

    key = pick_signature(entries_of(graph), payload.get("signature"), payload["source"], report)
    inputs = graph.signature_def[key].inputs
    shapes = _fixed({name: tf.TensorShape(inputs[name].tensor_shape) for name in sorted(inputs)}, payload)
    report("freezing a SavedModel of TensorFlow 1")
    frozen = frozen_signature(graph, key, payload["source"], shapes)
    words = _words(shapes)
    specs = {
        words[name]: tf.TensorSpec(shape, inputs[name].dtype, name=words[name])
        for name, shape in shapes.items()
    }
    function = _with_words(tf, frozen, words).get_concrete_function(**specs)
    _convert(tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()), payload, report)
    return {"inputs": list(words.values()), "outputs": sorted(graph.signature_def[key].outputs)}


def from_saved_model(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Hand a SavedModel to the converter as it is; an open batch stays open and is closed afterwards."""
    import tensorflow as tf

    loaded = _load_saved_model(tf, payload["source"])
    key = _pick(loaded, payload, report)
    converter = tf.lite.TFLiteConverter.from_saved_model(payload["source"], signature_keys=[key])
    _convert(converter, payload, report)
    signature = loaded.signatures[key]
    return {
        "inputs": list(signature.structured_input_signature[1]),
        "outputs": list(signature.structured_outputs),
    }


def _pick(loaded: Any, payload: dict[str, Any], report: Report) -> str:
    """Return the signature of a loaded SavedModel to convert."""

    def part(tensors: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        return tuple((name, tensor.dtype.name) for name, tensor in tensors.items())

    entries = [
        Entry(
            key=key,
            inputs=part(signature.structured_input_signature[1]),
            outputs=part(signature.structured_outputs),
        )
        for key, signature in loaded.signatures.items()
    ]
    return pick_signature(entries, payload.get("signature"), payload["source"], report)


def _load_saved_model(tf: Any, source: str) -> Any:
    """Return the loaded SavedModel; those with several graphs are loaded by the tag `serve`."""
    try:
        return tf.saved_model.load(source)
    except (ValueError, RuntimeError) as error:
        if "tags" not in str(error):
            raise
        return tf.saved_model.load(source, tags=["serve"])


def _convert_keras(model: Any, payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Convert a Keras model of either generation through one traced function of fixed shapes.

    The names of inputs and outputs are the model's own. TensorFlow sorts them; the order in which the model
    declares them is in what is returned.
    """
    import tensorflow as tf

    inputs = _inputs(model, payload["source"])
    names = [input_name(tensor) for tensor in inputs]
    _check_numbers([(name, str(tensor.dtype)) for tensor, name in zip(inputs, names, strict=True)], payload)
    fixed = _fixed({name: tensor.shape for tensor, name in zip(inputs, names, strict=True)}, payload)
    specs = [
        tf.TensorSpec(fixed[name], tensor.dtype, name=name)
        for tensor, name in zip(inputs, names, strict=True)
    ]
    order: list[str] = []

    def call(*tensors: Any) -> Any:
        outputs = named_outputs(model, model(packed_inputs(model, tensors), training=False))
        order[:] = outputs
        return outputs

    report(f"tracing {len(inputs)} input(s): {', '.join(str(list(spec.shape)) for spec in specs)}")
    function = tf.function(call).get_concrete_function(*specs)
    # Keras 3 hides its variables from TensorFlow's tracking: handed over with the model itself they stay
    # variables (VAR_HANDLE, READ_VARIABLE) in the file instead of becoming weights. The state of a stateful layer is
    # not among the model's variables, only among those that the traced function uses.
    holder = tf.Module()
    holder.kept = list(function.graph.variables)
    _convert_function(function, holder, payload, report)
    return {"inputs": names, "outputs": order}


def _inputs(model: Any, source: str) -> list[Any]:
    """Return the model's inputs. Raises `model-no-input-shape` where it does not know them: an unbuilt
    Sequential answers with an AttributeError or ValueError."""
    try:
        inputs = list(model.inputs or ())
    except (AttributeError, ValueError):
        inputs = []
    if inputs:
        return inputs
    raise InputError(
        "model-no-input-shape",
        "the model does not say what shape its input has: it was saved before it was ever called",
        context={"model": source},
        hint="give it an Input(shape=...) layer, or call it once on a sample, and save it again",
    )


def _check_numbers(inputs: Sequence[tuple[str, str]], payload: dict[str, Any]) -> None:
    """Raise `unsupported-operation` where an input (name, dtype) takes text: what splits and looks up words is
    TensorFlow's alone."""
    words = [name for name, dtype in inputs if "string" in dtype]
    if words:
        raise InputError(
            "unsupported-operation",
            f"the model takes text ('{words[0]}'), and TFLite computes with numbers only",
            context={"model": payload["source"], "inputs": ", ".join(f"{n} {dtype}" for n, dtype in inputs)},
            hint="save the part behind TextVectorization or StringLookup as a model of its own, whose input are the "
            "integers that these make, and turn words into integers where requests are made",
        )


def _words(names: Iterable[str]) -> dict[str, str]:
    """Return name -> as TensorFlow takes it for an argument; of several that become one, the later are numbered."""
    words: dict[str, str] = {}
    for name in names:
        words[name] = free_word(name, words.values())
    return words


def _fixed(shapes: Mapping[str, Any], payload: dict[str, Any]) -> dict[str, list[int]]:
    """Return the shape of each input with the batch and the sizes that the user says put in.

    Raises `model-dynamic-shape` for any other open size, and what `closed_sizes` raises.
    """
    declared = {name: _sizes(shape) for name, shape in shapes.items()}
    fixed = closed_sizes(payload.get("shapes") or {}, declared, payload["source"])
    for name, sizes in declared.items():
        if name in fixed:
            continue
        if sizes is None or None in sizes[1:]:
            raise InputError(
                "model-dynamic-shape",
                f"the input '{name}' has no fixed size",
                context={
                    "model": payload["source"],
                    "shape": "unknown rank" if sizes is None else [payload["batch"], *sizes[1:]],
                    "wanted": "fixed sizes on every axis but the first",
                },
                hint=f"{open_hint(declared)}   (or export it so: Input(shape=(height, width, channels)))",
            )
        fixed[name] = [int(payload["batch"]) if n is None else n for n in sizes]
    return fixed


def _sizes(shape: Any) -> list[int | None] | None:
    """Return a shape as sizes, None where open; None where not even their number is known."""
    if not isinstance(shape, tuple | list) and getattr(shape, "rank", None) is None:
        return None
    return [None if size is None else int(size) for size in shape]


def _convert_function(function: Any, holder: Any, payload: dict[str, Any], report: Report) -> None:
    """Convert a traced function; `holder` keeps its variables alive.

    Freezing turns every variable into a constant, which none that the function assigns can be. A function with such
    goes by way of a SavedModel: there the converter keeps what is assigned, with its value at the start, and freezes
    the rest.
    """
    import tensorflow as tf

    if not _assigns(function):
        _convert(tf.lite.TFLiteConverter.from_concrete_functions([function], holder), payload, report)
        return
    kept = tf.Module()
    kept.holder = holder
    with tempfile.TemporaryDirectory() as folder:
        report("exporting a function that keeps a state")
        tf.saved_model.save(kept, folder, signatures={DEFAULT: function})
        _convert(tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[DEFAULT]), payload, report)


def _assigns(function: Any) -> bool:
    """Return whether a traced function changes variables, itself or in what it calls."""
    graph = function.graph.as_graph_def()
    bodies = [graph.node, *(body.node_def for body in graph.library.function)]
    return any(WRITES.match(node.op) for nodes in bodies for node in nodes)


def _convert(converter: Any, payload: dict[str, Any], report: Report) -> None:
    """Run the converter with TFLite's own operations only, and write the file."""
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    report("converting")
    try:
        content = converter.convert()
    except Exception as error:
        raise conversion_error(error, payload["source"]) from error
    Path(payload["out"]).write_bytes(content)
