"""The governor against every baseline on eight traces, simulated: `python -m benchmarks.governor [--recorded FILE]`.

What decides is the service's own code (edgeship/runtime/es_govern.py); the board is a model (es_world.py), with the
figures of a target's profile. Rungs are real: `mobilenet`, four MobileNets with accuracies and times as TensorFlow
published them together ("Hosted models": Pixel 2, one thread of a large core, the TFLite accuracy tool on ILSVRC);
`--ladder FILE` takes those of a service.json or of a folder with one. Nothing here was timed on the board: `--scale`
says how many times as long it takes.

Prints tables in Markdown: per trace the governor, the best fixed rung in hindsight, the best of those that miss as
little as the governor, and the oracle; `--loads` says by how much the best rung alone would be loaded.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "edgeship" / "runtime"))

from edgeship.assets import targets_folder  # noqa: E402
from edgeship.profile import load_profile  # noqa: E402

PATTERNS = ("steady", "diurnal", "burst", "ramp", "square", "contention", "heat-wave")
# tensorflow/lite/g3doc/models/image_classification, "Hosted models", quantized models (2019). It gives no spread:
# the 95th percentile is taken a tenth above the mean, as those that were measured for bundles on idle machines are.
MOBILENET = (
    ("mobilenet-v1-0.25-128", 0.395, 0.0037),
    ("mobilenet-v1-0.5-160", 0.572, 0.0130),
    ("mobilenet-v1-0.75-192", 0.661, 0.0338),
    ("mobilenet-v1-1.0-224", 0.700, 0.0702),
)
POINTS, LESS_ENERGY, MISSES = 5.0, 50.0, 0.001
"""What the governor must reach: points of right answers, or percent of energy, at so many misses at most."""


def published() -> dict[str, Any]:
    """Return the ladder of MobileNets as service.json's `governor` has one."""
    rungs = [
        {
            "variant": name,
            "accuracy": accuracy,
            "seconds": seconds,
            "p95_seconds": 1.1 * seconds,
            "threads": 1,
        }
        for name, accuracy, seconds in MOBILENET
    ]
    return {"settings": {}, "rungs": [dict(rung, measured="published") for rung in rungs]}


def service_of(path: str) -> dict[str, Any]:
    """Return the service.json with the ladder; `mobilenet` is the published one."""
    if path == "mobilenet":
        return {"app": "mobilenet", "governor": published(), "limits": {"queue": 32}}
    found = Path(path)
    document: dict[str, Any] = json.loads((found / "service.json" if found.is_dir() else found).read_text())
    return document


def board_of(name: str) -> dict[str, Any]:
    """Return the board of a target's profile as a simulation takes it."""
    profile = load_profile(name, folders=(targets_folder(),))
    if profile.power is None or profile.thermal is None:
        raise SystemExit(f"{name} has no figures of power and heat: see targets/")
    rows = [sensor.model_dump(mode="json") for sensor in profile.sensors]
    own = {part: getattr(profile, part).model_dump(mode="json") for part in ("power", "thermal")}
    return {"title": profile.title, "sensors": rows, **own}


def simulated(service: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a simulation."""
    from es_simulated import simulated as simulate

    document: dict[str, Any] = simulate(service, request)
    return document


def judged(trace: dict[str, Any]) -> dict[str, Any]:
    """Return how the governor did in one trace against the fixed rungs."""
    rows = {row["policy"]: row for row in trace["policies"]}
    own, best = rows["governor"], rows[trace["best_fixed"]["answers"]]
    fixed = [row for row in rows.values() if row["kind"] == "fixed" and row["right"]]
    sure = [row for row in fixed if row["missed_share"] <= max(MISSES, own["missed_share"])]
    equal = max(sure, key=lambda row: row["right"], default=None)
    refusing = max((row for row in rows.values() if row["kind"] == "refusing"), key=lambda row: row["right"])
    others = [row for row in rows.values() if row["kind"] in ("load-ladder", "batch-rule", "aimd-batch")]

    def less(row: dict[str, Any] | None) -> float | None:
        return None if row is None else 100 * (1 - own["joules_per_right"] / row["joules_per_right"])

    points = 100 * (own["right_share"] - best["right_share"])
    energy = less(equal)
    return {
        "own": own, "best": best, "equal": equal, "refusing": refusing, "oracle": rows["oracle"], "points": points,
        "other": max(others, key=lambda row: row["right"]),
        "equal_points": None if equal is None else 100 * (own["right_share"] - equal["right_share"]),
        "energy": energy,
        "shown": own["missed_share"] <= MISSES and (points >= POINTS or (energy or 0.0) >= LESS_ENERGY),
    }  # fmt: skip


HEAD = (
    "trace", "requests", "missed %", "right %", "best fixed", "its missed %", "its right %", "points",
    "fixed, no more misses", "points over it", "energy an answer", "refusing", "best other", "oracle", "shown",
)  # fmt: skip


def short(name: str) -> str:
    """Return a policy's name without what all have in common."""
    return name.replace("mobilenet-v1-", "").partition(":")[2] or name


def line(trace: dict[str, Any]) -> list[str]:
    """Return the row of a trace."""
    j = judged(trace)
    own, best, equal, other = j["own"], j["best"], j["equal"], j["other"]
    energy = "" if j["energy"] is None else f"{-j['energy']:+.1f} %"
    return [
        trace["name"],
        f"{trace['requests']:,}",
        f"{100 * own['missed_share']:.2f}",
        f"{100 * own['right_share']:.2f}",
        short(best["policy"]),
        f"{100 * best['missed_share']:.2f}",
        f"{100 * best['right_share']:.2f}",
        f"**{j['points']:+.2f}**",
        "none" if equal is None else short(equal["policy"]),
        "" if equal is None else f"{j['equal_points']:+.2f}",
        energy,
        f"{100 * j['refusing']['right_share']:.2f}",
        f"{other['policy']} {100 * other['right_share']:.2f}",
        f"{100 * j['oracle']['right_share']:.2f}",
        "yes" if j["shown"] else "**no**",
    ]


def rows_of(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def compared(service: dict[str, Any], request: dict[str, Any], load: float, deadline: float) -> str:
    """Return the table of all traces at one load and deadline (multiples of the best rung alone)."""
    slowest = max(rung["seconds"] for rung in service["governor"]["rungs"]) * request["scale"]
    asked = {**request, "rate": load / slowest, "deadline_ms": 1e3 * deadline * slowest}
    document = simulated(service, asked)
    rate = f"{asked['rate']:.2f} requests a second (load {load:g} of the best rung)"
    said = f"{rate}, deadline {asked['deadline_ms']:.0f} ms"
    return f"\n### {said}\n\n" + rows_of(HEAD, [line(trace) for trace in document["traces"]])


def soak(service: dict[str, Any], request: dict[str, Any], load: float, deadline: float) -> str:
    """Return what an hour at 45 degrees came to, and the budgets against the oracle."""
    slowest = max(rung["seconds"] for rung in service["governor"]["rungs"]) * request["scale"]
    asked = {**request, "rate": load / slowest, "deadline_ms": 1e3 * deadline * slowest, "seconds": 3600.0}
    hot = simulated(
        service, {**asked, "ambient_c": 45.0, "traces": [{"pattern": "steady"}, {"pattern": "diurnal"}]}
    )
    rows = []
    for trace in hot["traces"]:
        for row in trace["policies"]:
            if row["kind"] in ("governor", "fixed", "load-ladder"):
                rows.append([
                    trace["name"], short(row["policy"]), f"{row['throttled_seconds']:.0f}", f"{row['hottest_c']:.1f}",
                    f"{100 * row['missed_share']:.2f}", f"{100 * row['right_share']:.2f}", f"{row['watts']:.3f}",
                ])  # fmt: skip
    head = ("trace", "policy", "throttled, s", "hottest", "missed %", "right %", "W")
    return "\n### An hour at 45 degrees\n\n" + rows_of(head, rows)


def budgets(service: dict[str, Any], request: dict[str, Any], load: float, deadline: float) -> str:
    """Return energy and right answers under budgets, beside the least energy that so many answers take at all."""
    slowest = max(rung["seconds"] for rung in service["governor"]["rungs"]) * request["scale"]
    asked = {
        **request,
        "rate": load / slowest,
        "deadline_ms": 1e3 * deadline * slowest,
        "policies": ["governor", "oracle"],
    }
    free = simulated(service, asked)
    rows = []
    for place, trace in enumerate(free["traces"]):
        used = trace["policies"][0]["watts"]
        idle = trace["idle_joules"] / trace["seconds"]
        for share in (0.35, 0.6, 0.85):
            watts = idle + share * (used - idle)
            bound = simulated(
                service, {**asked, "settings": {"watts": watts}, "traces": [request["traces"][place]]}
            )["traces"][0]
            own = bound["policies"][0]
            least = own["oracle"]["joules"]
            oracle = next(row for row in bound["policies"] if row["policy"] == "oracle:budget")
            rows.append([
                trace["name"], f"{watts:.3f}", f"{own['watts']:.3f}", f"{100 * (own['watts'] / watts - 1):+.2f} %",
                f"{100 * own['missed_share']:.2f}", f"{100 * own['right_share']:.2f}",
                f"{100 * oracle['right_share']:.2f}", f"{100 * (own['joules'] / least - 1):.2f} %",
                f"{100 * (own['joules'] - least) / (least - trace['idle_joules']):.1f} %",
            ])  # fmt: skip
    head = (
        "trace", "budget, W", "used, W", "over", "missed %", "right %", "oracle's right %", "energy over the least",
        "of that above idling",
    )  # fmt: skip
    return "\n### Budgets\n\n" + rows_of(head, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ladder", default="mobilenet", help="service.json, or a folder with one")
    parser.add_argument("--board", default="raspberry-pi-4")
    parser.add_argument("--recorded", type=Path, help="a recorded trace; its rate is its own, times --speed")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.6, 0.3, 0.9])
    parser.add_argument(
        "--deadlines", type=float, nargs="+", default=[2.5], help="in seconds of the best rung"
    )
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["traces", "soak", "budgets"])
    options = parser.parse_args()
    service, traces = service_of(options.ladder), [{"pattern": name} for name in PATTERNS]
    if options.recorded:
        traces.append({"file": str(options.recorded), "name": "recorded", "speed": options.speed})
    request = {
        "board": board_of(options.board), "traces": traces, "seconds": options.seconds, "seed": options.seed,
        "scale": options.scale, "curves": False,
    }  # fmt: skip
    print(f"## {service['app']} on {request['board']['title']}, simulated")
    first, deadline = options.loads[0], options.deadlines[0]
    if options.only in (None, "traces"):
        for load in options.loads:
            for each in options.deadlines:
                print(compared(service, request, load, each), flush=True)
    if options.only in (None, "budgets"):
        print(
            budgets(service, {**request, "seconds": min(600.0, options.seconds)}, first, deadline), flush=True
        )
    if options.only in (None, "soak"):
        print(soak(service, request, first, deadline), flush=True)


if __name__ == "__main__":
    main()
