"""The Edge TPU backend as the pipeline uses it: compiled, refused, or shipped uncompiled because the user said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.compile.backends import CompileOptions, CompileResult, backend_of
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.model.tflite import read_tflite
from edgeship.profile import TargetProfile
from edgeship.progress import Silent
from edgeship.values import Artifact, Precision

NAME = "mobilenet_v1_0.25_128_quant"
LOG = "Edge TPU Compiler version 16.0.384591198\nNumber of Edge TPU subgraphs: 1\nTotal number of operations: 31\n"


def artifact(path: Path) -> Artifact:
    return Artifact(
        path=path,
        recipe="given_wuint8_auint8",
        bytes=path.stat().st_size,
        sha256=sha256_file(path),
        signature=read_tflite(path).signature,
        precision=Precision(weights="uint8", activations="uint8", io="uint8"),
        model_sha256="0" * 64,
        calibration_sha256=None,
    )


def compile_(
    path: Path, profile: TargetProfile, out: Path, env: dict[str, str], **more: object
) -> CompileResult:
    backend = backend_of(profile)
    assert backend is not None
    options = CompileOptions(environment=env, **more)  # type: ignore[arg-type]
    return backend.compile(artifact(path), profile, out, options, Silent())


@pytest.mark.shared
def test_compiled(coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler) -> None:
    env = fake_compiler(LOG, files={f"{NAME}_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite"})
    result = compile_(coral / f"{NAME}.tflite", coral_profile, tmp_path / "out", env)
    assert (result.compiled, result.mapped, result.total) == (True, 31, 31)
    assert result.reason == "31 of 31 operations on the Edge TPU"
    assert result.estimates["parameter_bytes_on_chip"] == 566912
    assert result.estimates["min_runtime_version"] == 12
    (made,) = result.artifacts
    assert made.sha256 == sha256_file(coral / f"{NAME}_edgetpu.tflite")
    assert made.tools == {"edgetpu_compiler": "16.0.384591198"}
    assert made.path.parent == tmp_path / "out"


@pytest.mark.shared
def test_without_a_compiler_it_is_refused(coral: Path, tmp_path: Path, coral_profile: TargetProfile) -> None:
    with pytest.raises(ToolError) as error:
        compile_(coral / f"{NAME}.tflite", coral_profile, tmp_path, {"PATH": "/nonexistent"})
    assert error.value.reference == "edgetpu-compiler-missing"


@pytest.mark.shared
def test_uncompiled_where_the_user_allowed_it_and_said_so(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile
) -> None:
    path = coral / f"{NAME}.tflite"
    result = compile_(path, coral_profile, tmp_path, {"PATH": "/nonexistent"}, allow_uncompiled=True)
    assert (result.compiled, result.mapped, result.total) == (False, 0, 31)
    assert result.artifacts == (artifact(path),)
    assert result.reason == "there is no edgetpu_compiler, and --allow-uncompiled was given"


@pytest.mark.shared
def test_a_failing_compiler_is_no_reason_to_ship_uncompiled(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler
) -> None:
    env = fake_compiler("Compilation failed due to large activation tensors in model.", status=(1,))
    with pytest.raises(ToolError) as error:
        compile_(coral / f"{NAME}.tflite", coral_profile, tmp_path / "out", env, allow_uncompiled=True)
    assert error.value.reference == "edgetpu-large-activations"


def test_a_float_model_is_refused_before_the_compiler_runs(
    graph, written, tmp_path, coral_profile, fake_compiler
) -> None:
    graph.op("RELU", [graph.input([1, 8], "float32")], [1, 8], "float32")
    path = written(graph)
    env = fake_compiler(LOG)
    with pytest.raises(InputError) as error:
        compile_(path, coral_profile, tmp_path / "out", env)
    assert error.value.reference == "edgetpu-unsuitable"
    assert "1 operations are float: RELU x1; first layers: layer0" in error.value.render()
    assert f"hint: edgeship check {path} --target coral-dev-board" in error.value.render()
    assert not (tmp_path / "fake" / "calls.txt").exists()


@pytest.mark.parametrize("what", ["infinite scale", "open size", "compiled already"])
def test_hopeless_models_are_refused_before_the_compiler_runs(
    what: str, graph, written, tmp_path, coral_profile, fake_compiler
) -> None:
    if what == "infinite scale":
        graph.conv(graph.input([1, 8, 8, 4], scale=float("inf")))
    elif what == "open size":
        graph.conv(graph.input([1, 1, 1, 4], signature=[1, -1, -1, 4]))
    else:
        graph.op("edgetpu-custom-op", [graph.input([1, 8])], [1, 8], custom=b"x")
    with pytest.raises(InputError) as error:
        compile_(written(graph), coral_profile, tmp_path / "out", fake_compiler(LOG))
    assert error.value.reference == "edgetpu-unsuitable"
    assert not (tmp_path / "fake" / "calls.txt").exists()


def test_a_target_without_an_accelerator_has_no_backend(coral_profile: TargetProfile) -> None:
    section = coral_profile.compiler.model_copy(update={"backend": "none"})
    assert backend_of(coral_profile.model_copy(update={"compiler": section})) is None
