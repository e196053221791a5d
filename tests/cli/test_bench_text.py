"""What `edgeship bench` says of energy, variants and a soak: a figure with how it is known, never a bare zero."""

from __future__ import annotations

from typing import Any

import pytest

from edgeship.report.bench import energy_text, line_text, rungs_text, soak_text

MEASURED = {
    "by": "measured", "meter": "board-power", "covers": "board", "watts": 3.5, "cpu_seconds_per_run": 0.002,
    "idle": {"seconds": 10.0, "watts": 2.75, "subtracted": True},
}  # fmt: skip
WHY = {"unavailable": "package-energy: Permission denied"}
FOUND = {
    "release": "ab" * 32, "variant": "int8", "runs": 90, "seconds": 120.0,
    "engine": {"name": "litert", "version": "2.3.0", "delegate": "xnnpack"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("energy", "said"),
    [
        (
            {**MEASURED, "joules_per_run": 0.0125},
            "energy 12.50 mJ a run above idle (measured by board-power, board; 3.50 W at work, 2.75 W idle)",
        ),
        ({**MEASURED, "joules_per_run": 4.5e-6}, "energy 4.5 uJ a run above idle"),
        ({**MEASURED, "joules_per_run": 1.5}, "energy 1.50 J a run above idle"),
        (
            {**MEASURED, "joules_per_run": 0.02, "idle": {"unavailable": "not measured"}},
            "energy 20.00 mJ a run, idle included: --idle 10 takes it off (measured by board-power, board; 3.50 W",
        ),
        (
            {**MEASURED, "joules_per_run": {"unavailable": "too little difference"}},
            "energy not known: too little difference (measured by board-power",
        ),
        (
            {**MEASURED, "by": "estimated", "meter": WHY, "joules_per_run": 0.0018},
            "energy about 1.80 mJ a run above idle (estimated from the target's watts: package-energy: Perm",
        ),
        (
            {**MEASURED, "by": "cpu-seconds", "meter": WHY, "joules_per_run": {"unavailable": "x"}},
            "energy not known (package-energy: Permission denied); 2.000 ms of processor time a run stand in",
        ),
    ],
)
def test_energy_in_one_line(energy: dict[str, Any], said: str) -> None:
    assert energy_text(energy).startswith(said)


def test_variants_cheapest_first() -> None:
    rung = {"cold_seconds": 0.5, "p95_seconds": 0.02, "threads": 1, "memory_bytes": 3 << 20}
    text = rungs_text(
        {
            "big": {**rung, "seconds": 0.01, "joules": 0.03},
            "small": {**rung, "seconds": 0.001, "joules": None, "by_threads": {"1": 0.001, "2": 0.0008}},
        },
        {"gone": "no memory"},
    )
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["small", "big", "gone:"]
    assert (
        "1: 1.000, 2: 0.800" in lines[2] and lines[2].endswith("3.0  n/a") and lines[3].endswith("30.00 mJ")
    )


def test_a_soak_that_nobody_could_watch_says_so() -> None:
    line = {"at": 60.0, "runs": 45, "p50_ms": 1.5, "p99_ms": 2.25, "flags": [], "temperature_c": None,
            "frequency_hz": None, "throttled_seconds": None, "watts": None}  # fmt: skip
    assert line_text(line, 3600.0) == "60.0 s of 60 min 0 s, p50 1.500 ms, p99 2.250 ms"
    hot = {**line, "at": 120.0, "p99_ms": 4.5, "temperature_c": 81.5, "frequency_hz": 1.2e9, "watts": 5.25,
           "flags": ["throttled"], "throttled_seconds": 31.0}  # fmt: skip
    assert line_text(hot, 3600.0).endswith("81.5 degC, 1200 MHz, 5.25 W, throttled for 31 s")
    soak = {"ended": "stopped", "minutes": [line, hot], "worst_p99_ms": 4.5, "throttled_seconds": None}
    text = soak_text({**FOUND, "soak": soak})
    assert "until it was stopped" in text and "throttled: not known, no sensor of this target tells" in text
    assert "p99 2.250 ms at first, 4.500 ms at worst" in text
    heat = {"first": 48.0, "highest": 81.5, "last": 80.0}
    told = soak_text(
        {**FOUND, "soak": {**soak, "ended": "done", "throttled_seconds": 31.0, "temperature_c": heat}}
    )
    assert "to its end" in told and "throttled for 31 s" in told
    assert "temperature 48.0 degC at first, 81.5 at most, 80.0 at last" in told
