"""A fuzz of the governor, and what one decision costs.

python -m benchmarks.decisions [--decisions 1000000] [--seed 1] [--json FILE]

Random ladders, settings and sensors; random samples with every number that a float can be, in any order. Each decision
must be one that can be carried out; each state must survive JSON. Then the time of one decision on a ladder of five
rungs with every setting in use, each timed alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "edgeship" / "runtime"))

from es_govern import (  # type: ignore[import-not-found]
    REASONS,
    begin,
    decide,
    profile_of,
    state_from_json,
    state_to_json,
)

STRANGE = (0.0, -0.0, -1.0, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
FLAGS = ("under-voltage", "frequency-capped", "throttled", "soft-temperature-limit", "novel")
KINDS = ("temperature", "throttle", "power", "energy", "pressure", "load", "battery", "memory", "frequency")
NAMES = ("a", "b", "c", "d", "e", "f")
PER_PROFILE = 2000


class Fuzz:
    """Documents and samples from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.at = 0.0

    def number(self, high: float, strange: float = 0.03) -> float:
        """Return a number from 0 to `high`, seldom one of the strange ones."""
        if self.random.random() < strange:
            return self.random.choice(STRANGE)
        return self.random.random() ** 3 * high

    def maybe(self, value: Any, share: float = 0.5) -> Any:
        return value if self.random.random() < share else None

    def document(self) -> dict[str, Any]:
        """Return a governor document as a build may write it."""
        names = NAMES[: self.random.randint(1, 6)]
        measured = self.random.random() < 0.8
        rungs = [self.rung(name, measured) for name in names]
        if len(names) > 2 and self.random.random() < 0.5:
            parts = {"little": names[0], "big": names[1], "margin": 0.2, "share": self.random.random()}
            rungs.append({**self.rung("a+b", measured), "cascade": parts})
        kinds = [self.random.choice(KINDS) for _ in range(self.random.randint(0, 8))]
        power = {"idle_watts": self.number(5, 0), "busy_watts": 5 + self.number(5, 0)}
        return {
            "rungs": rungs,
            "settings": self.settings(),
            "sensors": [self.sensor(f"{kind}-{i}", kind) for i, kind in enumerate(kinds)],
            "power": self.maybe(power),
        }

    def rung(self, name: str, measured: bool) -> dict[str, Any]:
        seconds = 10 ** self.random.uniform(-5, 1)
        threads = self.random.choice((1, 1, 2, 4))
        return {
            "variant": name,
            "accuracy": self.random.random() if measured else None,
            "seconds": self.maybe(seconds, 0.95),
            "p95_seconds": self.maybe(seconds * (1 + self.random.random())),
            "threads": threads,
            "by_threads": {str(n): seconds * threads / n for n in range(1, threads)},
            "joules": self.maybe(seconds * 2),
            "fixed_seconds": self.maybe(seconds * self.random.random()),
            "each_seconds": self.maybe(seconds),
        }

    def settings(self) -> dict[str, Any]:
        return {
            "mode": self.random.choice(("auto", "auto", "auto", "off")),
            "variant": self.maybe(self.random.choice((*NAMES, "gone")), 0.1),
            "watts": self.maybe(self.random.uniform(0.1, 9)),
            "joules_per_hour": self.maybe(self.random.uniform(100, 30000), 0.2),
            "temperature_c": self.maybe(self.random.uniform(40, 90), 0.3),
            "battery": [
                {"below_percent": self.random.uniform(1, 100), "watts": self.maybe(1.0), "variant": self.maybe("b")}
                for _ in range(self.random.randint(0, 3))
            ],
            "cascade": self.random.choice(("auto", "off")),
        }  # fmt: skip

    def sensor(self, name: str, kind: str) -> dict[str, Any]:
        trips = [
            {"at": self.random.uniform(40, 110), "effect": self.random.choice(("slower", "shutdown"))}
            for _ in range(self.random.randint(0, 3))
        ]
        return {"name": name, "kind": kind, "trips": trips if kind == "temperature" else []}

    def reading(self, kind: str) -> tuple[Any, Any, str]:
        value: Any
        if kind == "throttle":
            value = tuple(flag for flag in FLAGS if self.random.random() < 0.1)
        elif kind == "energy":
            value = self.at * 3 + self.number(1)
        else:
            value = self.number({"temperature": 110, "power": 9, "battery": 100}.get(kind, 1.0))
        return self.maybe(value, 0.9), self.maybe(self.number(12), 0.95), kind

    def sample(self, profile: Any, rows: list[dict[str, Any]]) -> tuple[Any, ...]:
        """Return any sample: the kinds as often as a service has them, but in any order."""
        self.at += self.number(0.2)
        at = self.at if self.random.random() < 0.999 else self.random.choice(STRANGE)
        if not abs(self.at) < 1e9:
            self.at = 0.0
        kind = self.random.choices(("admit", "dispatch", "done", "tick"), (30, 40, 25, 5))[0]
        queued = self.random.choice((0, 0, 1, 2, 9, 500))
        left = self.maybe(self.number(1), 0.7)
        pinned = self.maybe(self.random.choice((*NAMES, "gone")), 0.05)
        if kind == "admit":
            return (kind, at, queued, self.number(300), left, pinned)
        runs = self.random.choice((1, 1, 1, 2, 64, 0))
        if kind == "dispatch":
            return (kind, at, self.number(1), queued, self.number(300), left, pinned, runs)
        if kind == "done":
            rung = self.random.randint(-1, len(profile.every))
            late = self.random.choice((None, False, False, True))
            return (kind, at, rung, self.number(1), runs, self.maybe(self.number(3), 0.2), late)
        told = {row["name"]: self.reading(row["kind"]) for row in rows if self.random.random() < 0.97}
        if self.random.random() < 0.05:
            told["meter"] = (self.at * 2.5, 0.0, "energy")
        return (kind, at, self.number(1), told)


def checked(outcome: Any, profile: Any) -> str:
    """Return the reason of an outcome that can be carried out; AssertionError for another."""
    state, decision, reason = outcome
    assert reason in REASONS, reason
    slow = state.slow
    assert 0 <= slow.cap <= profile.top and 1 <= slow.threads <= profile.threads, slow
    assert slow.z >= 0.0 and slow.price >= 0.0 and slow.z < 1e9, slow
    assert 0.0 <= state.xi <= 50.0 and 0.0 <= state.d <= 50.0 and 0.0 <= state.margin <= 4.0
    assert all(0.249 < factor < 4.001 for factor in state.factors.values()), state.factors
    if decision is None:
        assert reason in ("done", "tick", "settings")
    elif decision.refuse:
        assert decision.rung == -1 and 0.0 < decision.retry_after <= 3600.0, decision
    elif reason != "admitted":
        assert 0 <= decision.rung < len(profile.every), decision
        assert 1 <= decision.threads <= profile.threads and 1 <= decision.coalesce <= 64, decision
    return str(reason)


def runs(decisions: int, seed: int) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield (state before, sample, outcome, profile) of `decisions` random decisions, each checked."""
    fuzz = Fuzz(seed)
    for start in range(0, decisions, PER_PROFILE):
        document = fuzz.document()
        profile = profile_of(document)
        state = begin(profile)
        for number in range(min(PER_PROFILE, decisions - start)):
            sample: tuple[Any, ...]
            if number % 500 == 499:
                settings = fuzz.settings()
                profile, sample = profile.changed(settings), ("settings", settings)
            else:
                sample = fuzz.sample(profile, document["sensors"])
            outcome = decide(state, sample, profile)
            checked(outcome, profile)
            yield state, sample, outcome, profile
            state = outcome[0]
        assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state


def timed(repeats: int = 20000) -> dict[str, dict[str, float]]:
    """Return microseconds of one decision, {kind: {"p50", "p99"}}, on a ladder of five rungs."""
    rungs = [{"variant": n, "accuracy": 0.5 + i / 10, "seconds": 0.002 * 3**i, "threads": 2, "fixed_seconds": 0.001,
              "each_seconds": 0.002 * 3**i} for i, n in enumerate(NAMES[:5])]  # fmt: skip
    sensors = [{"name": k, "kind": k, "trips": [{"at": 80, "effect": "slower"}]} for k in KINDS]
    settings = {"watts": 3.0, "temperature_c": 70.0, "battery": [{"below_percent": 30, "watts": 2.0}]}
    profile = profile_of({"rungs": rungs, "sensors": sensors, "settings": settings,
                          "power": {"idle_watts": 2.0, "busy_watts": 4.0}})  # fmt: skip
    values = {"temperature": 55.0, "throttle": (), "power": 3.4, "energy": 9.0, "battery": 80.0}
    told = {k: (values.get(k, 0.3), 0.1, k) for k in KINDS}
    state = begin(profile)
    for at in range(3):
        state = decide(state, ("tick", 2.0 * at, 0.5, told), profile)[0]
    for rung in range(len(NAMES[:5])):  # Runs by turns: what a figure is wrong by is learned and counted.
        state = decide(state, ("done", 6.0, rung, 0.003 * 3.0**rung, 1, None, False), profile)[0]
    samples = {
        "admit": ("admit", 9.0, 3, 20.0, 0.3, None),
        "dispatch": ("dispatch", 9.0, 0.01, 3, 20.0, 0.3, None, 1),
        "done": ("done", 9.0, 2, 0.02, 1, None, False),
        "tick": ("tick", 9.0, 0.5, told),
    }
    return {kind: quantiles(state, sample, profile, repeats) for kind, sample in samples.items()}


def quantiles(state: Any, sample: Any, profile: Any, repeats: int) -> dict[str, float]:
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter_ns()
        decide(state, sample, profile)
        taken.append(time.perf_counter_ns() - begun)
    taken.sort()
    return {"p50": taken[repeats // 2] / 1e3, "p99": taken[repeats * 99 // 100] / 1e3}


def main() -> None:
    """Fuzz, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    begun = time.monotonic()
    reasons = Counter(outcome[2] for _, _, outcome, _ in runs(options.decisions, options.seed))
    told = {
        "decisions": sum(reasons.values()),
        "seconds": round(time.monotonic() - begun, 1),
        "reasons": dict(reasons.most_common()),
        "microseconds": timed(),
    }
    print(json.dumps(told, indent=1))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
