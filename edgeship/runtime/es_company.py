"""Several requests answered by one run: those that wait and fit join the one whose turn it is."""

import time

import es_infer
from es_answers import Answer, answered


class _Guest(object):
    """A request that joined: its job, Call, bytes of the budget held, and input tensors."""

    __slots__ = ("job", "call", "held", "tensors")


class Company(object):
    """What joins `call`, which `chosen`, (rung, its model) of a Ladder, is about to answer. Whoever asks holds the
    engines.
    """

    def __init__(self, ladder, chosen, call, deadline, due):
        self._ladder, self._call, self._deadline, self._due = ladder, call, deadline, due
        self._rung, self._model = chosen
        self._guests = []

    def answer(self, most, expected):
        """Answer up to `most` requests at once, of which one alone is expected to take some seconds; return the output
        tensors of the first, None where nobody joined or the engine failed: it has to go alone then.
        """
        first = self._model.encode(self._call.samples)
        rung = self._rung
        takes = expected * (rung.fixed + rung.each * most) / (rung.fixed + rung.each)
        jobs = self._ladder.company(most - 1, lambda job: self._fits(job, time.monotonic() + takes))
        for job in jobs:
            self._seat(job)
        found = None
        try:
            if self._guests:
                found = self._computed([first] + [guest.tensors for guest in self._guests])
        finally:  # Whatever happened to this one: nobody else would answer those that were taken out of the queue.
            self._answer_guests(found)
            self._ladder.leave(jobs)
        return None if found is None else found[0]

    def _answer_guests(self, found):
        for place, guest in enumerate(self._guests):
            outputs = None if found is None else found[place + 1]
            guest.job.answer = answered(
                lambda held, guest=guest, outputs=outputs: self._told(guest, outputs, held),
                lambda error: None,
            )

    def _fits(self, job, until):
        """Whether a request can be answered with this one, and in time if the run ends at `until`."""
        if job.request is None or job.deadline < until:
            return False
        call = self._ladder.guest(job.request, self._model)
        due = job.request.asked.due
        return call is not None and (due is None or until <= due)

    def _seat(self, job):
        guest = _Guest()
        guest.job, guest.call, guest.held = job, job.request.asked.call, 0

        def prepare(held):
            self._model.take_room(guest.call, job.request, held)
            guest.held = held[0]
            guest.tensors = self._model.encode(guest.call.samples)

        job.answer = answered(prepare, lambda error: None)
        if job.answer is None:
            self._guests.append(guest)

    def _computed(self, inputs):
        """Return [output tensors] of all, None where the engine cannot."""
        before = self._call.seconds
        found = self._ladder.together(self._model, inputs, self._call)
        if found is not None:
            self._call.said["joined"] = len(inputs)
            self._ladder.ran(self._model, self._call.seconds - before, len(inputs), self._due)
        return found

    def _told(self, guest, outputs, held):
        """Return the Answer of a guest."""
        held[0] = guest.held
        guest.call.said = dict(self._call.said)
        self._ladder.count(guest.call.said["reason"])
        if outputs is None:
            outputs = self._ladder.timed(self._model, guest.call, self._deadline, guest.job.request.asked.due)
        return Answer(200, *es_infer.encode(guest.call, outputs, self._model))
