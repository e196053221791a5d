"""One xi for all rungs, and a factor for each whose figure is wrong beside the others'."""

from __future__ import annotations

import json
from typing import Any

import pytest
from es_govern import begin, costs, decide, profile_of, state_from_json, state_to_json
from test_govern import ROWS, Service, document

from benchmarks.governor import board_of
from benchmarks.wrong_figures import document as simulated
from benchmarks.wrong_figures import figures, ran, trace_of, without_factors

NAMES = ("small", "middle", "large")


def seconds(service: Service, slower: float = 1.0) -> list[float]:
    """What a run of each rung is expected to take."""
    return [slower * one for one in costs(service.state, service.profile)]


def alternate(
    service: Service, wrong: dict[str, float], times: int = 60, slow: Any = lambda turn: 1.0
) -> None:
    for turn in range(times):
        name = NAMES[turn % 3]
        service.ran(name, times=2, slower=wrong.get(name, 1.0) * slow(turn))


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_figure_is_laid_to_its_own_rung(name: str, factor: float) -> None:
    service = Service()
    alternate(service, {name: factor})
    for rung, told in zip(ROWS, seconds(service), strict=True):
        truth = rung["seconds"] * (factor if rung["variant"] == name else 1.0)
        assert told * service.state.xi == pytest.approx(truth, rel=0.1), rung["variant"]
    assert service.state.xi == pytest.approx(1.0, rel=0.1) and service.state.d < 0.1


def test_the_others_are_used_as_if_nothing_was_wrong() -> None:
    """Without factors the middle one, twice as slow as its figure, keeps the large one from a deadline it can hold."""
    service = Service()
    alternate(service, {"middle": 2.0})
    service.ran("middle", times=3, slower=2.0)
    assert service.ask(left=0.075)[:2] == ("large", "accurate")
    service.ran("large", times=3)
    assert service.ask(left=0.018)[:2] == ("small", "in-time"), "the middle one takes 0.02 s"


def test_what_slows_all_of_them_is_nobodys_fault() -> None:
    service = Service()
    alternate(service, {}, times=300, slow=lambda turn: 2.5 if turn % 40 < 10 else 1.0)
    assert all(factor == pytest.approx(1.0, abs=0.1) for factor in service.state.factors.values())
    service.ran("small", times=20, slower=2.5)
    assert seconds(service, service.state.xi)[2] == pytest.approx(0.125, rel=0.15), (
        "the large one never ran slowly"
    )


def test_one_disturbed_run_moves_a_factor_by_little() -> None:
    service = Service()
    alternate(service, {})
    service.ran("small")
    service.ran("large", slower=50.0)
    assert all(0.9 < factor < 1.1 for factor in service.state.factors.values())


def test_factors_are_bounded() -> None:
    service = Service()
    alternate(service, {"large": 50.0, "small": 0.01}, times=2000)
    assert set(service.state.factors) == set(NAMES)
    assert all(0.24 < factor < 4.01 for factor in service.state.factors.values())


def test_runs_of_one_rung_and_runs_before_a_rest_tell_nothing_of_figures() -> None:
    service = Service()
    service.ran("large", times=50, slower=2.0)
    service.tick()
    service.tick()
    service.ran("small", times=5)
    assert service.state.factors == {} and seconds(service) == [0.002, 0.010, 0.050]


def test_a_cascade_takes_what_its_two_take() -> None:
    cascade = {"little": "small", "big": "large", "margin": 0.2, "share": 0.1}
    service = Service(
        rungs=[*ROWS, {"variant": "both", "cascade": cascade, "accuracy": 0.75, "seconds": 0.02}]
    )
    plain = dict(zip([r.name for r in service.profile.every], seconds(service), strict=True))
    alternate(service, {"large": 2.0})
    told = dict(zip([r.name for r in service.profile.every], seconds(service), strict=True))
    grown = (0.002 + 0.1 * 0.050 * 2) / (0.002 + 0.1 * 0.050)
    assert told["both"] / plain["both"] == pytest.approx(grown, rel=0.1)


def test_factors_outlast_other_settings_and_go_with_their_rungs_name() -> None:
    service = Service()
    alternate(service, {"middle": 2.0})
    before = dict(zip([r.name for r in service.profile.every], seconds(service), strict=True))
    turned = {"rungs": {"small": {"seconds": 0.02}}}
    service.profile = profile_of(document(), figures=turned)
    service.state, *_ = decide(service.state, ("settings", {}), service.profile)
    assert [r.name for r in service.profile.every] != list(before)
    assert service.state.factors["middle"] == pytest.approx(2.0, rel=0.1)
    assert state_from_json(json.loads(json.dumps(state_to_json(service.state)))) == service.state


def test_a_ladder_that_factors_turn_round_stays_a_ladder() -> None:
    service = Service()
    service.state = begin(service.profile)._replace(factors={"small": 4.0, "middle": 0.25})
    assert seconds(service) == [0.008, 0.008, 0.050]


@pytest.mark.parametrize(("trace", "deadline"), [("diurnal", 1.3), ("contention", 2.5)])
def test_in_the_simulator_a_wrong_figure_costs_next_to_nothing(trace: str, deadline: float) -> None:
    """With one xi for all it costs points of right answers: python -m benchmarks.wrong_figures."""
    board = board_of("raspberry-pi-4")
    came = trace_of(trace, 0.6, deadline, 240.0)
    right, _ = ran(board, None, came)
    rung = profile_of(simulated(board)).every[2]
    wrong = figures(rung, 2.0)
    made, learned = ran(board, wrong, came)
    with without_factors():
        before, _ = ran(board, wrong, came)
    assert learned[rung.name] == pytest.approx(0.5, rel=0.15)
    assert 100 * (right["right_share"] - made["right_share"]) < 0.5
    assert 100 * (right["right_share"] - before["right_share"]) > 1.0
    assert made["missed_share"] <= right["missed_share"] + 0.001
