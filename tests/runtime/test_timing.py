"""The figures of a rung: measured by running it, by threads, with the memory that it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from island_lab import MakeRelease

FIGURES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from es_release import load_release
from es_timing import rung_figures
print(json.dumps(rung_figures(load_release(sys.argv[2]), "r", float(sys.argv[3]), (1, 2, 64))))
"""


def figures(release: Path, seconds: float) -> dict[str, object]:
    command = [
        sys.executable,
        "-I",
        "-B",
        "-c",
        FIGURES,
        str(release / "runtime"),
        str(release),
        str(seconds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_rung_is_timed_by_threads(release: MakeRelease) -> None:
    found = figures(release("dense_f32").path, 0.05)
    assert set(found["by_threads"]) <= {"1", "2"} and "1" in found["by_threads"]  # 64 cores nobody has
    assert found["seconds"] == found["by_threads"][str(found["threads"])] == found["each_seconds"]
    assert 0 < found["seconds"] <= found["p95_seconds"] and found["cold_seconds"] > 0
    assert found["fixed_seconds"] == 0 and found["joules"] is None
    assert 100_000 < found["memory_bytes"] < 50_000_000, "the engine's library alone is megabytes"


def test_a_model_of_seconds_is_run_five_times_and_no_more() -> None:
    import es_timing

    class Slow:
        def __init__(self) -> None:
            self.engine, self.runs = self, 0

        def zeros(self) -> list[bytes]:
            return []

        def fresh(self) -> None:
            pass

        def run(self, _: list[bytes]) -> None:
            self.runs += 1

    slow = Slow()
    assert len(es_timing.timed(slow, 0.0)) == slow.runs == 5
    assert len(es_timing.timed(slow, 60.0, most=20)) == 20


def test_another_thread_must_be_worth_a_core() -> None:
    import es_timing

    assert es_timing.best_count({1: 1.0, 2: 0.95, 4: 0.5}) == 4
    assert es_timing.best_count({1: 1.0, 2: 0.95}) == 1, "five per cent are not worth a core"
    assert es_timing.best_count({2: 1.0}) == 2


def test_an_accelerator_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import es_timing
    from es_release import Release

    def counts(most: tuple[int, ...], **engine: object) -> list[int]:
        named = {"name": "litert", "version": "2", **engine}
        release = Release("", None, {"app": "a", "version": "1", "limits": {}, "engine": named})
        return list(es_timing.counts_of(release, most))

    monkeypatch.setattr(es_timing, "cores", lambda: 4)
    assert counts((1, 2, 4), threads=1, delegate="edgetpu") == [1]
    assert counts((1, 2, 4, 8), threads=2, delegate="xnnpack") == [2, 1, 4]
