"""Models that came with integer inputs: their own bytes are taken as they are, in data, golden vectors and requests."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.assets import targets_folder
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.profile import load_profile
from edgeship.progress import Silent
from edgeship.quantize.derive import derive
from edgeship.quantize.recipes import RECIPES
from edgeship.score.worker import Model
from edgeship.tflite.metadata import write_metadata
from edgeship.values import InputMetadata, ModelMetadata, PreparedSamples, Preprocess

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def made(tiny: Path, tiny_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function: the tiny classifier quantized, with inputs of a type, trained on (pixel - 127.5) / 127.5."""
    folder = tmp_path_factory.mktemp("stored")
    model = to_float_tflite(open_model(tiny / "model.tflite"), folder / "float", progress=Silent())
    x = tiny_models.pictures(64, seed=3)
    np.save(folder / "x.npy", 2 * x.clip(0, 1) - 1)
    samples = PreparedSamples(paths=(folder / "x.npy",), sha256="c" * 64)

    def make(io: str, *, says: bool) -> Path:
        profile = load_profile("host", folders=[targets_folder()])
        precision = profile.precision.model_copy(update={"io": io})
        profile = profile.model_copy(update={"precision": precision})
        plain = derive(model, RECIPES["int8"], samples, folder / io, profile=profile).path
        if not says:
            return plain
        normal = Preprocess(mean=(127.5,), std=(127.5,))
        described = folder / f"{io}-described.tflite"
        write_metadata(
            plain,
            described,
            ModelMetadata(name="m", inputs=(InputMetadata(preprocess=normal),)),
            progress=Silent(),
        )
        return described

    return make


def litert(model: Path, raw: np.ndarray) -> np.ndarray:
    """Return LiteRT's real outputs for stored numbers."""
    one = Model(str(model))
    rows = []
    for sample in raw:
        one._interpreter.set_tensor(one.inputs[0]["index"], sample.reshape(one.inputs[0]["shape"]))
        one.invoke()
        rows.append(one.read()[0][0])
    return np.stack(rows)


@pytest.fixture
def built(edgeship: Any) -> Any:
    """Return a function that builds a model for this machine: what it said, top-1, and its input in service.json."""

    def build(model: Path, *more: object) -> tuple[Any, Any, Any]:
        said = edgeship("build", model, "-t", "host", "-o", "out", "--json", *more)
        assert said.status == 0, said.err
        target = said.document()["targets"][0]
        with tarfile.open(target["bundle"]) as bundle:
            service = json.load(bundle.extractfile("service.json"))  # type: ignore[arg-type]
        return said, target["variants"][0]["metric"]["value"], service["variants"][0]["inputs"][0]

    return build


def drawn(model: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random stored numbers over the whole range of a model's input, and LiteRT's answers."""
    entry = Model(str(model)).inputs[0]
    span = np.iinfo(entry["dtype"])
    shape = (count, *entry["shape"][1:])
    raw = np.random.default_rng(0).integers(span.min, span.max + 1, shape).astype(entry["dtype"])
    return raw, litert(model, raw)


@pytest.mark.parametrize(("io", "datatype"), [("uint8", "UINT8"), ("int8", "INT8")])
def test_data_of_the_tensors_own_type_is_its_bytes(
    made: Any, built: Any, tmp_path: Path, io: str, datatype: str
) -> None:
    model = made(io, says=False)
    raw, wanted = drawn(model, 24)
    np.savez(tmp_path / "eval.npz", x=raw, y=wanted.argmax(1))
    said, top1, entry = built(model, "--eval", "eval.npz")
    assert top1 == 100.0
    assert f"{io} samples are the tensor's own bytes" in said.err and "cut off" not in said.err
    assert (entry["datatype"], entry["stored"]) == (datatype, True)


def test_real_data_is_normalised_as_the_file_says(made: Any, built: Any, tmp_path: Path) -> None:
    model = made("uint8", says=True)
    raw, wanted = drawn(model, 24)
    pixels = raw.astype("float32")
    np.savez(tmp_path / "pixels.npz", x=pixels, y=wanted.argmax(1))
    said, top1, entry = built(model, "--eval", "pixels.npz")
    assert "samples are normalised as the model's file says (mean 127.5, std 127.5)" in said.err
    assert (entry["datatype"], entry["preprocess"]["mean"]) == ("FP32", [127.5])
    assert top1 > 85, "the model's scale is not quite 1 / 127.5"

    np.savez(tmp_path / "units.npz", x=(pixels - 127.5) / 127.5, y=wanted.argmax(1))
    said, top1, entry = built(model, "--eval", "units.npz")
    assert "units.npz lies in -1..1, the model's own units" in said.err
    assert (top1 > 85, entry["preprocess"]) == (True, None)

    (tmp_path / "edgeship.yaml").write_text("preprocess: {scale: 1}\n")
    said, top1, entry = built(model, "--eval", "pixels.npz")
    assert "normalised as the model's file says" not in said.err
    assert "of the values of pixels.npz lie outside" in said.err and "are cut off" in said.err
    assert top1 < 85


def test_requests_of_both_kinds_reach_the_model(made: Any, served: Any) -> None:
    model = made("uint8", says=True)
    raw, wanted = drawn(model, 4)
    service = served(model)
    assert "others are real numbers, normalised (mean 127.5, std 127.5)" in service.said.err
    assert service.inputs[0]["datatype"] == "UINT8"
    for sample, answer in zip(raw, wanted, strict=True):
        assert np.array_equal(service.ask(sample)[0][0], answer)
        near = service.ask(sample.astype("float32"))[0][0]
        assert np.abs(near - answer).max() < 0.1, "the model's scale is not quite 1 / 127.5"


def test_inspect_says_the_same(edgeship: Any, made: Any) -> None:
    said = edgeship("inspect", made("uint8", says=True))
    assert (
        "uint8 samples are the tensor's own bytes, as they are; others are real numbers, normalised"
        in said.out
    )


@pytest.mark.shared
def test_googles_own_model_answers_to_the_bit(served: Any, shared_data: Path) -> None:
    model = shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite"
    raw, wanted = drawn(model, 3)
    service = served(model)
    told = service.inputs[0]
    assert (told["datatype"], told["shape"]) == ("UINT8", [1, 128, 128, 3])
    for sample, answer in zip(raw, wanted, strict=True):
        assert np.array_equal(service.ask(sample)[0][0], answer)
