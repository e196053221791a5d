"""What the quantization tests share: a tiny float model, its samples, and a profile to vary."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.digest import sha256_file
from edgeship.profile import TargetProfile, load_profile
from edgeship.tflite.precision import precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import ArrayInfo, Dataset, DatasetInfo, FloatModel, ModelSource

ROOT = Path(__file__).resolve().parents[2]


def float_model_of(path: Path) -> FloatModel:
    held = read_tflite(path)
    source = ModelSource(path=path, kind="tflite", sha256=sha256_file(path))
    return FloatModel(
        path=path,
        source=source,
        sha256=source.sha256,
        signature=held.signature,
        is_float=precision_of(held).activations == "float32",
        tools={},
    )


def dataset_of(x: np.ndarray[Any, Any], folder: Path, name: str = "x", y: Any = None) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    x_path = folder / f"{name}.npy"
    np.save(x_path, x)
    y_path = None
    if y is not None:
        y_path = folder / f"{name}_y.npy"
        np.save(y_path, y)
    finite = x[np.isfinite(x)] if x.size else np.zeros(1)
    info = DatasetInfo(
        reference=f"{name}.npz",
        sha256=sha256_file(x_path),
        count=len(x),
        arrays=(
            ArrayInfo(
                name=None,
                shape=x.shape[1:],
                dtype=str(x.dtype),
                minimum=float(finite.min()) if finite.size else 0.0,
                maximum=float(finite.max()) if finite.size else 0.0,
            ),
        ),
        labelled=y is not None,
    )
    return Dataset(info=info, paths=(x_path,), y_path=y_path)


@pytest.fixture(scope="session")
def tiny(tiny_models: ModuleType) -> ModuleType:
    return tiny_models


@pytest.fixture(scope="session")
def float_model(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return float_model_of(tiny.classifier(tmp_path_factory.mktemp("float") / "tiny.tflite"))


@pytest.fixture(scope="session")
def samples(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.npy"
    np.save(path, tiny.pictures(64))
    return path


@pytest.fixture(scope="session")
def base_profile() -> TargetProfile:
    return load_profile("x86-64-linux", folders=[ROOT / "targets"])


@pytest.fixture
def make_profile(base_profile: TargetProfile) -> Any:
    """Return a function that varies the profile: sections by name, e.g. precision={"io": "int8"}."""

    def make(**sections: dict[str, Any]) -> TargetProfile:
        update = {k: getattr(base_profile, k).model_copy(update=v) for k, v in sections.items()}
        return base_profile.model_copy(update={"name": "test-target", **update})

    return make


@pytest.fixture(scope="session")
def model_of() -> Any:
    return float_model_of


@pytest.fixture(scope="session")
def make_dataset() -> Any:
    return dataset_of
