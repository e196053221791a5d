"""The governor's slow loop, every two seconds: heat, supply, battery, contention, and the energy that is owed.

One rule for every sensor: what is lost counts as its last value where that asks for less power, and as nothing
where it would allow more. A reading is lost where its value is None or it is older than 10 s.
"""

from collections import namedtuple

STALE = 10.0  # Seconds.
_DOWN, _UP = 3.0, 8.0  # Degrees below a trip: nearer goes a rung down, farther a rung up.
_HOLD = 30.0  # Seconds on the cheapest after an under-voltage: going up at once would bring it back.
_BLIND = 60.0  # Seconds without any temperature after which a ceiling that a person set counts as reached.
_CROWDED, _QUIET, _OWN_BUSY = (
    0.25,
    0.10,
    0.5,
)  # Shares of time: pressure by others, none, and busy by ourselves.
_PERCENT_UP = 2.0  # A battery must gain this much before it counts as fuller: bands do not flap.
_SLOWED = frozenset(("throttled", "frequency-capped", "soft-temperature-limit"))
_UNDER = "under-voltage"
_LONGEST = 600.0  # Seconds that one tick may stand for: a service that was stopped for a night owes no night.
_WORST = 10.0  # Most that a meter may have shown over the estimate.

# at: last tick; z: joules owed; price: what a joule costs in the score; watts: last measured; energy: last value of
# an energy counter; ratio: worst measured over estimated use (fades); steps: rungs down for heat, one more: one
# thread too; heats: last verdict of each temperature sensor (1 hot, 0 between, -1 cool, None never seen); seen: when
# any temperature was known; flags: what throttles now; under: end of the hold after an under-voltage; percent: of
# the battery; crowd: last verdict on contention; limit: threads that contention allows; cap, cap_why: highest rung
# allowed and its reason; threads: allowed in all; blind: sensors lost, sorted; broke: a budget nothing can account.
Slow = namedtuple(
    "Slow",
    "at z price price_why watts energy ratio steps steps_why heats seen flags under percent crowd limit"
    " cap cap_why threads blind broke",
)


def begin_slow(profile):
    """Return the Slow of a service whose sensors were never read."""
    return Slow(
        at=None, z=0.0, price=0.0, price_why="budget", watts=None, energy=None, ratio=1.0, steps=0,
        steps_why="temperature", heats=tuple(None for _ in profile.heats), seen=None, flags=(), under=None,
        percent=None, crowd=0, limit=profile.threads, cap=profile.top, cap_why="accurate",
        threads=profile.threads, blind=(), broke=False,
    )  # fmt: skip


def known(readings, name):
    """Return the value of a reading, None where it is lost."""
    reading = readings.get(name)
    if reading is None or reading[0] is None or reading[1] is None or not 0.0 <= reading[1] <= STALE:
        return None
    return reading[0]


def _number(readings, name, least, most):
    value = known(readings, name)
    good = isinstance(value, (int, float)) and least <= value <= most
    return float(value) if good else None


def tick(state, sample, profile):
    """Return the State after ("tick", at, share of the time busy, readings)."""
    _, at, busy, readings = sample
    slow = state.slow
    if not abs(at) < 1e15:  # No clock gives that; it must not stay in the state for ever.
        at = slow.at or 0.0
    dt = min(_LONGEST, at - slow.at) if slow.at is not None and at > slow.at else 0.0
    slow, blind = slow._replace(at=at), []
    slow = _battery(slow, readings, profile, blind)
    slow = _energy(slow, readings, profile, dt, state.spent, blind)
    slow = _supply(slow, readings, profile, blind)
    slow = _heat(slow, readings, profile, blind)
    slow = _contention(slow, readings, profile, busy, blind)
    slow = refit(slow._replace(blind=tuple(sorted(blind))), profile)
    xi, d = state.xi, state.d
    if not state.ran:
        # Nothing ran: what was learned fades, or a service that refuses everything would never learn better.
        xi, d = 1.0 + (xi - 1.0) / 2.0, profile.deviation + (d - profile.deviation) / 2.0
    return state._replace(xi=xi, d=d, spent=0.0, ran=0, slow=slow)


def _battery(slow, readings, profile, blind):
    names = profile.names.get("battery", ())
    values = [_number(readings, name, 0.0, 100.0) for name in names]
    found = [v for v in values if v is not None]
    if len(found) < len(values):
        blind += [n for n, v in zip(names, values) if v is None]
        found += [] if slow.percent is None else [slow.percent]
    if not found:
        return slow
    percent = min(found)
    if slow.percent is None or percent < slow.percent or percent >= min(100.0, slow.percent + _PERCENT_UP):
        return slow._replace(percent=percent)
    return slow


def _energy(slow, readings, profile, dt, spent, blind):
    """Bring the virtual queue of joules owed up to date: Z <- clamp(Z + used - budget * dt, 0, Zmax)."""
    measured, energy = _measured(slow, readings, profile, dt)
    estimate = profile.idle * dt + spent
    watts, ratio = slow.watts, slow.ratio
    if measured is not None:
        used = measured
        if dt > 0.0:
            watts = used / dt
            # How far the meter was above the estimate at worst; half of it is forgotten in ten minutes.
            ratio = 1.0 + (ratio - 1.0) * 0.5 ** (dt / 600.0)
            if estimate > 0.0:
                ratio = max(ratio, min(_WORST, used / estimate))
    else:
        used = estimate * ratio
        if watts is not None:  # The meter is lost: no less than it showed last.
            used = max(used, watts * dt)
            blind.append(profile.meter or "meter")
    budget, _ = profile.budget(slow.percent)
    z = slow.z
    if budget is None:
        z = 0.0
    elif dt > 0.0:
        z = min(max(0.0, z + used - budget * dt), profile.debt(budget))
    broke = budget is not None and watts is None and energy is None and not profile.estimates
    return slow._replace(z=z, watts=watts, energy=energy, ratio=ratio, broke=broke)


def _measured(slow, readings, profile, dt):
    """Return (joules since the last tick or None, the energy counter now or None)."""
    reading = readings.get("meter") or readings.get(profile.meter)
    name = "meter" if "meter" in readings else profile.meter
    value = _number(readings, name, 0.0, 1e15)
    if value is None:
        return None, None
    if reading[2] == "power":
        return (value * dt if value < 1e5 else None), None
    if slow.energy is None or value < slow.energy or value - slow.energy > 1e5 * max(dt, 1.0):
        return None, value
    return value - slow.energy, value


def _supply(slow, readings, profile, blind):
    """Note which throttle flags are set now; lost ones stay as they were."""
    flags, lost = set(), False
    for name in profile.names.get("throttle", ()):
        value = known(readings, name)
        if isinstance(value, (list, tuple, set, frozenset)):
            flags |= {flag for flag in value if isinstance(flag, str)}
        else:
            lost = True
            blind.append(name)
    if lost:
        flags |= set(slow.flags)
    under = slow.under
    if _UNDER in flags:
        under = slow.at + _HOLD
    elif under is not None and slow.at >= under:
        under = None
    return slow._replace(flags=tuple(sorted(flags)), under=under)


def _heat(slow, readings, profile, blind):
    """Go one rung down while anything is hot, one up while everything is known to be cool."""
    heats, seen, lost = [], slow.seen if slow.seen is not None else slow.at, False
    for (name, trip), last in zip(profile.heats, slow.heats):
        value = _number(readings, name, -60.0, 200.0)
        if value is None:
            blind.append(name)
            lost = lost or (trip is not None and last is not None)
            heats.append(None if last is None else max(last, 0))
            continue
        seen = slow.at
        if trip is None:
            heats.append(-1)
        else:
            heats.append(1 if value > trip - _DOWN else -1 if value < trip - _UP else 0)
    slowed = bool(_SLOWED & set(slow.flags))
    unseen = profile.settings["temperature_c"] is not None and slow.at - seen > _BLIND
    verdicts = [heat for heat in heats if heat is not None]
    steps, why = slow.steps, slow.steps_why
    if 1 in verdicts or slowed or unseen:
        steps = min(profile.top + 1, steps + 1)
        why = "blind" if unseen or lost else "temperature" if 1 in verdicts else "throttled"
    elif steps and 0 not in verdicts and (verdicts or not profile.heats):
        steps -= 1
    elif steps and lost:
        why = "blind"
    return slow._replace(heats=tuple(heats), seen=seen, steps=steps, steps_why=why)


def _contention(slow, readings, profile, busy, blind):
    """Give a thread back while others wait for the processor and the service itself is not what keeps it busy."""
    names = profile.names.get("pressure", ()) if profile.threads > 1 else ()
    values = [_number(readings, name, 0.0, 1.0) for name in names]
    blind += [n for n, v in zip(names, values) if v is None]
    if not names:
        return slow
    found = [v for v in values if v is not None]
    crowd = 0
    if found and max(found) > _CROWDED and busy < _OWN_BUSY:
        crowd = 1
    elif found and max(found) < _QUIET:
        crowd = -1
    if len(found) < len(values):
        crowd = max(crowd, slow.crowd, 0)
    limit = min(profile.threads, max(1, slow.limit - crowd))
    return slow._replace(crowd=crowd, limit=limit)


def refit(slow, profile):
    """Return Slow with what follows from it under this profile: cap, threads, price."""
    top = profile.top
    steps = min(slow.steps, top + 1)
    limit = min(slow.limit, profile.threads)
    heats = slow.heats
    if len(heats) != len(profile.heats):
        heats = tuple(None for _ in profile.heats)
    caps = [(max(0, top - steps), slow.steps_why)]
    if slow.under is not None:
        caps.insert(0, (0, _UNDER))
    if slow.broke:
        caps.append((0, "blind"))
    band = profile.band(slow.percent)
    if band and band["variant"] is not None and 0 <= profile.index(band["variant"]) <= top:
        caps.append((profile.index(band["variant"]), "battery"))
    cap, why = min(caps, key=lambda one: one[0])
    threads = 1 if slow.under is not None or steps > top else limit
    budget, payer = profile.budget(slow.percent)
    z = price = 0.0
    if budget is not None:
        most = profile.debt(budget)
        z = min(slow.z, most)
        # The score V * value - Z * joules over V, with V = Zmax / (2 * slope): see docs/governor.md.
        price = 2.0 * profile.slope * z / most
    return slow._replace(
        steps=steps, limit=limit, heats=heats, cap=cap, cap_why=why if cap < top else "accurate",
        threads=threads, z=z, price=price, price_why=payer,
    )  # fmt: skip
