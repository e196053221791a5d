"""Sensors: the readings of every target's rows, and what happens where one is missing, wrong, stuck or hangs."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from es_sensors import KINDS, Sensors
from es_sensors_judge import LIMITS, Judge, Load
from es_sensors_text import answer, charge, flags, memory, power, pressure, processor_time, supply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sensor_readings import (
    BATTERY,
    BOARDS,
    INA3221,
    K10TEMP,
    MAINS,
    MEMINFO,
    MOUSE,
    PMIC,
    PSI,
    RAPL,
    SAID,
    STAT,
    tree,
)  # fmt: skip

from edgeship.assets import targets_folder
from edgeship.profile import list_profiles
from edgeship.profile.sensors import UNITS

TARGETS = {t.name: t for t in list_profiles(folders=[targets_folder()], machine="x86_64")}
WITH_SENSORS = sorted(name for name, target in TARGETS.items() if target.sensors)
HEAT = {"name": "heat", "kind": "temperature", "path": "/heat", "scale": 0.001}


def rows(target: str) -> list[dict[str, Any]]:
    """Return a target's rows as service.json holds them; the PMIC is read by a command that prints one output."""
    made = [sensor.model_dump(mode="json") for sensor in TARGETS[target].sensors]
    for row in made:
        if row["command"]:
            assert row["command"] == ["vcgencmd", "pmic_read_adc"]
            row["command"] = [sys.executable, "-S", "-c", f"print('''{PMIC}''')"]
    return made


def polled(sensors: Sensors, now: float) -> dict[str, tuple[Any, float | None, str]]:
    sensors.poll(now)
    return sensors.readings(now)


@pytest.mark.parametrize("target", WITH_SENSORS)
def test_every_row_of_a_target_reads_what_its_board_says(target: str, tmp_path: Path) -> None:
    sensors = Sensors(rows(target), root=str(tree(tmp_path, BOARDS.get(target, BOARDS["armv7-linux"]))))
    sensors.poll(99.0)
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    if counter.exists():
        counter.write_text("2474474853\n")
    found = polled(sensors, 101.0)
    for name, wanted in SAID.get(target, {}).items():
        assert found[name][0] == (pytest.approx(wanted) if isinstance(wanted, float) else wanted), name
    if target in BOARDS:
        unknown = {n: sensors.reasons().get(n) for n, (value, _, _) in found.items() if value is None}
        assert not unknown
    assert all(age in (0.0, 2.0, None) for _, age, _ in found.values())


def test_the_pmic_of_a_pi_5_adds_up_to_what_its_plug_delivers(tmp_path: Path) -> None:
    sensors = Sensors(rows("raspberry-pi-5"), root=str(tmp_path))
    watts = polled(sensors, 0.0)["board-power"][0]
    rails = (
        0.06245952 * 3.306322 + 0.1610285 * 1.798289 + 0.00780744 * 1.102929 + 0.1756674 * 1.104394
        + 0.3279125 * 0.8025633 + 10.87674 * 0.8974594 + 0.0003663 * 3.304942 + 0.00042735 * 3.302194
        + 0.00579975 * 0.7973619 + 0.0136752 * 5.07056
    )  # fmt: skip
    assert watts == pytest.approx(rails * 1.1451 + 0.5879)


@pytest.mark.parametrize(
    ("text", "set_now"),
    [
        ("throttled=0x0", ()),
        ("0x0", ()),
        ("0\n", ()),
        ("throttled=0x50005\n", ("under-voltage", "throttled")),
        ("50005\n", ("under-voltage", "throttled")),
        ("0x50000", ()),  # it was throttled once: no reason to act now
        ("E000E\n", ("frequency-capped", "throttled", "soft-temperature-limit")),
    ],
)
def test_throttle_bits_of_now_alone(text: str, set_now: tuple[str, ...]) -> None:
    bits = {"under-voltage": 0, "frequency-capped": 1, "throttled": 2, "soft-temperature-limit": 3}
    assert flags(text, bits) == set_now


def test_other_forms() -> None:
    assert answer("temp=48.3'C\n") == 48.3 and answer("frequency(48)=1500345728\n") == 1500345728
    assert answer("-5000\n") == -5000
    assert pressure(PSI) == 14.13 and memory(MEMINFO) == 252148
    busy, total = processor_time(STAT)
    assert total is not None and busy == pytest.approx(total - (46828483 + 16683) / 100)
    assert processor_time("usage_usec 9126519\nuser_usec 6\nnr_throttled 0\n") == (9.126519, None)
    assert power(BATTERY) == pytest.approx(6.277)
    pinephone = "POWER_SUPPLY_NAME=axp20x-battery\nPOWER_SUPPLY_STATUS=Discharging\nPOWER_SUPPLY_VOLTAGE_NOW=3800000\n"
    assert power(pinephone + "POWER_SUPPLY_CURRENT_NOW=-412000\n") == pytest.approx(3.8 * 0.412)
    assert charge("POWER_SUPPLY_CHARGE_NOW=1500000\nPOWER_SUPPLY_CHARGE_FULL=3000000\n") == 50.0
    assert charge("87\n") == 87.0


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (answer, ""), (answer, "nan\n"), (answer, "N/A"), (answer, "<unknown>\n"), (pressure, "full avg10=0.00"),
        (memory, "MemTotal: 5 kB"), (processor_time, "cpu  1 2"), (processor_time, "intr 5"), (supply, MAINS),
        (supply, MOUSE), (supply, "POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_PRESENT=0\n"),
        (power, "Command not registered"),
        (power, PMIC.replace("current", "volt").replace("_A", "_B")),
        (power, BATTERY.replace("Discharging", "Charging")), (power, BATTERY.replace("Discharging", "Full")),
        (lambda text: flags(text, {"a": 0}), "error=1 error_msg=\"Command not registered\""),
    ],
)  # fmt: skip
def test_what_is_no_reading_is_refused_and_never_zero(read: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(text)


def test_a_total_is_one_rail_and_never_their_sum(tmp_path: Path) -> None:
    row = next(r for r in rows("jetson-orin-nano") if r["name"] == "board-power")
    shuffled = {
        name.replace("in1_", "inX").replace("curr1_", "currX"): text for name, text in INA3221.items()
    }
    moved = {name.replace("inX", "in4_").replace("currX", "curr4_"): text for name, text in shuffled.items()}
    sensors = Sensors([row], root=str(tree(tmp_path, moved)))
    assert polled(sensors, 0.0)["board-power"][0] == pytest.approx(5.064 * 1.016), (
        "found by label, not by number"
    )
    gone = {name: text for name, text in moved.items() if text != "VDD_IN\n"}
    for file in (tmp_path / "sys/class/hwmon/hwmon1").iterdir():
        file.unlink()
    sensors = Sensors([row], root=str(tree(tmp_path, gone)))
    value, age, kind = polled(sensors, 0.0)["board-power"]
    assert (value, age, kind) == (None, None, "power")
    assert sensors.reasons()["board-power"].endswith(": none is called VDD_IN")


def test_labels_in_order_of_preference(tmp_path: Path) -> None:
    row = next(r for r in rows("x86-64-linux") if r["name"] == "cpu-temperature")
    assert polled(Sensors([row], root=str(tree(tmp_path, K10TEMP))), 0.0)["cpu-temperature"][0] == 52.375


@pytest.mark.parametrize(
    ("kind", "raw", "scale"),
    [
        ("temperature", "-87900", 0.001),  # an Edge TPU that died
        ("temperature", "127000", 0.001), ("temperature", "-274000", 0.001), ("power", "0", 0.001),
        ("frequency", "0", 1000), ("battery", "255", 1), ("memory", "0", 1024), ("pressure", "some avg10=250.0", 0.01),
    ],
)  # fmt: skip
def test_out_of_range_is_unknown(kind: str, raw: str, scale: float, tmp_path: Path) -> None:
    (tmp_path / "heat").write_text(raw + "\n")
    sensors = Sensors([{**HEAT, "kind": kind, "scale": scale}], root=str(tmp_path))
    assert polled(sensors, 0.0)["heat"] == (None, None, kind)
    assert sensors.reasons()["heat"].startswith("out of range")


def test_a_value_grows_old_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "heat"
    file.write_text("50000")
    sensors = Sensors([HEAT], root=str(tmp_path))
    assert polled(sensors, 0.0)["heat"] == (50.0, 0.0, "temperature")
    file.unlink()
    assert polled(sensors, 1.0)["heat"] == (None, 1.0, "temperature")
    assert "No such file" in sensors.reasons()["heat"] or "no such file" in sensors.reasons()["heat"]
    file.write_text("51000")
    polled(sensors, 2.0)
    assert polled(sensors, 4.0)["heat"] == (51.0, 0.0, "temperature")
    assert sensors.readings(8.0)["heat"] == (51.0, 4.0, "temperature")
    assert sensors.readings(10.0)["heat"] == (None, 6.0, "temperature"), "nobody read it since"


def test_what_is_missing_is_looked_for_ever_more_seldom(tmp_path: Path) -> None:
    sensors = Sensors([HEAT], root=str(tmp_path))
    looked = []
    for second in range(200):
        before = sensors._rows[0].failures
        sensors.poll(float(second))
        looked += [second] if sensors._rows[0].failures > before else []
    assert looked[:5] == [0, 2, 6, 14, 30] and max(b - a for a, b in itertools.pairwise(looked)) == 30


def test_a_jump_is_believed_when_it_stays(tmp_path: Path) -> None:
    file, sensors = tmp_path / "heat", Sensors([HEAT], root=str(tmp_path))
    said = []
    for second, degrees in enumerate([40, 41, 95, 41, 42, 90, 91, 92, 93, 60]):
        file.write_text(f"{degrees}000")
        said.append(polled(sensors, float(second))["heat"][0])
    assert said == [40, 41, None, 41, 42, None, None, 92, 93, 60]


def load_tree(tmp_path: Path, busy: float, total: float) -> None:
    (tmp_path / "proc").mkdir(exist_ok=True)
    (tmp_path / "proc/stat").write_text(f"cpu  {int(busy * 100)} 0 0 {int((total - busy) * 100)} 0 0 0 0\n")


def test_a_sensor_that_stands_still_while_the_load_changes_is_stuck(tmp_path: Path) -> None:
    file, sensors, busy, unknown = tmp_path / "heat", Sensors([HEAT], root=str(tmp_path)), 0.0, []
    file.write_text("45000")
    for second in range(0, 2000, 20):
        busy += 4 * 20 * (0.0 if second < 900 else 0.9)
        load_tree(tmp_path, busy, 4.0 * (second + 20))
        unknown += [second] if polled(sensors, float(second))["heat"][0] is None else []
    assert unknown and 900 < unknown[0] < 1100 and unknown[-1] == 1980
    assert sensors.reasons()["heat"].startswith("stuck: 45.0 for ")
    file.write_text("45100")
    assert polled(sensors, 2000.0)["heat"][0] == 45.1, "it moves again"


@pytest.mark.parametrize(
    ("load", "degrees"),
    [
        (lambda t: 0.02, lambda t: 23000),  # an idle room, all day
        (lambda t: 0.9, lambda t: 71000),  # a busy board that has settled
        (lambda t: 0.3 + 0.1 * (t // 700 % 2), lambda t: 45000),  # a load that hardly changes
        # A coarse sensor with a fan: it settles within a minute, long before the average load does.
        (lambda t: t // 1500 % 2 * 0.9, lambda t: 40000 + 15000 * (t // 1500 % 2)),
        # One that takes a minute and a half to show a first change.
        (lambda t: t // 1500 % 2 * 0.9, lambda t: 40000 + 15000 * ((t - 90) // 1500 % 2)),
        (lambda t: None, lambda t: 45000),  # whoever does not know the load cannot tell
    ],
)
def test_a_quiet_sensor_is_not_stuck(load: Any, degrees: Any) -> None:
    judge, average = Judge("temperature"), Load()
    for second in range(0, 86400, 5):
        average.add(load(second), second)
        assert judge.refuse(degrees(second) / 1000, degrees(second), second, average.now) == "", second


def test_energy_adds_up_over_a_wrap_a_reset_and_a_standstill(tmp_path: Path) -> None:
    row = next(r for r in rows("x86-64-linux") if r["name"] == "package-energy")
    folder = tree(tmp_path, RAPL) / "sys/class/powercap/intel-rapl:0"
    sensors = Sensors([row], root=str(tmp_path))
    said = []
    near = 262143328850 - 4_000_000
    for second, microjoules in enumerate([near, near + 3_000_000, 2_000_000, 5_000_000, 1000, 2_001_000]):
        (folder / "energy_uj").write_text(f"{microjoules}\n")
        (folder / "max_energy_range_uj").write_text("262143328850\n" if second < 3 else "")
        said.append(polled(sensors, float(second))["package-energy"][0])
    assert (
        said[0] is None
        and said[1:4] == pytest.approx([3.0, 6.0, 9.0])
        and said[4] is None
        and said[5] == pytest.approx(11.0)
    )
    for second in range(6, 40):
        value = polled(sensors, float(second))["package-energy"][0]
    assert value is None and "stands still" in sensors.reasons()["package-energy"]


def test_a_counter_that_never_moves_counts_nothing(tmp_path: Path) -> None:
    """As in a virtual machine: what was used is unknown, and not 0 J."""
    row = next(r for r in rows("x86-64-linux") if r["name"] == "package-energy")
    sensors = Sensors([row], root=str(tree(tmp_path, RAPL)))
    for second in range(3):
        assert polled(sensors, float(second))["package-energy"] == (None, None, "energy")


def test_a_root_only_counter_is_unknown_with_the_reason(tmp_path: Path) -> None:
    row = next(r for r in rows("x86-64-linux") if r["name"] == "package-energy")
    tree(tmp_path, RAPL)
    sensors = Sensors([row], root=str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "energy_uj")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("es_sensors.read_text", refuse)
        assert polled(sensors, 0.0)["package-energy"] == (None, None, "energy")
    assert "Permission denied" in sensors.reasons()["package-energy"]


def test_the_busy_share_from_either_source(tmp_path: Path) -> None:
    row = {"name": "load", "kind": "load", "path": "/proc/stat"}
    sensors = Sensors([row], root=str(tmp_path))
    shares = []
    for second, busy in enumerate([0.0, 2.0, 2.0, 6.0]):
        load_tree(tmp_path, busy, 4.0 * second)
        shares.append(polled(sensors, float(second))["load"][0])
    assert shares == [None, 0.5, 0.0, 1.0]
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    sensors = Sensors([{**row, "path": "/cpu.stat"}], root=str(tmp_path))
    sensors.poll(0.0)
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\n")
    assert polled(sensors, 1.0)["load"][0] == pytest.approx(0.5 / (os.cpu_count() or 1))


def wait_for(told: Any, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_file_that_blocks_stops_neither_the_others_nor_whoever_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("es_sensors._HUNG_SECONDS", 0.2)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "heat").write_text("50000")
    blocked = {"name": "blocked", "kind": "temperature", "path": "/pipe", "scale": 0.001}
    sensors = Sensors([blocked, HEAT, {**blocked, "name": "also"}], root=str(tmp_path))
    sensors.start(0.05)
    slowest = 0.0

    def known() -> bool:
        nonlocal slowest
        begun = time.perf_counter()
        found = sensors.readings()
        slowest = max(slowest, time.perf_counter() - begun)
        return found["heat"][0] == 50.0 and all(sensors._rows[i].hangs for i in (0, 2))

    wait_for(known)
    assert slowest < 1.0
    assert sensors.readings()["blocked"][:2] == (None, None) and "hangs" in sensors.reasons()["blocked"]
    (tmp_path / "heat").write_text("51000")
    wait_for(lambda: sensors.readings()["heat"][0] == 51.0)
    # It answers after all: its thread comes back, and the sensor is read again.
    with (tmp_path / "pipe").open("w") as pipe:
        pipe.write("33000")
    wait_for(lambda: not all(sensors._rows[i].hangs for i in (0, 2)))
    sensors.stop()


def test_a_command_that_hangs_is_ended_and_tried_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import es_sensors_find

    monkeypatch.setattr(es_sensors_find.run, "__defaults__", (0.2,))
    command = ["sleep", "60"]
    sensors = Sensors([{"name": "watts", "kind": "power", "command": command}], root=str(tmp_path))
    for second in range(20):
        sensors.poll(float(second))
    assert sensors.readings(20.0)["watts"] == (None, None, "power")
    assert sensors.reasons()["watts"] == "sleep did not end within 0.2 s"
    assert sensors._rows[0].failures == 3, "at 0, 4 and 12 s"


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    row = {"name": "watts", "kind": "power", "command": ["/nowhere/vcgencmd", "pmic_read_adc"]}
    missing = Sensors([row], root=str(tmp_path))
    missing.poll(0.0)
    assert missing.reasons()["watts"] == "/nowhere/vcgencmd: No such file or directory"
    shut = "echo 'Can not open device file /dev/vcio'; exit 1"
    refused = Sensors([{**row, "command": ["sh", "-c", shut]}], root=str(tmp_path))
    refused.poll(0.0)
    assert refused.reasons()["watts"] == "sh: Can not open device file /dev/vcio"


def test_the_thread_ends_and_leaves_no_other(tmp_path: Path) -> None:
    (tmp_path / "heat").write_text("50000")
    before = threading.active_count()
    sensors = Sensors([HEAT], root=str(tmp_path))
    sensors.start(0.01)
    wait_for(lambda: sensors.readings()["heat"][0] == 50.0)
    sensors.stop()
    wait_for(lambda: threading.active_count() == before)


def test_a_reading_that_a_stop_interrupts_does_not_seem_to_hang_later(tmp_path: Path) -> None:
    class Resting(Sensors):
        """Told to rest while it reads."""

        def _raw(self, row: Any) -> Any:
            self.stop()
            return super()._raw(row)

    (tmp_path / "heat").write_text("50000")
    sensors = Resting([HEAT], root=str(tmp_path))
    sensors._thread = threading.current_thread()
    sensors.poll(generation=sensors._generation)
    sensors.readings(time.monotonic() + 60.0)
    assert not sensors._rows[0].hangs and sensors.reasons() == {}


ODD = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"cpu", b"usage_usec", b"some avg10=", b"POWER_SUPPLY_ENERGY_NOW=1\nPOWER_SUPPLY_ENERGY_FULL=0\n", b"1e999",
         b"-", b"=", b"0x", b"throttled=", b"volt(1)=\n", b"MemAvailable:", b"nan", b"9" * 400, b"cpu  1 2 3 4 5 6 7 8",
         b"POWER_SUPPLY_STATUS=Discharging\nPOWER_SUPPLY_POWER_NOW=\n", b"-0", b"1_000", "\u0661".encode()]
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(ODD, min_size=1, max_size=4))
def test_whatever_a_sensor_says_the_others_are_read(texts: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir(exist_ok=True)
    (tmp_path / "heat").write_text("50000")
    row = {"path": "/odd", "bits": {"hot": 1}}
    sensors = Sensors([*({**row, "name": kind, "kind": kind} for kind in KINDS), HEAT], root=str(tmp_path))
    for second, text in enumerate(texts):
        (tmp_path / "odd").write_bytes(text)
        (tmp_path / "proc/stat").write_bytes(text)
        found = polled(sensors, second * 60.0)
        assert found["heat"] == (50.0, 0.0, "temperature")
        for name, (value, _, kind) in found.items():
            assert (value is None) == bool(sensors.reasons().get(name)), name
            if kind in LIMITS and value is not None:
                assert LIMITS[kind][0] <= value <= LIMITS[kind][1]


def test_a_temperature_has_a_swing_for_who_asks(tmp_path: Path) -> None:
    sensors = Sensors([HEAT], root=str(tmp_path))
    for second, text in ((0.0, "50000"), (2.0, "50487"), (4.0, "50000"), (6.0, "50000")):
        (tmp_path / "heat").write_text(text)
        assert polled(sensors, second)["heat"][2:] == ("temperature",)
    assert sensors.readings(6.0, swings=True)["heat"] == (50.0, 0.0, "temperature", pytest.approx(0.487))


def test_kinds_are_those_of_profiles() -> None:
    assert set(KINDS) == set(UNITS)
    sensors = Sensors([{"name": "new", "kind": "smell", "path": "/proc/stat"}])
    sensors.poll(0.0)
    assert "kind 'smell' is not known here" in sensors.reasons()["new"]
