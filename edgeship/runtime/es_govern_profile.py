"""What the governor knows beforehand: the rungs with their costs, the settings, the sensors. No clock, no files."""

from es_errors import CannotRun
from es_govern_settings import checked

# Requests are only joined where the part of a run that does not grow with them is more than this share of what each
# of them costs, and never so many that one more would gain less than it.
COALESCE_GAIN = 0.05
_MOST_JOINED = 64
# The longest a debt of energy may be, in seconds of the power that the budget leaves above idling: over an hour the
# mean exceeds the budget by at most 30 / 3600 of that power.
_DEBT_SECONDS = 30.0
# A shutdown needs more distance than a slower clock: it counts as a trip this many degrees lower.
_SHUTDOWN_MARGIN = 10.0
_METERS = ("power", "energy")


class Rung(object):
    """One way to answer. `seconds` and `p95`: of one run on `threads` threads; `joules`: of one run above idling, None
    where nothing says; `fixed` and `each`: a run of n samples takes fixed + each * n seconds, None where not measured;
    `cascade`: None, or (little, big, margin, share of the requests that go on to the big one).
    """

    __slots__ = (
        "name", "accuracy", "agreement", "seconds", "p95", "joules", "threads", "cascade", "fixed", "each",
        "by_threads", "memory_bytes", "measured", "value",
    )  # fmt: skip

    def __init__(self, row):
        self.name = row["variant"]
        self.accuracy, self.agreement = row.get("accuracy"), row.get("agreement")
        self.seconds = _positive(row.get("seconds"))
        self.p95 = max(self.seconds, _positive(row.get("p95_seconds")))
        self.joules = _positive(row.get("joules")) or None
        self.threads = max(1, int(row.get("threads") or 1))
        parts = row.get("cascade")
        self.cascade = parts and (parts["little"], parts["big"], parts["margin"], parts.get("share") or 0.0)
        self.fixed, self.each = row.get("fixed_seconds"), row.get("each_seconds")
        self.by_threads = {int(k): _positive(v) for k, v in (row.get("by_threads") or {}).items()}
        self.memory_bytes = row.get("memory_bytes")
        self.measured = row.get("measured", "host")
        self.value = 0.0  # What it is worth to answer with it: see Profile.basis.

    def seconds_at(self, threads):
        """Return the seconds of one run on at most `threads` threads. Not measured: as if all were lost that the
        others could have gained.
        """
        if threads >= self.threads:
            return self.seconds
        return self.by_threads.get(threads) or self.seconds * self.threads / threads

    def joins(self):
        """Return the most requests that are worth joining in one run; 1: none."""
        if self.cascade or not self.fixed or not self.each or self.fixed < 0 or self.each < 0:
            return 1
        share = self.fixed / self.each
        return min(_MOST_JOINED, int(share / COALESCE_GAIN) + 1) if share > COALESCE_GAIN else 1


class Profile(object):
    """`rungs`: those that serve, cheapest first; `every`: these and then the ones left out, which can be pinned:
    the numbers of decisions and "done" samples are positions in `every`. `left_out`: [(name, why)]. `problems`:
    what was set and cannot be done, as texts. `basis`: what is maximised: "accuracy", "agreement", or "order" where
    nothing was measured and the slower rung is taken for the better one.
    """

    __slots__ = (
        "document", "figures", "chosen", "settings", "rungs", "every", "left_out", "problems", "basis", "top",
        "pin", "pin_reason", "threads", "seconds", "values", "joules", "watts", "joins", "deviation", "slope",
        "idle", "active", "estimates", "heats", "names", "meter", "queue", "_index",
    )  # fmt: skip

    def index(self, name):
        """Return the position in `every` of a variant's name, -1 where there is none."""
        return self._index.get(name, -1)

    def changed(self, settings):
        """Return the profile with other tuned settings over those of the document."""
        return profile_of(self.document, settings, self.figures, self.chosen)

    def to_json(self):
        """Return what `profile_of` needs to make the same profile again."""
        return {
            "governor": self.document,
            "settings": self.settings,
            "figures": self.figures,
            "chosen": self.chosen,
        }

    def budget(self, percent):
        """Return (watts or None, "budget" or "battery"): the strictest of what was set, for a battery that holds
        `percent` (None: unknown, no band).
        """
        hourly = self.settings["joules_per_hour"]
        found = [(w, "budget") for w in (self.settings["watts"], hourly and hourly / 3600.0) if w is not None]
        band = self.band(percent)
        if band and band["watts"] is not None:
            found.append((band["watts"], "battery"))
        return min(found) if found else (None, "budget")

    def budget_key(self):
        """Return the name of the setting that holds a budget, None without one."""
        keys = ("watts", "joules_per_hour")
        return next((key for key in keys if self.settings[key] is not None), None)

    def band(self, percent):
        """Return the battery band that `percent` lies in, or None."""
        if percent is not None:
            for band in self.settings["battery"]:
                if percent < band["below_percent"]:
                    return band
        return None

    def ceiling(self, name):
        """Return the costliest rung that is not slower than a variant; -1 where there is no such variant."""
        place = self.index(name)
        if place > self.top:
            seconds = self.every[place].seconds
            place = max([0] + [i for i, rung in enumerate(self.rungs) if rung.seconds <= seconds])
        return place

    def debt(self, watts):
        """Return the largest debt of energy (Zmax, joules) under a budget of `watts`.

        At least so much that a tick of full power from half of it does not reach the end, where it is forgotten.
        """
        return _DEBT_SECONDS * max(watts - self.idle, self.active / 4.0, 1e-6)


def _positive(value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9
    return float(value) if number else 0.0


def profile_from_json(saved):
    """Return the Profile that `Profile.to_json` describes."""
    return profile_of(saved["governor"], saved["settings"], saved["figures"], saved["chosen"])


def profile_of(document, settings=None, figures=None, chosen=None):
    """Return the Profile of service.json's `governor`.

    `settings`: what was tuned, over the document's, key by key. `figures`: {variant: figures measured on the device}
    or the document that holds them under `rungs`. `chosen`: the variant that serves where the governor is off; else
    the document's `chosen`, else its most accurate rung. Raises CannotRun: bad-settings, or bad-service-file for a
    document without rungs.
    """
    rows = document.get("rungs") if isinstance(document, dict) else None
    if not rows:
        raise CannotRun("bad-service-file", "service.json: `governor.rungs` must name at least one variant")
    if figures is not None and isinstance(figures.get("rungs"), dict):
        figures = figures["rungs"]
    p = Profile()
    p.document, p.figures = document, figures
    p.queue = int(_positive(document.get("queue")))
    p.settings = checked(document.get("settings"), settings)
    p.left_out, p.problems = [], []
    power = document.get("power") or {}
    p.idle = _positive(power.get("idle_watts"))
    p.active = max(0.0, _positive(power.get("busy_watts")) - p.idle)
    found = [Rung(row) for row in _measured(rows, figures or {})]
    p.basis = _value(found)
    p.rungs = _ladder(found, p.settings, p.left_out)
    p.every = p.rungs + tuple(r for r in found if r not in p.rungs)
    p._index = {r.name: i for i, r in enumerate(p.every)}
    p.top = len(p.rungs) - 1
    named = chosen or document.get("chosen")
    p.chosen = named if named in p._index else p.rungs[-1].name
    _pin(p)
    _costs(p)
    _sensors(p, document.get("sensors") or [])
    return p


def _measured(rows, figures):
    """Return the rows with what was measured on the device in place of the host's figures."""
    known = {row["variant"]: dict(row) for row in rows}
    for name, row in known.items():
        if isinstance(figures.get(name), dict):
            # Joules of the host say nothing about this device.
            row.update({"joules": None, "measured": "device"}, **figures[name])
    for name, row in known.items():
        parts = row.get("cascade")
        if parts and name not in figures and parts["little"] in figures and parts["big"] in figures:
            little, big, share = known[parts["little"]], known[parts["big"]], parts.get("share") or 0.0
            row["seconds"] = _positive(little.get("seconds")) + share * _positive(big.get("seconds"))
            row["p95_seconds"] = _positive(little.get("p95_seconds")) + _positive(big.get("p95_seconds"))
            row["threads"] = max(little.get("threads") or 1, big.get("threads") or 1)
            both = [_positive(little.get("joules")), _positive(big.get("joules"))]
            row["joules"] = both[0] + share * both[1] if all(both) else None
            row["measured"] = "device"
    return list(known.values())


def _value(rungs):
    """Set what each rung is worth; return what that was taken from."""
    for basis in ("accuracy", "agreement"):
        values = [getattr(r, basis) for r in rungs]
        if all(isinstance(v, (int, float)) for v in values):
            for rung, value in zip(rungs, values):
                rung.value = float(value)
            return basis
    for place, rung in enumerate(sorted(rungs, key=lambda r: r.seconds)):
        rung.value = float(place)
    return "order"


def _ladder(found, settings, left_out):
    """Return the rungs that serve, each slower and better than the one before it."""
    rungs = []
    for rung in sorted(found, key=lambda r: (r.seconds, -r.value)):
        if not rung.seconds:
            left_out.append((rung.name, "its time was not measured"))
        elif rung.cascade and settings["cascade"] == "off":
            left_out.append((rung.name, "governor.cascade is off"))
        elif rungs and rung.value <= rungs[-1].value:
            left_out.append((rung.name, "%s is at least as accurate and not slower" % rungs[-1].name))
        else:
            rungs.append(rung)
    if not rungs:  # One variant that nobody timed still serves.
        rungs = [max(found, key=lambda r: (not r.cascade, r.value))]
        left_out[:] = [item for item in left_out if item[0] != rungs[0].name]
    return tuple(rungs)


def _pin(p):
    """Set which rung always serves, if one does."""
    p.pin, p.pin_reason = -1, ""
    if p.settings["mode"] == "off":
        p.pin, p.pin_reason = p._index[p.chosen], "off"
    if p.settings["variant"] is not None:
        wanted = p._index.get(p.settings["variant"], -1)
        if wanted < 0:
            p.problems.append("governor.variant %s is not in this release" % p.settings["variant"])
        else:
            p.pin, p.pin_reason = wanted, "pinned"
    for band in p.settings["battery"]:
        if band["variant"] is not None and band["variant"] not in p._index:
            p.problems.append("governor.battery names %s, which is not in this release" % band["variant"])


def _costs(p):
    """Set the tables that the fast loop looks costs up in."""
    p.threads = max(r.threads for r in p.every)
    p.seconds = [()]
    for limit in range(1, p.threads + 1):
        row = [r.seconds_at(limit) for r in p.every]
        for i in range(1, p.top + 1):  # Fewer threads must not turn the ladder round.
            row[i] = max(row[i], row[i - 1])
        p.seconds.append(tuple(row))
    spread = p.rungs[-1].value - p.rungs[0].value
    p.values = tuple((r.value - p.rungs[0].value) / (spread or 1.0) for r in p.every)
    if not all(r.joules for r in p.every):
        for rung in p.every:
            rung.joules = p.active * rung.threads * rung.seconds or None
    p.estimates = all(r.joules for r in p.rungs)
    p.joules = tuple(r.joules or r.seconds for r in p.every)
    p.watts = tuple(r.joules / r.seconds if r.joules and r.seconds else 0.0 for r in p.every)
    p.joins = tuple(r.joins() if p.settings["coalesce"] == "auto" else 1 for r in p.every)
    # A cascade's 95th percentile is that of both its models together: no spread of the times of either.
    spreads = [(r.p95 - r.seconds) / r.seconds / 2.0 for r in p.rungs if r.seconds and not r.cascade]
    p.deviation = min(1.0, max(spreads + [0.05]))
    # The steepest price of accuracy: half the largest debt makes the cheapest rung the best bargain.
    steps = [(p.values[i], p.joules[i] - p.joules[0]) for i in range(1, p.top + 1)]
    p.slope = max([value / more for value, more in steps if more > 0] + [0.0])
    if p.active and p.threads > 1:
        p.active *= p.threads


def _sensors(p, rows):
    """Set which sensors matter, and for temperatures the lowest degrees at which the device or its owner wants
    less.
    """
    p.names, p.heats, meters = {}, [], {}
    ceiling = p.settings["temperature_c"]
    for row in rows:
        name, kind = row.get("name"), row.get("kind")
        if kind == "load" and "/pressure/" in (row.get("path") or ""):
            kind = "pressure"
        p.names.setdefault(kind, []).append(name)
        if kind in _METERS:
            meters.setdefault(kind, name)
        if kind == "temperature":
            trips = [
                t["at"] - (_SHUTDOWN_MARGIN if t.get("effect") == "shutdown" else 0.0)
                for t in row.get("trips") or ()
            ]
            trips += [ceiling] if ceiling is not None else []
            p.heats.append((name, min(trips) if trips else None))
    p.meter = meters.get("power", meters.get("energy"))
    if p.settings["temperature_c"] is not None and not p.heats:
        p.problems.append("governor.temperature_c is set and the target names no temperature sensor")
    budget = p.budget_key()
    if budget and not p.estimates and p.meter is None:
        text = (
            "governor.%s is set, and neither a meter nor a power model says what is used: the cheapest serves"
        )
        p.problems.append(text % budget)
    if budget and p.budget(None)[0] <= p.idle:
        p.problems.append(
            "the budget of %.3g W is not above the %.3g W of idling" % (p.budget(None)[0], p.idle)
        )
