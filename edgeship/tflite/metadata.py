"""TFLite metadata: names, labels, normalisation and licence inside the file, for people and for TFLite's own
tools.

Written with tflite-support where that can be had (`metadata_worker`, in a process of its own: it cannot share one
with TensorFlow), else the same bytes with `metadata_bytes`; read in pure Python.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeship.errors import ToolError
from edgeship.progress import Progress
from edgeship.tflite.attach import NAME, with_metadata
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.metadata_bytes import from_bytes, to_bytes
from edgeship.tflite.metadata_tables import (
    MetadataTables,
    TensorTable,
    packed_files,
    tables_for,
)
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.toolchain.metadata_writer import SUPPORT, metadata_writer, own_writer
from edgeship.values import ModelMetadata

LABEL_TYPES = ("TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS")


def write_metadata(
    artifact_path: Path, out_path: Path, metadata: ModelMetadata, *, progress: Progress
) -> dict[str, str]:
    """Write `artifact_path` with `metadata` to `out_path`; the model in it computes the same to the bit.

    Older metadata is no longer reachable and older packed files are cut off; the old entry's bytes stay in
    the file unused (some hundred), because nothing of the model is moved. The same arguments give the same
    bytes on any day and with either writer. Returns the package that wrote it and its version. Raises InputError
    `labels-count` where no output has as many values as there are labels.
    """
    return write_all_metadata([(artifact_path, out_path)], metadata, progress=progress)


def write_all_metadata(
    pairs: Sequence[tuple[Path, Path]], metadata: ModelMetadata, *, progress: Progress
) -> dict[str, str]:
    """Do `write_metadata` for each (artifact, out), all in one worker process where one is needed. Returns and raises
    what it does; nothing is written where one of them has no place for the labels."""
    if not pairs:
        return {}
    progress.step(f"writing metadata into {len(pairs)} model file{'s' if len(pairs) > 1 else ''}")
    given = [path for path, _ in pairs]
    tables = [tables_for(read_tflite(path), metadata) for path in given]
    files = packed_files(metadata)
    package, version = metadata_writer()
    packed = None
    if package == SUPPORT:
        packed = _written_by_support(given, tables, files, progress)
    if packed is None:
        package, version = own_writer()
        packed = [to_bytes(said) for said in tables]
    for (path, out), content in zip(pairs, packed, strict=True):
        part = out.with_name(out.name + ".part")
        part.write_bytes(with_metadata(path.read_bytes(), content, files))
        part.replace(out)
    return {package: version}


def _written_by_support(
    models: Sequence[Path], tables: Sequence[MetadataTables], files: dict[str, bytes], progress: Progress
) -> list[bytes] | None:
    """Return the metadata flatbuffers that tflite-support makes and checks against each model; None, and a note,
    where it does not load."""
    payload = {
        "models": [
            {"path": str(path.resolve()), "tables": dataclasses.asdict(said)}
            for path, said in zip(models, tables, strict=True)
        ],
        "files": {name: content.decode() for name, content in files.items()},
    }
    limits = WorkerLimits(seconds=300)
    try:
        done = run_worker("edgeship.tflite.metadata_worker:pack", payload, limits=limits, progress=progress)
    except ToolError as error:
        if error.reference != "metadata-tool-missing":
            raise
        progress.note(f"{error.message}; edgeship writes the same metadata itself")
        return None
    return [base64.b64decode(content) for content in done.value["metadata"]]


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
    try:
        document = _document(from_bytes(content))
    except (struct.error, ValueError) as error:
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


def _document(tables: MetadataTables) -> dict[str, Any]:
    return {
        "name": tables.name,
        "description": tables.description,
        "version": tables.version,
        "author": tables.author,
        "licence": tables.licence,
        "min_parser_version": tables.parser_version,
        "inputs": [_tensor(tensor) for tensor in tables.inputs],
        "outputs": [_tensor(tensor) for tensor in tables.outputs],
    }


def _tensor(tensor: TensorTable) -> dict[str, Any]:
    scaled = tensor.normalisation
    return {
        "name": tensor.name,
        "description": tensor.description,
        "normalisation": {"mean": [*scaled.mean], "std": [*scaled.std]} if scaled else None,
        "minimum": [*(tensor.minimum or ())],
        "maximum": [*(tensor.maximum or ())],
        "files": [{"name": entry.name, "type": entry.type} for entry in tensor.files],
    }


def _packed_files(content: bytes) -> dict[str, bytes]:
    """Return the files packed behind the model, or none where there is no whole archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, RuntimeError):
        return {}
