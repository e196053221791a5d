"""`bench`: joules an inference with and without a meter, all variants at once, and a soak that can be ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from es_energy import energy_entry
from es_sensors import Sensors
from es_soak import _MOST_TIMES, _Period
from island_lab import MakeRelease, ReleaseDir
from sensor_readings import INA3221, LINUX, RAPL, pi, tree

PI4 = {"idle_watts": 2.7, "busy_watts": 3.6, "basis": "a plug"}
PLUG = {
    "name": "board-power",
    "kind": "power",
    "path": "/sys/class/hwmon/hwmon*/in*_input",
    "times": "curr*_input",
    "label": "VDD_IN",
    "scale": 1e-6,
}
THROTTLED = {
    "name": "throttled",
    "kind": "throttle",
    "path": "/sys/devices/platform/soc*/soc*firmware/get_throttled",
    "bits": {"under-voltage": 0, "throttled": 2},
}
HEAT = {
    "name": "soc-temperature",
    "kind": "temperature",
    "path": "/sys/class/thermal/thermal_zone0/temp",
    "scale": 1e-3,
}


def with_sensors(
    release: ReleaseDir, rows: list[dict[str, Any]], power: dict[str, Any] | None = None
) -> ReleaseDir:
    return release.edit(lambda service: service.update(governor={"sensors": rows, "power": power}))


def bench(
    release: ReleaseDir, root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> dict[str, Any]:
    monkeypatch.setenv("EDGESHIP_SENSOR_ROOT", str(root))
    code, document, stderr = release.main("bench", "--release", str(release.path), *arguments)
    assert code == 0, stderr
    return document


def test_without_a_meter_processor_seconds_stand_in(
    release: MakeRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = bench(release(), tree(tmp_path / "root", LINUX), monkeypatch, "--seconds", "0.1", "--idle", "0.1")
    energy = found["energy"]
    assert energy["by"] == "cpu-seconds" and energy["covers"] == "processor"
    assert "package-energy" in energy["meter"]["unavailable"]
    assert "cpu_seconds_per_run stands in" in energy["joules_per_run"]["unavailable"]
    assert 0 < energy["cpu_seconds_per_run"] < 0.1


def test_without_a_meter_the_profile_estimates(
    release: MakeRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_sensors(release(), [HEAT], PI4)
    energy = bench(made, tree(tmp_path / "root", LINUX), monkeypatch, "--seconds", "0.1")["energy"]
    assert energy["by"] == "estimated" and energy["covers"] == "board"
    assert energy["joules_per_run"] == pytest.approx(0.9 * energy["cpu_seconds_per_run"])
    assert energy["meter"] == {"unavailable": "the target's profile names none"}
    assert energy["idle"] == {"seconds": 0.0, "watts": 2.7, "subtracted": True}


def test_a_meter_counts_and_what_idle_takes_is_taken_off(
    release: MakeRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, root = with_sensors(release(), [PLUG], PI4), tree(tmp_path / "root", INA3221)
    plain = bench(made, root, monkeypatch, "--seconds", "0.3")
    energy = plain["energy"]
    watts = 5.064 * 1.016
    assert energy["by"] == "measured" and energy["meter"] == "board-power" and energy["covers"] == "board"
    assert energy["watts"] == pytest.approx(watts)
    spent = watts * plain["seconds"] / plain["runs"]
    assert 0.95 * spent < energy["joules_per_run"] < 3 * spent, (
        "what the loop waits between two runs is in it"
    )
    assert "--idle" in energy["idle"]["unavailable"]
    # A board that takes as much idle as at work: nothing is left over, and that is said rather than 0 J.
    same = bench(made, root, monkeypatch, "--seconds", "0.2", "--idle", "0.2")["energy"]
    assert same["idle"]["watts"] == pytest.approx(watts)
    assert isinstance(same["joules_per_run"], dict) or same["joules_per_run"] < 1e-9


def test_a_counter_is_read_when_the_work_begins_and_ends(
    release: MakeRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor of 15 W whatever it does, whose counter goes by the clock."""
    made, root = release(), tree(tmp_path / "root", RAPL)
    counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    over = threading.Event()

    def count() -> None:
        while not over.wait(0.002):
            part = counter.with_name("part")
            part.write_text(f"{int(time.monotonic() * 15e6) % 262143328850}\n")
            part.replace(counter)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        energy = bench(made, root, monkeypatch, "--seconds", "0.8", "--idle", "0.8")["energy"]
    finally:
        over.set()
        thread.join()
    assert (
        energy["by"] == "measured" and energy["covers"] == "processor" and energy["meter"] == "package-energy"
    )
    assert energy["idle"]["watts"] == pytest.approx(15.0, rel=0.5)
    assert energy["watts"] == pytest.approx(15.0, rel=0.5)


def test_what_idle_takes_is_taken_off() -> None:
    class Meter:
        kind, by = "measured", "plug"

    class Energy:
        meter, measured, idle_seconds, idle_watts = Meter, True, 10.0, 2.5
        sensors = Sensors([])

    entry = energy_entry(Energy, 100, (20.0, 80.0, 19.0))
    assert entry["joules_per_run"] == pytest.approx((80 - 2.5 * 20) / 100) and entry["watts"] == 4.0
    assert entry["idle"] == {"seconds": 10.0, "watts": 2.5, "subtracted": True}
    assert entry["cpu_seconds_per_run"] == pytest.approx(0.19) and entry["covers"] == "board"
    Energy.idle_watts = 4.5
    assert (
        "too little difference"
        in energy_entry(Energy, 100, (20.0, 80.0, 19.0))["joules_per_run"]["unavailable"]
    )


def test_every_variant_is_measured_once(release: MakeRelease, tmp_path: Path) -> None:
    made = release()
    second = lambda service: service["variants"].append({**service["variants"][0], "name": "other"})  # noqa: E731
    third = lambda service: service["variants"].append(  # noqa: E731
        {**service["variants"][0], "name": "gone", "file": "models/gone.tflite"}
    )
    code, found, stderr = (
        made.edit(second)
        .edit(third)
        .main("bench", "--release", str(made.path), "--rungs=yes", "--seconds=0.05")
    )
    assert code == 0, stderr
    assert set(found["rungs"]) == {"r", "other"} and found["rungs"]["other"]["seconds"] > 0
    assert "gone.tflite is missing" in found["failed"]["gone"]


def soak(release: ReleaseDir, root: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-B", str(release.path / "runtime/main.py"), "bench"]
    return subprocess.Popen(
        [*command, "--release", str(release.path), *arguments],
        env={**os.environ, "EDGESHIP_SENSOR_ROOT": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_soak_tells_each_minute_and_ends_when_asked(release: MakeRelease, tmp_path: Path) -> None:
    made = with_sensors(release(), [HEAT, THROTTLED], PI4)
    root, log = tree(tmp_path / "root", pi("0\n")), tmp_path / "soak.jsonl"
    process = soak(made, root, "--soak", "600", "--period", "0.5", "--log", str(log))
    until = time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < 2:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    tree(root, pi("50005\n"))
    (root / "sys/class/thermal/thermal_zone0/temp").write_text("83000\n")
    seen = len(log.read_text().splitlines())
    while len(log.read_text().splitlines()) < seen + 4:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)  # a lost terminal
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    found = json.loads(out)
    told = found["soak"]
    assert told["ended"] == "stopped" and told["wanted_seconds"] == 600
    assert told["throttled_seconds"] > 0 and "under-voltage" in told["minutes"][-1]["flags"]
    assert told["temperature_c"] == {"first": 48.31, "highest": 83.0, "last": 83.0}
    assert [json.loads(line) for line in log.read_text().splitlines()] == told["minutes"]
    assert told["watts_by"] == "estimated" and 2.7 < told["minutes"][0]["watts"] <= 3.7
    assert sum(line["runs"] for line in told["minutes"]) == found["runs"] > 10


def test_a_soak_ends_by_itself(release: MakeRelease, tmp_path: Path) -> None:
    process = soak(release(), tree(tmp_path / "root", {}), "--soak", "0.3")
    found = json.loads(process.communicate(timeout=60)[0])
    assert found["soak"]["ended"] == "done" and len(found["soak"]["minutes"]) == 1
    assert found["soak"]["throttled_seconds"] is None and found["soak"]["minutes"][0]["frequency_hz"] is None


def test_times_of_a_soak_are_of_the_whole_period_and_do_not_grow() -> None:
    """A device that is throttled in the last third of a minute, and runs too often for all times to be kept."""
    period, many = _Period(0.0), 6 * _MOST_TIMES
    for number in range(many):
        period.ran(1e-3 if number < many * 2 // 3 else 2e-3)
    slow = sum(seconds == 2e-3 for seconds in period.times) / len(period.times)
    assert (period.runs, len(period.times)) == (many, _MOST_TIMES) and abs(slow - 1 / 3) < 0.01
    assert period.line(60.0, 60.0, (), "cpu-seconds")["p99_ms"] == 2.0
