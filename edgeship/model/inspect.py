"""What a model really holds, in one value: `inspect_model(path)`."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Progress, Silent
from edgeship.tflite.cost import Parameters, macs, operator_macs, parameters
from edgeship.tflite.entry import read_entry
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.findings import Finding, find_problems
from edgeship.tflite.metadata import metadata_of
from edgeship.tflite.precision import NUMERIC, precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.state import State, states_of
from edgeship.values import ModelKind, Precision, Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """One operation as a table shows it: shapes and dtypes of its data input and first output."""

    index: int
    op: str
    version: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    dtype: str
    """dtype of the first output."""
    weights_dtype: str | None
    macs: int
    fused_activation: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything `edgeship inspect` tells of a model."""

    path: Path
    kind: ModelKind
    sha256: str
    """Of the file or folder the user gave."""
    bytes: int
    """Of the file or folder the user gave."""
    signature: Signature
    state: tuple[State, ...]
    """What the model keeps from one run to the next."""
    operations: dict[str, int]
    """How often each operation occurs, most frequent first, then by name."""
    operation_list: tuple[OperationRow, ...]
    macs: int
    """Multiply-accumulates of one run; formulas in `edgeship.tflite.cost`."""
    parameters: Parameters
    precision: Precision
    metadata: dict[str, Any] | None
    """What TFLite metadata the file carries, as `read_metadata` returns it."""
    min_runtime_version: str | None
    """The oldest TensorFlow Lite that has every operation version, as the converter noted it."""
    warnings: tuple[Finding, ...]
    converted: bool
    """Whether what is told is of the float `.tflite` the model converts to (all kinds but tflite)."""


def inspect_model(
    path: Path,
    *,
    progress: Progress | None = None,
    signature: str | None = None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = (),
) -> Inspection:
    """Return what the model at `path` holds. Other kinds than `.tflite` are converted to float first (some
    seconds); so is a `.tflite` whose open sizes are closed by `shapes` (input, sizes). `signature` names the entry
    point of a SavedModel or a `.tflite`.

    Raises what `open_model`, `to_float_tflite` and `read_tflite` raise.
    """
    show = progress or Silent()
    source = open_model(path, shapes)
    size = (
        path.stat().st_size
        if path.is_file()
        else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    )
    if source.kind == "tflite" and not shapes:
        file = read_tflite(path, unknown=True) if signature is None else read_entry(path, signature)
        return _inspection(file, path, source.kind, source.sha256, size)
    with tempfile.TemporaryDirectory(prefix="edgeship-inspect-") as folder:
        model = to_float_tflite(source, Path(folder), progress=show, signature=signature)
        return _inspection(read_tflite(model.path), path, source.kind, source.sha256, size)


def _inspection(file: TfliteFile, path: Path, kind: ModelKind, sha256: str, size: int) -> Inspection:
    counts = Counter(operator.op for graph in file.subgraphs for operator in graph.operators)
    return Inspection(
        path=path,
        kind=kind,
        sha256=sha256,
        bytes=size,
        signature=file.signature,
        state=states_of(file),
        operations=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        operation_list=tuple(_rows(file)),
        macs=macs(file),
        parameters=parameters(file),
        precision=precision_of(file),
        metadata=metadata_of(file),
        min_runtime_version=file.min_runtime_version,
        warnings=find_problems(file),
        converted=kind != "tflite",
    )


def _rows(file: TfliteFile) -> list[OperationRow]:
    graph = file.main
    rows = []
    for operator in graph.operators:
        given = [graph.tensors[i] for i in operator.inputs if i >= 0]
        made = [graph.tensors[i] for i in operator.outputs if i >= 0]
        data = next((t for t in given if not t.has_data), given[0] if given else None)
        weights = next((t for t in given if t.has_data and t.dtype in NUMERIC), None)
        rows.append(
            OperationRow(
                index=operator.index,
                op=operator.op,
                version=operator.version,
                input_shape=data.shape if data else (),
                output_shape=made[0].shape if made else (),
                dtype=made[0].dtype if made else "",
                weights_dtype=weights.dtype if weights else None,
                macs=operator_macs(graph, operator),
                fused_activation=operator.options.get("fused_activation"),
            )
        )
    return rows
