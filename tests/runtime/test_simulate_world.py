"""The simulator's board against what can be worked out by hand: heat, energy, throttling, others."""

from __future__ import annotations

import math

import pytest
from es_world import LEAST_SPEED, STEP_SECONDS, World

BOARD = {
    "power": {"idle_watts": 2.0, "busy_watts": 5.0},
    "thermal": {"ambient_c": 20.0, "c_per_watt": 10.0, "seconds": 120.0},
    "trips": [60.0],
}


def live(world: World, until: float, cores: float) -> None:
    while world.now < until:
        world.advance(min(until, world.next_change()), cores)


@pytest.mark.parametrize("after", [1.0, 37.3, 120.0, 600.0])
def test_a_step_of_power_heats_as_one_resistance_and_one_capacity_do(after: float) -> None:
    world = World({**BOARD, "trips": []})
    assert world.celsius == 40.0  # idle for long
    live(world, after, 1)
    assert world.celsius == pytest.approx(70.0 - 30.0 * math.exp(-after / 120.0), abs=1e-9)
    assert world.joules == pytest.approx(5.0 * after, rel=1e-12)
    assert world.throttled == 0 and world.hottest == world.celsius


def test_a_die_of_its_own_jumps_and_settles_at_the_same_degrees() -> None:
    thermal = {**BOARD["thermal"], "die_c_per_watt": 3.0, "die_seconds": 4.0}
    plain, staged = World({**BOARD, "trips": []}), World({**BOARD, "thermal": thermal, "trips": []})
    assert staged.celsius == plain.celsius == 40.0
    for after in (1.0, 5.0, 60.0):
        live(staged, after, 1)
        both = 21.0 * (1 - math.exp(-after / 120.0)) + 9.0 * (1 - math.exp(-after / 4.0))
        assert staged.celsius == pytest.approx(40.0 + both, abs=1e-9)
    live(plain, 3000.0, 1)
    live(staged, 3000.0, 1)
    assert staged.celsius == pytest.approx(plain.celsius, abs=1e-6) == pytest.approx(70.0, abs=1e-6)


def test_with_a_die_of_its_own_no_more_joules_are_used_below_the_trip_than_the_bound_says() -> None:
    world = World({**BOARD, "thermal": {**BOARD["thermal"], "die_c_per_watt": 3.0, "die_seconds": 4.0}})
    most, at = world.joules_below_trips(600.0), 0.0
    while at < 600.0:
        at += 0.25
        live(world, at, 1 if world.celsius < 58.5 else 0)
    assert world.hottest < 60.0 and 0.85 * most < world.joules < most


def test_what_it_gives_off_and_what_it_keeps_is_what_it_used() -> None:
    """The integral of the heat equation, under a load that changes."""
    world = World({**BOARD, "trips": []}, ambient=[(0, 20), (50, 35), (90, 10)])
    begun, given_off, at = world.celsius, 0.0, 0.0
    for number in range(2400):
        cores = 1 if number % 7 < 3 else 0
        before = world.celsius
        live(world, at + 0.05, cores)
        middle = (before + world.celsius) / 2 - world.ambient(
            math.floor((at + 1e-9) / STEP_SECONDS) * STEP_SECONDS
        )
        given_off += middle * 0.05 / 10.0
        at += 0.05
    kept = (world.celsius - begun) * 120.0 / 10.0
    assert world.joules == pytest.approx(kept + given_off, rel=1e-4)


def test_at_the_trip_the_clock_falls_and_below_it_rises_again() -> None:
    world = World(BOARD)
    live(world, 200.0, 1)  # 40 to 70 degrees: the trip at 60 is passed after 132 s
    assert world.speed < 1.0 and 0 < world.throttled < 68.5
    assert world.hottest < 62.0 and world.slow == pytest.approx(1 / world.speed)
    slow = world.speed
    live(world, 400.0, 0)
    assert world.speed == 1.0 and slow >= LEAST_SPEED and world.celsius < 50
    throttled = world.throttled
    live(world, 500.0, 0)
    assert world.throttled == throttled


def test_a_board_that_is_too_hot_idle_runs_at_its_lowest_clock() -> None:
    world = World(BOARD, ambient=[(0, 50)])
    live(world, 60.0, 1)
    assert world.speed == LEAST_SPEED
    assert world.watts(1) == pytest.approx(2.0 + 3.0 * LEAST_SPEED**2)


def test_others_take_time_and_power() -> None:
    world = World(BOARD, others=[(1.1, 3.3, 0.5, 1.0), (2.2, 3.3, 0.25, 0.0)])
    seen = []
    for second in (1.0, 1.2, 2.3, 3.4):
        live(world, second, 0)
        seen.append((world.slow, world.watts(1), world.pressure(True)))
    assert [slow for slow, _, _ in seen] == pytest.approx([1.0, 2.0, 4.0, 1.0])
    assert [watts for _, watts, _ in seen] == pytest.approx([5.0, 2 + 3 * 1.5, 2 + 3 * 1.25, 5.0])
    assert [share for _, _, share in seen] == pytest.approx([0.0, 0.5, 0.75, 0.0])


def test_the_most_joules_below_a_trip_are_what_keeps_it_there() -> None:
    world = World(BOARD)
    most = world.joules_below_trips(1000.0)
    # From 40 to 60 degrees, then 60 for ever: 20 * 12 J kept, 4 W given off all the time.
    assert most == pytest.approx(20 * 12.0 + 4.0 * 1000)
    assert World({**BOARD, "trips": []}).joules_below_trips(10.0) is None
    live(world, 1000.0, 0.6)  # 3.8 W, which ends at 58 degrees
    assert world.throttled == 0 and world.joules < most
