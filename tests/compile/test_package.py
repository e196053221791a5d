"""The compiled file's packages, decoded: figures of the public truths, and placeholders refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flatbuffers import flexbuffers

from edgeship.compile.edgetpu.package import packages_of
from edgeship.errors import ToolError
from edgeship.tflite.reader import read_tflite


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "deeplabv3_mnv2_dm05_pascal_quant"])
def test_a_real_package_holds_what_the_truth_says(name: str, coral: Path) -> None:
    truth = next(
        m
        for m in json.loads((coral / "mapping_truth.json").read_text())["models"]
        if m["file"] == f"{name}.tflite"
    )
    (package,) = packages_of(read_tflite(coral / f"{name}_edgetpu.tflite"))
    assert package.cached_bytes == truth["parameter_bytes_on_chip"]
    assert package.streamed_bytes == truth["parameter_bytes_off_chip"]
    assert package.min_runtime_version == truth["min_runtime_version"]
    assert sorted(e.kind for e in package.executables) == ["EXECUTION_ONLY", "PARAMETER_CACHING"]
    assert len(package.caching_tokens) == 1


@pytest.mark.shared
def test_an_uncompiled_file_has_none(coral: Path) -> None:
    assert packages_of(read_tflite(coral / "split_concat.tflite")) == ()


def options(package: bytes | None) -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("1")
        builder.Int(0)
        if package is not None:
            builder.Key("4")
            builder.String(package.decode("latin-1"))
    return bytes(builder.Finish())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its options are empty"),
        (options(None), 'its options have no key "4"'),
        (options(b"not a package at all"), "its package begins with b'a pa', not b'DWN1'"),
        (options(b"\x08\x00\x00\x00DWN1\x7f\x7f\x7f\x7f"), "a table begins before the data"),
    ],
)
def test_a_placeholder_is_refused(content: bytes, reason: str, graph, written) -> None:
    graph.op("edgetpu-custom-op", [graph.input([1, 8])], [1, 8], custom=content)
    with pytest.raises(ToolError) as error:
        packages_of(read_tflite(written(graph)))
    assert error.value.reference == "edgetpu-output-corrupt"
    assert reason in error.value.render()
    assert "hint: compile again with Google's edgetpu_compiler" in error.value.render()


@pytest.mark.shared
def test_every_truncation_of_a_package_is_an_error_and_never_a_crash(coral: Path, graph, written) -> None:
    model = read_tflite(coral / "mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    whole = model.custom_options(model.main.operators[0])
    package = bytes(flexbuffers.GetRoot(whole).AsMap["4"].AsStringBytes)
    for length in (8, 12, 20, 40, 100, 4000, len(package) // 2):
        one = type(graph)()
        one.op("edgetpu-custom-op", [one.input([1, 8])], [1, 8], custom=options_of(package[:length]))
        with pytest.raises(ToolError):
            packages_of(read_tflite(written(one)))


def options_of(package: bytes) -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("4")
        builder.Blob(package)
    return bytes(builder.Finish())
