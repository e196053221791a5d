"""Vela on MLPerf's own int8 models: published figures, and its traps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeship.assets import target_folders
from edgeship.compile.backend import CompileOptions, CompileResult
from edgeship.compile.backends import backend_of
from edgeship.compile.check import check_model
from edgeship.compile.vela_tool import run_vela
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.profile import TargetProfile, load_profile
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain.environments import find
from edgeship.values import Artifact, Precision

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(find("vela") is None, reason="needs Vela: edgeship toolchain install vela")


def profile(name: str) -> TargetProfile:
    return load_profile(name, folders=target_folders(environment={}))


def artifact(path: Path) -> Artifact:
    return Artifact(
        path=path,
        recipe="static_wi8_ai8",
        bytes=path.stat().st_size,
        sha256=sha256_file(path),
        signature=read_tflite(path).signature,
        precision=Precision(weights="int8", activations="int8", io="int8"),
        model_sha256="0" * 64,
        calibration_sha256=None,
        tools={"quantizer": "1"},
    )


def compiled(path: Path, target: str, out: Path) -> CompileResult:
    wanted = profile(target)
    backend = backend_of(wanted)
    assert backend is not None
    assert backend.accepts(artifact(path), wanted) == ()
    return backend.compile(artifact(path), wanted, out, CompileOptions(), Silent())


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "milliseconds", "sram"),
    [("kws", 0.180, 21.67), ("cifar10", 0.404, 50.62)],
    ids=["kws", "resnet8"],
)
def test_estimates_on_ethos_u55_128(model: str, milliseconds: float, sram: float, tmp_path: Path) -> None:
    result = compiled(DATA / model / "mlperf_int8.tflite", "ethos-u55-128", tmp_path)
    assert result.compiled
    assert result.mapped == result.total
    assert result.estimates["latency_ms"] == pytest.approx(milliseconds, abs=0.002)
    assert result.estimates["sram_kib"] == pytest.approx(sram, abs=0.02)
    (made,) = result.artifacts
    assert made.path.name == "mlperf_int8_vela.tflite"
    assert made.sha256 == sha256_file(made.path)
    assert made.tools == {"quantizer": "1", "ethos-u-vela": result.tools["ethos-u-vela"]}
    assert [o.op for o in read_tflite(made.path).main.operators] == ["ethos-u"]
    assert result.log["configuration"]["accelerator_configuration"] == "Ethos_U55_128"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("target", "accelerator"),
    [("ethos-u65-256", "Ethos_U65_256"), ("ethos-u85-256", "Ethos_U85_256"), ("imx93-evk", "Ethos_U65_256")],
)
def test_other_targets(target: str, accelerator: str, tmp_path: Path) -> None:
    result = compiled(DATA / "kws" / "mlperf_int8.tflite", target, tmp_path)
    assert result.log["configuration"]["accelerator_configuration"] == accelerator
    assert result.mapped == 13
    assert isinstance(result.estimates["latency_ms"], float)


def float_model(graph, written: Callable[..., Path]) -> Path:
    x = graph.input([1, 8, 8, 4], "float32")
    w, b = graph.const([4, 1, 1, 4], "float32"), graph.const([4], "float32")
    x = graph.op("CONV_2D", [x, w, b], [1, 8, 8, 4], "float32", options="Conv2DOptions", strideH=1, strideW=1)
    graph.op("RELU", [x], [1, 8, 8, 4], "float32")
    return written(graph, "float.tflite")


def test_a_float_model_is_refused_before_vela_runs(graph, written, tmp_path: Path) -> None:
    path = float_model(graph, written)
    wanted = profile("ethos-u55-128")
    backend = backend_of(wanted)
    assert backend is not None
    reason = "all its 2 operations work on float tensors; the NPU computes in int8 and int16"
    assert backend.accepts(artifact(path), wanted) == (reason,)
    with pytest.raises(InputError) as error:
        backend.compile(artifact(path), wanted, tmp_path / "out", CompileOptions(), Silent())
    assert error.value.reference == "vela-unsuitable"
    assert reason in error.value.render()
    assert not (tmp_path / "out").exists()


def test_vela_itself_calls_a_float_model_a_success(graph, written) -> None:
    """The trap this guards against: status 0, a file, and not one operation on the NPU."""
    tool = find("vela")
    assert tool is not None
    path = float_model(graph, written)
    with run_vela(path, ("--accelerator-config", "ethos-u55-128"), tool.command, timeout_s=120) as made:
        assert made.npu_blocks == 0


def test_integers_of_which_nothing_maps_are_a_failure(graph, written, tmp_path: Path) -> None:
    graph.op("GATHER", [graph.input([1, 8, 8, 4]), graph.ints(0)], [1, 8, 8, 4], options="GatherOptions")
    path = written(graph)
    wanted = profile("ethos-u55-128")
    backend = backend_of(wanted)
    assert backend is not None
    with pytest.raises(ToolError) as error:
        backend.compile(artifact(path), wanted, tmp_path / "out", CompileOptions(), Silent())
    assert error.value.reference == "vela-nothing-mapped"
    assert not (tmp_path / "out").exists()


@pytest.mark.shared
def test_check_names_what_vela_leaves_to_the_cpu(coral: Path) -> None:
    report = check_model(coral / "deeplabv3_mnv2_dm05_pascal_quant.tflite", profile("ethos-u55-128"))
    assert (report.basis, report.verdict, report.mapped) == ("compiler", "partial", 71)
    (left,) = [o for o in report.operations if o.placement == "cpu"]
    assert (left.index, left.op) == (70, "RESIZE_BILINEAR")
    assert left.reason == "Scaling matches and operation has unsupported scale-factor=16"


def test_bad_options_show_velas_own_words(graph, written) -> None:
    graph.conv(graph.input([1, 8, 8, 4]))
    tool = find("vela")
    assert tool is not None
    with (
        pytest.raises(ToolError) as error,
        run_vela(written(graph), ("--accelerator-config", "ethos-u99"), tool.command, timeout_s=60),
    ):
        pass
    assert error.value.reference == "vela-failed"
    assert "ethos-u99" in error.value.render()


@pytest.mark.shared
def test_without_vela_it_is_refused_or_left_to_the_cpu_as_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vela shares our environment here, so only what finds it can be told that it is not there."""
    monkeypatch.setattr("edgeship.toolchain.environments.find", lambda name, environment: None)
    wanted = profile("imx93-evk")
    backend = backend_of(wanted)
    assert backend is not None
    one = artifact(DATA / "kws" / "mlperf_int8.tflite")
    with pytest.raises(ToolError) as error:
        backend.compile(one, wanted, tmp_path, CompileOptions(), Silent())
    assert "hint: edgeship toolchain install vela" in error.value.render()
    left = backend.compile(one, wanted, tmp_path, CompileOptions(allow_uncompiled=True), Silent())
    assert (left.compiled, left.mapped, left.total, left.artifacts) == (False, 0, 13, (one,))
    assert left.words.startswith("uncompiled: runs on the CPU (Vela is not installed")


ENDS = {
    "crash": (
        "import os, sys; print('Segmentation is next', flush=True); os.kill(os.getpid(), 11)",
        "vela-failed",
    ),
    "memory": ("x = bytearray(1 << 42)", "vela-failed"),
    "timeout": ("import time; print('thinking', flush=True); time.sleep(60)", "vela-timeout"),
    "nothing": ("print('done')", "vela-failed"),
}
"""What happens -> the program in Vela's place, and the reference of the error."""


@pytest.mark.parametrize("how", ENDS)
def test_every_bad_end_is_recorded_with_its_last_words(how: str, graph, written) -> None:
    program, reference = ENDS[how]
    graph.op("RELU", [graph.input([1, 8])], [1, 8])
    limit = 2 if how == "timeout" else 60
    command = [sys.executable, "-c", program]
    with (
        pytest.raises(ToolError) as error,
        run_vela(written(graph), [], command, timeout_s=limit),
    ):
        pass
    text = error.value.render()
    assert error.value.reference == reference
    words = {
        "crash": "Segmentation is next",
        "memory": "MemoryError",
        "timeout": "thinking",
        "nothing": "done",
    }
    assert words[how] in text
    if how == "crash":
        assert "status:     -11" in text
    if how == "timeout":
        assert "did not finish in 2 s" in text
