"""The log of decisions: what is written replays bit for bit, whatever was left out, and never ends a service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from es_decisions import SCHEMA, DecisionLog, replay
from governed_lab import asked, at_once, loaded, tune, until
from island_lab import RUNTIME, Serve, make_ladder, rung

from benchmarks.decisions import runs


def written(path: Path, decisions: int, seed: int = 3, **options: Any) -> DecisionLog:
    log = DecisionLog(str(path), **options)
    for one in runs(decisions, seed):
        log.note(*one)
    log.close()
    return log


def told(path: Path) -> dict[str, Any]:
    with path.open() as lines:
        document: dict[str, Any] = replay(lines)
    return document


def test_every_decision_replays(tmp_path: Path) -> None:
    log = written(tmp_path / "log", 2000, limit=10**8, per_second=10**9)
    document = told(tmp_path / "log")
    assert log.failure is None
    assert (document["decisions"], document["mismatches"], document["gaps"]) == (2000, 0, 0)
    assert sum(document["reasons"].values()) == 2000 and not document["cut"]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_out_under_load_leaves_the_rest_replayable(tmp_path: Path, seed: int) -> None:
    written(tmp_path / "log", 2000, seed=seed, limit=10**8, per_second=5)
    document = told(tmp_path / "log")
    assert document["gaps"] > 10 and 100 < document["decisions"] < 1500
    assert document["mismatches"] == 0 and document["reasons"]["tick"] > 50


def test_the_files_keep_to_the_limit_and_each_replays_alone(tmp_path: Path) -> None:
    written(tmp_path / "log", 2000, limit=100_000, per_second=10**9)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "log.1"]
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 110_000
    for path in tmp_path.iterdir():
        document = told(path)
        assert document["mismatches"] == 0 and document["decisions"] > 100


def test_a_changed_decision_is_found_and_shown(tmp_path: Path) -> None:
    written(tmp_path / "log", 300, limit=10**8, per_second=10**9)
    lines = (tmp_path / "log").read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith('[["dispatch"'))
    entry = json.loads(lines[number])
    lines[number] = json.dumps([entry[0], entry[1], "because"])
    document = replay(lines)
    assert document["mismatches"] == 1
    assert document["first"]["line"] == number + 1 and document["first"]["replayed"][1] == entry[2]


def test_a_changed_bit_of_the_state_is_found_at_the_next_tick(tmp_path: Path) -> None:
    written(tmp_path / "log", 300, limit=10**8, per_second=10**9)
    lines = (tmp_path / "log").read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith('[["tick"'))
    entry = json.loads(lines[number])
    entry[3][0] = entry[3][0] * (1 + 2**-52) + 2**-1070
    lines[number] = json.dumps(entry)
    assert replay(lines)["mismatches"] == 1


def test_a_last_line_that_is_cut_off_is_told_and_the_rest_counts(tmp_path: Path) -> None:
    written(tmp_path / "log", 100, limit=10**8, per_second=10**9)
    text = (tmp_path / "log").read_text()
    document = replay(text[: len(text) - 20].splitlines())
    assert document["cut"] and document["mismatches"] == 0 and document["decisions"] == 99


@pytest.mark.parametrize(
    "lines",
    [[], ["[]"], ["{}"], ["nonsense", "{}"], ['{"schema": "other/1", "profile": {}, "state": []}', "[]"]],
)
def test_what_is_no_log_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"line \d"):
        replay(lines)


def test_a_log_of_another_format_is_refused_with_what_to_replay_it_with(tmp_path: Path) -> None:
    written(tmp_path / "log", 50)
    old = (tmp_path / "log").read_text().replace(SCHEMA, "edgeship.decisions/1")
    with pytest.raises(ValueError, match=r"line 1: .*'edgeship.decisions/1'.*the log's release"):
        replay(old.splitlines())


def test_without_a_path_nothing_is_written_and_what_fails_is_told_once(tmp_path: Path) -> None:
    log = DecisionLog(None)
    for one in runs(10, 1):
        log.note(*one)
    log.close()
    nowhere = written(tmp_path / "no" / "log", 50)
    assert "no/log" in str(nowhere.failure) and not list(tmp_path.iterdir())


def test_the_command_line_replays_a_log(tmp_path: Path) -> None:
    written(tmp_path / "log", 500)

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-I", "-B", str(RUNTIME / "main.py"), "replay", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    code, document = run("--log", str(tmp_path / "log"))
    assert code == 0 and document["schema"] == "edgeship.replay/1" and document["mismatches"] == 0
    text = (tmp_path / "log").read_text()
    (tmp_path / "other").write_text(text.replace('"done"]', '"because"]', 1))
    code, document = run("--log", str(tmp_path / "other"))
    assert code == 1 and document["mismatches"] == 1
    code, document = run("--log", str(tmp_path / "nothing"))
    assert code == 2 and document["error"] == "bad-log"
    assert run()[1]["error"] == "bad-option"
    assert json.loads(text.splitlines()[0])["schema"] == SCHEMA


def test_what_a_live_service_decided_replays(models: Path, tmp_path: Path, serve: Serve) -> None:
    """Under load, with deadlines, pins, heat, and settings that are changed twice while it serves."""
    heat = tmp_path / "root" / "temp"
    heat.parent.mkdir()
    heat.write_text("50000")
    kept = tmp_path / "kept"
    kept.mkdir()
    row = {"name": "soc", "kind": "temperature", "path": "/temp", "unit": "celsius", "scale": 0.001}
    row["trips"] = [{"at": 80, "effect": "slower"}]
    made = make_ladder(
        tmp_path / "release", models, [rung("i8", 5e-6, 0.8), rung("f32", 2e-5, 0.9)],
        {"i8": "dense_i8", "f32": "dense_f32"}, {"sensors": [row], "settings": {"log": True}},
    )  # fmt: skip
    environment = {"EDGESHIP_SENSOR_ROOT": str(tmp_path / "root")}
    service = loaded(serve(made, "--kept", str(kept), environment=environment))
    x = [1.0, -2.0, 0.5, 3.0, 0.0, -1.5]
    at_once(
        service, [asked(x), asked(x, deadline_ms=5000), asked(x, deadline_ms=1e-6), asked(x, variant="i8")]
    )

    def reason() -> Any:
        return service.infer(asked(x)).json["parameters"]["reason"]

    heat.write_text("78900")
    until(lambda: reason() == "temperature")
    tune(kept, {"mode": "off"})
    until(lambda: reason() == "off")
    tune(kept, {"mode": "auto", "deadline_ms": 2000})
    until(lambda: reason() == "temperature")
    service.stop()
    document = told(made.path / "decisions.jsonl")
    assert document["mismatches"] == 0 and not document["cut"]
    assert {"late", "pinned", "off", "temperature", "tick", "settings", "done"} <= set(document["reasons"])
    assert document["decisions"] > 20
