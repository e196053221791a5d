"""The simulator's queue: against the formula of M/D/1, nothing lost, the same for the same seed, policies compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from es_errors import CannotRun
from es_govern import profile_of
from es_oracle import Oracle
from es_policies import Fixed, Governor, policies
from es_simulate import Run, Service
from es_simulated import simulated
from es_tally import Tally
from es_traces import PATTERNS, Trace, pattern
from es_world import World

BOARD: dict[str, Any] = {
    "power": {"idle_watts": 2.7, "busy_watts": 4.3},
    "thermal": {"ambient_c": 25.0, "c_per_watt": 12.0, "seconds": 180.0},
    "trips": [80.0],
}
SENSORS = [
    {"name": "soc", "kind": "temperature", "trips": [{"at": 80, "effect": "slower"}]},
    {"name": "throttled", "kind": "throttle"},
    {"name": "pressure", "kind": "pressure"},
    {"name": "load", "kind": "load"},
    {"name": "memory", "kind": "memory"},
]
RUNGS = [
    {"variant": "small", "accuracy": 0.7, "seconds": 0.004, "p95_seconds": 0.005},
    {"variant": "middle", "accuracy": 0.8, "seconds": 0.012, "p95_seconds": 0.014},
    {"variant": "large", "accuracy": 0.9, "seconds": 0.06, "p95_seconds": 0.07, "threads": 1},
]
GOVERNOR: dict[str, Any] = {"settings": {}, "rungs": RUNGS, "sensors": SENSORS, **BOARD}
SERVICE: dict[str, Any] = {"app": "kws", "chosen": "large", "governor": GOVERNOR, "limits": {"queue": 32}}


def profile(**settings: Any) -> Any:
    return profile_of(GOVERNOR, settings)


def ran(
    make: Callable[[Any], Any], trace: Trace, service: Service | None = None, given: Any = None
) -> dict[str, Any]:
    given = given or profile()
    world, tally = World(BOARD, trace.ambient, trace.others), Tally(given, trace.seconds)
    run = Run(given, trace, world, make(given), service or Service(), tally)
    run.run()
    tally.close(world)
    document: dict[str, Any] = tally.document()
    assert run.running is None and run._head == len(run.waiting)
    return document


def fixed(place: int) -> Callable[[Any], Any]:
    return lambda given: Fixed(given, place)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waiting_is_that_of_an_m_d_1_queue(load: float) -> None:
    """Pollaczek and Khinchine: mean time in an M/D/1 system is s + s * load / (2 * (1 - load))."""
    sure = profile_of({**GOVERNOR, "rungs": [{"variant": "only", "accuracy": 0.9, "seconds": 0.02}]})
    trace = pattern("steady", load / 0.02, 4000.0, None, 3)
    seconds: list[float] = []

    class Noted(Tally):
        def answered(self, now: float, came: float, rung: int, missed: bool) -> None:
            seconds.append(now - came)
            super().answered(now, came, rung, missed)

    tally = Noted(sure, trace.seconds)
    Run(sure, trace, World({**BOARD, "trips": []}), Fixed(sure, 0), Service(queue=10**6), tally).run()
    mean = sum(seconds) / len(seconds)
    assert mean == pytest.approx(0.02 + 0.02 * load / (2 * (1 - load)), rel=0.05)
    document = tally.document()
    tally.close(World(BOARD))
    assert len(seconds) == len(trace.at) == document["answered"]


@pytest.mark.parametrize("name", PATTERNS)
def test_every_request_is_answered_or_refused(name: str) -> None:
    trace = pattern(name, 30.0, 60.0, 0.15, 5)
    assert trace.at == sorted(trace.at) and trace.at[0] >= 0 and trace.at[-1] < 60.0
    for policy, make in policies(profile()):
        document = ran(lambda _, make=make: make(), trace)
        parts = document["in_time"] + document["late"] + document["refused"] + document["queue_full"]
        assert parts == document["requests"] == len(trace.at), policy
        assert document["answered"] == sum(document["rung_answers"].values())
        assert sum(document["rung_seconds"].values()) == pytest.approx(
            max(60.0, document["joules"] / document["watts"]), rel=1e-6
        )


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    request = {"traces": [{"pattern": "burst"}], "seconds": 60, "deadline_ms": 150, "rate": 20, "seed": 11}
    first, second = simulated(SERVICE, request), simulated(SERVICE, request)
    assert first == second
    other = simulated(SERVICE, {**request, "seed": 12})
    assert other["traces"][0]["policies"] != first["traces"][0]["policies"]


def test_rates_are_the_means_that_were_asked_for() -> None:
    for name in PATTERNS:
        assert pattern(name, 20.0, 2000.0, None, 1).mean_rate() == pytest.approx(20.0, rel=0.05), name


def test_neighbours_stretch_a_run_that_is_under_way() -> None:
    trace = Trace("one", 10.0, [1.0], [None]).shaken(0)
    trace.noise, trace.others = [0.0], [(1.02, 5.0, 0.5, 1.0)]
    document = ran(fixed(2), trace)
    # 20 ms alone, then 40 ms of work at half the speed.
    assert document["latency_ms"]["p50"] == pytest.approx(100.0)
    assert document["joules"] == pytest.approx(2.7 * 10 + 1.6 * (0.06 + 3.98), rel=1e-9)


def test_a_full_queue_refuses_as_the_service_does() -> None:
    trace = Trace("crowd", 10.0, [1.0 + 1e-6 * n for n in range(50)], [None] * 50).shaken(0)
    document = ran(fixed(2), trace, Service(queue=32))
    assert (document["answered"], document["queue_full"]) == (33, 17)
    assert document["missed_share"] == pytest.approx(17 / 50)


def test_overhead_is_work_of_the_engine_s_thread() -> None:
    trace = Trace("two", 10.0, [1.0, 1.0], [None, None]).shaken(0)
    trace.noise = [0.0, 0.0]
    document = ran(fixed(0), trace, Service(overhead=0.001))
    assert document["latency_ms"]["p99"] == pytest.approx(10.0)
    assert document["busy_share"] == pytest.approx(0.001)


@pytest.mark.parametrize("name", ["burst", "square", "contention"])
def test_no_policy_beats_the_oracle(name: str) -> None:
    """Neither with the joules it used, nor can its answers be had for more than it used."""
    given, trace = profile(), pattern(name, 18.0, 90.0, 0.15, 2)
    cold = {**BOARD, "trips": []}
    idle = World(cold, None, trace.others)
    while idle.now < 90.0:
        idle.advance(min(90.0, idle.next_change()), 0)
    oracle = Oracle(given, trace, idle.marginal())
    free = oracle.most_right()
    for policy, make in policies(given):
        world, tally = World(cold, None, trace.others), Tally(given, 90.0)
        Run(given, trace, world, make(), Service(), tally).run()
        tally.close(world)
        document = tally.document()
        spent = sum(tally._busy) if not trace.others else None
        assert document["right"] <= free + 1e-6, policy
        if spent is not None:
            assert document["right"] <= oracle.most_right(1.6 * spent) + 1e-6, policy
            assert 1.6 * spent >= oracle.least_joules(document["right"]) - 1e-6, policy
    assert free <= 0.9 * len(trace.at)


def test_the_oracle_of_a_few_requests_is_what_all_ways_give() -> None:
    """Every way to answer eight requests in turn, tried."""
    given = profile()
    at = [0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.16, 0.17]
    trace = Trace("few", 1.0, at, [0.1] * 8).shaken(4)
    oracle = Oracle(given, trace, 1.6)
    best: dict[float, float] = {}

    def go(number: int, free: float, right: float, joules: float) -> None:
        if number == len(at):
            for price in (0.0, 2.0, 10.0):
                best[price] = max(best.get(price, 0.0), right - price * joules)
            return
        go(number + 1, free, right, joules)
        for value, seconds, cost in oracle._choices[number]:
            end = max(free, at[number]) + seconds
            if end <= at[number] + 0.1:
                go(number + 1, end, right + value, joules + cost)

    go(0, 0.0, 0.0, 0.0)
    for price, value in best.items():
        assert oracle.at(price)[0] == pytest.approx(value)


def test_the_governor_keeps_a_budget_and_cool_where_a_fixed_rung_does_not() -> None:
    trace = pattern("steady", 14.0, 900.0, 0.15, 1)
    watts = 3.1
    bound = ran(Governor, trace, given=profile(watts=watts))
    assert bound["watts"] == pytest.approx(watts, rel=0.01)
    assert bound["reasons"]["budget"] > 0.5 * bound["answered"] and bound["missed_share"] <= 0.001
    hot = pattern("steady", 14.0, 900.0, 0.15, 1)
    hot.ambient = [(0.0, 42.0)]
    governed, large = ran(Governor, hot), ran(fixed(2), hot)
    assert governed["throttled_seconds"] == 0 < large["throttled_seconds"]
    assert governed["hottest_c"] < 80 <= large["hottest_c"]
    assert governed["right"] > 1.2 * large["right"]


def test_refusing_begins_nothing_that_ends_too_late() -> None:
    trace = pattern("steady", 30.0, 60.0, 0.1, 1)
    plain, refusing = ran(fixed(2), trace), ran(lambda given: Fixed(given, 2, refusing=True), trace)
    assert plain["refused"] == 0 < refusing["refused"] and refusing["late"] < plain["late"]
    assert refusing["right"] > plain["right"]


def test_a_queue_that_fills_before_deadlines_are_at_risk_makes_rungs_cheaper() -> None:
    """A hundred requests fit the deadline, and 32 the queue: without knowing that, bursts are refused."""
    request = {
        "traces": [{"pattern": "square"}], "seconds": 30, "rate": 150, "deadline_ms": 2000, "curves": False,
        "policies": ["governor", "fixed"],
    }  # fmt: skip
    rungs = [dict(row, seconds=row["seconds"] / 10, p95_seconds=row["p95_seconds"] / 10) for row in RUNGS]
    rows = simulated({**SERVICE, "governor": {**GOVERNOR, "rungs": rungs}}, request)["traces"][0]["policies"]
    own, large = rows[0], next(row for row in rows if row["policy"] == "fixed:large")
    assert large["queue_full"] > 0.1 * large["requests"] and own["queue_full"] == 0
    assert own["missed_share"] == 0 and own["right"] > max(row["right"] for row in rows[1:])


def test_more_in_the_queue_never_makes_a_rung_dearer() -> None:
    from es_govern import begin, decide

    crowded = profile_of({**GOVERNOR, "queue": 32})
    chosen = [
        decide(begin(crowded), ("dispatch", 1.0, 0.0, queued, 1.0, 60.0, None, 1), crowded)[1].rung
        for queued in range(40)
    ]
    assert chosen == sorted(chosen, reverse=True) and chosen[0] == 2 and set(chosen[32:]) == {0}


CASCADE = {"little": "small", "big": "large", "margin": 0.1, "share": 0.1}
TWO = [
    {"variant": "small", "accuracy": 0.7, "seconds": 0.01, "p95_seconds": 0.011},
    {"variant": "both", "accuracy": 0.85, "seconds": 0.02, "p95_seconds": 0.121, "cascade": CASCADE},
    {"variant": "large", "accuracy": 0.9, "seconds": 0.1, "p95_seconds": 0.11},
]


def cascaded(deadline: float | None, rate: float = 2.0) -> tuple[dict[str, Any], Governor]:
    """Return what one rung of two came to, and a governor that was told of the runs."""
    whole = profile_of({**GOVERNOR, "rungs": TWO})
    trace = pattern("steady", rate, 2000.0, deadline, 0)
    world, tally = World(BOARD, trace.ambient, trace.others), Tally(whole, trace.seconds)
    told, policy = Governor(whole), Fixed(whole, whole.index("both"))
    policy.done = told.done  # type: ignore[method-assign]
    Run(whole, trace, world, policy, Service(), tally).run()
    tally.close(world)
    return tally.document(), told


def test_a_cascade_takes_its_two_models_times() -> None:
    """Its 95th percentile is that of both together, and says nothing of how much its times differ."""
    found, told = cascaded(None)
    assert found["busy_share"] * 2000 / found["requests"] == pytest.approx(0.02, rel=0.05)
    assert found["latency_ms"]["p50"] < 12
    assert told.state.xi == pytest.approx(1.0, abs=0.1) and told.state.d < 0.1


def test_the_big_one_of_a_cascade_is_not_asked_too_late() -> None:
    """The little one's answer in time counts, for what the little one is worth."""
    found, _ = cascaded(0.05, rate=0.2)
    unsure = found["rung_answers"]["small"] / found["requests"]
    assert found["late"] == 0 and 0.05 < unsure < 0.15
    assert found["right_share"] == pytest.approx(0.85 - 0.15 * unsure)


def test_nobody_does_better_than_the_oracle_with_a_cascade() -> None:
    whole = profile_of({**GOVERNOR, "rungs": TWO})
    trace = pattern("steady", 20.0, 60.0, 0.25, 1)
    best = Oracle(whole, trace, 1.6).most_right()
    for _, make in policies(whole):
        world, tally = World(BOARD, trace.ambient, trace.others), Tally(whole, trace.seconds)
        Run(whole, trace, world, make(), Service(), tally).run()
        tally.close(world)
        assert tally.document()["right"] <= best * (1 + 1e-9)


@pytest.mark.parametrize("wrong", [{"die_c_per_watt": 13.0}, {"die_c_per_watt": -1}, {"die_seconds": "3"}])
def test_a_die_that_no_board_can_have_is_refused(wrong: dict[str, Any]) -> None:
    thermal = {**BOARD["thermal"], "die_c_per_watt": 3.0, "die_seconds": 3.0}
    request = {
        "board": {**BOARD, "thermal": thermal},
        "traces": [{"pattern": "burst"}],
        "seconds": 30.0,
        "rate": 15.0,
    }
    staged, plain = (
        simulated(SERVICE, one)["traces"][0]["policies"] for one in (request, {**request, "board": BOARD})
    )
    assert staged[0]["hottest_c"] > plain[0]["hottest_c"] + 1.0
    with pytest.raises(CannotRun, match="die_"):
        simulated(SERVICE, {**request, "board": {**BOARD, "thermal": {**thermal, **wrong}}})
