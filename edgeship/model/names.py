"""What a model's inputs are called, as its file tells without being converted: `input_names(source)`."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from edgeship.model.wire import fields_of
from edgeship.tflite.entry import read_entry
from edgeship.values import ModelSource

SERVING = "serving_default"


def input_names(source: ModelSource, signature: str | None = None) -> tuple[str, ...]:
    """Return the names of the inputs of the model, or of that signature of it, in its order; () where the file does not
    tell them.

    What cannot be read says nothing here: conversion tells why. Names are those that the float model will have, up to
    letters that TensorFlow changes.
    """
    if source.kind == "tflite":
        return tuple(spec.name for spec in read_entry(source.path, signature).signature.inputs)
    if source.kind == "saved_model":
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return _of_signature((source.path / "saved_model.pb").read_bytes(), signature)
        return ()
    with contextlib.suppress(OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return _of_config(_config(source))
    return ()


def _config(source: ModelSource) -> Any:
    if source.kind == "keras" and zipfile.is_zipfile(source.path):
        return json.loads(zipfile.ZipFile(source.path).read("config.json"))
    import h5py

    with h5py.File(source.path, "r") as file:
        return json.loads(file.attrs["model_config"])


def _of_config(config: Any) -> tuple[str, ...]:
    """Return the names of a functional model's input layers, and one for a Sequential."""
    inner = config["config"]
    if config["class_name"] == "Sequential":
        first = inner["layers"][0] if isinstance(inner, dict) else inner[0]
        return (str(first["config"].get("name", "input")),)
    return tuple(_layers(inner["input_layers"]))


def _layers(held: Any) -> Iterator[str]:
    """Yield the layers of any nest of `[name, node, tensor]`."""
    if isinstance(held, dict):
        for key in sorted(held):  # as Keras flattens them
            yield from _layers(held[key])
    elif len(held) == 3 and isinstance(held[0], str):
        yield held[0]
    else:
        for part in held:
            yield from _layers(part)


def _of_signature(content: bytes, wanted: str | None) -> tuple[str, ...]:
    """Return the inputs of a SavedModel's signature `wanted`; for None of serving_default, or of its only one.

    SavedModel.meta_graphs is field 2, MetaGraphDef.signature_def field 5, a map from a name (1) to a SignatureDef (2)
    whose field 1 is the map of inputs (tensorflow/core/protobuf/saved_model.proto, meta_graph.proto). Tags are field 4
    of a graph's MetaInfoDef, field 1: of several graphs the plainest for serving is taken, as the conversion does.
    """
    found: dict[str, tuple[str, ...]] = {}
    tagged = [(fields_of(b"".join(fields_of(graph, 1)), 4), graph) for graph in fields_of(content, 2)]
    served = [held for held in tagged if b"serve" in held[0]]
    for _, graph in sorted(served or tagged, key=lambda held: len(held[0]))[:1]:
        for entry in fields_of(graph, 5):
            name = b"".join(fields_of(entry, 1)).decode()
            signature = b"".join(fields_of(entry, 2))
            names = (b"".join(fields_of(one, 1)).decode() for one in fields_of(signature, 1))
            found[name] = tuple(sorted(names))
    found.pop("__saved_model_init_op", None)
    if wanted is not None or SERVING in found:
        return found.get(wanted or SERVING, ())
    return next(iter(found.values())) if len(found) == 1 else ()
