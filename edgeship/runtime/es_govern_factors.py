"""By how much the figure of one rung is wrong beside the others': a factor for each, learned where the rung changes.

What slows all rungs alike is xi's (es_govern): it follows within five runs. Two runs of different rungs, one after the
other, meet the same neighbours: what the second takes over its figure, beside what the first took over its own, tells
of the figures. Half of what is seen is laid to each of the two, so that the factors say nothing of all together.
"""

import math

_GAIN = 0.3  # Share of what a change of rung shows that is believed at once.
# Of one change, in logarithms: a run that was disturbed is often why the rung changes, so it must not count for more.
_STEP = 0.1
_MOST = math.log(4.0)  # A figure that is wrong by more is another fault.


def factor_of(factors, profile, place):
    """Return by what a rung's profiled seconds are multiplied; of a cascade that never was compared as a whole: by
    what those of its two are, each as much as it takes.
    """
    rung = profile.every[place]
    found = factors.get(rung.name)
    if found is not None or not factors:
        return found or 1.0
    if rung.cascade:
        little, big = profile.index(rung.cascade[0]), profile.index(rung.cascade[1])
        if little >= 0 and big >= 0:
            one, other = profile.every[little], profile.every[big]
            first, second = one.seconds, rung.cascade[3] * other.seconds
            if first + second > 0.0:
                first *= factors.get(one.name, 1.0)
                return (first + second * factors.get(other.name, 1.0)) / (one.seconds + second)
    return 1.0


def costs(state, profile):
    """Return the seconds of one run of each rung of `profile.every`, with its factor and without xi."""
    seconds = profile.seconds[state.slow.threads]
    factors = state.factors
    if not factors:
        return seconds
    row = [one * factor_of(factors, profile, place) for place, one in enumerate(seconds)]
    for place in range(1, profile.top + 1):  # As fewer threads: the ladder must not turn round.
        row[place] = max(row[place], row[place - 1])
    return row


def compared(factors, profile, last, this):
    """Return (factors, what xi has to be multiplied by) after a run of another rung; `last`, `this`: (name, time taken
    over the profile's, above 0).
    """
    here, there = profile.index(this[0]), profile.index(last[0])
    if here < 0 or there < 0:
        return factors, 1.0
    own = math.log(factor_of(factors, profile, here))
    other = math.log(factor_of(factors, profile, there))
    seen = math.log(this[1]) - own - (math.log(last[1]) - other)
    step = 0.5 * max(-_STEP, min(_STEP, _GAIN * seen))
    found = {name: math.log(factor) for name, factor in factors.items()}
    found[this[0]], found[last[0]] = own + step, other - step
    # The middle one counts as right: where one figure is wrong, the others' factors are 1.
    ordered = sorted(found.values())
    middle = 0.5 * (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])
    bounded = {name: max(-_MOST, min(_MOST, value - middle)) for name, value in found.items()}
    return {name: math.exp(value) for name, value in bounded.items()}, math.exp(middle)
