"""What the governor decides, one rule a test; the laws that hold for everything are in test_govern_laws.py."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from es_errors import CannotRun
from es_govern import REASONS, begin, decide, profile_of, state_from_json, state_to_json
from es_govern_settings import _RANGES as RANGES
from es_govern_settings import checked
from island_lab import ROOT

ROWS = [
    {"variant": "small", "accuracy": 0.60, "seconds": 0.002},
    {"variant": "middle", "accuracy": 0.70, "seconds": 0.010},
    {"variant": "large", "accuracy": 0.80, "seconds": 0.050},
]
POWER = {"idle_watts": 2.7, "busy_watts": 4.3, "basis": "made up"}
SENSORS = [
    {"name": "soc", "kind": "temperature", "trips": [{"at": 80, "effect": "slower"}, {"at": 85, "effect": "slower"}]},
    {"name": "throttled", "kind": "throttle"},
    {"name": "board", "kind": "power"},
    {"name": "pressure", "kind": "pressure"},
    {"name": "charge", "kind": "battery"},
]  # fmt: skip


def document(
    *, rungs: Any = ROWS, sensors: Any = SENSORS, power: Any = POWER, **settings: Any
) -> dict[str, Any]:
    return {"rungs": rungs, "sensors": sensors, "power": power, "settings": settings}


def readings(**values: Any) -> dict[str, Any]:
    """What the sensors say: all is well where a test says nothing else."""
    told = {"soc": 50.0, "throttled": (), "board": 3.0, "pressure": 0.0, "charge": 80.0, **values}
    kinds = {row["name"]: row["kind"] for row in SENSORS}
    return {name: (value, 0.5, kinds[name]) for name, value in told.items()}


class Service:
    """A profile and its state, for one request or tick after another."""

    def __init__(self, **changes: Any) -> None:
        self.profile = profile_of(document(**changes))
        self.state = begin(self.profile)
        self.at = 0.0

    def ask(self, *, age=0.0, queued=0, rate=1.0, left=None, pinned=None, runs=1) -> tuple[str, str, Any]:  # type: ignore[no-untyped-def]
        sample = ("dispatch", self.at, age, queued, rate, left, pinned, runs)
        state, decision, reason = decide(self.state, sample, self.profile)
        assert state is self.state and reason in REASONS
        return ("" if decision.refuse else self.profile.every[decision.rung].name), reason, decision

    def ran(self, name: str, times: int = 1, slower: float = 1.0, joules: float | None = None) -> None:
        rung = self.profile.index(name)
        seconds = self.profile.every[rung].seconds * slower
        for _ in range(times):
            self.state, *_ = decide(self.state, ("done", self.at, rung, seconds, 1, joules), self.profile)

    def tick(self, times: int = 1, busy: float = 0.1, given: Any = None, **values: Any) -> Any:
        for _ in range(times):
            sample = ("tick", self.at, busy, readings(**values) if given is None else given)
            self.state, decision, reason = decide(self.state, sample, self.profile)
            assert (decision, reason) == (None, "tick")
            self.at += 2.0
        return self.state.slow

    def change(self, **settings: Any) -> None:
        self.profile = self.profile.changed(settings)
        self.state, _, reason = decide(self.state, ("settings", settings), self.profile)
        assert reason == "settings"


# The ladder


def test_rungs_are_cheapest_first_and_what_is_dominated_is_left_out_with_the_reason() -> None:
    worse = {"variant": "worse", "accuracy": 0.65, "seconds": 0.02}
    profile = profile_of(document(rungs=[ROWS[2], worse, ROWS[0], ROWS[1]]))
    assert [rung.name for rung in profile.rungs] == ["small", "middle", "large"]
    assert profile.left_out == [("worse", "middle is at least as accurate and not slower")]
    assert profile.every[profile.index("worse")].name == "worse" and profile.index("none") == -1


def test_the_devices_own_figures_replace_the_hosts_and_may_turn_the_ladder_round() -> None:
    figures = {"schema": "edgeship.figures/1", "rungs": {"middle": {"seconds": 0.09, "p95_seconds": 0.1}}}
    profile = profile_of(document(), figures=figures)
    assert [rung.name for rung in profile.rungs] == ["small", "large"]
    assert profile.left_out == [("middle", "large is at least as accurate and not slower")]
    assert profile.every[2].measured == "device" and profile.rungs[0].measured == "host"


def test_a_cascade_costs_what_the_device_measured_of_its_two() -> None:
    cascade = {"little": "small", "big": "large", "margin": 0.2, "share": 0.1}
    rows = [*ROWS, {"variant": "small+large", "cascade": cascade, "accuracy": 0.75, "seconds": 1.0}]
    figures = {
        "small": {"seconds": 0.004, "p95_seconds": 0.005},
        "large": {"seconds": 0.1, "p95_seconds": 0.11},
    }
    profile = profile_of(document(rungs=rows), figures=figures)
    assert profile.every[profile.index("small+large")].seconds == pytest.approx(0.014)
    assert profile.deviation == profile_of(document(), figures=figures).deviation, (
        "the sum of two p95 is no spread"
    )
    off = profile_of(document(rungs=rows, cascade="off"), figures=figures)
    assert ("small+large", "governor.cascade is off") in off.left_out


@pytest.mark.parametrize(
    ("rows", "basis"),
    [
        ([{**row, "accuracy": None, "agreement": row["accuracy"]} for row in ROWS], "agreement"),
        ([{"variant": row["variant"], "seconds": row["seconds"]} for row in ROWS], "order"),
    ],
)
def test_without_accuracy_agreement_counts_then_the_order(rows: Any, basis: str) -> None:
    service = Service(rungs=rows)
    assert service.profile.basis == basis and service.ask()[:2] == ("large", "accurate")


# The fast loop


def test_without_any_pressure_the_most_accurate_serves() -> None:
    assert Service().ask()[:2] == ("large", "accurate")
    assert Service(rungs=ROWS[:1]).ask()[:2] == ("small", "only-rung")


def test_a_deadline_takes_the_best_that_is_sure_to_finish() -> None:
    service = Service()
    assert service.ask(left=0.100)[:2] == ("large", "accurate")
    assert service.ask(left=0.040)[:2] == ("middle", "in-time")
    assert service.ask(left=0.00215)[:2] == ("small", "cheapest")
    assert service.ask(left=0.040, age=0.4)[0] == "small", "a tenth of the whole deadline is kept back"
    assert service.ask(left=0.100, queued=30)[:2] == ("middle", "in-time"), "those behind it have one too"


def test_what_cannot_finish_is_refused_and_told_when_to_come_back() -> None:
    service = Service()
    name, reason, decision = service.ask(left=0.001, queued=5)
    assert (name, reason) == ("", "late") and decision.rung == -1
    assert decision.retry_after == pytest.approx(0.012)
    assert service.ask(left=0.0)[1] == service.ask(left=-1.0)[1] == "late"
    assert service.ask(left=0.040, pinned="large")[1] == "late", "the pinned one cannot"


def test_admission_refuses_only_what_even_the_cheapest_cannot_do() -> None:
    service = Service()
    for queued, left, refused in ((0, 0.0025, False), (9, 0.021, False), (10, 0.021, True), (0, 0.001, True)):
        _, decision, reason = decide(service.state, ("admit", 0.0, queued, 9.0, left, None), service.profile)
        assert (decision.refuse, reason) == ((True, "late") if refused else (False, "admitted"))
    _, decision, reason = decide(service.state, ("admit", 0.0, 0, 1.0, None, "huge"), service.profile)
    assert decision.refuse and reason == "unknown"


def test_without_a_deadline_no_rung_that_cannot_be_kept_up() -> None:
    service = Service()
    assert service.ask(rate=100.0)[0] == "large", "nobody waits: one client that asks again at once"
    assert service.ask(rate=16.0, queued=1)[0] == "large"
    assert service.ask(rate=18.0, queued=1)[:2] == ("middle", "load")
    assert service.ask(rate=100.0, queued=1)[:2] == ("small", "load")
    assert service.ask(rate=1000.0, queued=1)[:2] == ("small", "cheapest")
    assert service.ask(rate=1.0, queued=100)[:2] == ("middle", "load"), "a backlog of more than a second"


def test_slower_runs_than_profiled_count_at_once_and_are_forgotten_without_runs() -> None:
    service = Service()
    service.ran("middle", times=10, slower=3.0)
    assert service.state.xi == pytest.approx(3.0, rel=0.05)
    assert service.ask(left=0.140)[0] == "middle"
    assert service.ask(left=0.005)[1] == "late"
    service.tick(times=8)
    assert service.state.xi < 3.0, "the tick after the runs keeps what they told"
    service.tick(times=8)
    assert service.ask(left=0.005)[0] == "small", "a service that refuses all must learn that it could"


def test_misses_widen_the_margin_until_they_are_as_rare_as_wanted() -> None:
    """A neighbour makes a tenth of all runs three times slower, now and then: no mean and no deviation tells that."""
    service, misses, chosen = Service(), 0, set()
    for number in range(20000):
        slower = 3.0 if number % 100 < 10 else 1.0
        name, _, decision = service.ask(left=0.120)
        took = service.profile.every[decision.rung].seconds * slower
        misses += took > 0.120
        chosen.add(name)
        sample = ("done", 0.0, decision.rung, took, 1, None, took > 0.120)
        service.state, *_ = decide(service.state, sample, service.profile)
    assert 2 <= misses <= 20000 * 0.001 and {"large", "middle"} <= chosen
    before = service.state.margin
    service.ran("small")
    assert service.state.margin == before, "a run without a deadline tells nothing of misses"


def test_pinned_always_wins() -> None:
    worse = {"variant": "worse", "accuracy": 0.65, "seconds": 0.02}
    service = Service(rungs=[*ROWS, worse], variant="middle", watts=2.8)
    service.tick(times=30, soc=90.0, board=9.0)
    assert service.ask(rate=1e9, queued=100)[:2] == ("middle", "pinned")
    assert service.ask(pinned="large")[:2] == ("large", "pinned")
    assert service.ask(pinned="worse")[:2] == ("worse", "pinned"), "left out of the ladder, and still there"
    assert service.ask(pinned="huge")[:2] == ("", "unknown")
    service.change(mode="off", variant=None)
    assert service.ask()[:2] == ("large", "off")
    chosen = profile_of(document(mode="off"), chosen="small")
    assert decide(begin(chosen), ("dispatch", 0, 0, 0, 1, None, None, 1), chosen)[1].rung == 0


def test_a_pinned_variant_of_another_release_is_told_and_does_not_stop_the_service() -> None:
    service = Service(variant="gone")
    assert service.ask()[0] == "large"
    assert service.profile.problems == ["governor.variant gone is not in this release"]


def test_requests_are_joined_only_where_it_pays_and_in_time() -> None:
    rows = [*ROWS[:2], {**ROWS[2], "fixed_seconds": 0.03, "each_seconds": 0.02, "by_threads": {}}]
    service = Service(rungs=rows)
    assert service.ask(queued=4, rate=1.0)[2].coalesce == 5
    assert service.ask(queued=0)[2].coalesce == 1
    assert service.ask(queued=1, rate=1.0, runs=3)[2].coalesce == 1
    assert service.ask(queued=4, rate=1.0, left=0.15)[2].coalesce == 4, "0.135 s hold 0.03 + 4 * 0.02 at 1.1"
    assert Service(rungs=rows, coalesce="off").ask(queued=4)[2].coalesce == 1
    little = [*ROWS[:2], {**ROWS[2], "fixed_seconds": 0.002, "each_seconds": 0.048}]
    assert Service(rungs=little).ask(queued=4)[2].coalesce == 1, "4 % are not worth waiting for"


def test_joined_runs_are_no_surprise() -> None:
    rows = [*ROWS[:2], {**ROWS[2], "fixed_seconds": 0.03, "each_seconds": 0.02}]
    service = Service(rungs=rows)
    service.state, *_ = decide(service.state, ("done", 0.0, 2, 0.03 + 5 * 0.02, 5, None), service.profile)
    assert service.state.xi == pytest.approx(1.0)


# Energy


def test_joules_owed_make_it_save_and_paid_back_let_it_go_on() -> None:
    service = Service(watts=3.0)
    used, takes = [], {"small": 2.75, "middle": 2.9, "large": 4.0}
    for _ in range(200):
        name, reason, _ = service.ask()
        assert (name, reason) == ("large", "accurate") or reason == "budget"
        used.append(takes[name])
        service.tick(board=used[-1])
    assert used[0] == 4.0 and 2.9 in used
    assert 2.98 < sum(used[20:]) / 180 < 3.02, "all of the budget is used, and no more"


def test_the_largest_debt_is_half_a_minute_of_what_the_budget_leaves_and_some_ticks_of_full_power() -> None:
    assert profile_of(document()).debt(3.7) == pytest.approx(30 * 1.0)
    assert profile_of(document()).debt(2.8) == pytest.approx(30 * 1.6 / 4)
    four = profile_of(document(rungs=[*ROWS[:2], {**ROWS[2], "threads": 4}]))
    assert four.debt(2.8) == pytest.approx(30 * 4 * 1.6 / 4)


def test_on_fewer_threads_runs_take_longer_and_not_as_much_power() -> None:
    rows = [ROWS[0], {**ROWS[1], "threads": 4, "seconds": 0.02}, ROWS[2]]
    service = Service(rungs=rows, watts=3.0, sensors=[{"name": "throttled", "kind": "throttle"}])
    assert service.profile.seconds[4] == (0.002, 0.02, 0.05)
    assert service.profile.seconds[1] == (0.002, 0.08, 0.08), "the ladder must not turn round"
    service.ran("middle")
    assert service.state.spent == pytest.approx(4 * 1.6 * 0.02)
    service.tick(throttled=("under-voltage",))
    service.state, *_ = decide(service.state, ("done", 2.0, 1, 0.08, 1, None), service.profile)
    assert service.state.spent == pytest.approx(1.6 * 0.08)


def test_the_stricter_budget_counts() -> None:
    assert profile_of(document(watts=3.0, joules_per_hour=7200.0)).budget(None) == (2.0, "budget")
    assert profile_of(document(watts=1.5, joules_per_hour=7200.0)).budget(None) == (1.5, "budget")
    assert profile_of(document()).budget(None)[0] is None


def test_without_a_meter_the_power_model_counts() -> None:
    service = Service(watts=3.0, sensors=[])
    for _ in range(40):
        service.ran("large", times=30)
        slow = service.tick(given={})
    assert slow.z > 0 and service.ask()[:2] == ("small", "budget")
    for _ in range(40):
        slow = service.tick(given={})
    assert slow.z == 0 and service.ask()[:2] == ("large", "accurate")


def test_measured_joules_of_a_run_count_instead_of_the_model() -> None:
    service = Service(watts=3.0, sensors=[])
    service.tick(given={})
    service.ran("large", joules=5.0)
    assert service.tick(given={}).z == pytest.approx(2.7 * 2 + 5.0 - 3.0 * 2)


def test_a_meter_that_is_lost_leaves_what_it_was_above_the_estimate() -> None:
    service = Service(watts=4.0)
    service.tick(board=2.7)
    service.ran("large", times=10)
    service.tick(board=2 * (2.7 + 0.4))  # Twice what the model says.
    owed = service.state.slow.z
    service.ran("large", times=30)
    assert service.tick(board=None).z == pytest.approx(min(owed + 2 * 2 * (2.7 + 1.2) - 8, 39.0), abs=0.1)


def test_a_counter_of_joules_counts_by_its_difference() -> None:
    service = Service(watts=3.0)
    for joules, owed in ((100.0, 0.0), (110.0, 4.0), (5.0, 4.0 + 2.7 * 2 - 6), (6.0, 0.0)):
        slow = service.tick(given={"meter": (joules, 0.1, "energy")})
        # After a jump back nothing was measured: what the meter showed last (5 W) counts.
        assert slow.z >= owed - 1e-9
    assert slow.watts == pytest.approx(0.5)
    service.tick(given={"board": (206.0, 0.1, "energy")})
    assert service.state.slow.watts == pytest.approx(0.5), "another counter counts from elsewhere"


def test_a_counter_that_went_on_through_a_night_of_rest_is_no_burst_of_power() -> None:
    service = Service(watts=3.0)
    service.tick(given={"meter": (0.0, 0.1, "energy")})
    service.at += 8 * 3600.0 - 2.0
    slow = service.tick(given={"meter": (2.7 * 8 * 3600.0, 0.1, "energy")})
    assert slow.watts == pytest.approx(2.7) and (slow.z, slow.ratio) == (0.0, 1.0)


def test_a_budget_that_nothing_can_account_for_means_the_cheapest() -> None:
    service = Service(watts=3.0, sensors=[], power=None)
    assert "governor.watts is set, and neither a meter nor a power model" in service.profile.problems[0]
    service.tick(given={})
    assert service.ask()[:2] == ("small", "blind")


def test_a_budget_below_idling_is_told() -> None:
    assert "idling" in profile_of(document(watts=2.0)).problems[0]


# Heat, supply, battery, contention


def test_heat_takes_rungs_then_threads_each_at_degrees_of_its_own() -> None:
    service = Service(rungs=[*ROWS[:2], {**ROWS[2], "threads": 4}])
    told = [(service.tick(soc=soc).cap, service.state.slow.threads) for soc in (76.9, 77.1, 79.3, 79.8)]
    assert told == [(2, 4), (1, 4), (0, 4), (0, 1)]
    assert service.ask()[:2] == ("small", "temperature")
    told = [(service.tick(soc=soc).cap, service.state.slow.threads) for soc in (79.7, 79.2, 77.1, 76.9)]
    assert told == [(0, 4), (1, 4), (1, 4), (2, 4)]
    assert service.ask()[:2] == ("large", "accurate")
    assert service.tick(soc=95.0).cap == 0, "at once where it is far too hot"
    alone = Service()
    assert [alone.tick(soc=soc).cap for soc in (78.4, 78.6, 79.7, 79.8, 79.7)] == [2, 1, 1, 0, 1]


def test_heat_settles_between_neighbours() -> None:
    """A board that the middle rung heats to 72 degrees, the large one to 84, the small one to 66."""
    service, hot, served = Service(), 60.0, []
    for _ in range(1800):
        name = service.ask()[0]
        served.append(name)
        hot += ({"small": 66.0, "middle": 72.0, "large": 84.0}[name] - hot) * 2.0 / 150.0
        service.tick(soc=hot)
        assert hot < 80.0
    assert "small" not in served and 0.1 < served.count("large") / 1800 < 0.7


def test_the_persons_ceiling_is_a_trip_of_its_own() -> None:
    service = Service(temperature_c=60.0)
    service.tick(soc=58.6)
    assert service.ask()[:2] == ("middle", "temperature")


def test_a_shutdown_counts_ten_degrees_earlier() -> None:
    sensors = [{"name": "soc", "kind": "temperature", "trips": [{"at": 115, "effect": "shutdown"}]}]
    service = Service(sensors=sensors)
    assert service.tick(soc=103.4).cap == 2 and service.tick(soc=103.6).cap == 1


def test_a_lost_temperature_keeps_the_cap_and_one_rung_more() -> None:
    service = Service()
    service.tick(soc=78.6)
    assert service.ask()[:2] == ("middle", "temperature")
    assert service.tick(times=50, soc=None).cap == 0 and service.state.slow.blind == ("soc",)
    assert service.ask()[:2] == ("small", "blind"), "it was warm when last seen, and may have got warmer"
    assert service.tick(soc=60.0).cap == 2 and service.state.slow.blind == ()
    assert service.tick(times=50, soc=None).cap == 2, "it was cool: nothing to take away"
    assert service.tick(soc=77.2).cap == 2
    assert service.tick(soc=None).cap == 0, "lost, it counts as a degree and a half warmer"


def test_an_old_reading_is_a_lost_one() -> None:
    service = Service()
    service.tick(soc=77.2)
    service.tick(given={**readings(), "soc": (50.0, 11.0, "temperature")})
    assert service.state.slow.cap == 0 and service.state.slow.blind == ("soc",)
    service.tick(given={**readings(), "charge": (80.0, 15.0, "battery")})
    assert service.state.slow.blind == (), "a battery is read seldom"


def test_a_ceiling_that_nothing_can_watch_counts_as_reached_after_a_minute() -> None:
    service = Service(temperature_c=70.0)
    assert service.tick(times=31, soc=None).cap == 2
    assert service.tick(times=3, soc=None).cap == 0 and service.ask()[:2] == ("small", "blind")
    rested = Service(temperature_c=70.0)
    rested.tick()
    rested.at += 3600.0
    assert rested.tick(soc=None).cap == 2, "a rest is no blindness"
    free = Service()
    assert free.tick(times=60, soc=None).cap == 2, "nobody promised anything"


def test_throttled_goes_down_and_under_voltage_at_once_to_the_bottom() -> None:
    service = Service(rungs=[*ROWS[:2], {**ROWS[2], "threads": 4}])
    service.tick(throttled=("throttled",))
    assert service.ask()[:2] == ("middle", "throttled")
    assert [service.tick(throttled=("throttled",)).cap for _ in range(3)] == [0, 0, 0]
    assert service.state.slow.threads == 1, "and when all are down, a thread"
    assert [service.tick().cap for _ in range(4)] == [0, 1, 2, 2]
    service.tick(throttled=("under-voltage", "frequency-capped"))
    name, reason, decision = service.ask()
    assert (name, reason, decision.threads) == ("small", "under-voltage", 1)
    service.tick(times=14)
    assert service.ask()[1] == "under-voltage", "held for 30 s: going up at once would bring it back"
    service.tick(times=3)
    assert service.ask()[:2] == ("large", "accurate")
    service.tick(throttled=("under-voltage",))
    assert service.tick(times=50, throttled=None).cap == 0, "lost flags stay as they were"


def test_battery_bands_have_their_own_settings_and_do_not_flap() -> None:
    bands = [{"below_percent": 50, "variant": "middle"}, {"below_percent": 20, "watts": 2.75}]
    service = Service(battery=bands)
    service.tick(charge=60.0)
    assert service.ask()[:2] == ("large", "accurate")
    service.tick(charge=49.0)
    assert service.ask()[:2] == ("middle", "battery")
    service.tick(charge=50.5)
    assert service.ask()[1] == "battery", "one percent more is noise"
    service.tick(charge=51.0)
    assert service.ask()[1] == "accurate"
    service.tick(times=30, charge=19.0, board=4.0)
    assert service.ask()[:2] == ("small", "battery") and service.state.slow.z > 0
    service.tick(times=30, charge=None, board=4.0)
    assert service.ask()[1] == "battery" and "charge" in service.state.slow.blind


def test_a_band_that_names_a_dominated_variant_allows_what_is_not_slower() -> None:
    rows = [*ROWS, {"variant": "worse", "accuracy": 0.65, "seconds": 0.02}]
    service = Service(rungs=rows, battery=[{"below_percent": 30, "variant": "worse"}])
    service.tick(charge=20.0)
    assert service.ask()[:2] == ("middle", "battery")
    other = Service(battery=[{"below_percent": 30, "variant": "gone"}])
    other.tick(charge=20.0)
    assert other.ask()[0] == "large" and "gone" in other.profile.problems[0]


def test_the_emptiest_battery_counts_also_when_it_is_lost() -> None:
    sensors = [{"name": "left", "kind": "battery"}, {"name": "right", "kind": "battery"}]
    service = Service(sensors=sensors, battery=[{"below_percent": 30, "variant": "small"}])
    service.tick(given={"left": (20.0, 1.0, "battery"), "right": (90.0, 1.0, "battery")})
    assert service.ask()[:2] == ("small", "battery")
    service.tick(given={"left": (None, 99.0, "battery"), "right": (90.0, 1.0, "battery")})
    assert service.ask()[:2] == ("small", "battery") and service.state.slow.blind == ("left",)


def test_others_that_wait_for_the_processor_get_threads_back() -> None:
    service = Service(rungs=[*ROWS[:2], {**ROWS[2], "threads": 3, "by_threads": {"1": 0.09, "2": 0.06}}])
    assert service.tick(pressure=0.5, busy=0.9).threads == 3, "we keep it busy ourselves"
    assert service.tick(pressure=0.5, busy=0.1).threads == 2
    assert service.ask()[1:][0] == "pressure" and service.ask()[2].threads == 2
    assert service.ask(left=0.065)[0] == "middle", "on two threads it takes 0.06"
    assert service.tick(times=5, pressure=None, busy=0.1).threads == 1, "lost: as it was, never more"
    assert service.tick(pressure=0.2).threads == 1
    assert service.tick(pressure=0.01).threads == 2
    assert service.tick(times=5, pressure=None).threads == 2, "it was none when last seen: no reason to go on"
    assert service.tick(pressure=0.01).threads == 3


# Settings and state


def test_changed_settings_hold_from_the_next_request_on() -> None:
    service = Service(watts=2.75)
    service.tick(times=10, board=4.0)
    assert service.ask()[:2] == ("small", "budget")
    service.change(watts=None)
    assert service.ask()[:2] == ("large", "accurate")


@pytest.mark.parametrize(
    "settings",
    [
        {"wats": 3}, {"watts": 0}, {"watts": True}, {"watts": "3"}, {"watts": float("nan")}, {"mode": "on"},
        {"battery": 3}, {"battery": [{"watts": 2}]}, {"battery": [{"below_percent": 30, "volts": 1}]},
        {"load": 1.5}, {"variant": 3}, {"log": "yes"}, {"temperature_c": -1}, {"cascade": 1}, [],
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(settings: Any) -> None:
    with pytest.raises(CannotRun) as caught:
        profile_of(document(), settings)
    assert caught.value.error == "bad-settings" and "governor" in caught.value.reason


def test_no_value_means_none_or_the_default() -> None:
    profile = profile_of(document(watts=3.0, load=0.5), {"watts": None, "load": None})
    assert profile.settings["watts"] is None and profile.settings["load"] == 0.8


def test_defaults_and_ranges_are_those_of_edgeship_yaml() -> None:
    from edgeship.project.governing import settings_of
    from edgeship.project.plain import rules

    ours = checked()
    assert {**settings_of({}), "battery": []} == ours
    keys = rules()["parts"]["governor"]["keys"]
    for key, (least, most) in RANGES.items():
        rule = keys.get(key) or keys["battery"]["items"]["keys"][key]
        assert (rule["gt"], rule["le"]) == (least, most), key


def test_a_device_takes_what_its_service_takes_and_no_more() -> None:
    from edgeship.device.helper.tuning import SETTINGS

    for key in set(RANGES) & set(SETTINGS):
        least, most = RANGES[key]
        assert SETTINGS[key](most) and not SETTINGS[key](least) and not SETTINGS[key](most * 1.001), key
    assert set(SETTINGS) == set(checked())


def test_a_ladder_without_rungs_cannot_be_governed() -> None:
    with pytest.raises(CannotRun, match=r"governor\.rungs"):
        profile_of({"rungs": []})


def test_a_variant_that_nobody_timed_still_serves() -> None:
    profile = profile_of({"rungs": [{"variant": "only"}]})
    state = begin(profile)
    state, *_ = decide(state, ("done", 0.0, 0, 0.5, 1, None), profile)
    assert decide(state, ("dispatch", 0.0, 0.0, 3, 9.0, 0.1, None, 1), profile)[1].rung == 0


def test_the_page_names_every_reason_and_every_setting() -> None:
    page = (ROOT / "docs" / "governor.md").read_text()
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = set(re.findall(r"`([^`]+)`", " ".join(cells)))
    assert set(REASONS) | set(checked()) <= told


def test_the_state_survives_json() -> None:
    service = Service(watts=3.0)
    service.ran("large", times=7, slower=1.37)
    service.tick(times=3, soc=79.0, throttled=("throttled",))
    saved = json.loads(json.dumps(state_to_json(service.state)))
    assert state_from_json(saved) == service.state
