"""Joules: measured where a meter is, estimated by the profile's watts, or the processor's seconds, and which it is."""

from __future__ import annotations

from typing import Any

import pytest
from es_meter import Meter

PI4 = {"idle_watts": 2.7, "busy_watts": 3.6, "basis": "a plug"}


class Board:
    """Sensors that say what a test wants."""

    def __init__(self, **said: tuple[float | None, float | None, str]) -> None:
        self.said = said

    def readings(self, now: float) -> dict[str, Any]:
        return dict(self.said)


def test_watts_of_a_meter_add_up() -> None:
    board = Board(heat=(50.0, 0.0, "temperature"), plug=(4.0, 0.0, "power"), rapl=(7.0, 0.0, "energy"))
    meter = Meter(board, None)
    assert meter.joules(100.0, 0.0) == (0.0, "measured")
    assert meter.joules(102.0, 1.0) == (8.0, "measured")
    board.said["plug"] = (6.0, 0.0, "power")
    assert meter.joules(103.0, 2.0) == (14.0, "measured")
    assert (meter.kind, meter.by, meter.watts) == ("measured", "plug", 6.0)


def test_a_counter_is_read_between_its_own_readings() -> None:
    board = Board(rapl=(50.0, 0.5, "energy"))
    meter = Meter(board, PI4)
    meter.joules(10.0, 0.0)
    board.said["rapl"] = (50.0, 0.9, "energy")  # asked again before the counter was read again
    assert meter.joules(10.4, 0.0) == (0.0, "measured") and meter.watts is None
    board.said["rapl"] = (62.0, 0.0, "energy")
    assert meter.joules(11.5, 0.0) == (12.0, "measured")
    assert meter.watts == pytest.approx(6.0), "12 J in the two seconds between the readings"


def test_a_meter_that_is_lost_never_makes_energy_free() -> None:
    board = Board(plug=(4.0, 0.0, "power"), rapl=(7.0, 0.0, "energy"))
    meter = Meter(board, PI4)
    meter.joules(0.0, 0.0)
    board.said["plug"] = (None, 9.0, "power")
    assert meter.joules(10.0, 10.0) == (40.0, "measured"), "the last 4 W are more than the profile's 3.6"
    other = Meter(Board(plug=(1.0, 0.0, "power")), PI4)
    other.joules(0.0, 0.0)
    other._sensors.said["plug"] = (None, 9.0, "power")
    assert other.joules(10.0, 10.0) == (pytest.approx(36.0), "measured"), "one core busy all the time"
    assert other.by == "plug"


def test_what_stood_in_for_a_counter_is_settled_when_it_comes_back() -> None:
    board = Board(rapl=(0.0, 0.0, "energy"))
    meter = Meter(board, None)
    meter.joules(0.0, 0.0)
    board.said["rapl"] = (10.0, 0.0, "energy")
    assert meter.joules(1.0, 0.0)[0] == 10.0 and meter.watts == 10.0
    board.said["rapl"] = (None, 3.0, "energy")
    assert meter.joules(4.0, 0.0)[0] == 40.0
    board.said["rapl"] = (34.0, 0.0, "energy")
    assert meter.joules(5.0, 0.0)[0] == 40.0, (
        "24 J were used in the gap, 30 were charged: nothing is given back"
    )
    board.said["rapl"] = (44.0, 0.0, "energy")
    assert meter.joules(6.0, 0.0)[0] == 50.0


def test_the_profile_estimates_where_no_meter_is() -> None:
    meter = Meter(Board(heat=(50.0, 0.0, "temperature"), rapl=(None, None, "energy")), PI4)
    assert meter.kind == "estimated"
    meter.joules(0.0, 0.0)
    assert meter.joules(10.0, 4.0) == (pytest.approx(2.7 * 10 + 0.9 * 4), "estimated")
    assert meter.watts == pytest.approx(3.06)


def test_processor_seconds_are_no_joules() -> None:
    worked = iter([1.0, 1.5, 2.0])
    meter = Meter(Board(), None, processor=lambda: next(worked))
    assert meter.joules(0.0) == (0.0, "cpu-seconds")
    assert meter.joules(10.0) == (0.5, "cpu-seconds") and meter.watts is None
    meter._sensors.said["plug"] = (3.0, 0.0, "power")
    assert meter.joules(11.0) == (3.0, "measured"), "seconds are not carried over into joules"
