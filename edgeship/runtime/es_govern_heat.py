"""How near the trip a temperature may come: what the governor's slow loop knows about heat. Pure, as all of it.

A reading counts as warmer than it is: by its swing (es_sensors_judge.Swing: how far the truth may be above it, or be at
the next look), by the distance that was learned from the trip itself, and, where the sensor is lost, by a bit more.
"""

# Degrees below a trip: there the best rung goes, there the last one above the cheapest (the others between them in
# equal steps), there all threads but one. Several threads heat so much faster that two ticks must lie in between.
_ALONE, _SEVERAL = (1.5, 0.25, 0.1), (3.0, 0.75, 0.25)
_AT = 0.1  # From there on a reading has reached the trip.
# What the trip taught: degrees more of distance for a reading at it, at least; for a clock that heat slowed; the most
# that a reading counts as warmer; seconds in which half of what was learned is forgotten.
_MORE, _MORE_SLOWED, _MOST, _HALF = 0.1, 0.5, 3.0, 3600.0
_WARM = 5.0  # Degrees below a trip from which on a slower clock is taken to be the heat's.
_LOST = 1.5  # Degrees by which a temperature that is lost counts as warmer than it was.


def swing(reading):
    """Return the swing of a temperature's reading, its fourth item: 0 where there is none, the most for nonsense."""
    told = reading[3] if len(reading) > 3 else 0.0
    return float(told) if isinstance(told, (int, float)) and 0.0 <= told <= _MOST else _MOST


def distance(learned, overs, slowed, dt):
    """Return by how many degrees more than usual rungs go below the trip: what comes to it all the same has shown that
    the die jumps or that the sensor is off. `overs`: degrees above the trips, with half of the swing; `slowed`: a
    slower clock has just begun.

    It grows by a reading at the trip, and never by one below: else what is warmer could be allowed more.
    """
    over = max([-_WARM - 1.0] + overs)
    more = max(_MORE, over) if over >= -_AT else 0.0
    if slowed and over >= -_WARM:
        more = max(_MORE_SLOWED, more)
    return min(_MOST, learned * 0.5 ** (dt / _HALF) + more)


def down(over, warmer, gone, top, threads):
    """Return how many rungs down a temperature wants that is `over` degrees above the trip and counts as `warmer`; one
    more than there are: one thread, too. `gone`: it is lost, and was so warm when last seen.

    Each rung has a threshold of its own, so that heat settles between neighbours instead of swinging between the
    cheapest and the best.
    """
    first, last, alone = _SEVERAL if threads > 1 else _ALONE
    over += min(_MOST, warmer) + (_LOST if gone else 0.0)
    if over >= -alone:
        return top + 1
    if not top or over < -(first if top > 1 else last):
        return 0
    return min(top, 1 + int((over + first) * (top - 1) / (first - last)))
