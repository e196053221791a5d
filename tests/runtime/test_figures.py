"""`main.py figures`: every variant that may serve, each in a process of its own; what another one beats is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import es_timing
import pytest
from es_figures import left_out
from island_lab import MakeRelease

ROWS = [
    {"variant": "quick", "accuracy": 0.9, "agreement": None, "seconds": 1.0},
    {"variant": "worse", "accuracy": 0.8, "agreement": None, "seconds": 9.0},
    {
        "variant": "quick+worse",
        "accuracy": 0.95,
        "agreement": None,
        "seconds": 2.0,
        "cascade": {"little": "quick", "big": "worse", "margin": 0.1, "share": 0.1},
    },
]


def ladder(path: Path, *, rows: list[dict[str, Any]], broken: str = "") -> Path:
    """Make a release carry two variants of one file and a governor; `broken` names one whose file is missing."""
    service = json.loads((path / "service.json").read_text())
    one = service["variants"][0]
    service["variants"] = [
        {**one, "name": name, **({"file": "models/none.tflite"} if name == broken else {})}
        for name in ("quick", "worse")
    ]
    service |= {"chosen": "quick", "governor": {"settings": {}, "rungs": rows, "sensors": []}}
    (path / "service.json").write_text(json.dumps(service))
    return path


def figures(path: Path, *words: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-I",
        "-B",
        str(path / "runtime/main.py"),
        "figures",
        "--release",
        str(path),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return dict(json.loads(done.stdout), status=done.returncode)


def test_every_variant_is_timed_and_one_that_cannot_be_is_told(release: MakeRelease) -> None:
    path = ladder(release("dense_f32").path, rows=ROWS[:2])
    found = figures(path, "--seconds", "0.2")
    assert found["schema"] == "edgeship.figures/1" and set(found["rungs"]) == {"quick", "worse"}
    assert all(0 < rung["seconds"] <= rung["p95_seconds"] for rung in found["rungs"].values())
    assert all(rung["memory_bytes"] < 4 << 20 for rung in found["rungs"].values()), (
        "without the engine's own memory"
    )
    quicker = found["rungs"]["quick"]["seconds"] <= found["rungs"]["worse"]["seconds"]
    assert [name for name, _ in found["left_out"]] == (["worse"] if quicker else [])

    found = figures(ladder(path, rows=ROWS[:2], broken="worse"), "--seconds", "0.1")
    assert set(found["rungs"]) == {"quick"} and "none.tflite is missing" in found["failed"]["worse"]
    assert found["left_out"] == [], "the host's figures say nothing here"


def test_what_a_cascade_is_made_of_is_used(release: MakeRelease) -> None:
    found = figures(ladder(release("dense_f32").path, rows=ROWS), "--seconds", "0.1")
    assert set(found["rungs"]) == {"quick", "worse"}, "the cascade's own times follow from theirs"
    assert found["left_out"] == [] and [cascade for _, cascade in found["within"]] in ([], ["quick+worse"])


def test_one_that_only_the_cascade_uses_is_told_beside_those_that_are_beaten() -> None:
    cascade = {"little": "quick", "big": "large", "margin": 0.1, "share": 0.1}
    rows = [
        {"variant": "quick", "accuracy": 0.7}, {"variant": "large", "accuracy": 0.8},
        {"variant": "worse", "accuracy": 0.75},
        {"variant": "quick+large", "accuracy": 0.81, "cascade": cascade},
    ]  # fmt: skip
    release = SimpleNamespace(service={"chosen": "large", "governor": {"rungs": rows}})
    found = {
        name: {"seconds": seconds} for name, seconds in (("quick", 0.01), ("large", 0.1), ("worse", 0.2))
    }
    beaten, within = left_out(release, found)
    assert [name for name, _ in beaten] == ["worse"] and within == [["large", "quick+large"]]
    assert left_out(release, {"quick": found["quick"]}) == ([], [])


def test_without_a_ladder_the_chosen_one_alone(release: MakeRelease) -> None:
    found = figures(release("dense_f32").path, "--seconds", "0.1")
    assert len(found["rungs"]) == 1 and found["left_out"] == [] and found["failed"] == {}


def test_two_runs_of_a_slow_model_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """A model whose clock goes on by `each` seconds a run."""

        def __init__(self, each: float) -> None:
            self.each, self.now, self.engine = each, 0.0, self
            monkeypatch.setattr(es_timing, "time", SimpleNamespace(perf_counter=lambda: self.now))

        def zeros(self) -> list[bytes]:
            return []

        def fresh(self) -> None:
            pass

        def run(self, _: object) -> None:
            self.now += self.each

    assert len(es_timing.timed(Slow(0.1), 0.5)) == 5
    assert len(es_timing.timed(Slow(1.0), 0.5)) == 3
    assert len(es_timing.timed(Slow(20.0), 0.5)) == 2
    assert len(es_timing.timed(Slow(0.001), 0.5)) == 500
