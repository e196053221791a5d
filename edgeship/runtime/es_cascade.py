"""A rung of two variants: the little one answers, and where it is not sure, the big one.

Sure is a margin: the highest value of the first output less the second, in the real numbers that clients get.
"""

import time

import es_batch
from es_decode import OutputDecoder
from es_infer import Call


class Cascaded(object):
    """One answer by a cascade of the models `pair`. `timed(model, call, deadline, due)` runs one, `expected(name)` is
    how long a run of it takes.
    """

    def __init__(self, rung, pair, timed, expected):
        self._rung, self._margin = rung, rung.cascade[2]
        self._little, self._big = pair
        self._timed, self._expected = timed, expected

    def run(self, call, deadline, due):
        """Return (what tells the answer: the little model, the big one or both; output tensors)."""
        tensors = self._timed(self._little, call, deadline, due)
        unsure = self._unsure(call, tensors)
        if not unsure or self._too_late(due, len(unsure)):
            return self._little, tensors
        if len(unsure) == call.runs:
            return self._big, self._timed(self._big, call, deadline, due)
        part = Call()
        part.runs, part.sequence, part.seconds = len(unsure), None, 0.0
        part.samples = es_batch.picked(call.samples, call.runs, unsure)
        better = self._timed(self._big, part, deadline, due)
        call.seconds += part.seconds
        return Both(self._rung.name, self._little), self._mixed(call.runs, tensors, better, unsure)

    def _unsure(self, call, tensors):
        """Return the numbers of the runs in which the two highest values are nearer than the margin."""
        decoder = self._little.decoders[0]
        values = decoder.numbers(decoder.decode(tensors[0]))
        width = decoder.shape[-1] if decoder.shape else 1
        each = len(values) // call.runs
        found = []
        for number in range(call.runs):
            rows = values[number * each : (number + 1) * each]
            if any(margin(rows[i : i + width]) < self._margin for i in range(0, each, width)):
                found.append(number)
        return found

    def _too_late(self, due, runs):
        """Whether the big model would end after the deadline: an answer in time is worth more than a surer one."""
        return due is not None and time.monotonic() + self._expected(self._big.name) * runs > due

    def _mixed(self, runs, tensors, better, unsure):
        """Return the decoded outputs, of each run by the model that has the last word on it."""
        place = {number: at for at, number in enumerate(unsure)}
        mixed = []
        for index, (small, large) in enumerate(zip(tensors, better)):
            little = self._little.decoders[index].decode(small)
            big = self._big.decoders[index].decode(large)
            size = len(little) // runs
            pieces = []
            for number in range(runs):
                source, at = (big, place[number]) if number in place else (little, number)
                pieces.append(source[at * size : (at + 1) * size])
            mixed.append(b"".join(pieces))
        return mixed


class Both(object):
    """Tells answers that are decoded already, some of the runs by one model and some by the other."""

    def __init__(self, name, model):
        self.name, self.release = name, model.release
        self.decoders = [OutputDecoder(_plain(spec)) for spec in model.spec["outputs"]]


def _plain(spec):
    """Return an output's entry for data that is decoded already."""
    decoder = OutputDecoder(spec)
    return dict(spec, tensor={"dtype": decoder.out_dtype, "shape": spec["shape"], "scale": None})


def margin(row):
    """Return by how much the highest value of a row leads; 0 where that cannot be said."""
    if len(row) < 2:
        return 0.0
    first, second = float("-inf"), float("-inf")
    for value in row:
        if value != value:  # No number.
            return 0.0
        if value > first:
            first, second = value, first
        elif value > second:
            second = value
    lead = first - second
    return lead if lead == lead else 0.0
