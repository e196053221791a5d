"""What a governor tells people and monitoring: the document of GET .../governor, and its metrics."""

from es_govern import REASONS
from es_govern_factors import factor_of
from es_meter import ESTIMATED, MEASURED


def document(governor, now):
    """Return the governor's document; docs/formats.md has its fields."""
    state, profile = governor.seen()
    tally, slow = governor.tally, state.slow
    joules, by, watts = governor.energy()
    readings, lost = governor.readings(now)
    settings = profile.settings
    return {
        "mode": settings["mode"],
        "rung": tally.rung,
        "reason": tally.reason,
        "why": why_of(tally.reason, slow, profile),
        "loading": governor.loading,
        "rungs": [_rung(state, profile, place) for place in range(len(profile.rungs))],
        "left_out": _left_out(governor),
        "settings": settings,
        "problems": _problems(governor, state.slow, profile),
        "load": round(governor.load, 4),
        "rate": round(tally.rate_now(now), 3),
        "overhead_ms": round(tally.overhead * 1e3, 4),
        "p50_ms": tally.percentile(0.5),
        "p95_ms": tally.percentile(0.95),
        "misses": tally.misses,
        "refused": tally.refused,
        "skipped": tally.skipped,
        "temperature_c": _hottest(readings),
        "watts": _watts(readings, watts),
        "joules": round(joules, 3) if by in (MEASURED, ESTIMATED) else None,
        "cpu_seconds": None if by in (MEASURED, ESTIMATED) else round(joules, 3),
        "joules_by": by,
        "readings": {name: _reading(row, lost.get(name)) for name, row in readings.items()},
        "time_in_rung": {name: round(s, 3) for name, s in tally.times(now).items()},
        "decisions": dict(tally.reasons),
        "slow": {
            "cap": profile.every[slow.cap].name,
            "cap_why": slow.cap_why,
            "threads": slow.threads,
            "joules_owed": round(slow.z, 3),
            "heat_distance": round(slow.distance, 3),
            "blind": list(slow.blind),
        },
        "stretch": [round(state.xi, 4), round(state.d, 4)],
        "margin": round(state.margin, 4),
    }


def why_of(reason, slow, profile):
    """Return what a reason means, for people; where it is a lost sensor, which one. None where there is none yet."""
    if reason != "blind":
        return REASONS.get(reason)
    if slow.broke:
        return "nothing tells what this device draws, and a budget is set: the cheapest variant"
    if slow.blind:
        return "no reading of %s: nothing goes up until it is back" % ", ".join(slow.blind)
    if profile.settings["temperature_c"] is not None and slow.cap_why == "blind":
        return "no temperature is known, and a ceiling is set: the cheapest variant"
    return REASONS[reason]


def _rung(state, profile, place):
    rung = profile.rungs[place]
    told = {
        "variant": rung.name,
        "accuracy": rung.accuracy,
        "agreement": rung.agreement,
        "seconds": rung.seconds,
        "p95_seconds": rung.p95,
        "threads": rung.threads,
        "joules": rung.joules,
        "measured": rung.measured,
        "factor": round(factor_of(state.factors, profile, place), 3),
        "allowed": place <= state.slow.cap,
    }
    if rung.cascade:
        told["cascade"] = dict(zip(("little", "big", "margin", "share"), rung.cascade))
    return told


def _problems(governor, slow, profile):
    """Return what was set and cannot be done, as texts."""
    told = list(governor.whole.problems) + sorted(governor.problems.values())
    metered = slow.watts is not None or slow.energy is not None
    limited = profile.budget(slow.percent)[0] is not None
    # Where the target names no meter the profile says so itself.
    if limited and not profile.estimates and profile.meter and slow.at is not None and not metered:
        text = "governor.%s is set, and %s does not tell what is used: %s"
        what = "the cheapest serves" if profile.pin < 0 else "it cannot be kept"
        told.append(text % (profile.budget_key() or "battery", profile.meter, what))
    if slow.at is not None:
        told += _unread(slow, profile)
    wanted = governor.whole.settings["variant"]
    if wanted in governor.failed:
        told.append("governor.variant %s: %s" % (wanted, governor.failed[wanted]))
    return told


def _unread(slow, profile):
    """Return what limits wait for and was never read since the start, as texts. Where the target names no sensor of
    temperature the profile says so itself.
    """
    told, settings = [], profile.settings
    if settings["temperature_c"] is not None and slow.heats and all(last is None for last in slow.heats):
        text = "governor.temperature_c is set, and %s was never read: %s"
        what = "after a minute the cheapest serves" if profile.pin < 0 else "it cannot be kept"
        told.append(text % (", ".join(name for name, _ in profile.heats), what))
    if settings["battery"] and slow.percent is None:
        text = "governor.battery is set, and %s: no band holds"
        names = ", ".join(profile.names.get("battery", ()))
        told.append(text % ("%s was never read" % names if names else "the target names no battery"))
    return told


def _left_out(governor):
    """Return [[variant, why]] of what does not answer by itself."""
    told = dict(governor.whole.left_out)
    answers = {rung.name for rung in governor.profile.rungs}
    for rung in governor.whole.rungs:
        if rung.name not in answers:
            told[rung.name] = "not loaded yet" if governor.loading else "not loaded"
    told.update(governor.failed)
    told.update(governor.profile.left_out)
    return [[name, reason] for name, reason in sorted(told.items())]


def _reading(row, why):
    value, age, kind = row
    told = {"value": value, "age": None if age is None else round(age, 3), "kind": kind}
    if why and value is None:
        told["why"] = why
    return told


def _hottest(readings):
    known = [value for value, _, kind in readings.values() if kind == "temperature" and value is not None]
    return max(known) if known else None


def _watts(readings, metered):
    known = [value for value, _, kind in readings.values() if kind == "power" and value is not None]
    return round(metered if metered is not None else known[0], 4) if known or metered is not None else None


def families(governor, now):
    """Return [(name, kind, help, [(labels, value)])]."""
    tally = governor.tally
    joules, by, watts = governor.energy()
    readings, _ = governor.readings(now)
    names = sorted({rung.name for rung in governor.whole.every})
    times = tally.times(now)
    found = [
        ("edgeship_governor_decisions_total", "counter", "Decisions by reason.",
         [({"reason": reason}, n) for reason, n in sorted(tally.reasons.items())]),
        ("edgeship_deadline_missed_total", "counter", "Answers after their deadline.", [({}, tally.misses)]),
        ("edgeship_deadline_refused_total", "counter", "Requests that could not be answered in time.",
         [({}, tally.refused)]),
        ("edgeship_skipped_total", "counter", "Answers given again because nothing moved.",
         [({}, tally.skipped)]),
        ("edgeship_rung", "gauge", "1 for the variant that answers now.",
         [({"variant": name}, 1 if name == tally.rung else 0) for name in names]),
        ("edgeship_rung_loaded", "gauge", "1 for variants that can answer.",
         [({"variant": name}, 1 if governor.profile.index(name) >= 0 else 0) for name in names]),
        ("edgeship_rung_seconds_total", "counter", "Time in which a variant was the one to answer.",
         [({"variant": name}, round(times.get(name, 0.0), 3)) for name in names]),
        ("edgeship_load", "gauge", "Share of the time in which the engine was at work.",
         [({}, round(governor.load, 4))]),
    ]  # fmt: skip
    if by in (MEASURED, ESTIMATED):
        told = [({"by": by}, round(joules, 3))]
        found.append(("edgeship_joules_total", "counter", "Energy used, of the whole board.", told))
    for name, about, value in (
        ("edgeship_temperature_celsius", "The hottest sensor.", _hottest(readings)),
        ("edgeship_watts", "Power now.", _watts(readings, watts)),
    ):
        if value is not None:
            found.append((name, "gauge", about, [({}, value)]))
    return found
