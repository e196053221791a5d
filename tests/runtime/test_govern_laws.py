"""What holds for every decision of the governor, whatever the ladder, the load and the sensors (hypothesis)."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from es_govern import begin, costs, decide, profile_of, state_from_json, state_to_json
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.decisions import runs, timed

# Shrinking and explaining a failure takes minutes here; what was found is small enough to be read.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
few = settings(max_examples=60, deadline=None, phases=PHASES)
seconds = st.floats(0.0005, 0.5)
shares = st.floats(0.0, 1.0)
SENSORS = [
    {"name": "soc", "kind": "temperature", "trips": [{"at": 80, "effect": "slower"}]},
    {"name": "case", "kind": "temperature", "trips": [{"at": 60, "effect": "shutdown"}]},
    {"name": "throttled", "kind": "throttle"},
    {"name": "board", "kind": "power"},
    {"name": "pressure", "kind": "pressure"},
    {"name": "charge", "kind": "battery"},
]
KINDS = {row["name"]: row["kind"] for row in SENSORS}
FLAGS = ("under-voltage", "frequency-capped", "throttled")


@st.composite
def documents(draw: Any, power: Any = None) -> dict[str, Any]:
    """A ladder of one to five rungs, with settings that touch everything, of which none pins a variant."""
    costs = draw(st.lists(seconds, min_size=1, max_size=5, unique=True))
    rungs = [
        {
            "variant": f"v{i}",
            "accuracy": draw(shares),
            "seconds": cost,
            "p95_seconds": cost * draw(st.floats(1.0, 2.0)),
            "threads": draw(st.sampled_from((1, 2, 4))),
        }
        for i, cost in enumerate(costs)
    ]
    given_settings = {
        "watts": draw(st.none() | st.floats(2.5, 6.0)),
        "temperature_c": draw(st.none() | st.floats(45.0, 90.0)),
        "battery": draw(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "below_percent": st.floats(5.0, 95.0),
                        "watts": st.none() | st.floats(2.5, 4.0),
                        "variant": st.none() | st.just("v0"),
                    }
                ),
                max_size=2,
            )
        ),
    }
    model = draw(st.none() | st.just({"idle_watts": 2.0, "busy_watts": 3.5}))
    return {"rungs": rungs, "sensors": SENSORS, "power": model, "settings": given_settings}


values = st.fixed_dictionaries(
    {
        "soc": st.floats(20.0, 95.0),
        "case": st.floats(20.0, 70.0),
        "soc swing": st.floats(0.0, 4.0),
        "case swing": st.floats(0.0, 4.0),
        "throttled": st.sets(st.sampled_from(FLAGS), max_size=1).map(tuple),
        "board": st.floats(1.5, 8.0),
        "pressure": shares,
        "charge": st.floats(0.0, 100.0),
    }
)
ticks = st.lists(st.tuples(values, shares, st.integers(0, 20)), min_size=1, max_size=12)
factors = st.dictionaries(st.sampled_from(["v0", "v1", "v2", "v3", "v4"]), st.floats(0.25, 4.0))
"""What was learned of the rungs' figures, whatever it is."""
requests = st.tuples(
    st.floats(0.0, 1.0), st.integers(0, 30), st.floats(0.0, 200.0), st.none() | st.floats(0.0, 2.0)
)


def readings(told: dict[str, Any]) -> dict[str, Any]:
    found = {name: (value, 0.5, KINDS[name]) for name, value in told.items() if name in KINDS}
    for name in ("soc", "case"):
        found[name] += (told[f"{name} swing"],)
    return found


def choice(state: Any, request: Any, profile: Any, runs: int = 1) -> tuple[int, int]:
    """Return (rung, threads) for a request; a refused one is below every rung."""
    age, queued, rate, left = request
    _, decision, _ = decide(state, ("dispatch", 0.0, age, queued, rate, left, None, runs), profile)
    return decision.rung, decision.threads


def ran(state: Any, profile: Any, times: int, slower: float = 1.0) -> Any:
    for i in range(times):
        rung = i % len(profile.rungs)
        took = profile.seconds[state.slow.threads][rung] * slower
        state, *_ = decide(state, ("done", 0.0, rung, took, 1, None), profile)
    return state


@few
@given(documents(), requests, st.integers(1, 4), st.floats(0.3, 5.0), st.integers(0, 9), factors)
def test_no_request_is_served_that_is_not_expected_to_finish(
    document, request, runs_of_it, slower, times, wrong
):  # type: ignore[no-untyped-def]
    profile = profile_of(document)
    state = ran(begin(profile)._replace(factors=wrong), profile, times, slower)
    left = request[3]
    rung, _ = choice(state, request, profile, runs_of_it)
    if left is not None and rung >= 0:
        assert left > 0
        assert state.xi * costs(state, profile)[rung] * runs_of_it <= left


@few
@given(documents(), st.lists(st.tuples(st.floats(0.0, 0.05), st.floats(0.01, 0.5), st.floats(0.5, 3.0)),
                             min_size=20, max_size=60))  # fmt: skip
def test_a_served_queue_starts_nothing_past_its_deadline(document, arrivals):  # type: ignore[no-untyped-def]
    """One worker, first come first served, runs that take another time than profiled."""
    profile = profile_of(document)
    state, now, came, served = begin(profile), 0.0, 0.0, 0
    coming = []
    for gap, deadline, slower in arrivals:
        came += gap
        coming.append((came, came + deadline, slower))
    for place, (at, due, slower) in enumerate(coming):
        now = max(now, at)
        behind = sum(1 for other, _, _ in coming[place + 1 :] if other <= now)
        sample = ("dispatch", now, now - at, behind, 20.0, due - now, None, 1)
        state, decision, _ = decide(state, sample, profile)
        if decision.refuse:
            continue
        assert now < due
        took = profile.rungs[decision.rung].seconds * slower
        now, served = now + took, served + 1
        state, *_ = decide(state, ("done", now, decision.rung, took, 1, None), profile)
    assert served or all(due - at < 3 * profile.rungs[0].seconds for at, due, _ in coming)


@few
@given(documents(), ticks, requests, st.floats(0.1, 20.0), st.floats(0.0, 9.0), st.floats(0.0, 5.0),
       factors)  # fmt: skip
def test_slower_runs_never_choose_a_costlier_rung(document, told, request, xi, more, d, wrong):  # type: ignore[no-untyped-def]
    profile = profile_of(document)
    state = begin(profile)._replace(factors=wrong)
    for value, busy, _ in told:
        state, *_ = decide(state, ("tick", state.slow.at or 0.0 + 2.0, busy, readings(value)), profile)
    fast, slow = state._replace(xi=xi, d=d), state._replace(xi=xi + more, d=d)
    assert choice(slow, request, profile)[0] <= choice(fast, request, profile)[0]
    assert choice(fast._replace(d=d + more), request, profile)[0] <= choice(fast, request, profile)[0]
    assert choice(fast._replace(margin=more), request, profile)[0] <= choice(fast, request, profile)[0]


@few
@given(
    documents(), requests, st.integers(0, 40), st.floats(0.0, 300.0), st.integers(0, 9), st.floats(0.3, 5.0), factors
)  # fmt: skip
def test_more_load_never_chooses_a_costlier_rung(document, request, more, faster, times, slower, wrong):  # type: ignore[no-untyped-def]
    profile = profile_of(document)
    state = ran(begin(profile)._replace(factors=wrong), profile, times, slower)
    age, queued, rate, left = request
    calm = choice(state, request, profile)[0]
    assert choice(state, (age, queued + more, rate, left), profile)[0] <= calm
    assert choice(state, (age, queued, rate + faster, left), profile)[0] <= calm
    assert left is None or choice(state, (age, queued, rate, left / 2), profile)[0] <= calm


@few
@given(documents(), ticks, requests, st.lists(st.floats(0.0, 30.0), min_size=12, max_size=12), factors)
def test_more_heat_never_chooses_a_costlier_rung(document, told, request, hotter, wrong):  # type: ignore[no-untyped-def]
    profile = profile_of(document)
    mild = hot = begin(profile)._replace(factors=wrong)
    for number, (value, busy, _) in enumerate(told):
        at = 2.0 * number
        mild, *_ = decide(mild, ("tick", at, busy, readings(value)), profile)
        warmer = {**value, "soc": value["soc"] + hotter[number], "case": value["case"] + hotter[number]}
        hot, *_ = decide(hot, ("tick", at, busy, readings(warmer)), profile)
        one, other = choice(mild, request, profile), choice(hot, request, profile)
        assert other[0] <= one[0] and hot.slow.threads <= mild.slow.threads


@settings(max_examples=150, deadline=None, phases=PHASES)
@given(documents(), ticks, ticks, requests, st.sets(st.sampled_from(sorted(KINDS)), min_size=1),
       st.sampled_from(("none", "old", "gone")))  # fmt: skip
def test_losing_a_sensor_never_raises_power(document, before, after, request, lost, how):  # type: ignore[no-untyped-def]
    """Beside a service whose sensors went on showing the last value: never a costlier rung, never more threads."""
    profile = profile_of(document)
    state, at = begin(profile), 0.0
    for value, busy, times in before:
        state, *_ = decide(ran(state, profile, times), ("tick", at, busy, readings(value)), profile)
        at += 2.0
    last = before[-1][0]
    held = blind = state
    for value, busy, times in after:
        told = readings({**value, **{name: shown for name, shown in last.items() if name.split()[0] in lost}})
        held, *_ = decide(ran(held, profile, times), ("tick", at, busy, told), profile)
        for name in lost:
            age = {"none": 30.0, "old": 10.1, "gone": None}[how]
            told[name] = (last[name] if how == "old" else None, age, KINDS[name])
        if how == "gone":
            told = {name: reading for name, reading in told.items() if name not in lost}
        blind, *_ = decide(ran(blind, profile, times), ("tick", at, busy, told), profile)
        at += 2.0
        assert blind.slow.threads <= held.slow.threads and blind.slow.z >= held.slow.z - 1e-9
        assert choice(blind, request, profile)[0] <= choice(held, request, profile)[0]


@few
@given(st.lists(st.tuples(seconds, shares), min_size=2, max_size=5, unique_by=lambda one: one[0]),
       st.floats(0.1, 1.0), st.floats(0.02, 3.0), st.booleans())  # fmt: skip
def test_mean_power_keeps_to_a_budget_that_the_cheapest_can_keep(ladder, load, spare, metered):  # type: ignore[no-untyped-def]
    """A board that takes 2 W and 1.5 W more while it computes; 20 minutes of requests at a steady rate."""
    idle, active, length, tick = 2.0, 1.5, 1200.0, 2.0
    rungs = [{"variant": f"v{i}", "accuracy": a, "seconds": s} for i, (s, a) in enumerate(ladder)]
    document = {
        "rungs": rungs,
        "sensors": SENSORS,
        "power": {"idle_watts": idle, "busy_watts": idle + active},
    }
    cheapest = profile_of(document).rungs[0].seconds
    rate = load / max(s for s, _ in ladder)
    budget = idle + active * rate * cheapest + spare * active * load
    profile = profile_of({**document, "settings": {"watts": budget}})
    state, at, used = begin(profile), 0.0, 0.0
    state, *_ = decide(state, ("tick", at, 0.0, {}), profile)
    while at < length:
        rung, _ = choice(state, (0.0, 0, rate, None), profile)
        busy = rate * profile.rungs[rung].seconds
        state, *_ = decide(state, ("done", at, rung, busy * tick, max(1, round(rate * tick)), None), profile)
        joules = (idle + active * busy) * tick
        used, at = used + joules, at + tick
        told = {"board": (joules / tick, 0.1, "power")} if metered else {}
        state, *_ = decide(state, ("tick", at, busy, told), profile)
    assert used <= budget * length + profile.debt(budget)


@few
@given(documents(), ticks, requests)
def test_a_decision_changes_neither_its_state_nor_its_profile_and_comes_out_again(document, told, request):  # type: ignore[no-untyped-def]
    profile = profile_of(document)
    whole = copy.deepcopy(profile.to_json())
    state = begin(profile)
    for number, (value, busy, times) in enumerate(told):
        state = ran(state, profile, times, 1.1)
        kept = json.dumps(state_to_json(state))
        sample = ("tick", 2.0 * number, busy, readings(value))
        after = decide(state, sample, profile)
        again = decide(state_from_json(json.loads(kept)), json.loads(json.dumps(sample)), profile)
        assert after == again and json.dumps(state_to_json(state)) == kept
        state = after[0]
    assert profile.to_json() == whole


def test_twenty_thousand_random_decisions_can_all_be_carried_out() -> None:
    """A million: python -m benchmarks.decisions."""
    reasons = {outcome[2] for _, _, outcome, _ in runs(20000, seed=1)}
    assert len(reasons) > 15


def test_a_decision_takes_less_than_fifty_microseconds() -> None:
    """The best median of five, so that a busy machine does not decide."""
    figures = [timed(repeats=500) for _ in range(5)]
    for kind in ("admit", "dispatch", "done", "tick"):
        assert min(one[kind]["p50"] for one in figures) < 50.0, kind


@pytest.mark.parametrize("kind", ["fly", None])
def test_a_sample_that_is_none_is_a_fault_of_the_program(kind: Any) -> None:
    profile = profile_of({"rungs": [{"variant": "v", "seconds": 0.1}]})
    with pytest.raises(ValueError, match="no sample"):
        decide(begin(profile), (kind,), profile)
