"""`simulate`: a request for simulations made into the document of what they came to.

The request is JSON: {"board": {"power", "thermal", "trips", "sensors"}, "settings", "figures", "scale", "traces":
[{"pattern"} or {"file"}], "rate", "seconds", "deadline_ms", "seed", "ambient_c", "policies", "curves", "overhead_ms"};
what is left out is service.json's, or what the document says that was taken.
"""

import json

from es_errors import CannotRun
from es_govern import profile_of
from es_oracle import Oracle
from es_policies import policies
from es_simulate import Run, Service
from es_tally import Tally, worths
from es_traces import PATTERNS, pattern
from es_traces_read import read_trace
from es_world import World

SCHEMA = "edgeship.simulation/1"
_SECONDS, _LEAST_SECONDS, _LOAD = 600.0, 2.0, 0.6
_USUAL_REQUESTS = 20000
_MOST_SECONDS, _MOST_REQUESTS = 86400.0 * 7, 2000000
# Policies whose courses are kept for plots, beside the best fixed rungs.
_DRAWN = {"governor", "load-ladder"}


def simulate(release, path):
    """Return the edgeship.simulation/1 document of a request in a file."""
    try:
        with open(path, "rb") as stream:
            request = json.loads(stream.read().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CannotRun("bad-simulation", "%s: %s" % (path, error))
    if not isinstance(request, dict):
        raise CannotRun("bad-simulation", "%s: wanted a JSON object" % path)
    return simulated(release.service, request)


def simulated(service, request):
    """Return the document of a request, for what a service.json says. Raises CannotRun: no-ladder, no-board-figures,
    bad-trace, bad-settings, unknown-policy, unknown-pattern, bad-simulation.
    """
    governor = service.get("governor")
    if not governor:
        raise CannotRun("no-ladder", "service.json has no `governor`: nothing says what its variants cost")
    board = _board(governor, request)
    document = dict(governor, power=board["power"], thermal=board["thermal"])
    document["queue"] = (service.get("limits") or {}).get("queue", 32)  # As es_governor has it.
    if board.get("sensors") is not None:
        document["sensors"] = board["sensors"]
    document["rungs"] = _scaled(governor.get("rungs") or [], _number(request, "scale", 1.0, 1e-3, 1e3))
    profile = profile_of(document, request.get("settings"), request.get("figures"), service.get("chosen"))
    if not all(rung.seconds for rung in profile.every):
        lacking = [rung.name for rung in profile.every if not rung.seconds]
        raise CannotRun("no-ladder", "nothing says how long %s takes" % ", ".join(lacking))
    plan = _plan(service, profile, board, request)
    try:
        wanted = policies(profile, request.get("policies"))
    except KeyError as error:
        raise CannotRun("unknown-policy", "there is no policy %r" % error.args[0])
    begun = [
        _compared(profile, board, plan, one, wanted, request)
        for one in request.get("traces") or _all_patterns()
    ]
    return {
        "schema": SCHEMA,
        "app": service["app"],
        "board": {key: board.get(key) for key in ("title", "power", "thermal", "trips")},
        "settings": profile.settings,
        "worth": profile.basis,
        "deadline_ms": plan["deadline"] and plan["deadline"] * 1e3,
        "seed": plan["seed"],
        "rungs": _rungs(profile),
        "left_out": [[name, why] for name, why in profile.left_out],
        "problems": list(profile.problems),
        "traces": begun,
    }


def _all_patterns():
    return [{"pattern": name} for name in PATTERNS]


def _scaled(rows, scale):
    """Return rungs whose every time is `scale` times as long, joules too: what was measured on another machine."""
    if scale == 1.0:
        return rows
    scaled = []
    for row in rows:
        row = dict(row, measured="scaled")
        for key in ("seconds", "p95_seconds", "cold_seconds", "joules", "fixed_seconds", "each_seconds"):
            if isinstance(row.get(key), (int, float)):
                row[key] = row[key] * scale
        if isinstance(row.get("by_threads"), dict):
            row["by_threads"] = {key: value * scale for key, value in row["by_threads"].items()}
        scaled.append(row)
    return scaled


def _number(request, key, default, least, most):
    value = request.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise CannotRun(
            "bad-simulation", "%s is %r; wanted a number from %g to %g" % (key, value, least, most)
        )
    return value


def _board(governor, request):
    """Return {"power", "thermal", "trips", "sensors"} of the board, each checked. Raises CannotRun
    `no-board-figures` for what neither request nor service.json says.
    """
    board = dict(request.get("board") or {})
    wanted = {"power": ("idle_watts", "busy_watts"), "thermal": ("ambient_c", "c_per_watt", "seconds")}
    for key, names in wanted.items():
        row = board.get(key) or governor.get(key)
        if not row:
            raise CannotRun(
                "no-board-figures", "nothing says `%s` (%s) of the board" % (key, ", ".join(names))
            )
        for name in names:
            number = row.get(name)
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise CannotRun(
                    "no-board-figures", "%s.%s of the board is %r; wanted a number" % (key, name, number)
                )
        board[key] = dict(row)
    power, thermal = board["power"], board["thermal"]
    if not 0 <= power["idle_watts"] < power["busy_watts"]:
        raise CannotRun("no-board-figures", "power.busy_watts must be above idle_watts, and that not below 0")
    if not (thermal["c_per_watt"] >= 0 and thermal["seconds"] > 0):
        raise CannotRun(
            "no-board-figures", "thermal.c_per_watt must not be below 0, thermal.seconds above it"
        )
    for name, most in (("die_c_per_watt", thermal["c_per_watt"]), ("die_seconds", thermal["seconds"])):
        if thermal.get(name) is not None:
            thermal[name] = _number(thermal, name, None, 0, most)
    ambient = request.get("ambient_c")
    if ambient is not None:
        thermal["ambient_c"] = _number(request, "ambient_c", None, -60, 150)
    rows = board["sensors"] if board.get("sensors") is not None else governor.get("sensors") or []
    if "trips" not in board:
        trips = {t["at"] for row in rows for t in row.get("trips") or () if t.get("effect") == "slower"}
        board["trips"] = sorted(trips)
    return board


def _plan(service, profile, board, request):
    """Return what every trace shares: {"rate", "seconds", "deadline", "seed", "service"}."""
    deadline = request.get("deadline_ms", profile.settings["deadline_ms"])
    if deadline is not None and (
        isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or deadline <= 0
    ):
        raise CannotRun("bad-simulation", "deadline_ms is %r; wanted a number above 0" % (deadline,))
    limits = service.get("limits") or {}
    # Without a rate: as many as keep the best rung busy for six tenths of the time, on average.
    rate = _number(request, "rate", _LOAD / profile.rungs[-1].seconds, 1e-6, 1e6)
    # Without seconds: ten minutes, and fewer where that would be more requests than anybody waits for.
    usual = max(_LEAST_SECONDS, min(_SECONDS, float(int(_USUAL_REQUESTS / rate))))
    seconds = _number(request, "seconds", usual, _LEAST_SECONDS, _MOST_SECONDS)
    patterns = any(
        "pattern" in one for one in request.get("traces") or _all_patterns() if isinstance(one, dict)
    )
    if patterns and rate * seconds > _MOST_REQUESTS:
        text = "%g requests a second for %g s are %.3g requests, and at most %d are simulated: fewer seconds (%g)"
        most = max(_LEAST_SECONDS, int(_MOST_REQUESTS / rate))
        raise CannotRun("bad-simulation", text % (rate, seconds, rate * seconds, _MOST_REQUESTS, most))
    seed = request.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise CannotRun("bad-simulation", "seed is %r; wanted a whole number" % (seed,))
    overhead = _number(request, "overhead_ms", 0.0, 0, 1e4) * 1e-3
    return {
        "rate": rate, "seconds": seconds, "deadline": deadline and deadline * 1e-3, "seed": seed,
        "service": Service(limits.get("queue", 32), overhead),
    }  # fmt: skip


def _trace(plan, board, one):
    if not isinstance(one, dict) or ("file" in one) == ("pattern" in one):
        raise CannotRun("bad-simulation", "a trace names a pattern or a file: %r" % (one,))
    if "file" in one:
        speed = _number(one, "speed", 1.0, 1e-6, 1e6)
        return read_trace(one["file"], one.get("name") or "recorded", plan["deadline"], plan["seed"], speed)
    if one["pattern"] not in PATTERNS:
        raise CannotRun(
            "unknown-pattern", "there is no pattern %r; there are: %s" % (one["pattern"], ", ".join(PATTERNS))
        )
    ambient = board["thermal"]["ambient_c"]
    return pattern(one["pattern"], plan["rate"], plan["seconds"], plan["deadline"], plan["seed"], ambient)


def _compared(profile, board, plan, one, wanted, request):
    """Return what every policy made of one trace."""
    trace = _trace(plan, board, one)
    rows, curves = [], {}
    for name, make in wanted:
        world, tally = World(board, trace.ambient, trace.others), Tally(profile, trace.seconds)
        policy = make()
        Run(profile, trace, world, policy, plan["service"], tally).run()
        tally.close(world)
        rows.append(dict(tally.document(), policy=name, kind=policy.kind))
        curves[name] = tally.curve()
    best = _best(rows)
    idle = World(board, trace.ambient, trace.others)
    while idle.now < trace.seconds:
        idle.advance(min(trace.seconds, idle.next_change()), 0)
    if request.get("policies") is None or "oracle" in request["policies"]:
        _oracle(profile, World(board, trace.ambient, trace.others), plan, trace, idle.joules, rows)
    kept = (_DRAWN | set(best.values())) if request.get("curves", True) else ()
    return {
        "name": trace.name,
        "source": trace.source,
        "seconds": trace.seconds,
        "requests": len(trace.at),
        "rate": trace.mean_rate(),
        "idle_joules": idle.joules,
        "policies": rows,
        "best_fixed": best,
        "curves": {name: curve for name, curve in curves.items() if name in kept},
    }


def _best(rows):
    """Return the fixed rungs that were best in hindsight: by right answers, and by joules for each of them."""
    fixed = [row for row in rows if row["kind"] == "fixed" and row["right"]]
    answers = max(fixed, key=lambda row: row["right"], default=None)
    energy = min(fixed, key=lambda row: row["joules_per_right"], default=None)
    return {"answers": answers and answers["policy"], "energy": energy and energy["policy"]}


def _oracle(profile, world, plan, trace, idle, rows):
    """Add the oracle's rows, and to the governor's what was possible with its joules, and the joules of its answers.

    That of a budget has what it leaves above idling; the cool one stays below every trip, and within the budget.
    """
    oracle = Oracle(profile, trace, world.marginal(), plan["service"].overhead)
    for row in rows:
        if row["kind"] == "governor":
            row["oracle"] = {
                "right_share": oracle.most_right(max(0.0, row["joules"] - idle)) / max(1, len(trace.at)),
                "joules": idle + oracle.least_joules(row["right"]),
            }
    rows.append(_bound("oracle", oracle, trace, idle, []))
    watts = profile.budget(None)[0]
    limits = [] if watts is None else [watts * trace.seconds]
    if limits:
        rows.append(_bound("oracle:budget", oracle, trace, idle, limits))
    cool = world.joules_below_trips(trace.seconds)
    if cool is not None:
        rows.append(_bound("oracle:cool", oracle, trace, idle, limits + [cool]))


def _bound(name, oracle, trace, idle, limits):
    right = oracle.most_right(max(0.0, min(limits) - idle) if limits else None)
    joules = idle + oracle.least_joules(right)
    return {
        "policy": name, "kind": "oracle", "requests": len(trace.at), "right": right,
        "right_share": right / max(1, len(trace.at)), "joules": joules, "watts": joules / trace.seconds,
        "joules_per_right": joules / right if right else None,
    }  # fmt: skip


def _rungs(profile):
    return [
        {
            "variant": rung.name,
            "serves": place < len(profile.rungs),
            "worth": value,
            "seconds": rung.seconds,
            "p95_seconds": rung.p95,
            "threads": rung.threads,
            "measured": rung.measured,
        }
        for place, (rung, value) in enumerate(zip(profile.every, worths(profile)))
    ]
