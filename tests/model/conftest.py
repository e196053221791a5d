"""Models converted once per test run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeship.progress import Silent


@pytest.fixture(scope="session")
def kws_float(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The float model of the shared SavedModel, converted once."""
    from edgeship.model.convert import to_float_tflite
    from edgeship.model.source import open_model

    work = tmp_path_factory.mktemp("kws")
    return to_float_tflite(open_model(shared_data / "kws" / "saved_model"), work, progress=Silent())
