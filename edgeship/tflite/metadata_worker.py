"""Worker side of metadata: the only file that imports tflite-support.

tflite-support and TensorFlow register the same C++ types and cannot share a process, so TensorFlow is made
unimportable before tflite-support looks for it. Its package loads a USB library on import that many machines
lack; `libusb-package` brings one.
"""

from __future__ import annotations

import base64
import ctypes
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeship.errors import ToolError
from edgeship.tflite.attach import without_files
from edgeship.tflite.metadata_tables import CONTENTS, IMAGE


def pack(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Return the metadata flatbuffer, in base64, of each of `payload["models"]`: {path, tables} with tables
    those of `MetadataTables`; `payload["files"]` are the contents of the packed files they name."""
    support = _tflite_support()
    files = {name: text.encode() for name, text in payload["files"].items()}
    packed = []
    for done, model in enumerate(payload["models"], 1):
        bare = without_files(Path(model["path"]).read_bytes())
        content = _validated(support, bare, _build(support, model["tables"]), files)
        packed.append(base64.b64encode(content).decode())
        report("models", done, len(payload["models"]))
    return {"metadata": packed}


def display(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Return what tflite-support's own displayer makes of `payload["path"]`: its JSON text and its file
    names."""
    shown = _tflite_support().metadata.MetadataDisplayer.with_model_file(payload["path"])
    names = list(shown.get_packed_associated_file_list())
    return {
        "json": shown.get_metadata_json(),
        "files": {name: bytes(shown.get_associated_file_buffer(name)).decode() for name in names},
    }


def _tflite_support() -> Any:
    """Return the tflite_support package. Raises ToolError `metadata-tool-missing`."""
    blocked: Any = None
    sys.modules["tensorflow"] = blocked
    try:
        import libusb_package

        library = libusb_package.get_library_path()
        if library:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        import tflite_support
        from tflite_support import metadata  # noqa: F401 - checks that the native parts load
    except (ImportError, OSError) as error:
        raise ToolError(
            "metadata-tool-missing",
            f"tflite-support, which writes the metadata, cannot be loaded: {error}",
            hint="pip install tflite-support==0.4.4 libusb-package",
        ) from None
    return tflite_support


def _validated(support: Any, model: bytes, metadata: bytes, files: dict[str, bytes]) -> bytes:
    """Return the metadata after tflite-support checked it against the model and noted the parser it needs.

    The copy itself is spoilt: a schema of years ago drops what it does not know. Only the entry is taken out of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.tflite"
        copy.write_bytes(model)
        populator = support.metadata.MetadataPopulator.with_model_file(str(copy))
        populator.load_metadata_buffer(bytearray(metadata))
        if files:
            populator.load_associated_file_buffers(files)
        populator.populate()
        return bytes(support.metadata.MetadataDisplayer.with_model_file(str(copy)).get_metadata_buffer())


def _build(support: Any, tables: dict[str, Any]) -> bytes:
    """Return the metadata flatbuffer of the tables of one model file, by the schema's own classes."""
    import flatbuffers

    fb = support.metadata_schema_py_generated
    model = fb.ModelMetadataT()
    model.name, model.description = tables["name"] or None, tables["description"] or None
    model.version, model.author = tables["version"] or None, tables["author"] or None
    model.license = tables["licence"] or None
    graph = fb.SubGraphMetadataT()
    graph.inputTensorMetadata = [_tensor(fb, tensor) for tensor in tables["inputs"]] or None
    graph.outputTensorMetadata = [_tensor(fb, tensor) for tensor in tables["outputs"]] or None
    model.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), support.metadata.MetadataPopulator.METADATA_FILE_IDENTIFIER)
    return bytes(builder.Output())


def _tensor(fb: Any, said: dict[str, Any]) -> Any:
    tensor = fb.TensorMetadataT()
    tensor.name, tensor.description = said["name"] or None, said["description"] or None
    tensor.content = fb.ContentT()
    tensor.content.contentPropertiesType = getattr(fb.ContentProperties, said["content"])
    if said["content"] != CONTENTS[0]:
        tensor.content.contentProperties = getattr(fb, f"{said['content']}T")()
    if said["content"] == IMAGE:
        tensor.content.contentProperties.colorSpace = getattr(fb.ColorSpaceType, said["color"])
    if said["normalisation"] is not None:
        unit = fb.ProcessUnitT()
        unit.optionsType, unit.options = (
            fb.ProcessUnitOptions.NormalizationOptions,
            fb.NormalizationOptionsT(),
        )
        unit.options.mean, unit.options.std = said["normalisation"]["mean"], said["normalisation"]["std"]
        tensor.processUnits = [unit]
    if said["minimum"] is not None or said["maximum"] is not None:
        tensor.stats = fb.StatsT()
        tensor.stats.min, tensor.stats.max = said["minimum"], said["maximum"]
    tensor.associatedFiles = [_file(fb, entry) for entry in said["files"]] or None
    return tensor


def _file(fb: Any, said: dict[str, Any]) -> Any:
    entry = fb.AssociatedFileT()
    entry.name, entry.description = said["name"] or None, said["description"] or None
    entry.type = getattr(fb.AssociatedFileType, said["type"])
    return entry
