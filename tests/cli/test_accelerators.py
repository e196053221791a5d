"""Models for accelerators through the command line: compiled by a compiler that replays recorded outputs, refused with
its advice, shipped for the CPU where the user says so; and Vela for real.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeship.bundle.seal import extract, open_bundle
from edgeship.digest import sha256_file
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain.environments import find

pytestmark = pytest.mark.shared


@pytest.fixture
def kws(shared_data: Path) -> list[object]:
    """MLPerf's int8 KWS model and its evaluation data, as arguments."""
    return [shared_data / "kws" / "mlperf_int8.tflite", "--eval", shared_data / "kws" / "eval.npz"]


def test_kws_compiled_and_bundled_for_a_coral_dev_board(
    edgeship: Any, kws: list[object], compiler: Any, valid: Any, tmp_path: Path
) -> None:
    compiler()
    said = edgeship("build", *kws, "--target", "coral", "--json")
    assert said.status == 0, said.err
    document = said.document()
    valid("build", document)
    (target,) = document["targets"]
    (variant,) = target["variants"]
    made = variant["compile"]
    assert (made["compiled"], made["mapped"], made["total"], made["subgraphs"]) == (True, 13, 13, 1)
    assert made["tools"] == {"edgetpu_compiler": "16.0.384591198"}
    assert made["estimates"]["parameter_bytes_on_chip"] == 566912  # what the recorded package holds
    assert "unavailable" in made["estimates"]["latency_ms"]
    assert made["log"]["models"][0]["on_chip_used"] == 69 * 1024
    assert variant["metric"]["value"] >= 90  # scored as it was before compiling

    bundle = open_bundle(Path(target["bundle"]))
    extract(bundle, tmp_path / "release")
    valid("manifest", bundle.manifest)
    (entry,) = bundle.manifest["variants"]
    assert entry["sha256"] == made["files"][0]["sha256"] == sha256_file(tmp_path / "release" / entry["file"])
    assert entry["compile"]["from_sha256"] == variant["sha256"] != entry["sha256"]
    assert bundle.manifest["provenance"]["tools"]["edgetpu_compiler"] == "16.0.384591198"
    assert bundle.manifest["engine"] == {
        "name": "tflite_runtime", "version": "2.5.0.post1", "delegate": "edgetpu",
    }  # fmt: skip
    needs = bundle.manifest["requires"]
    assert needs["python"] == ["3.7"] and needs["packages"] == ["tflite-runtime==2.5.0.post1", "numpy"]
    assert needs["libraries"] == ["libedgetpu.so.1"]
    assert needs["devices"] == [{"name": "edgetpu", "any_of": ["/dev/apex_*", "pci:1ac1:089a"]}]

    golden = json.loads((tmp_path / "release" / "golden" / "static_wi8_ai8.json").read_text())
    valid("golden", golden)
    recorded = golden["recorded_with"]
    assert recorded["model_sha256"] == variant["sha256"], "recorded from what was scored"
    assert (recorded["engine"], recorded["delegate"]) == ("litert", "xnnpack"), (
        "another triple than the device's"
    )
    assert golden["tolerance"]["max_lsb"] > 0 and len(golden["vectors"]) >= 3
    valid("service", json.loads((tmp_path / "release" / "service.json").read_text()))


def test_the_text_says_what_the_compiler_said(edgeship: Any, kws: list[object], compiler: Any) -> None:
    compiler()
    said = edgeship("build", *kws, "--target", "coral")
    assert said.status == 0, said.err
    assert "compiled: 13 of 13 operations on the Edge TPU (edgetpu_compiler 16.0.384591198)" in said.out
    assert "the compiler says: 566,912 parameter bytes on the chip, 0 streamed, runtime 12" in said.out
    assert "uncompiled" not in said.out


def test_googles_own_uint8_models_are_as_good_as_int8(
    edgeship: Any, compiler: Any, shared_data: Path
) -> None:
    compiler()
    coral = shared_data / "coral"
    said = edgeship("build", coral / "mobilenet_v1_0.25_128_quant.tflite", "--target", "coral", "--json")
    assert said.status == 0, said.err
    (variant,) = said.document()["targets"][0]["variants"]
    assert variant["compile"]["compiled"] and variant["precision"]["io"] == "uint8"


def test_a_file_that_is_compiled_already_is_refused(edgeship: Any, compiler: Any, shared_data: Path) -> None:
    compiler()
    done = shared_data / "coral" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    said = edgeship("build", done, "--target", "coral")
    assert said.status == 2 and "error: edgetpu-unsuitable" in said.err
    assert "this file came out of edgetpu_compiler already" in said.err


def test_without_a_compiler_it_is_refused_and_says_how_to_get_one(
    edgeship: Any, kws: list[object], tmp_path: Path
) -> None:
    said = edgeship("build", *kws, "--target", "coral")
    assert said.status == 1
    assert "ship the int8 model for the CPU as it is: --allow-uncompiled\nmore: edgeship explain " in said.err
    for words in ("error: edgetpu-compiler-missing", "coral.ai/docs/edgetpu/compiler", "ssh:user@buildhost"):
        assert words in said.err
    assert not list(tmp_path.rglob("*.edgeship"))


def test_a_place_that_is_none(edgeship: Any, kws: list[object]) -> None:
    said = edgeship("build", *kws, "--target", "coral", "--compiler", "cloud:here")
    assert said.status == 2 and "error: bad-compiler-place" in said.err


def test_allowed_uncompiled_it_ships_for_the_cpu_and_says_so(
    edgeship: Any, kws: list[object], valid: Any, tmp_path: Path
) -> None:
    said = edgeship("build", *kws, "--target", "coral", "--allow-uncompiled", "--json")
    assert said.status == 0, said.err
    document = said.document()
    valid("build", document)
    (target,) = document["targets"]
    made = target["variants"][0]["compile"]
    assert (made["compiled"], made["mapped"]) == (False, 0)
    assert made["reason"].startswith("uncompiled: runs on the CPU")

    bundle = open_bundle(Path(target["bundle"]))
    valid("manifest", bundle.manifest)
    assert bundle.manifest["chosen"] == "static_wi8_ai8-uncompiled"
    assert bundle.manifest["variants"][0]["compile"]["reason"].startswith("uncompiled: runs on the CPU")
    assert bundle.manifest["engine"]["delegate"] == "none"
    needs = bundle.manifest["requires"]
    assert needs["devices"] == [] and needs["libraries"] == []
    assert needs["packages"] == ["tflite-runtime==2.5.0.post1", "numpy"]
    extract(bundle, tmp_path / "release")
    service = json.loads((tmp_path / "release" / "service.json").read_text())
    valid("service", service)
    assert service["engine"]["delegate"] == "none" and service["engine"]["delegate_library"] is None
    assert service["variants"][0]["note"] == "uncompiled: runs on the CPU"
    assert "apex" not in (tmp_path / "release" / "service" / "edgeship.service").read_text()
    readme = (tmp_path / "release" / "README.txt").read_text()
    assert "uncompiled: runs on the CPU" in readme and "libedgetpu" not in readme
    shown = edgeship("inspect", target["bundle"])
    assert "uncompiled: runs on the CPU" in shown.out
    text = edgeship("build", *kws, "--target", "coral", "--allow-uncompiled")
    assert (
        "uncompiled: runs on the CPU (there is no edgetpu_compiler, and --allow-uncompiled was given)"
        in text.out
    )


OPEN = "Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized ones."
FAILURES = {
    "edgetpu-operation-version": (
        "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'",
        "quantize the float model with edgeship build",
    ),
    "edgetpu-dynamic-shape": (f"ERROR: {OPEN}", "export with a fixed batch and input shape"),
    "edgetpu-large-activations": (
        "Compilation failed due to large activation tensors in model.",
        "use a smaller input",
    ),
    "edgetpu-internal-error": ("Internal compiler error. Aborting!", "an infinite scale"),
    "edgetpu-timeout": (
        "Compilation timed out after 180 seconds.",
        "--timeout_sec in the target's compiler.options",
    ),
    "edgetpu-failed": ("Something nobody saw before.", "its last words are above"),
}
"""Reference -> what the compiler says, and a part of the advice."""


@pytest.mark.slow
@pytest.mark.parametrize("reference", FAILURES)
def test_each_failure_of_the_compiler_shows_its_advice(
    reference: str, edgeship: Any, kws: list[object], compiler: Any, tmp_path: Path
) -> None:
    text, advice = FAILURES[reference]
    compiler(f"Edge TPU Compiler version 16.0.384591198\n{text}\n", 1)
    said = edgeship("build", *kws, "--target", "coral", "--allow-uncompiled")
    assert said.status == 1, "a compiler that fails is no missing compiler"
    assert f"error: {reference}\n" in said.err
    assert advice in said.err.partition("hint: ")[2]
    assert text in said.err, "its last words"
    assert not list(tmp_path.rglob("*.edgeship"))


@pytest.mark.slow
def test_a_success_that_maps_nothing_is_a_failure(edgeship: Any, kws: list[object], compiler: Any) -> None:
    nothing = compiler.good.replace("Number of Edge TPU subgraphs: 1", "Number of Edge TPU subgraphs: 0")
    compiler(nothing.replace("Mapped to Edge TPU", "Operation not supported"), copies=False)
    said = edgeship("build", *kws, "--target", "coral")
    assert said.status == 1 and "error: edgetpu-nothing-mapped" in said.err
    assert "edgeship check" in said.err.partition("hint: ")[2]


def test_a_pipeline_is_files_and_no_bundle(
    edgeship: Any, kws: list[object], compiler: Any, valid: Any, tmp_path: Path
) -> None:
    compiler()
    said = edgeship("build", *kws, "--target", "coral", "--segments", 3, "--json")
    assert said.status == 0, said.err
    document = said.document()
    valid("build", document)
    (target,) = document["targets"]
    assert "3 segments; a service runs one model" in target["bundle"]["unavailable"]
    assert len(target["variants"][0]["compile"]["files"]) == 3
    names = [Path(part["path"]).name for part in target["segments"]]
    start = names[0].partition("-segment-")[0]
    assert names == [f"{start}-segment-{i}-of-3.tflite" for i in (1, 2, 3)]
    for part in target["segments"]:
        assert sha256_file(Path(part["path"])) == part["sha256"]
        assert (part["parameter_bytes_on_chip"], len(part["caching_tokens"])) == (566912, 1)
    first, _, last = (read_tflite(Path(part["path"])).signature for part in target["segments"])
    original = read_tflite(Path(str(kws[0]))).signature
    assert (first.inputs[0].name, last.outputs[0].name) == (original.inputs[0].name, original.outputs[0].name)
    assert not list(tmp_path.rglob("*.edgeship"))

    text = edgeship("build", *kws, "--target", "coral", "--segments", 3)
    assert text.status == 0 and text.out.count("\nsegment: ") == 3
    assert "caching tokens: the same in all segments" in text.out
    assert "no bundle: a service runs one model on one accelerator, and this is 3" in text.out
    (tmp_path / "edgeship.yaml").write_text("compiler: {segments: 3}\n")
    planned = edgeship("build", *kws, "--target", "coral", "--dry-run")
    assert "-segment-<1 to 3>-of-3.tflite, and no bundle" in planned.out
    refused = edgeship("deploy", kws[0], "--target", "coral", "--host", f"local:{tmp_path / 'd'}")
    assert refused.status == 2 and "error: pipeline-not-servable" in refused.err


def test_models_that_share_the_chip_are_compiled_in_one_call(
    edgeship: Any, kws: list[object], compiler: Any, valid: Any, shared_data: Path
) -> None:
    compiler()
    other = shared_data / "cifar10" / "mlperf_int8.tflite"
    said = edgeship("build", *kws, "--target", "coral", "--co-compile", other, "--json")
    assert said.status == 0, said.err
    document = said.document()
    valid("build", document)
    (target,) = document["targets"]
    made = target["variants"][0]["compile"]
    assert made["log"]["arguments"][-1] == "mlperf_int8.tflite", "the chosen one comes first"
    assert (made["mapped"], made["total"]) == (13, 13)
    (part,) = target["co_compiled"]
    assert part["source"] == other.name
    assert sha256_file(Path(part["path"])) == part["sha256"] != made["files"][0]["sha256"]
    assert part["caching_tokens"] == made["log"]["caching_tokens"], "equal: they share the cache"
    bundle = open_bundle(Path(target["bundle"]))
    assert Path(part["path"]).parent == bundle.path.parent
    text = edgeship("build", *kws, "--target", "coral", "--co-compile", other)
    assert f"shares the chip: {Path(part['path']).parent}" in text.out


def test_several_files_are_refused_where_they_make_no_sense(
    edgeship: Any, kws: list[object], compiler: Any, shared_data: Path
) -> None:
    def refused(*words: object) -> str:
        said = edgeship("build", *kws, *words)
        assert said.status in (1, 2), said.out
        return str(said.err.splitlines()[0])

    both = ("--segments", 2, "--co-compile", kws[0])
    two = ("--target", "coral", "--segments", 2)
    assert refused(*two, "--allow-uncompiled") == "error: edgetpu-compiler-missing"
    compiler()
    assert refused("--target", "coral", *both) == "error: segments-and-co-compile"
    for more in ((), ("--dry-run",)):
        assert refused("--target", "raspberry-pi-4", "--segments", 2, *more) == "error: not-an-edgetpu"
    missing = refused("--target", "coral", "--co-compile", "nowhere.tflite")
    assert missing.startswith("error: model-")
    done = shared_data / "coral" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    assert refused("--target", "coral", "--co-compile", done) == "error: edgetpu-unsuitable"


def test_the_settings_file_says_how_to_compile_and_the_command_line_wins(
    edgeship: Any, kws: list[object], tmp_path: Path
) -> None:
    (tmp_path / "edgeship.yaml").write_text("compiler:\n  allow_uncompiled: true\n")
    said = edgeship("build", *kws, "--target", "coral")
    assert said.status == 0 and "uncompiled: runs on the CPU" in said.out
    said = edgeship("build", *kws, "--target", "coral", "--no-allow-uncompiled")
    assert said.status == 1 and "error: edgetpu-compiler-missing" in said.err
    (tmp_path / "edgeship.yaml").write_text("compiler:\n  place: cloud:here\n")
    assert "error: bad-compiler-place" in edgeship("build", *kws, "--target", "coral").err
    said = edgeship("build", *kws, "--target", "coral", "--compiler", "local")
    assert "error: edgetpu-compiler-missing" in said.err


@pytest.mark.slow
@pytest.mark.skipif(find("vela") is None, reason="needs Vela: edgeship toolchain install vela")
@pytest.mark.parametrize(("folder", "operations"), [("kws", 13), ("cifar10", 16)])
def test_vela_gives_estimates_and_golden_vectors_are_of_the_int8_original(
    folder: str, operations: int, edgeship: Any, shared_data: Path, valid: Any, tmp_path: Path
) -> None:
    model = shared_data / folder / "mlperf_int8.tflite"
    targets = ["--target", "imx93-evk", "--target", "ethos-u65-256"]
    said = edgeship("build", model, "--eval", shared_data / folder / "eval.npz", *targets, "--json")
    assert said.status == 0, said.err
    document = said.document()
    valid("build", document)
    board, bare = document["targets"]
    for target in (board, bare):
        made = target["variants"][0]["compile"]
        assert made["compiled"] and made["mapped"] == made["total"] == operations
        for figure in ("latency_ms", "sram_kib", "dram_kib", "macs", "weights_bytes"):
            assert made["estimates"][figure] > 0, figure
        assert list(made["tools"]) == ["ethos-u-vela"]
        assert made["log"]["configuration"]["accelerator_configuration"] == "Ethos_U65_256"
    assert board["variants"][0]["compile"]["estimates"] == bare["variants"][0]["compile"]["estimates"]

    bundle = open_bundle(Path(board["bundle"]))
    valid("manifest", bundle.manifest)
    assert bundle.manifest["engine"]["delegate"] == "ethosu"
    assert "libethosu_delegate.so" in bundle.manifest["requires"]["libraries"]
    extract(bundle, tmp_path / "release")
    golden = json.loads((tmp_path / "release" / "golden" / "static_wi8_ai8.json").read_text())
    assert golden["recorded_with"]["model_sha256"] == board["variants"][0]["sha256"]

    assert "runs no Linux" in bare["bundle"]["unavailable"]
    assert sha256_file(Path(bare["model_file"])) == bare["variants"][0]["compile"]["files"][0]["sha256"]


def test_a_float_model_is_refused_for_an_npu(edgeship: Any, tiny: Path) -> None:
    said = edgeship("build", tiny / "model.tflite", "--target", "imx93-evk", "--recipe", "fp32")
    assert said.status == 2
    assert "error: recipe-not-accepted" in said.err and "hint: --recipe int8" in said.err


def test_a_microcontroller_cannot_be_deployed_to(edgeship: Any, tiny: Path, tmp_path: Path) -> None:
    for more in ((), ("--dry-run",)):
        said = edgeship(
            "deploy",
            tiny / "model.tflite",
            "--target",
            "ethos-u55-128",
            "--host",
            f"local:{tmp_path / 'd'}",
            *more,
        )
        assert said.status == 2
        assert "error: target-not-deployable" in said.err and "TensorFlow Lite Micro" in said.err
        assert not (tmp_path / "d").exists()


def test_kws_compiled_on_a_build_host(
    edgeship: Any,
    kws: list[object],
    compiler: Any,
    build_server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real OpenSSH server whose PATH has the compiler; this machine has none."""
    before = os.environ["PATH"]
    compiler()
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path / "ssh_config"} "$@"\n')
    (ours / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{ours}{os.pathsep}{before}")
    place = f"ssh:{build_server.user}@127.0.0.1:{build_server.port}"

    refused = edgeship("build", *kws, "--target", "coral", "--compiler", place)
    assert refused.status == 1 and "error: edgetpu-compiler-missing" in refused.err
    assert "on the build host" in refused.err
    assert "scoring" not in refused.err, "before anything costly is done"

    build_server.stop()
    build_server.write_config(extra=f"SetEnv PATH={tmp_path / 'bin'}:/usr/bin:/bin\n")
    build_server.start()
    said = edgeship("build", *kws, "--target", "coral", "--compiler", place, "--json")
    assert said.status == 0, said.err
    made = said.document()["targets"][0]["variants"][0]["compile"]
    assert made["compiled"] and made["log"]["where"] == f"build host {place[4:]}"
    assert made["tools"] == {"edgetpu_compiler": "16.0.384591198"}
