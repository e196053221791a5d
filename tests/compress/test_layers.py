"""What each layer costs: how many are looked at when the clock runs out, and which those are."""

from __future__ import annotations

from typing import Any, cast

from edgeship.pipeline.layers import NOT_LOOKED, TOGETHER, looked_at, suspicion
from edgeship.progress import Silent
from edgeship.quantize.by_layer import Asked
from edgeship.values import Evidence, Figure, Metric, Unavailable

METRIC = Metric(name="top1", value=90.0, float_value=91.0, drop=1.0)


class Bench:
    """Answers for files that nobody made: that of operation n has n decibels alone."""

    progress = Silent()

    def __init__(self) -> None:
        self.failed = {"with-1": "it has no float form"}
        self.asked: list[str] = []

    def run(self, asked: list[Asked]) -> dict[str, tuple[Metric, Figure]]:
        self.asked += [one.name for one in asked]
        return {one.name: (METRIC, float(one.operations[0])) for one in asked if one.name not in self.failed}


def test_the_clock_is_looked_at_between_batches_and_the_first_is_always_made() -> None:
    operators = cast(Any, [Numbered(index) for index in range(2 * TOGETHER + 1)])
    for times in (0, 1, 2):
        bench, left = Bench(), iter([True] * times + [False])
        costs = looked_at(cast(Any, bench), operators, (METRIC, 30.0), left.__next__)
        assert sorted(costs) == list(range(min(len(operators), TOGETHER * (times + 1))))
        assert len(bench.asked) == 2 * len(costs)
        assert costs[3]["alone_snr_db"] == 3.0 and costs[3]["back_snr_db"] == 3.0 - 30.0
        assert costs[1]["back_drop"] == Unavailable(reason="it has no float form")
    assert "--minutes" in NOT_LOOKED


class Numbered:
    """As much of an operation as is asked for."""

    def __init__(self, index: int) -> None:
        self.index = index


def test_what_the_evidence_speaks_against_is_looked_at_first() -> None:
    evidence = {
        0: Evidence(index=0),
        1: Evidence(index=1, outlier=40.0),
        2: Evidence(index=2, channels=500.0),
        3: Evidence(index=3, channels=500.0, per_tensor=True),
        4: Evidence(index=4, clipped=0.05),
    }
    order = sorted(range(6), key=lambda index: -suspicion(evidence.get(index)))
    assert order[:3] == [3, 4, 1], "unequal channels matter where they share a scale"
    assert order[-1] == 5, "nothing was seen of it"
