"""Heat: what a reading counts as, what the trip teaches, and long runs in hot air on boards that are not as the
profile says: a die that jumps, sensors that are coarse, noisy or stuck, other resistances and capacities.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from es_govern import begin, decide, profile_of
from es_policies import Fixed, Governor
from es_sensors_judge import Swing
from es_simulate import Run, Service
from es_tally import Tally
from es_traces import Trace, pattern
from es_world import World

from benchmarks.governor import board_of, published

SECONDS, HOT = 0.0702, 45.0  # Of the best rung; degrees of the air in which a bare Pi 4 idles at 77.4.
DIE = {"die_c_per_watt": 3.0, "die_seconds": 3.0}
Shown = Callable[[float], float]


# What a reading counts as


def ticks(readings: list[Any], threads: int = 1, flags: Any = ()) -> Any:
    """Return the slow state after ticks in which the die (trip at 80) was read so."""
    rungs = [
        {"variant": f"v{i}", "accuracy": 0.5 + i / 10, "seconds": 0.01 * 3**i, "threads": threads}
        for i in range(3)
    ]
    sensors = [
        {"name": "soc", "kind": "temperature", "trips": [{"at": 80, "effect": "slower"}]},
        {"name": "throttled", "kind": "throttle"},
    ]
    profile = profile_of({"rungs": rungs, "sensors": sensors, "settings": {}})
    state = begin(profile)
    for number, reading in enumerate(readings):
        told = {"soc": reading, "throttled": (flags[number] if flags else (), 0.1, "throttle")}
        state, *_ = decide(state, ("tick", 2.0 * number, 0.1, told), profile)
    return state.slow


def soc(celsius: float, *swing: Any) -> Any:
    return (celsius, 0.1, "temperature", *swing)


def test_a_reading_counts_as_warmer_by_its_swing() -> None:
    assert [ticks([soc(77.6, swing)]).cap for swing in (0.0, 0.8, 1.0, 2.2)] == [2, 2, 1, 0]
    assert ticks([soc(77.6)]).cap == 2
    for nonsense in (None, float("nan"), -1.0, 1e9, "much", float("inf")):
        assert ticks([soc(77.6, nonsense)]).cap == 0, nonsense


def test_lost_it_counts_as_it_did_and_warmer() -> None:
    assert ticks([soc(76.0, 0.0), (None, 30.0, "temperature")]).cap == 2
    assert ticks([soc(76.0, 1.1), (None, 30.0, "temperature", 0.0)]).cap == 0


def test_what_reaches_the_trip_all_the_same_teaches_distance() -> None:
    assert ticks([soc(79.8)] * 9).distance == 0.0
    assert ticks([soc(79.95)] * 3).distance == pytest.approx(0.3, abs=1e-3)
    assert ticks([soc(81.2)]).distance == pytest.approx(1.2)
    assert ticks([soc(79.5, 0.8)]).distance == pytest.approx(0.1), "half of the swing counts"
    assert ticks([soc(95.0)] * 9).distance == 3.0
    learned = ticks([soc(81.2), soc(77.5)])
    assert learned.cap == 1 and ticks([soc(77.5)]).cap == 2, "78.5 - 1.2 degrees"
    faded = ticks([soc(81.2)] + [soc(60.0)] * 1800)
    assert faded.distance == pytest.approx(0.6, abs=0.01), "half of it in an hour"


def test_a_clock_that_heat_slows_teaches_once() -> None:
    slow = ("throttled",)
    assert ticks([soc(78.0)] * 4, flags=[(), slow, slow, slow]).distance == pytest.approx(0.5, abs=0.01)
    assert ticks([soc(60.0)] * 4, flags=[(), slow, slow, slow]).distance == 0.0, "that was not the heat"
    assert ticks([soc(78.0)] * 6, flags=[slow, slow, (), (), slow, ()]).distance == pytest.approx(
        1.0, abs=0.01
    )


# What a sensor's swing is


def swing_of(shown: list[float], every: float = 2.0) -> float:
    swing = Swing()
    for number, celsius in enumerate(shown):
        swing.add(celsius, number * every)
    return swing.degrees()


def test_nobody_saw_its_steps_yet_a_degree() -> None:
    assert swing_of([]) == swing_of([70.0]) == swing_of([70.0] * 900) == 1.0


def test_a_coarse_sensor_has_its_step() -> None:
    assert swing_of([70.0] * 40 + [71.0] + [71.0] * 900) == 1.0
    assert swing_of([70.0, 70.487] + [70.487] * 900) == pytest.approx(0.487)


def test_a_fine_and_slow_one_has_next_to_none() -> None:
    assert swing_of([70 + n * 0.01 for n in range(900)]) < 0.03


def test_a_die_that_jumps_or_a_noisy_sensor_has_two_deviations() -> None:
    assert swing_of([70.0, 71.5] * 450) == pytest.approx(3.0, rel=0.01)
    drawn = random.Random(1)
    assert swing_of([70 + drawn.gauss(0, 0.3) for _ in range(900)]) == pytest.approx(
        2 * 0.3 * 2**0.5, rel=0.2
    )


def test_over_a_rest_nothing_jumps_and_twice_a_second_is_once_in_two() -> None:
    assert swing_of([70.0, 40.0, 70.0], every=600.0) == 1.0
    assert swing_of([70.0, 71.0] * 450, every=1.0) == 1.0
    assert swing_of([70.0, 30.0], every=2.0) < 2.0, "one leap is not believed whole"


# Whole hours


@cache
def ladder(threads: int = 1) -> Any:
    board, document = board_of("raspberry-pi-4"), published()
    rungs = [{**rung, "threads": threads} for rung in document["rungs"]]
    return profile_of(
        {**document, "rungs": rungs, **{k: board[k] for k in ("sensors", "power", "thermal")}, "queue": 32}
    )


class Seen(Governor):  # type: ignore[misc]
    """The governor with a sensor that shows the true degrees in its own way."""

    def __init__(self, profile: Any, shown: Shown) -> None:
        super().__init__(profile)
        self._shown, self._swing = shown, Swing()

    def tick(self, now: float, busy: float, readings: Any) -> None:
        for name, (value, age, kind, *_) in readings.items():
            if kind == "temperature":
                value = self._shown(value)
                self._swing.add(value, now)
                readings[name] = (value, age, kind, self._swing.degrees())
        super().tick(now, busy, readings)


def hour(
    trace: Trace, shown: Shown | None = None, *, air: float = HOT, rung: int | None = None, **thermal: Any
) -> Any:
    """Return the tally of the governor, or of a fixed rung, on a Pi 4 with other figures of heat."""
    board, profile = board_of("raspberry-pi-4"), ladder()
    figures = {**board["thermal"], "ambient_c": air, **thermal}
    world = World({"power": board["power"], "thermal": figures, "trips": [80.0, 85.0]}, trace.ambient)
    policy = Fixed(profile, rung) if rung is not None else Seen(profile, shown or (lambda celsius: celsius))
    tally = Tally(profile, trace.seconds)
    Run(profile, trace, world, policy, Service(32), tally).run()
    tally.close(world)
    return tally.document()


def load(name: str, share: float, seconds: float = 1500.0, ambient: float = 25.0) -> Trace:
    return pattern(name, share / SECONDS, seconds, 2.5 * SECONDS, 0, ambient)  # type: ignore[no-any-return]


@pytest.mark.parametrize("share", [0.6, 1.2])
def test_in_hot_air_it_is_as_good_as_the_best_rung_that_is_never_throttled(share: float) -> None:
    trace = load("steady", share)
    own, fixed, next_one = hour(trace), hour(trace, rung=1), hour(trace, rung=2)
    assert fixed["throttled_seconds"] == 0 and next_one["throttled_seconds"] > 600
    assert own["throttled_seconds"] == 0 and own["missed_share"] < 0.001
    assert own["right_share"] > fixed["right_share"] - 0.01


def test_in_a_heat_wave_it_is_five_points_better() -> None:
    own = hour(load("heat-wave", 1.2, 900.0))
    assert own["throttled_seconds"] == 0 and own["right_share"] > 0.572 + 0.05


SENSORS: dict[str, Shown] = {
    "whole degrees, cut": lambda celsius: float(int(celsius)),
    "whole degrees, rounded": lambda celsius: float(round(celsius)),
    "a Pi's steps": lambda celsius: int(celsius / 0.487) * 0.487,
    "noisy": (lambda drawn: lambda celsius: celsius + drawn.gauss(0.0, 0.3))(random.Random(1)),
}


@pytest.mark.parametrize("name", SENSORS)
def test_sensors_that_are_coarse_or_noisy_make_it_careful(name: str) -> None:
    own = hour(load("diurnal", 0.6), SENSORS[name])
    assert own["throttled_seconds"] == 0 and own["right_share"] > 0.45
    assert own["hottest_c"] < 79.7


@pytest.mark.parametrize("shown", [None, SENSORS["a Pi's steps"]], ids=["exact", "coarse"])
def test_a_die_that_jumps_makes_it_careful(shown: Shown | None) -> None:
    own = hour(load("burst", 0.6), shown, **DIE)
    assert own["throttled_seconds"] == 0 and own["right_share"] > 0.55


@pytest.mark.parametrize("thermal", [{}, DIE], ids=["one stage", "a die that jumps"])
def test_a_step_from_idle_to_full_load_in_hot_air(thermal: Any) -> None:
    at = load("steady", 2.2, 900.0)
    at.at[:] = [second for second in at.at if second >= 300.0]
    del at.deadlines[len(at.at) :]
    own, fixed = hour(at, **thermal), hour(at, rung=1, **thermal)
    assert own["throttled_seconds"] == 0 and own["missed_share"] < 0.001 and own["right_share"] > 0.40
    assert fixed["throttled_seconds"] > 300


@pytest.mark.parametrize("resistance", [0.7, 1.3])
def test_other_resistances_and_capacities_than_the_profile_says(resistance: float) -> None:
    ohm = 12 * resistance
    for capacity in (0.7, 1.3):
        own = hour(
            load("diurnal", 0.6, 900.0),
            air=77.4 - 2.7 * ohm,
            c_per_watt=ohm,
            seconds=150 * resistance * capacity,
        )
        assert own["throttled_seconds"] == 0 and own["right_share"] > 0.54


def test_a_sensor_that_sticks_just_below_the_trip() -> None:
    """It is no reading of a trip: rungs stay where it left them, and what the clock says counts."""

    def stuck(at: float) -> Shown:
        shown: list[float] = []

        def show(celsius: float) -> float:
            shown.append(celsius if len(shown) < 150 else at)
            return shown[-1]

        return show

    trace = load("steady", 1.2, 900.0)
    near, lower = hour(trace, stuck(79.4)), hour(trace, stuck(78.4))
    assert near["throttled_seconds"] == 0
    assert lower["missed_share"] < 0.001 and lower["right_share"] > 0.45, "it is slowed, and answers in time"
    assert hour(trace, lambda celsius: 79.4)["right_share"] == pytest.approx(0.395), "never seen to move"
