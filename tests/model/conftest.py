"""Models converted once per test run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.progress import Silent


@pytest.fixture(scope="session")
def kws_float(shared_data: Path, once: Callable[..., Path]) -> Any:
    """The float model of the shared SavedModel, converted once."""
    from edgeship.model.convert import to_float_tflite
    from edgeship.model.source import open_model

    source = open_model(shared_data / "kws" / "saved_model")
    return to_float_tflite(source, once("kws-float"), progress=Silent())
