"""Which variant answers the next request: `decide(state, sample, profile) -> (state, decision, reason)`.

Pure: no clock, no files, the same on a device, in the simulator and in a replay. Nothing here raises for any number
in a sample. The fast loop (admit, dispatch) is here; what happens every two seconds is in es_govern_slow. How it
decides, with the reason for each constant: docs/governor.md.
"""

from collections import namedtuple

from es_govern_factors import compared, costs, factor_of
from es_govern_profile import Profile, Rung, profile_from_json, profile_of
from es_govern_slow import Slow, begin_slow, refit, tick

__all__ = [
    "REASONS", "Decision", "Profile", "Rung", "State", "begin", "costs", "decide", "profile_from_json", "profile_of",
    "state_from_json", "state_to_json",
]  # fmt: skip

REASONS = {
    "accurate": "nothing asks for less: the most accurate rung",
    "only-rung": "there is one rung",
    "pinned": "the request or the settings name the variant",
    "off": "governor.mode is off: the chosen variant",
    "in-time": "a more accurate rung would not finish before the deadline",
    "load": "a more accurate rung could not serve this many requests",
    "cheapest": "nothing is sure to finish in time; the cheapest may",
    "budget": "the energy that was used more than the budget is being saved",
    "battery": "the settings for this battery charge",
    "temperature": "a temperature is, or was, near where the device slows down",
    "throttled": "the device says that it slows itself down",
    "under-voltage": "the supply is too weak: the cheapest rung on one thread",
    "pressure": "others want the processor: fewer threads",
    "blind": "a sensor that a limit needs is lost: nothing goes up until it is back",
    "late": "refused: it cannot finish before its deadline, not even on the cheapest rung",
    "unknown": "refused: there is no such variant",
    "admitted": "it can finish in time",
    "done": "what it took is noted",
    "tick": "the slow loop has run",
    "settings": "other settings from here on",
}

_GAIN = 0.3  # Weight of the newest run in xi and d: the last five runs are five sixths of the mean.
_RATIO_MOST = 50.0  # One run that was stopped for minutes must not count as the new normal.
_MISSES, _STEP, _MARGIN_MOST = (
    0.0005,
    1.0,
    4.0,
)  # Share of misses aimed at; what one adds to the margin; its bound.
_SLACK = 0.1  # Share of a deadline left for what is not counted: reading, encoding, writing.
_UTILISATION = 0.85  # Above this share the queue of a single worker grows without bound in practice.
_FEW, _PATIENCE = (
    4,
    1.0,
)  # Without a deadline: so many may wait for whatever rung, more must not take longer (s).

# xi: what runs take over what the profile and the factors say (mean), d: its mean deviation; margin: what misses have
# added to xi + 2d; factors: {rung's name: by how much its figure is wrong beside the others'} of those that were
# compared; last: (name of the rung that ran last, what it took over its figure); spent: joules by the profile's
# figures since the last tick; ran: runs since then; slow: what only a tick changes. Never changed, only replaced.
State = namedtuple("State", "xi d margin factors last spent ran slow")
# rung: position in profile.every, -1 where refused; retry_after: seconds; threads: at most; coalesce: most requests
# to answer in one run, this one included.
Decision = namedtuple("Decision", "rung refuse retry_after threads coalesce")

_ADMITTED = Decision(-1, False, 0.0, 0, 1)


def begin(profile):
    """Return the State of a service that has seen nothing yet."""
    return State(1.0, profile.deviation, 0.0, {}, None, 0.0, 0, begin_slow(profile))


def decide(state, sample, profile):
    """Return (new State, Decision or None, a reason of REASONS) for one sample; docs/governor.md lists the kinds.

    "admit" and "dispatch" leave the state as it is. After a change of settings `profile` is the changed one.
    """
    kind = sample[0]
    if kind == "dispatch":
        decision, reason = _dispatch(state, sample, profile)
        return state, decision, reason
    if kind == "done":
        return _done(state, sample, profile), None, "done"
    if kind == "admit":
        decision, reason = _admit(state, sample, profile)
        return state, decision, reason
    if kind == "tick":
        return tick(state, sample, profile), None, "tick"
    if kind == "settings":
        return state._replace(slow=refit(state.slow, profile)), None, "settings"
    raise ValueError("there is no sample %r" % (kind,))


def _refused(retry_after, reason):
    return Decision(-1, True, retry_after if 0.0 < retry_after < 3600.0 else 1.0, 0, 1), reason


def _admit(state, sample, profile):
    """Whether a request can finish at all: counted as if everything before it took the cheapest rung's mean time.
    Whoever is let in is looked at again, with what is known then, when its turn comes.
    """
    _, _, queued, _, left, pinned = sample
    own = 0 if profile.pin < 0 else profile.pin
    if pinned is not None:
        own = profile.index(pinned)
        if own < 0:
            return _refused(1.0, "unknown")
    if left is not None:
        seconds = costs(state, profile)
        needs = state.xi * (seconds[own] + queued * seconds[0])
        if left <= 0.0 or needs > left:
            return _refused(needs - left, "late")
    return _ADMITTED, "admitted"


def _dispatch(state, sample, profile):
    _, _, age, queued, rate, left, pinned, runs = sample
    slow = state.slow
    seconds = costs(state, profile)
    if pinned is not None:
        rung, reason = profile.index(pinned), "pinned"
        if rung < 0:
            return _refused(1.0, "unknown")
    elif profile.pin >= 0:
        rung, reason = profile.pin, profile.pin_reason
    else:
        rung, reason = _choose(state, profile, seconds, sample)
    if left is not None and (left <= 0.0 or state.xi * seconds[rung] * runs > left):
        return _refused(state.xi * (seconds[rung] * runs + queued * seconds[0]), "late")
    most = profile.every[rung].threads
    joined = profile.joins[rung]
    if joined > 1:
        sure = _sure(state) * factor_of(state.factors, profile, rung)
        joined = _join(profile.every[rung], sure, age, queued, left, runs, joined)
    return Decision(rung, False, 0.0, min(most, slow.threads), joined), reason


def _sure(state):
    """Return by what a profiled time is multiplied to be one that is kept."""
    return state.xi + 2.0 * state.d + state.margin


def _choose(state, profile, seconds, sample):
    """Return (rung, reason): the best bargain of those that finish in time, can be kept up and are allowed. `seconds`:
    of a run of each rung, without what xi says.
    """
    _, _, age, queued, rate, left, _, runs = sample
    slow, top = state.slow, profile.top
    if not top:
        return 0, "only-rung"
    sure = _sure(state)
    mean = state.xi * runs
    crowd = mean * queued if left is None and queued > _FEW else 0.0
    if left is not None:
        room = left - _SLACK * (age + left) - queued * sure * seconds[0]
    sure *= runs
    rung, reason = slow.cap, "accurate" if slow.cap == top else slow.cap_why
    room_left = 2 * (profile.queue - queued)
    if profile.queue > 0 and room_left < profile.queue:
        # Beyond half of a queue that refuses what does not fit: a rung down for each part of the other half, so that
        # it is the cheapest before anybody is refused for want of a place and not of time.
        crowded = int(top * max(0.0, room_left) / profile.queue)
        if crowded < rung:
            rung, reason = crowded, "load"
    while rung >= 0:
        if left is not None and not sure * seconds[rung] <= room:
            reason = "in-time"
        elif queued > 0 and not mean * seconds[rung] * rate <= _UTILISATION:
            reason = "load"  # It could not be kept up.
        elif crowd * seconds[rung] > _PATIENCE:
            reason = "load"
        else:
            break
        rung -= 1
    if rung < 0:
        return 0, "cheapest"
    if slow.price > 0.0 and rung:
        best, values, joules = rung, profile.values, profile.joules
        score = values[rung] - slow.price * joules[rung]
        for other in range(rung - 1, -1, -1):
            bargain = values[other] - slow.price * joules[other]
            if bargain >= score:
                best, score = other, bargain
        if best < rung:
            return best, slow.price_why
    if reason == "accurate" and slow.threads < profile.every[rung].threads:
        reason = "pressure"
    return rung, reason


def _join(rung, sure, age, queued, left, runs, most):
    """Return how many requests to answer in one run: no more than wait, than pay, and than end in time together."""
    if runs != 1 or not queued > 0:
        return 1
    room = _PATIENCE if left is None else left - _SLACK * (age + left)
    fits = (room / sure - rung.fixed) / rung.each if sure > 0.0 else 1.0
    return int(max(1.0, min(queued + 1.0, float(most), fits)))


def _done(state, sample, profile):
    """Note what a run took: xi and d by exponential means of the ratio to what was expected, and its joules."""
    _, _, rung, seconds, runs, joules = sample[:6]
    xi, d, margin, factors, last, spent, ran, slow = state
    if not 0 <= rung < len(profile.every) or not 0.0 <= seconds < 1e6:
        return state
    expected = profile.seconds[slow.threads][rung] * runs
    if runs > 1 and profile.joins[rung] > 1:  # Joined: the fixed part is paid once.
        one = profile.every[rung]
        expected *= (one.fixed + one.each * runs) / ((one.fixed + one.each) * runs)
    if expected > 0.0:
        ratio = min(_RATIO_MOST, seconds / expected)
        if ratio > 0.0:
            this = (profile.every[rung].name, ratio)
            if last is not None and last[0] != this[0]:
                factors, shift = compared(factors, profile, last, this)
                xi, d = min(_RATIO_MOST, xi * shift), min(_RATIO_MOST, d * shift)
            last = this
        ratio = min(_RATIO_MOST, ratio / factor_of(factors, profile, rung))
        d += _GAIN * (abs(ratio - xi) - d)
        xi += _GAIN * (ratio - xi)
    if len(sample) > 6 and sample[6] is not None:
        # Adaptive conformal inference (Gibbs and Candes, 2021): in the long run a share _MISSES misses, whatever it
        # is that makes runs slow.
        margin += _STEP * (1.0 - _MISSES) if sample[6] else -_STEP * _MISSES
        margin = min(_MARGIN_MOST, max(0.0, margin))
    if joules is not None and 0.0 <= joules < 1e9:
        spent += joules
    else:
        most = profile.every[rung].threads
        spent += profile.watts[rung] * seconds * min(most, slow.threads) / most
    return State(xi, d, margin, factors, last, spent, ran + 1, slow)


def state_to_json(state):
    """Return a State as lists and numbers; floats keep every bit through JSON."""
    return list(state[:-1]) + [dict(state.slow._asdict())]


def state_from_json(saved):
    """Return the State that `state_to_json` gave."""
    fields = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in saved[-1].items()}
    state = State(*(list(saved[:-1]) + [Slow(**fields)]))
    return state._replace(last=state.last and tuple(state.last))
