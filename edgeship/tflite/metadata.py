"""TFLite metadata: names, labels, normalisation and licence inside the file, for people and for TFLite's own
tools.

Written with tflite-support (the one file that touches it is `metadata_worker`, in a process of its own: it
cannot share one with TensorFlow), read in pure Python.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeship.progress import Progress
from edgeship.tflite.attach import NAME
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.schema import enum_names, load_alone
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import ModelMetadata

LABEL_TYPES = ("TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS")


def write_metadata(
    artifact_path: Path, out_path: Path, metadata: ModelMetadata, *, progress: Progress
) -> None:
    """Write `artifact_path` with `metadata` to `out_path`; the model in it computes the same to the bit.

    Older metadata is no longer reachable and older packed files are cut off; the old entry's bytes stay in
    the file unused (some hundred), because nothing of the model is moved. The same arguments give the same
    bytes on any day. Raises ToolError `metadata-tool-missing` where tflite-support cannot be used, InputError
    `labels-count` where no output has as many values as there are labels.
    """
    write_all_metadata([(artifact_path, out_path)], metadata, progress=progress)


def write_all_metadata(
    pairs: Sequence[tuple[Path, Path]], metadata: ModelMetadata, *, progress: Progress
) -> None:
    """Do `write_metadata` for each (artifact, out) in one worker process. Raises what it raises."""
    if not pairs:
        return
    progress.step(f"writing metadata into {len(pairs)} model file{'s' if len(pairs) > 1 else ''}")
    run_worker(
        "edgeship.tflite.metadata_worker:write",
        {
            "pairs": [[str(given.resolve()), str(out.resolve())] for given, out in pairs],
            "metadata": dataclasses.asdict(metadata),
        },
        limits=WorkerLimits(seconds=300),
        progress=progress,
    )


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Return the metadata of a `.tflite`, or None where it has none. Needs no native parts.

    Keys: name, description, version, author, licence, min_parser_version, inputs, outputs (each tensor: name,
    description, normalisation {mean, std}, minimum, maximum, files), labels (of the first label file), files
    (names packed into the model). Metadata that cannot be read is {"unreadable": why}. Raises what
    `read_tflite` raises.
    """
    return metadata_of(read_tflite(path))


def metadata_of(file: TfliteFile) -> dict[str, Any] | None:
    """Return the metadata of a file that was read already; as `read_metadata`."""
    content = file.metadata_bytes(NAME.decode())
    if content is None:
        return None
    schema = load_alone("tensorflow_lite_support.metadata", "metadata_schema_py_generated.py")
    try:
        document = _document(
            schema, schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))
        )
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, AssertionError) as error:
        return {"unreadable": f"the TFLITE_METADATA entry is damaged ({type(error).__name__})"}
    packed = _packed_files(file.content)
    document["files"] = sorted(packed)
    labels = next(
        (
            packed[entry["name"]]
            for tensor in document["outputs"]
            for entry in tensor["files"]
            if entry["type"] in LABEL_TYPES and entry["name"] in packed
        ),
        None,
    )
    document["labels"] = labels.decode("utf-8", "replace").splitlines() if labels is not None else []
    return document


def _document(schema: Any, model: Any) -> dict[str, Any]:
    graph = model.subgraphMetadata[0] if model.subgraphMetadata else None
    return {
        "name": _text(model.name),
        "description": _text(model.description),
        "version": _text(model.version),
        "author": _text(model.author),
        "licence": _text(model.license),
        "min_parser_version": _text(model.minParserVersion),
        "inputs": [_tensor(schema, t) for t in (graph.inputTensorMetadata if graph else None) or ()],
        "outputs": [_tensor(schema, t) for t in (graph.outputTensorMetadata if graph else None) or ()],
    }


def _tensor(schema: Any, tensor: Any) -> dict[str, Any]:
    types = enum_names(schema.AssociatedFileType)
    units = [unit.options for unit in tensor.processUnits or () if unit.options is not None]
    scaled = next((unit for unit in units if type(unit).__name__ == "NormalizationOptionsT"), None)
    stats = tensor.stats
    return {
        "name": _text(tensor.name),
        "description": _text(tensor.description),
        "normalisation": {"mean": _floats(scaled.mean), "std": _floats(scaled.std)} if scaled else None,
        "minimum": _floats(stats.min) if stats else [],
        "maximum": _floats(stats.max) if stats else [],
        "files": [
            {"name": _text(entry.name), "type": types.get(entry.type, "UNKNOWN")}
            for entry in tensor.associatedFiles or ()
        ],
    }


def _packed_files(content: bytes) -> dict[str, bytes]:
    """Return the files packed behind the model, or none where there is no whole archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, RuntimeError):
        return {}


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else (value or "")


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values] if values is not None else []
