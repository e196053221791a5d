"""What the scoring tests share: a tiny float model with artifacts of it, and values to build scorecards from."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.digest import sha256_file
from edgeship.values import (
    Agreement,
    ArrayInfo,
    Artifact,
    Dataset,
    DatasetInfo,
    DropUnit,
    Figure,
    FloatModel,
    Goals,
    Latency,
    Metric,
    ModelSource,
    OutputPart,
    Precision,
    Scorecard,
    Signature,
    Unavailable,
    Variant,
)

NONE = Unavailable(reason="not measured")


@pytest.fixture(scope="session")
def tiny(tiny_models: ModuleType) -> ModuleType:
    return tiny_models


@pytest.fixture(scope="session")
def float_model(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return model_at(tiny.classifier(tmp_path_factory.mktemp("float") / "tiny.tflite"))


def model_at(path: Path) -> FloatModel:
    source = ModelSource(path=path, kind="tflite", sha256=sha256_file(path))
    empty = Signature(inputs=(), outputs=())
    return FloatModel(path=path, source=source, sha256=source.sha256, signature=empty, is_float=True)


def artifact_at(path: Path, recipe: str = "static_wi8_ai8", size: int | None = None) -> Artifact:
    return Artifact(
        path=path,
        recipe=recipe,
        bytes=path.stat().st_size if size is None else size,
        sha256=sha256_file(path) if path.exists() else recipe,
        signature=Signature(inputs=(), outputs=()),
        precision=Precision(weights="int8", activations="int8", io="int8"),
        model_sha256="0" * 64,
        calibration_sha256=None,
    )


def scorecard_of(
    drop: Figure = 0.0,
    p50: Figure = 1.0,
    rss: Figure = 40.0,
    *,
    float_value: float = 90.0,
    metric: str = "top1",
    unit: DropUnit = "points",
    higher: bool | None = True,
    argmax: Figure = NONE,
    cosine: Figure = NONE,
    ties: float = 0.0,
    correlation: Figure | None = None,
) -> Scorecard:
    part = (
        ()
        if correlation is None
        else (OutputPart(output="o", axis=1, columns="all", low=0.0, high=1.0, correlation=correlation),)
    )
    value: Figure = drop if isinstance(drop, Unavailable) else float_value - drop
    return Scorecard(
        artifact_sha256="0" * 64,
        evaluation_sha256=None,
        metric=Metric(
            name=metric,
            value=value,
            float_value=float_value,
            drop=drop,
            drop_unit=unit,
            higher_is_better=higher,
        ),
        agreement=Agreement(argmax=argmax, cosine=cosine, max_abs=NONE, parts=part),
        latency_ms=Latency(cold=NONE, p50=p50, p95=NONE),
        peak_rss_mb=rss,
        near_ties=ties,
    )


def dataset_of(x: Path, y: np.ndarray[Any, Any] | None, folder: Path) -> Dataset:
    y_path = None
    if y is not None:
        y_path = folder / "y.npy"
        np.save(y_path, y)
    held = np.load(x, mmap_mode="r")
    info = DatasetInfo(
        reference="eval.npz",
        sha256=sha256_file(x),
        count=len(held),
        arrays=(
            ArrayInfo(
                name=None,
                shape=held.shape[1:],
                dtype=str(held.dtype),
                minimum=0.0,
                maximum=1.0,
            ),
        ),
        labelled=y is not None,
    )
    return Dataset(info=info, paths=(x,), y_path=y_path)


@pytest.fixture(scope="session")
def evaluation_of() -> Any:
    return dataset_of


@pytest.fixture(scope="session")
def make_artifact() -> Any:
    return artifact_at


@pytest.fixture(scope="session")
def make_model() -> Any:
    return model_at


@pytest.fixture(scope="session")
def make_card() -> Any:
    return scorecard_of


@pytest.fixture(scope="session")
def make_variant() -> Any:
    """Return a function that makes a variant and lets the gates judge it."""
    from edgeship.score.gates import judge

    def make(recipe: str, size: int, goals: Goals = Goals(), **card: Any) -> Variant:  # noqa: B008 - frozen
        artifact = artifact_at(Path("/nonexistent"), recipe, size)
        scorecard = scorecard_of(**card)
        return Variant(artifact=artifact, scorecard=scorecard, gates=judge(artifact, scorecard, goals))

    return make


@pytest.fixture(scope="session")
def samples(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.npy"
    np.save(path, tiny.pictures(40))
    return path
