"""Causes: figures beyond their limits are told with a command, and only of what has a share in a loss. Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeship.compress.causes import causes_of, has_share, loses, shown
from edgeship.quantize.evidence import _against, _channels, _outlier
from edgeship.quantize.observe import BINS, Tensor
from edgeship.values import Evidence, Unavailable

SOUND = Evidence(index=0)
UNKNOWN = Unavailable(reason="not looked at")


def kinds(evidence: Evidence) -> list[str]:
    return [cause.kind for cause in causes_of(evidence, "m.keras", "coral")]


@pytest.mark.parametrize(
    ("evidence", "kind", "told", "typed"),
    [
        (
            Evidence(index=0, channels=40.0, per_tensor=True),
            "unequal-channels",
            "40 times",
            "--method equalise",
        ),
        (Evidence(index=0, channels=2e3), "unequal-channels", "a bias on every scale", "--method equalise"),
        (Evidence(index=0, parts=300.0), "unlike-parts", "300 times", "--recipe int8"),
        (Evidence(index=0, outlier=30.0), "range-outlier", "30 times", "--method qat-int8"),
        (Evidence(index=0, clipped=0.2, beyond=3.0), "unlike-calibration", "20.0%", "drawn like"),
        (Evidence(index=0, clipped=0.004), "saturation", "0.40%", "more samples"),
        (
            Evidence(index=0, dead=3, of_channels=8),
            "dead-channels",
            "3 of its 8",
            "--method channels-38+distill",
        ),
    ],
)
def test_each_cause_has_its_figure_and_a_command(
    evidence: Evidence, kind: str, told: str, typed: str
) -> None:
    (cause,) = causes_of(evidence, "m.keras", "coral")
    assert cause.kind == kind and told in cause.words
    assert cause.command.startswith("edgeship ") and typed in cause.command
    assert "m.keras --target coral" in cause.command


def test_what_real_models_show_is_no_cause() -> None:
    """Figures of the MLPerf Tiny keyword spotter, which loses nothing: the largest value of 200 other samples is 1.6
    times as large."""
    assert kinds(replace(SOUND, outlier=3.95, channels=2.7, beyond=1.6, clipped=0.0001, of_channels=64)) == []
    assert kinds(replace(SOUND, channels=40.0)) == [], "with a scale a channel unequal ones cost nothing"


def test_something_is_lost_by_the_metric_or_where_outputs_are_noisy() -> None:
    assert not loses(0.1, 28.0) and loses(1.0, 28.0) and loses(0.0, 12.0)
    assert not loses(UNKNOWN, 30.0) and loses(UNKNOWN, 10.0)


def test_an_operation_has_a_share_by_its_noise_or_by_what_it_gives_back() -> None:
    assert has_share(22.0, 0.0, 20.0) and not has_share(30.0, 0.2, 20.0)
    assert (
        has_share(30.0, 1.5, 20.0) and has_share(UNKNOWN, UNKNOWN, 20.0) and not has_share(UNKNOWN, 0.1, 20.0)
    )


def test_of_what_costs_nothing_only_what_costs_time_or_cannot_be_seen_is_told() -> None:
    found = causes_of(replace(SOUND, dead=1, of_channels=8, outlier=30.0, parts=300.0), "m.keras", "coral")
    assert [c.kind for c in shown(found, costs=False)] == ["unlike-parts", "dead-channels"]
    assert shown(found, costs=True) == found
    alike = causes_of(replace(SOUND, parts=20.0), "m.keras", "coral")
    assert alike and not shown(alike, costs=False)


def seen(values: np.ndarray) -> Tensor:  # type: ignore[type-arg]
    low, high = float(values.min()), float(values.max())
    counts = np.histogram(values, BINS, (low, high))[0].astype(np.float64)
    return Tensor(name="a", is_boundary=False, low=low, high=high, histogram=counts)


def test_evidence_of_values() -> None:
    random = np.random.default_rng(0)
    usual = random.normal(size=100_000)
    calm = seen(usual)
    assert _outlier(calm.low, calm.high, calm.histogram) < 2
    wild = seen(np.append(usual, 100.0))
    assert _outlier(wild.low, wild.high, wild.histogram) > 20
    same, brighter = (_against(calm, seen(random.normal(size=50_000) * by)) for by in (1.0, 3.0))
    assert same["clipped"] < 0.001 and same["beyond"] < 1.2
    assert brighter["clipped"] > 0.1 and brighter["beyond"] > 2
    few = _against(seen(usual[:100]), seen(usual[100:1000]))
    assert few["clipped"] < 0.01, "a hundred values do not show the range: chance is taken off"


def test_evidence_of_weights() -> None:
    weight = np.ones((6, 3, 3, 2), np.float32)
    weight[0], weight[1] = 50.0, 0.0
    found = _channels(weight, 0)
    assert found == {"channels": 50.0, "dead": 1, "of_channels": 6}
