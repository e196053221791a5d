"""Models that tensorflow-model-optimization wrapped: files recorded by 0.8.1, loaded without it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import EdgeshipError
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.model.tfmot.clustered import nearest
from edgeship.model.tfmot.file import keeps_state
from edgeship.model.tfmot.quantized import plan
from edgeship.progress import Silent
from edgeship.tflite.refit import unpacked
from edgeship.tflite.simulated import trained_ranges
from edgeship.tflite.weights import weight_limits
from edgeship.toolchain import run_worker

HERE = Path(__file__).parent
LEGACY = {"TF_USE_LEGACY_KERAS": "1"}


def unpack(folder: Path) -> None:
    with zipfile.ZipFile(HERE / "tfmot.zip") as archive:
        archive.extractall(folder)


@pytest.fixture(scope="session")
def recorded(once: Callable[..., Path]) -> Path:
    """The folder of the recorded files."""
    return once("tfmot", unpack)


@pytest.fixture(scope="module")
def compared(recorded: Path) -> dict[str, Any]:
    """What became of every recorded file."""
    files = [str(path) for path in sorted(recorded.iterdir()) if path.suffix != ".npz"]
    job = run_worker("tfmot_checks:compare", {"files": files}, python_path=(HERE,), environment=LEGACY)
    told: dict[str, Any] = job.value
    return told


@pytest.mark.slow
def test_all_that_tfmot_saved_computes_what_it_did_where_it_was_trained(compared: dict[str, Any]) -> None:
    assert len(compared) == 17
    assert {name: told.get("error") for name, told in compared.items() if "error" in told} == {}
    # To the bit on the machine that recorded them; another processor sums in another order.
    assert {name: told["difference"] for name, told in compared.items() if told["difference"] > 1e-5} == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["pruned.h5", "pruned", "sparse-clustered.h5", "pqat.h5", "pcqat.keras", "nested.keras"]
)
def test_zeros_stay_zeros(compared: dict[str, Any], name: str) -> None:
    assert all(share >= 0.74 for share in compared[name]["zeros"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "clustered.keras",
        "clustered",
        "sparse-clustered.h5",
        "cqat.h5",
        "pcqat.keras",
        "recurrent.h5",
        "recurrent.keras",
    ],
)
def test_weights_are_on_their_centroids(compared: dict[str, Any], name: str) -> None:
    assert all(1 < count <= 8 for count in compared[name]["values"])


@pytest.mark.slow
def test_what_was_stripped_is_told(compared: dict[str, Any]) -> None:
    assert compared["nested.h5"]["notes"] == [
        "3 layers stood in tensorflow-model-optimization's pruning: its wrappers are stripped"
    ]
    assert "each weight is on its centroid" in compared["recurrent.h5"]["notes"][0]
    assert "the ranges that training found" in compared["qat.keras"]["notes"][0]
    assert compared["annotated.h5"]["notes"] == []


def test_a_weight_goes_to_the_nearest_centroid() -> None:
    weights = np.array([[0.1, -0.4], [0.9, 0.04]], np.float32)
    points = np.array([-0.5, 0.05, 1.0], np.float32)
    assert nearest(weights, points, False).tolist() == np.float32([[0.05, -0.5], [1.0, 0.05]]).tolist()
    assert nearest(weights, points, True).tolist() == np.float32([[0.0, -0.5], [1.0, 0.0]]).tolist()
    channels = np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32)
    kernel = np.stack([weights, weights], axis=-1)
    assert nearest(kernel, channels, False)[..., 0].tolist() == [[0, 0], [1, 0]]
    assert nearest(kernel, channels, False)[..., 1].tolist() == [[0, 0], [0, 0]]


def test_saved_models_of_pruning_are_told_by_their_metadata(tmp_path: Path) -> None:
    assert not keeps_state(tmp_path)
    (tmp_path / "keras_metadata.pb").write_bytes(b'\x0a{"class_name": "QuantizeWrapperV2"}')
    assert not keeps_state(tmp_path)  # what a signature computes is all there
    (tmp_path / "keras_metadata.pb").write_bytes(b'\x0a{"class_name": "PruneLowMagnitude"}')
    assert keeps_state(tmp_path)


def test_a_config_of_the_users_own_is_refused_with_what_to_do() -> None:
    with pytest.raises(EdgeshipError) as error:
        plan({"class_name": "MyConfig", "config": {}}, None, "quant_conv2d")
    assert error.value.reference == "model-custom-object"
    assert (
        "'quant_conv2d' is quantized by 'MyConfig', a QuantizeConfig of your own code" in error.value.message
    )
    assert "save_format='tf'" in error.value.render()


@pytest.mark.slow
def test_trained_ranges_and_limits_stand_in_the_float_file(recorded: Path, tmp_path: Path) -> None:
    made = to_float_tflite(open_model(recorded / "qat.h5"), tmp_path, progress=Silent())
    model, _ = unpacked(made.path.read_bytes())
    import h5py

    with h5py.File(recorded / "qat.h5") as file:
        stored: dict[str, Any] = {}
        file["model_weights"].visititems(
            lambda name, item: (
                stored.update({name.split("/")[-2] + "/" + name.split("/")[-1]: item[()]})
                if hasattr(item, "dtype")
                else None
            )
        )
    ranges = trained_ranges(model)
    assert len(ranges) == 6
    low, high = stored["quant_re_lu_1/output_min:0"], stored["quant_re_lu_1/output_max:0"]
    # The low end is moved to where zero is a whole step, as the converter does.
    assert any(
        top - least == pytest.approx(high - low, rel=1e-3) and abs(top - high) < (high - low) / 255
        for least, top in ranges.values()
    )
    limits = weight_limits(model)
    assert len(limits) == 4
    dense = stored["quant_answer/kernel_max:0"]
    assert any(limit.size == 1 and limit[0] == pytest.approx(dense, rel=1e-5) for limit, _ in limits.values())
    assert sorted(axis for limit, axis in limits.values() if limit.size > 1) == [0, 0, 3]


@pytest.mark.slow
def test_integers_keep_the_zeros_and_the_few_values(recorded: Path, tmp_path: Path) -> None:
    from edgeship.assets import target_folders
    from edgeship.profile import load_profile
    from edgeship.quantize.derive import derive_all
    from edgeship.quantize.recipes import RECIPES
    from edgeship.values import PreparedSamples

    made = to_float_tflite(open_model(recorded / "sparse-clustered.h5"), tmp_path, progress=Silent())
    known = np.load(recorded / "sparse-clustered.npz")
    np.save(tmp_path / "x.npy", known["x"])
    profile = load_profile("x86-64-linux", folders=target_folders(environment=os.environ))
    samples = PreparedSamples(paths=(tmp_path / "x.npy",), sha256="0" * 64)
    derived = derive_all(made, (RECIPES["int8"],), samples, tmp_path / "out", profile=profile)
    (artifact,) = derived.artifacts
    model, schema = unpacked(artifact.path.read_bytes())
    kernels = [
        np.frombuffer(bytes(model.buffers[t.buffer].data), np.int8)
        for t in model.subgraphs[0].tensors
        if t.type == schema.TensorType.INT8 and model.buffers[t.buffer].data is not None
    ]
    sparse = [kernel for kernel in kernels if np.mean(kernel == 0) > 0.7]
    assert len(sparse) == 3  # of a folded batch normalization too; the depthwise kernel tfmot leaves alone
    assert all(len(np.unique(kernel)) <= 8 for kernel in sparse)
