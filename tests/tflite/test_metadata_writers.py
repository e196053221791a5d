"""Two writers of TFLite metadata, tflite-support and edgeship's own: held against each other, table by table and byte
by byte; and what is told of which one runs."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeship.errors import InputError
from edgeship.progress import Silent
from edgeship.tflite import metadata as metadata_module
from edgeship.tflite.metadata import write_metadata
from edgeship.tflite.metadata_bytes import from_bytes, to_bytes
from edgeship.tflite.metadata_tables import (
    COLORS,
    FILE_TYPES,
    FileEntry,
    MetadataTables,
    Normalisation,
    TensorTable,
    packed_files,
    tables_for,
)
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import metadata_writer as writer_module
from edgeship.toolchain import run_worker
from edgeship.toolchain.doctor import examine
from edgeship.toolchain.metadata_writer import metadata_writer
from edgeship.values import InputMetadata, ModelMetadata, Preprocess, Resize

IMAGE = Preprocess(resize=Resize(height=8, width=8), scale=1 / 255)
THREE = Preprocess(scale=1 / 127.5, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
SAID = {
    "nothing": ModelMetadata(name="m"),
    "everything": ModelMetadata(
        name="spotter", description="hears words", version="7", author="A. Person", licence="Apache-2.0",
        labels=("down", "go", "left"),
        inputs=(
            InputMetadata(
                preprocess=Preprocess(scale=1 / 255, mean=(0.5,), std=(0.25,)), minimum=0.0, maximum=255.0
            ),
            InputMetadata(preprocess=Preprocess(scale=0.5), maximum=7.0),
        ),
    ),
    "other scripts": ModelMetadata(name="été 模型", author="Ж", labels=("ä", "", "🙂")),
    "a lower end only": ModelMetadata(name="m", inputs=(InputMetadata(minimum=-1.5),)),
    "an upper end only": ModelMetadata(name="m", inputs=(InputMetadata(maximum=1e-30),)),
    "a mean each channel": ModelMetadata(name="m", inputs=(InputMetadata(preprocess=THREE),)),
    "one std, three means": ModelMetadata(
        name="m", inputs=(InputMetadata(preprocess=Preprocess(mean=(1.0, 2.0, 3.0), std=(2.0,))),)
    ),
    "an image": ModelMetadata(name="m", inputs=(InputMetadata(preprocess=IMAGE),), version="a" * 300),
}  # fmt: skip


@pytest.fixture
def models(dense_float: Path, dense_int8: Path, tflite_files: Any, tmp_path: Path) -> dict[str, Path]:
    """Small models: a vector in float and int8, a grey and a colour image, two inputs and two outputs."""
    found = {"float": dense_float, "int8": dense_int8}
    for name, shapes in {
        "grey": [[1, 8, 8, 1]], "colour": [[1, 8, 8, 3]], "two": [[1, 4], [1, 8, 8, 3]]
    }.items():  # fmt: skip
        builder = tflite_files.Builder()
        inputs = [builder.tensor(f"in_{i}", shape) for i, shape in enumerate(shapes)]
        outputs = [
            builder.tensor(f"out_{i}", shape) for i, shape in enumerate([[1, 5], [1, 3]][: len(shapes)])
        ]
        for given_, made in zip(inputs, outputs, strict=True):
            builder.op("CAST", [given_], [made])
        found[name] = tmp_path / f"{name}.tflite"
        found[name].write_bytes(builder.build(inputs, outputs))
    return found


@pytest.mark.support
def test_both_write_the_same_tables_and_bytes(models: dict[str, Path]) -> None:
    """Every metadata in every model that has a place for its labels."""
    cases = []
    for said in SAID.values():
        for path in models.values():
            try:
                cases.append((path, said, tables_for(read_tflite(path), said)))
            except InputError as error:
                assert error.reference == "labels-count"
    assert len(cases) > 30
    for labels in {said.labels for _, said, _ in cases}:
        of_them = [(path, said, tables) for path, said, tables in cases if said.labels == labels]
        payload = {
            "models": [{"path": str(p), "tables": dataclasses.asdict(tables)} for p, _, tables in of_them],
            "files": {n: content.decode() for n, content in packed_files(of_them[0][1]).items()},
        }
        made = run_worker("edgeship.tflite.metadata_worker:pack", payload).value["metadata"]
        for (path, said, tables), content in zip(of_them, map(base64.b64decode, made), strict=True):
            assert _rounded(from_bytes(content)) == _rounded(tables), (path.name, said)
            assert content == to_bytes(tables), (path.name, said)


@pytest.mark.support
def test_a_model_newer_than_tflite_supports_schema(tflite_files: Any, tmp_path: Path) -> None:
    """Scales by block came years after that schema, which spoils its own copy of the model only."""
    builder = tflite_files.Builder()
    x, y = (builder.tensor(name, [1, 64], dtype) for name, dtype in (("x", "FLOAT32"), ("y", "FLOAT32")))
    builder.op("CAST", [x], [y])
    held = builder.graph.tensors[y].quantization = builder.schema.QuantizationParametersT()
    held.detailsType = builder.schema.QuantizationDetails.BlockwiseQuantization
    held.details = builder.schema.BlockwiseQuantizationT()
    held.details.blockSize = 32
    given_, out = tmp_path / "new.tflite", tmp_path / "out.tflite"
    given_.write_bytes(builder.build([x], [y]))
    assert list(write_metadata(given_, out, SAID["nothing"], progress=Silent())) == ["tflite-support"]
    assert read_tflite(out).main.tensors[y].blockwise == 32


@pytest.mark.support
def test_tflite_supports_displayer_reads_edgeships_own(
    dense_int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.tflite"
    monkeypatch.setattr(metadata_module, "metadata_writer", writer_module.own_writer)
    tools = write_metadata(dense_int8, out, SAID["everything"], progress=Silent())
    assert list(tools) == ["flatbuffers"]
    shown = run_worker("edgeship.tflite.metadata_worker:display", {"path": str(out)}).value
    document = json.loads(shown["json"])
    assert (document["name"], document["license"], document["min_parser_version"]) == (
        "spotter", "Apache-2.0", "1.0.0",
    )  # fmt: skip
    (entry,) = document["subgraph_metadata"][0]["input_tensor_metadata"]
    assert entry["process_units"][0]["options"] == {"mean": [127.5], "std": [63.75]}
    assert entry["stats"] == {"max": [255.0], "min": [0.0]}
    assert shown["files"] == {"labels.txt": "down\ngo\nleft\n"}


@pytest.mark.support
def test_where_tflite_support_does_not_load_edgeship_writes_it_itself(
    dense_int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: Any
) -> None:
    """The same file as ever, and a note; never a build that stops for it."""
    expected = tmp_path / "expected.tflite"
    write_metadata(dense_int8, expected, SAID["everything"], progress=notes)
    broken = tmp_path / "broken" / "tflite_support"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(
        "raise ImportError('libusb-1.0.so.0: cannot open shared object file')"
    )
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    monkeypatch.setattr(metadata_module, "metadata_writer", lambda: ("tflite-support", "0.4.4"))
    out = tmp_path / "out.tflite"
    tools = write_metadata(dense_int8, out, SAID["everything"], progress=notes)
    assert list(tools) == ["flatbuffers"] and out.read_bytes() == expected.read_bytes()
    (note,) = notes.notes
    assert note.endswith("cannot be loaded: libusb-1.0.so.0: cannot open shared object file; "
                         "edgeship writes the same metadata itself")  # fmt: skip


@pytest.mark.parametrize(
    ("installed", "expected"),
    [("0.4.4", "tflite-support"), ("0.1.0a1", "flatbuffers"), (None, "flatbuffers")],
)
def test_which_one_writes_is_told(
    installed: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where pip took the early version that has no native parts to check with."""
    real = writer_module.importlib.metadata.version

    def version(package: str) -> str:
        if package != "tflite-support":
            return real(package)
        if installed is None:
            raise writer_module.importlib.metadata.PackageNotFoundError(package)
        return installed

    monkeypatch.setattr(writer_module.importlib.metadata, "version", version)
    assert metadata_writer()[0] == expected
    health = {entry.name: entry for entry in examine({"PATH": ""})}
    assert health["metadata"].state == "ok" and health["metadata"].found.startswith(expected)
    assert ("libusb" in health) == (expected == "tflite-support")


names = st.text(st.characters(codec="utf-8"), max_size=12)
floats = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(tuple)
files = st.builds(FileEntry, name=names, description=names, type=st.sampled_from(FILE_TYPES))
tensors = st.builds(
    TensorTable, name=names, description=names, content=st.just("ImageProperties"),
    color=st.sampled_from(COLORS), normalisation=st.none() | st.builds(Normalisation, mean=floats, std=floats),
    minimum=st.none() | floats, maximum=st.none() | floats, files=st.lists(files, max_size=2).map(tuple),
)  # fmt: skip
many = st.lists(tensors, max_size=3).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        MetadataTables, name=names, description=names, version=names, author=names, licence=names,
        parser_version=names, inputs=many, outputs=many,
    )
)  # fmt: skip
def test_what_is_written_is_read_back(tables: MetadataTables) -> None:
    assert from_bytes(to_bytes(tables)) == tables


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_metadata_is_told_not_a_trace(data: st.DataObject) -> None:
    content = bytearray(to_bytes(MetadataTables(name="n", inputs=(TensorTable(name="x", minimum=(1.0,)),))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError, struct.error):
        from_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))


def test_a_field_that_would_lie_behind_the_end_is_told() -> None:
    content = bytearray(to_bytes(MetadataTables(name="n", inputs=(TensorTable(name="x", minimum=(1.0,)),))))
    content[153] = 1
    with pytest.raises((ValueError, struct.error)):
        from_bytes(bytes(content[:189]))


def _rounded(tables: MetadataTables) -> MetadataTables:
    """Return the tables with their numbers as float32 holds them."""
    return from_bytes(to_bytes(tables))
