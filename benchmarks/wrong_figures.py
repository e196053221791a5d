"""What a rung whose figure is wrong costs the governor, simulated: `python -m benchmarks.wrong_figures`.

The ladder and the board of `benchmarks.governor`. In each row the governor believes that one rung takes half or twice
the time that it takes; the board knows better. Beside it the governor with factors (es_govern_factors) switched off, as
it was before there were any: one xi for all rungs. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "edgeship" / "runtime"))

import es_govern  # type: ignore[import-not-found]
from es_policies import Governor  # type: ignore[import-not-found]
from es_simulate import Run, Service  # type: ignore[import-not-found]
from es_tally import Tally  # type: ignore[import-not-found]
from es_traces import pattern  # type: ignore[import-not-found]
from es_world import World  # type: ignore[import-not-found]

from benchmarks.governor import board_of, published, rows_of

WRONG = (0.5, 2.0)
"""By what a figure is multiplied: half, the rung takes twice what the governor believes."""


def short(name: str) -> str:
    """Return a rung's name without what all have in common."""
    return name.replace("mobilenet-v1-", "")


def document(board: dict[str, Any]) -> dict[str, Any]:
    """Return the published ladder as a governor's document for a board (`board_of`)."""
    return {**published(), "power": board["power"], "sensors": board["sensors"], "queue": 32}


def figures(rung: Any, factor: float) -> dict[str, Any]:
    """Return figures in which the time of a rung is `factor` times the right one."""
    return {rung.name: {"seconds": rung.seconds * factor, "p95_seconds": rung.p95 * factor}}


def ran(board: dict[str, Any], wrong: Any, trace: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Return (what a run came to, the factors at its end) of a governor that believes the figures `wrong`."""
    true = es_govern.profile_of(document(board))
    believed = es_govern.profile_of(document(board), None, wrong)
    if [rung.name for rung in believed.every] != [rung.name for rung in true.every]:
        raise ValueError("the figures turn the ladder round")
    world = World({**board, "trips": []}, trace.ambient, trace.others)
    tally, policy = Tally(true, trace.seconds), Governor(believed)
    Run(true, trace, world, policy, Service(), tally).run()
    tally.close(world)
    return tally.document(), dict(policy.state.factors)


def trace_of(name: str, load: float, deadline: float, seconds: float) -> Any:
    """Return the trace of a pattern at a load and with a deadline (multiples of the best rung alone)."""
    slowest = published()["rungs"][-1]["seconds"]
    return pattern(name, load / slowest, seconds, deadline * slowest, 0, 25.0)


@contextmanager
def without_factors() -> Iterator[None]:
    """Have the governor learn no factors."""
    kept = es_govern.compared
    es_govern.compared = lambda factors, profile, last, this: (factors, 1.0)
    try:
        yield
    finally:
        es_govern.compared = kept


def table(board: dict[str, Any], trace: Any) -> str:
    """Return the rows of a trace: each rung in turn wrong either way, as far as that leaves the ladder's order."""
    rungs = es_govern.profile_of(document(board)).every
    cases: list[tuple[str, Any]] = [("all right", None)]
    cases += [(f"{short(r.name)} x {w:g}", figures(r, w)) for r in rungs for w in WRONG]
    rows = []
    for title, wrong in cases:
        found: list[str] = []
        try:
            with without_factors():
                before, _ = ran(board, wrong, trace)
            made, factors = ran(board, wrong, trace)
        except ValueError:
            continue
        for one in (before, made):
            found += [f"{100 * one['missed_share']:.2f}", f"{100 * one['right_share']:.2f}"]
        told = ", ".join(f"{short(name)} {value:.2f}" for name, value in sorted(factors.items()))
        rows.append([title, *found, told])
    head = ("figure", "xi alone: missed %", "right %", "with factors: missed %", "right %", "factors")
    return rows_of(head, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", default="raspberry-pi-4")
    parser.add_argument("--patterns", nargs="+", default=["diurnal", "contention"])
    parser.add_argument("--loads", type=float, nargs="+", default=[0.6])
    parser.add_argument("--deadlines", type=float, nargs="+", default=[2.5, 1.3])
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    board = board_of(options.board)
    for name in options.patterns:
        for load in options.loads:
            for deadline in options.deadlines:
                print(f"\n### {name}, load {load:g}, deadline {deadline:g} runs of the best rung\n")
                print(table(board, trace_of(name, load, deadline, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
