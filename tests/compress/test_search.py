"""The search: order, budget, probes, what was made before; and what a plan holds. Time and worth are handed over."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeship.compress.methods import step_of
from edgeship.compress.plan import Planned, planned, probe_of, recipe_for
from edgeship.compress.search import Way, promising, search
from edgeship.errors import InputError
from edgeship.pareto import front
from edgeship.pipeline.search_plan import operations_of, spelled_for
from edgeship.profile import load_profile
from edgeship.tflite.flat import parse
from edgeship.values import Candidate

TARGETS = Path(__file__).resolve().parents[2] / "targets"
INT8, INT4, FLOAT = "static_wi8_ai8", "static_wi4_ai8", "float_fp32"


@dataclass
class World:
    """Candidates take as long as they are said to; what is made is worth what its name says."""

    takes: dict[str, float] = field(default_factory=dict)
    worth: dict[str, float] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)
    now: float = 0.0
    made: list[str] = field(default_factory=list)

    def make(self, one: Planned) -> str:
        name = one.candidate.name
        if name not in self.before:
            self.now += self.takes.get(name, 1.0)
        self.made.append(name)
        return name

    def way(self) -> Way[str]:
        return Way(
            make=self.make,
            costs=lambda name: (self.worth.get(name, 5.0), 1.0),
            clock=lambda: self.now,
            known=lambda one: one.candidate.name in self.before,
            tell=lambda results, left: None,
        )


def plan_of(*chains: str, named: bool = True) -> list[Planned]:
    plan = [Planned(candidate=Candidate(recipe=INT8), stage="plain", named=True)]
    for chain in chains:
        steps = tuple(step_of(label) for label in chain.split("+"))
        plan.append(Planned(candidate=Candidate(steps=steps, recipe=INT8), stage="training", named=named))
    return plan


def test_results_stand_in_the_order_of_the_plan_however_many_run_side_by_side() -> None:
    plan = plan_of("prune-50", "cluster-16", "qat-int8")
    for jobs in (1, 3):
        found = search(plan, World().way(), jobs=jobs)
        assert list(found.results) == [one.candidate.digest for one in plan]


def test_nothing_is_begun_that_cannot_end_in_time_and_what_was_made_costs_none() -> None:
    plan = plan_of("prune-50", "cluster-16", "qat-int8")
    names = [one.candidate.name for one in plan]
    world = World(takes={names[1]: 10.0}, before={names[3]})
    found = search(plan, world.way(), seconds=15.0)
    assert [one.candidate.name for one in found.left] == [names[2]], "the second training would end too late"
    assert world.made == [names[0], names[1], names[3]]


def test_a_better_half_is_trained_in_full_and_what_people_name_always() -> None:
    plan = plan_of("prune-50", "prune-60", "prune-70", "prune-80", "prune-90", "cluster-4", named=False)
    plan.append(replace(plan_of("qat-int8")[1], named=True))
    probes = {probe_of(one).candidate.name: one for one in plan[1:7]}
    worth = {name: float(k) for k, name in enumerate(probes)}
    world = World(worth=worth)
    found = search(plan, world.way())
    whole = [one.candidate.name for one in plan]
    assert world.made[1:7] == list(probes), "all are probed"
    assert world.made[7:] == [*whole[1:4], whole[7]]
    assert [one.candidate.name for one in found.passed_over] == whole[4:7]
    assert len(found.results) == 5, "probes are no results"


def test_only_what_was_probed_is_passed_over_and_the_rest_had_no_time() -> None:
    plan = plan_of("prune-50", "prune-60", "prune-70", "prune-80", "prune-90", "cluster-4", named=False)
    first, whole = probe_of(plan[1]).candidate.name, [one.candidate.name for one in plan]
    told: list[int] = []
    world = World(takes={first: 10.0})

    def make(one: Planned) -> str | None:
        made = world.make(one)
        return None if made == first else made

    way = replace(world.way(), make=make, tell=lambda results, left: told.append(left))
    found = search(plan, way, seconds=5.0)
    assert world.made == [whole[0], first], "a probe that the time ran out for, and none after it"
    assert not found.passed_over and not found.probes
    assert [one.candidate.name for one in found.left] == whole[1:]
    search(plan, replace(World().way(), tell=lambda results, left: told.append(left)))
    assert told[1:] == sorted(told[1:], reverse=True), "what is left to do never grows"


def test_the_first_training_is_expected_to_take_as_long_as_the_slowest_quick_one() -> None:
    plan = plan_of("prune-50")
    world = World(takes={plan[0].candidate.name: 6.0})
    assert names(search(plan, world.way(), seconds=10.0).left) == names(plan[1:])


def test_what_could_not_be_made_does_not_speak_for_itself() -> None:
    plan = plan_of("prune-50", "prune-60", named=False)[1:]
    probes = {one.candidate.digest: one.candidate.name for one in plan}
    kept = promising(plan, probes, lambda name: None if "50" in name else (1.0,))
    assert [one.candidate.name for one in kept] == [plan[1].candidate.name]


def test_a_failure_in_one_thread_stops_the_others() -> None:
    stopped: list[bool] = []

    def make(one: Planned) -> str:
        raise InputError("bad", "no")

    way = replace(World().way(), make=make, stop=lambda: stopped.append(True))
    with pytest.raises(InputError):
        search(plan_of("prune-50"), way, jobs=2)
    assert stopped


def names(plan: Sequence[Planned]) -> list[str]:
    return [one.candidate.name for one in plan]


def test_chains_end_in_the_recipe_that_they_are_for() -> None:
    of: Callable[[str], str | None] = lambda chain: recipe_for(  # noqa: E731
        [step_of(label) for label in chain.split("+")], (FLOAT, INT8, INT4)
    )
    assert of("qat-int4") == INT4 and of("prune-50") == INT8 and of("qat-int8+prune-50") == INT8
    assert recipe_for([step_of("qat-int4")], (FLOAT, INT8)) is None
    assert recipe_for([step_of("prune-50")], (FLOAT,)) == FLOAT


def test_a_plan_has_recipes_first_named_chains_and_their_control() -> None:
    plan = planned(["prune-60+qat-int8"], [INT8, FLOAT], samples=True, seed=3)
    assert names(plan) == [INT8, FLOAT, f"prune-60+qat-int8+{INT8}", f"finetune+{INT8}"]
    assert [one.control for one in plan] == [False, False, False, True]
    assert all(step.seed == 3 for one in plan for step in one.candidate.steps)
    usual = planned([], [INT8, INT4, FLOAT], samples=True, seed=0)
    stages = [one.stage for one in usual]
    assert stages == sorted(stages, key=["plain", "quick", "training"].index) and "training" in stages
    nothing = planned([], [INT8, FLOAT], samples=False, seed=0)
    assert not any(one.stage == "training" for one in nothing)


@pytest.mark.parametrize(
    ("chain", "reference", "told"),
    [
        ("prune-50+channels-30", "bad-chain", "--method channels-30+prune-50"),
        ("qat-int4", "method-without-recipe", "takes"),
        ("prune-50+", "unknown-method", "known"),
        ("pruning", "unknown-method", "--method"),
    ],
)
def test_chains_that_cannot_be_are_refused_with_what_to_type(chain: str, reference: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        planned([chain], [INT8, FLOAT], samples=True, seed=0)
    assert error.value.reference == reference
    assert told in error.value.render()


def test_what_only_takes_back_a_loss_is_tried_where_there_is_one() -> None:
    plan = planned([], [INT8, FLOAT], samples=True, seed=0)
    remedies = [one for one in plan if one.remedy]
    assert names(remedies) == [f"mixed-float+{INT8}", f"mixed-int16x8+{INT8}"]
    assert not any(one.remedy for one in planned(["mixed-float"], [INT8], samples=True, seed=0)), "asked for"
    told: list[list[str]] = []

    def needless(one: Planned, results: Sequence[str]) -> bool:
        told.append(list(results))
        return one.remedy

    world = World()
    found = search([one for one in plan if one.stage != "training"], replace(world.way(), needless=needless))
    assert found.needless == remedies and not set(names(remedies)) & set(world.made)
    assert told[0] == [INT8, FLOAT], "the plain recipes are known by then"
    assert found.passed_over == []


def test_training_without_samples_says_how_to_give_some() -> None:
    with pytest.raises(InputError, match="learns from samples") as error:
        planned(["prune-50"], [INT8], samples=False, seed=0)
    assert "--train" in error.value.render()


def test_the_front_is_what_nothing_beats() -> None:
    items = [(1.0, 3.0), (2.0, 2.0), (2.0, 2.0), (3.0, 3.0), (math.inf, 1.0)]
    assert front(items, lambda item: item) == ((1.0, 3.0), (2.0, 2.0), (math.inf, 1.0))
    assert front([(math.nan, 1.0), (5.0, 1.0)], lambda item: item) == ((5.0, 1.0),), (
        "the unknown beats nothing"
    )


def test_usual_chains_begin_with_what_a_target_needs() -> None:
    operations = frozenset({"CONV_2D", "LEAKY_RELU", "HARD_SWISH"})
    coral, pi = (load_profile(name, folders=[TARGETS]) for name in ("coral-dev-board", "raspberry-pi-4"))
    assert spelled_for(pi, operations) == () == spelled_for(coral, {"CONV_2D", "RELU6"})
    assert spelled_for(pi, {"WHILE", "LEAKY_RELU"}) == ("rewrite-loops",), "nothing trains through a loop"
    first = spelled_for(coral, operations)
    assert first == ("rewrite-leaky", "rewrite-hard-swish")
    plan = planned([], [INT8], samples=True, seed=0, first=first)
    beginnings = {name.split("+")[0] for name in names(plan)}
    assert beginnings == {INT8, "rewrite-leaky"}
    assert [one.candidate.name.count("finetune") for one in plan if one.control] == [1], "the control, too"
    assert f"rewrite-leaky+rewrite-hard-swish+{INT8}" in names(plan)
    assert f"rewrite-leaky+rewrite-hard-swish+prune-50+qat-int8+{INT8}" in names(plan)
    named = planned(["prune-50"], [INT8], samples=True, seed=0, first=first)
    assert f"prune-50+{INT8}" in names(named), "what a person names is done as it is written"


def test_a_division_counts_where_it_is_by_a_constant(nets: ModuleType) -> None:
    def read(by_constant: bool) -> frozenset[str]:
        net = nets.Net(1)
        x = net.input(1, 4)
        by = net.tensor([1], np.ones(1, np.float32)) if by_constant else net.unary("EXP", x)
        return operations_of(parse(Path("m.tflite"), net.build(net.pair("DIV", x, by)), ""))

    assert "DIV" in read(True) and "DIV" not in read(False)
