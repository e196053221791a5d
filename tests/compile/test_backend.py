"""The Edge TPU backend as the pipeline uses it: compiled, refused, or shipped uncompiled because the user said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.compile.backend import CompileOptions, CompileResult
from edgeship.compile.backends import backend_of
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite
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
    assert "hint: edgeship check MODEL --target coral-dev-board" in error.value.render()
    assert str(path) not in error.value.render(), "a file made on the way is gone when people read this"
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


@pytest.mark.shared
def test_co_compiled_models_must_share_one_caching_token(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler
) -> None:
    other = "deeplabv3_mnv2_dm05_pascal_quant"
    files = {f"{n}_edgetpu.tflite": coral / f"{n}_edgetpu.tflite" for n in (NAME, other)}
    first = coral / f"{NAME}.tflite"
    with pytest.raises(ToolError) as error:
        env = fake_compiler(LOG, files=files)
        compile_(first, coral_profile, tmp_path / "out", env, together=(coral / f"{other}.tflite",))
    assert error.value.reference == "edgetpu-not-co-compiled"

    (tmp_path / "b").mkdir()
    namesake = tmp_path / "b" / f"{NAME}.tflite"
    namesake.write_bytes(first.read_bytes())
    compiled = coral / f"{NAME}_edgetpu.tflite"
    files = {f"{NAME}_edgetpu.tflite": compiled, f"{NAME}_1_edgetpu.tflite": compiled}
    env = fake_compiler(LOG + "\nInput model: other\nTotal number of operations: 64\n", files=files)
    result = compile_(first, coral_profile, tmp_path / "out", env, together=(namesake,))
    assert (result.mapped, result.total, result.segments) == (31, 31, ())
    (part,) = result.together
    assert part.source == namesake and part.path != result.artifacts[0].path
    assert list(part.caching_tokens) == result.log["caching_tokens"]


@pytest.mark.shared
def test_fewer_segments_than_asked_for_are_a_failure(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler
) -> None:
    parts = {f"{NAME}_segment_{k}_of_2_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite" for k in (0, 1)}
    with pytest.raises(ToolError) as error:
        compile_(
            coral / f"{NAME}.tflite",
            coral_profile,
            tmp_path / "out",
            fake_compiler(LOG, files=parts),
            segments=3,
        )
    assert error.value.reference == "edgetpu-segments-missing"


@pytest.mark.shared
def test_a_segment_that_nobody_feeds_is_found_out(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler
) -> None:
    """The middle one belongs to another model: first inputs and last outputs alone would not show it."""
    own, other = coral / f"{NAME}_edgetpu.tflite", coral / "deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite"
    assert read_tflite(own).main.tensors[0].name != read_tflite(other).main.tensors[0].name
    files = {f"{NAME}_segment_{k}_of_3_edgetpu.tflite": other if k == 1 else own for k in range(3)}
    with pytest.raises(ToolError) as error:
        compile_(
            coral / f"{NAME}.tflite",
            coral_profile,
            tmp_path / "out",
            fake_compiler(LOG, files=files),
            segments=3,
        )
    assert error.value.reference == "edgetpu-segments-disconnected"
    assert "segment 2 of 3" in error.value.render()


def test_a_target_without_an_accelerator_has_no_backend(coral_profile: TargetProfile) -> None:
    section = coral_profile.compiler.model_copy(update={"backend": "none"})
    assert backend_of(coral_profile.model_copy(update={"compiler": section})) is None
