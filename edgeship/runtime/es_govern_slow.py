"""The governor's slow loop, every two seconds: heat, supply, battery, contention, and the energy that is owed.

One rule for every sensor: what is lost counts as its last value where that asks for less power, and as nothing
where it would allow more. A reading is lost where its value is None or it is too old (STALE).
"""

from collections import namedtuple

import es_govern_heat as heat

_TICK = 2.0  # Seconds between two ticks while there is something to do.
STALE, STALE_BATTERY = 10.0, 60.0  # Seconds; a battery is read every ten and changes in minutes.
_HOLD = 30.0  # Seconds on the cheapest after an under-voltage: going up at once would bring it back.
_BLIND = 60.0  # Seconds without any temperature after which a ceiling that a person set counts as reached.
_CROWDED, _QUIET = 0.25, 0.10  # Pressure (share of the time that somebody waits): too much, and none.
_OWN_BUSY = 0.5  # Busier than this, the service itself is what the others wait for.
_PERCENT_UP = 2.0  # A battery must gain this much before it counts as fuller: bands do not flap.
_SLOWED = frozenset(("throttled", "frequency-capped", "soft-temperature-limit"))
_UNDER = "under-voltage"
_LISTS = (list, tuple, set, frozenset)
_LONGEST = 600.0  # Seconds that one tick may stand for: a service that was stopped for a night owes no night.
_MOST_WATTS = 5e3  # No board; a counter that jumps by more was set anew.
_WORST = 10.0  # Most that a meter may have shown over the estimate.

# at          monotonic seconds of the last tick
# z, price    joules owed; what one joule costs in the score; price_why: the reason to give for it
# watts       last measured; energy: name and last value of a counter of joules
# ratio       the most that a meter showed over the estimate; fades
# steps       rungs down for heat; one more than there are: one thread, too; steps_why: its reason
# heats       each temperature as last seen, with its swing, None: never; slowed: rungs down for throttle flags
# distance    degrees by which rungs go earlier, since the trip was reached all the same; fades
# unseen      seconds of ticks without any temperature
# flags       what throttles now, None: never seen; under: end of the hold after an under-voltage
# percent     of the battery; crowd: last pressure; limit: threads that the pressure allows
# cap         the highest rung allowed, cap_why: for which reason; threads: allowed in all
# blind       names of lost sensors; broke: there is a budget, and nothing to account for it
Slow = namedtuple(
    "Slow",
    "at z price price_why watts energy ratio steps steps_why heats distance slowed unseen flags under percent crowd"
    " limit cap cap_why threads blind broke",
)


def begin_slow(profile):
    """Return the Slow of a service whose sensors were never read."""
    return Slow(
        at=None, z=0.0, price=0.0, price_why="budget", watts=None, energy=None, ratio=1.0, steps=0,
        steps_why="temperature", heats=tuple(None for _ in profile.heats), distance=0.0, slowed=0, unseen=0.0,
        flags=None, under=None, percent=None, crowd=None, limit=profile.threads, cap=profile.top, cap_why="accurate",
        threads=profile.threads, blind=(), broke=False,
    )  # fmt: skip


def known(readings, name, oldest=STALE):
    """Return the value of a reading, None where it is lost."""
    reading = readings.get(name)
    if reading is None or not isinstance(reading[1], (int, float)) or not 0.0 <= reading[1] <= oldest:
        return None
    return reading[0]


def _number(readings, name, least, most, oldest=STALE):
    value = known(readings, name, oldest)
    good = isinstance(value, (int, float)) and least <= value <= most
    return float(value) if good else None


def tick(state, sample, profile):
    """Return the State after ("tick", at, share of the time busy, readings)."""
    _, at, busy, readings = sample
    slow = state.slow
    if not abs(at) < 1e15:  # No clock gives that; it must not stay in the state for ever.
        at = slow.at or 0.0
    span = at - slow.at if slow.at is not None and at > slow.at else 0.0
    dt = min(_LONGEST, span)
    slow, blind = slow._replace(at=at), []
    slow = _battery(slow, readings, profile, blind)
    slow = _energy(slow, readings, profile, (span, dt), state.spent, blind)
    slow = _supply(slow, readings, profile, blind)
    slow = _heat(slow, readings, profile, dt, blind)
    slow = _contention(slow, readings, profile, busy, blind)
    slow = refit(slow._replace(blind=tuple(sorted(blind))), profile)
    xi, d, last = state.xi, state.d, state.last
    if not state.ran:
        # Nothing ran: what was learned fades, or a service that refuses everything would never learn better. The
        # factors stay; the next run, of caches and clocks that have gone cold, is compared with none before it.
        last = None
        xi, d = 1.0 + (xi - 1.0) / 2.0, profile.deviation + (d - profile.deviation) / 2.0
    return state._replace(xi=xi, d=d, last=last, spent=0.0, ran=0, slow=slow)


def _battery(slow, readings, profile, blind):
    names = profile.names.get("battery", ())
    values = [_number(readings, name, 0.0, 100.0, STALE_BATTERY) for name in names]
    found = [v for v in values if v is not None]
    if len(found) < len(values) and slow.percent is not None:
        blind += [n for n, v in zip(names, values) if v is None]
        found.append(slow.percent)
    if not found:
        return slow
    percent = min(found)
    if slow.percent is None or percent < slow.percent or percent >= min(100.0, slow.percent + _PERCENT_UP):
        return slow._replace(percent=percent)
    return slow


def _energy(slow, readings, profile, times, spent, blind):
    """Bring the virtual queue of joules owed up to date: Z <- clamp(Z + used - budget * dt, 0, Zmax). `times`: seconds
    since the last tick, and those that count; a counter went on for all of them.
    """
    span, dt = times
    shown, counter = _shown(slow, readings, profile, span)
    estimate = profile.idle * dt + spent
    watts, ratio = slow.watts, slow.ratio
    if shown is not None:
        watts, used = shown, shown * dt
        if dt > 0.0:
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
    z = 0.0
    if budget is not None:
        z = min(max(0.0, slow.z + used - budget * dt), profile.debt(budget))
    broke = budget is not None and watts is None and counter is None and not profile.estimates
    return slow._replace(z=z, watts=watts, energy=counter, ratio=ratio, broke=broke)


def _shown(slow, readings, profile, span):
    """Return (watts since the last tick as a meter shows them, its counter of joules); None where there is none."""
    name = "meter" if "meter" in readings else profile.meter
    value = _number(readings, name, 0.0, 1e15)
    if value is None:
        return None, None
    if readings[name][2] == "power":
        return (value if value < _MOST_WATTS else None), None
    counter, before = (name, value), slow.energy
    if before is None or before[0] != name or not 0.0 <= value - before[1] < _MOST_WATTS * span:
        return None, counter
    return (value - before[1]) / span, counter


def _supply(slow, readings, profile, blind):
    """Note which throttle flags are set now; lost ones stay as they were."""
    flags, seen = set(slow.flags or ()), False
    told = [(name, known(readings, name)) for name in profile.names.get("throttle", ())]
    lost = [name for name, value in told if not isinstance(value, _LISTS)]
    if told and not lost:
        flags.clear()
    for _, value in told:
        if isinstance(value, _LISTS):
            flags.update(flag for flag in value if isinstance(flag, str))
            seen = True
    if slow.flags is None and not seen:
        return slow
    blind += lost
    under = slow.under
    if _UNDER in flags:
        under = slow.at + _HOLD
    elif under is not None and slow.at >= under:
        under = None
    return slow._replace(flags=tuple(sorted(flags)), under=under)


def _heat(slow, readings, profile, dt, blind):
    """How many rungs down the temperatures want, and the throttle flags."""
    top, slowed, begun = profile.top, slow.slowed, False
    heats, found = _temperatures(slow, readings, profile, blind)
    # A service that rested for an hour has not been blind for an hour.
    unseen = 0.0 if not all(gone for _, _, _, gone in found) else slow.unseen + min(dt, _TICK)
    if not _SLOWED.isdisjoint(slow.flags or ()):
        slowed, begun = min(top + 1, slowed + 1), not slowed
    elif slowed and not any(name in blind for name in profile.names.get("throttle", ())):
        slowed -= 1
    watched = [(value - trip, swing, gone) for trip, value, swing, gone in found if None not in (value, trip)]
    distance = heat.distance(slow.distance, [over + swing / 2.0 for over, swing, _ in watched], begun, dt)
    steps, why = 0, "temperature"
    for over, swing, gone in watched:
        down = heat.down(over, swing + distance, gone, top, profile.threads)
        if down and gone:  # It was warm when last seen, and may have got warmer.
            down = min(top + 1, down + 1)
            why = "blind" if down >= steps else why
        steps = max(steps, down)
    if slowed > steps:
        steps, why = slowed, "throttled"
    if profile.settings["temperature_c"] is not None and unseen > _BLIND and steps <= top:
        steps, why = max(steps, top), "blind"
    return slow._replace(
        heats=heats, distance=distance, unseen=unseen, slowed=slowed, steps=steps, steps_why=why
    )


def _temperatures(slow, readings, profile, blind):
    """Return (the next `heats`, [(trip or None, celsius or None, swing, whether it is gone)]). What is gone counts as
    it was last, its swing included.
    """
    heats, found = [], []
    for (name, trip), last in zip(profile.heats, slow.heats):
        value, swing = _number(readings, name, -60.0, 200.0), 0.0
        gone = value is None
        if gone:
            value = last
            if last is not None:
                blind.append(name)
        else:
            swing = heat.swing(readings[name])
        heats.append(None if value is None else value + swing)
        found.append((trip, value, swing, gone))
    return tuple(heats), found


def _contention(slow, readings, profile, busy, blind):
    """Give a thread back while others wait for the processor and the service itself is not what keeps it busy."""
    names = profile.names.get("pressure", ()) if profile.threads > 1 else ()
    values = [_number(readings, name, 0.0, 1.0) for name in names]
    found = [v for v in values if v is not None]
    crowd = slow.crowd
    if len(found) < len(values) and crowd is not None:
        blind += [n for n, v in zip(names, values) if v is None]
        found.append(max(crowd, _QUIET))  # Lost: as it was, and never none.
    if not found:
        return slow
    crowd, limit = max(found), slow.limit
    if crowd > _CROWDED and busy < _OWN_BUSY:
        limit -= 1
    elif crowd < _QUIET:
        limit += 1
    return slow._replace(crowd=crowd, limit=min(profile.threads, max(1, limit)))


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
    if band and band["variant"] is not None and profile.ceiling(band["variant"]) >= 0:
        caps.append((profile.ceiling(band["variant"]), "battery"))
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
