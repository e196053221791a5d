"""What a build says: accuracy from evaluation data alone, names of classes, sizes closed on the command line."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HOST = ("-t", "host", "--recipe", "fp32", "-o", "out")


def labels_in(folder: Path) -> list[str]:
    """Return the names of the classes in the only bundle of a folder; [] where it has none."""
    bundle = next(folder.glob("*.edgeship"))
    with tarfile.open(bundle) as archive:
        member = next((m for m in archive.getmembers() if m.name.endswith("labels.txt")), None)
        held = archive.extractfile(member) if member else None
        return held.read().decode().splitlines() if held else []


@pytest.mark.slow
def test_no_accuracy_comes_from_calibration_data(edgeship: Any, tiny: Path, tmp_path: Path) -> None:
    x = np.load(tiny / "calibration.npz")["x"]
    np.savez(tmp_path / "labelled.npz", x=x, y=np.arange(len(x)) % 4)
    said = edgeship("build", tiny / "model.tflite", *HOST, "--calibration", "labelled.npz", "--json")
    assert said.status == 0, said.err
    variant = said.document()["targets"][0]["variants"][0]
    assert variant["metric"]["value"] is None or "unavailable" in str(variant["metric"]["value"])
    assert "no evaluation set was given" in str(variant["metric"])
    assert variant["agreement"]["cosine"] == pytest.approx(1.0)


@pytest.mark.slow
def test_numbers_of_labels_go_and_that_is_told(edgeship: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("0 Flask\n1 Cup\n2 Mug\n3 Jar\n")
    said = edgeship("build", tiny / "model.tflite", *HOST, "--labels", "labels.txt")
    assert said.status == 0, said.err
    assert said.err.count("the numbers before the names are left out: Flask, Cup, Mug, ...") == 1
    assert labels_in(tmp_path / "out") == ["Flask", "Cup", "Mug", "Jar"]
    written = edgeship("inspect", next((tmp_path / "out").glob("*.edgeship")), "--json")
    assert written.status == 0


@pytest.mark.slow
def test_a_model_brings_its_own_labels(edgeship: Any, tiny: Path, tmp_path: Path, tiny_models: Any) -> None:
    from edgeship.progress import Silent
    from edgeship.tflite.metadata import write_metadata
    from edgeship.values import ModelMetadata

    labelled = tmp_path / "labelled.tflite"
    metadata = ModelMetadata(
        name="m", description="", version="1", author="", licence="", labels=("ash", "elm", "fir", "yew")
    )
    write_metadata(tiny / "model.tflite", labelled, metadata, progress=Silent())
    said = edgeship("build", labelled, *HOST)
    assert said.status == 0, said.err
    assert said.err.count("labels: the 4 of the model's own metadata: ash, elm, fir, ...") == 1
    assert labels_in(tmp_path / "out") == ["ash", "elm", "fir", "yew"]
    (tmp_path / "own.txt").write_text("a\nb\nc\nd\n")
    said = edgeship("build", labelled, *HOST[:-1], "other", "--labels", "own.txt")
    assert labels_in(tmp_path / "other") == ["a", "b", "c", "d"]


@pytest.fixture
def open_model(builder: Any, tmp_path: Path) -> Path:
    """A model of pictures of any size, without a signature, as tools export them."""
    x = builder.tensor("serving_default_picture:0", [1, 1, 1, 3], signature=[-1, -1, -1, 3])
    y = builder.tensor("y", [1, 1, 1, 3], signature=[-1, -1, -1, 3])
    builder.op("RELU", [x], [y])
    path = tmp_path / "open.tflite"
    path.write_bytes(builder.build([x], [y]))
    return path


@pytest.mark.slow
def test_open_sizes_are_closed_by_the_hint_as_typed(edgeship: Any, open_model: Path, tmp_path: Path) -> None:
    refused = edgeship("build", open_model, *HOST)
    assert refused.status == 2
    assert "error: model-dynamic-shape" in refused.err
    typed = refused.err.split("for example:")[1].partition("\n")[0].split()
    assert typed == ["--input-shape", "1,224,224,3"]
    for verb in (("build", *HOST), ("check", "-t", "host"), ("inspect",)):
        said = edgeship(verb[0], open_model, *verb[1:], *typed)
        assert said.status == 0, said.err
    assert "224 x 224 x 3" in said.out
    (tmp_path / "edgeship.yaml").write_text("input_shape: {picture: [1, 8, 8, 3]}\n")
    said = edgeship("build", open_model, *HOST)
    assert said.status == 0, said.err


def test_a_wrong_shape_on_the_command_line(edgeship: Any, open_model: Path) -> None:
    said = edgeship("build", open_model, *HOST, "--input-shape", "1,a")
    assert said.status == 2
    assert "--input-shape" in said.err
    assert "expected sizes with the batch first, such as 1,224,224,3" in said.err


def test_the_manual_names_options_that_are_there(edgeship: Any) -> None:
    """Every option in docs/cli.md's table of verbs is one of its verb's own."""
    manual = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
    rows = re.findall(r"^\| `edgeship ([a-z\\|]+) (.*?)` \|", manual, re.M)
    alone = [(verb, rest) for verb, rest in rows if verb not in ("target", "keys", "toolchain")]
    assert len(alone) > 8
    for verbs, rest in alone:
        for verb in verbs.replace("\\", "").split("|"):
            told = edgeship(verb, "--help").out
            missing = [option for option in re.findall(r"--[a-z-]+", rest) if option not in told]
            assert not missing, (verb, missing)
