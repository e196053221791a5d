"""What becomes of the chosen variant: compiled under its own name, or left for the CPU under another."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.assets import target_folders
from edgeship.compile.backend import CompileOptions
from edgeship.compile.ship import require_compiler, ship
from edgeship.digest import sha256_file
from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.profile import TargetProfile, load_profile
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite
from edgeship.values import (
    Agreement,
    Artifact,
    Latency,
    Metric,
    Precision,
    Scorecard,
    Unavailable,
    Variant,
)

NAME = "mobilenet_v1_0.25_128_quant"
LOG = "Edge TPU Compiler version 16.0.384591198\nNumber of Edge TPU subgraphs: 1\nTotal number of operations: 31\n"
NONE = Unavailable(reason="not scored in this test")


def variant(path: Path) -> Variant:
    held = read_tflite(path)
    artifact = Artifact(
        path=path,
        recipe="static_wi8_ai8",
        bytes=held.size,
        sha256=held.sha256,
        signature=held.signature,
        precision=Precision(weights="uint8", activations="uint8", io="uint8"),
        model_sha256=held.sha256,
        calibration_sha256=None,
    )
    card = Scorecard(
        artifact_sha256=held.sha256,
        evaluation_sha256=None,
        metric=Metric(name="top1", value=NONE, float_value=NONE, drop=NONE),
        agreement=Agreement(argmax=NONE, cosine=NONE, max_abs=NONE),
        latency_ms=Latency(cold=NONE, p50=NONE, p95=NONE),
        peak_rss_mb=NONE,
    )
    return Variant(artifact=artifact, scorecard=card, gates=())


@pytest.mark.shared
def test_compiled_it_keeps_its_name_and_its_twin(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler
) -> None:
    env = fake_compiler(LOG, files={f"{NAME}_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite"})
    one = variant(coral / f"{NAME}.tflite")
    shipped = ship(one, coral_profile, tmp_path / "out", CompileOptions(environment=env), Silent())
    assert shipped.variant.artifact.sha256 == sha256_file(coral / f"{NAME}_edgetpu.tflite")
    assert shipped.variant.artifact.recipe == one.artifact.recipe
    assert (shipped.twin, shipped.profile, shipped.uncompiled) == (one, coral_profile, None)
    assert shipped.result is not None and shipped.result.subgraphs == 1.0


@pytest.mark.shared
def test_uncompiled_it_says_so_in_its_name_and_asks_for_no_accelerator(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile
) -> None:
    one = variant(coral / f"{NAME}.tflite")
    options = CompileOptions(environment={"PATH": "/nonexistent"}, allow_uncompiled=True)
    require_compiler(coral_profile, options)
    shipped = ship(one, coral_profile, tmp_path, options, Silent())
    assert shipped.variant == shipped.twin
    assert shipped.variant.artifact.recipe == "static_wi8_ai8-uncompiled"
    assert shipped.variant.artifact.sha256 == one.artifact.sha256
    assert shipped.profile == coral_profile.without_accelerator()
    assert shipped.uncompiled == "there is no edgetpu_compiler, and --allow-uncompiled was given"
    with pytest.raises(ToolError) as error:
        require_compiler(coral_profile, CompileOptions(environment={"PATH": "/nonexistent"}))
    assert error.value.reference == "edgetpu-compiler-missing"


@pytest.mark.shared
def test_without_a_compiler_in_the_profile_nothing_changes(coral: Path, tmp_path: Path) -> None:
    host = load_profile("host", folders=target_folders(environment={}))
    one = variant(coral / f"{NAME}.tflite")
    require_compiler(host, CompileOptions(environment={"PATH": "/nonexistent"}))
    shipped = ship(one, host, tmp_path, CompileOptions(), Silent())
    assert (shipped.variant, shipped.twin, shipped.profile, shipped.result) == (one, one, host, None)


@pytest.mark.shared
def test_segments_of_a_pipeline_come_in_order_and_nothing_takes_their_place(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler
) -> None:
    parts = {f"{NAME}_segment_{k}_of_2_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite" for k in (1, 0)}
    options = CompileOptions(environment=fake_compiler(LOG, files=parts), segments=2)
    one = variant(coral / f"{NAME}.tflite")
    shipped = ship(one, coral_profile, tmp_path / "out", options, Silent())
    assert shipped.result is not None and shipped.variant == shipped.twin == one
    assert [p.path.name for p in shipped.result.segments] == sorted(parts)
    assert [p.sha256 for p in shipped.result.segments] == [a.sha256 for a in shipped.result.artifacts]
    assert [p.parameter_bytes_on_chip for p in shipped.result.segments] == [566912, 566912]


@pytest.mark.shared
def test_segments_nobody_asked_for_cannot_be_served(
    coral: Path, tmp_path: Path, coral_profile: TargetProfile, fake_compiler
) -> None:
    parts = {f"{NAME}_segment_{k}_of_2_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite" for k in (0, 1)}
    env = fake_compiler(LOG, files=parts)
    section = coral_profile.compiler.model_copy(update={"options": ("-n", "2")})
    with pytest.raises(EdgeshipError) as error:
        ship(
            variant(coral / f"{NAME}.tflite"),
            coral_profile.model_copy(update={"compiler": section}),
            tmp_path / "out",
            CompileOptions(environment=env),
            Silent(),
        )
    assert isinstance(error.value, InputError) and error.value.reference == "pipeline-not-servable"
    assert "2 segments" in error.value.render()
