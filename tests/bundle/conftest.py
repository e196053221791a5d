"""Real parts for bundles: MLPerf's KWS model as a variant, its evaluation data, and a function that makes a
bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.assets import targets_folder
from edgeship.bundle.make import make_bundle
from edgeship.bundle.parts import BundleParts
from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.model.source import open_model
from edgeship.profile import TargetProfile, load_profile
from edgeship.progress import Progress, Silent
from edgeship.project import load_project
from edgeship.tflite.reader import read_tflite
from edgeship.values import (
    Agreement,
    Artifact,
    Bundle,
    Dataset,
    InputRule,
    Latency,
    Metric,
    Precision,
    Scorecard,
    Unavailable,
    Variant,
)

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
LABELS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown")
RECIPE = "static_wi8_ai8"


class Notes(Silent):
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, text: str) -> None:
        self.steps.append(text)


def variant_of(path: Path, recipe: str = RECIPE) -> Variant:
    """Return a ready `.tflite` as a variant nobody scored."""
    held = read_tflite(path)
    none = Unavailable(reason="not scored in this test")
    artifact = Artifact(
        path=path,
        recipe=recipe,
        bytes=held.size,
        sha256=held.sha256,
        signature=held.signature,
        precision=Precision(weights="int8", activations="int8", io="int8"),
        model_sha256=held.sha256,
        calibration_sha256=None,
    )
    card = Scorecard(
        artifact_sha256=held.sha256,
        evaluation_sha256=None,
        metric=Metric(name="top1", value=90.2, float_value=none, drop=none),
        agreement=Agreement(argmax=none, cosine=none, max_abs=none),
        latency_ms=Latency(cold=none, p50=none, p95=none),
        peak_rss_mb=none,
    )
    return Variant(artifact=artifact, scorecard=card, gates=())


@pytest.fixture(scope="session", name="variant_of")
def variant_of_fixture() -> Callable[..., Variant]:
    return variant_of


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="session")
def cache(once: Callable[..., Path]) -> Path:
    return once("cache")


@pytest.fixture(scope="session")
def profile_of() -> Callable[[str], TargetProfile]:
    return lambda name: load_profile(name, folders=(targets_folder(),))


@pytest.fixture(scope="session")
def kws(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Variant, Dataset]:
    dataset = load_dataset(
        str(shared_data / "kws" / "eval.npz"), tmp_path_factory.mktemp("kws"), Reading(role="evaluation")
    )
    return variant_of(shared_data / "kws" / "mlperf_int8.tflite"), dataset


@pytest.fixture(scope="session")
def make(kws: tuple[Variant, Dataset], cache: Path) -> Callable[..., Bundle]:
    """Return a function that makes a bundle of the KWS model for a profile in a folder; keywords replace
    defaults."""

    def made(profile: TargetProfile, out: Path, progress: Progress | None = None, **changes: Any) -> Bundle:
        variant, dataset = kws
        wanted: dict[str, Any] = {
            "profile": profile,
            "project": load_project(directory=out.parent),
            "app": "kws",
            "version": "1",
            "variants": (variant,),
            "chosen": variant,
            "source": open_model(variant.artifact.path),
            "evaluation": dataset,
            "calibration": None,
            "rules": (InputRule(),),
            "labels": LABELS,
        }
        parts = BundleParts(**{**wanted, **changes})
        return make_bundle(parts, out=out, cache=cache, progress=progress or Silent())

    return made


@pytest.fixture(scope="session")
def schema() -> Callable[[str], Any]:
    """Return a function that reads a published JSON Schema by name."""
    return lambda name: json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
