"""Where workers that train run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.compress.accelerator import training_environment
from edgeship.toolchain import run_worker

JOB = """
import os

def told(payload, report):
    return {name: os.environ.get(name) for name in payload["names"]}
"""


@pytest.mark.parametrize(
    ("own", "seen"),
    [({}, "0"), ({"CUDA_VISIBLE_DEVICES": "2,3"}, "2,3"), ({"CUDA_VISIBLE_DEVICES": "-1"}, "-1")],
)
def test_a_worker_that_trains_sees_the_gpus_that_we_see(
    own: dict[str, str], seen: str, tmp_path: Path
) -> None:
    """And takes their memory as it needs it; other workers see none."""
    (tmp_path / "job_of_this_test.py").write_text(JOB)
    names = {"names": ["CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH"]}
    path = (tmp_path,)
    training = run_worker(
        "job_of_this_test:told", names, environment=training_environment(own), python_path=path
    )
    assert list(training.value.values()) == [seen, "true"]
    other = run_worker("job_of_this_test:told", names, python_path=path)
    assert other.value["CUDA_VISIBLE_DEVICES"] == "-1"
