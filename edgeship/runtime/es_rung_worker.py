"""The worker of a service with a governor: its queue can be looked through, and what cannot be answered in time any
more leaves it at once.
"""

import collections
import time

from es_answers import refusal
from es_errors import Refused
from es_rungs import Ladder
from es_worker import Worker

# The queue is looked through at most this often: while it is long, each look costs as much as a small inference.
_LOOK_SECONDS = 0.01
# Seconds after which a rung is loaded although requests wait.
_LOAD_SECONDS = 0.5


class RungWorker(Worker):
    """As Worker; loads one rung after another while nothing waits."""

    def __init__(self, release, metrics, budget, governor, wake_fd):
        Worker.__init__(self, lambda: self._ladder(release, metrics, budget), wake_fd)
        self._governor = governor
        self.waiting = collections.deque()
        self._earliest = None  # When the first of those that wait may be late.
        self._looked, self._load_by, self._prepared = 0.0, 0.0, False

    def _ladder(self, release, metrics, budget):
        ladder = Ladder(release, metrics, budget, self._governor)
        ladder.company, ladder.leave = self._company, self.finished.extend
        return ladder

    def _company(self, most, accept):
        """Take the next jobs that wait, at most so many, as long as accept(job) is true."""
        taken = []
        while len(taken) < most:
            try:
                job = self.waiting.popleft()
            except IndexError:
                break
            if not accept(job):
                self.waiting.appendleft(job)
                break
            taken.append(job)
        return taken

    def submit(self, job):
        """Hand over a job."""
        if job.request is not None:
            asked = job.request.asked
            asked.seems_due = seems = asked.glance(job.request)
            if seems is not None and (self._earliest is None or seems < self._earliest):
                self._earliest = seems
        self.waiting.append(job)
        self._jobs.put(True)

    def answer_here(self, request, deadline):
        """As Worker.answer_here; None also where others came with it that could be answered by the same run."""
        if request.asked.behind and self.model.joins:
            return None
        return Worker.answer_here(self, request, deadline)

    def nudge(self):
        """Have the worker see whether there is a rung to load."""
        self._jobs.put(False)

    def _next(self):
        if not self._prepared:
            self._prepared = True
            self._governor.prepare()
            self._load_by = time.monotonic() + _LOAD_SECONDS
        while True:
            # Not watched as busy: an accelerator may take longer to load a model than any request may take.
            while self._may_load() and self.model.to_load():
                self.model.load_next()
                self._load_by = time.monotonic() + _LOAD_SECONDS
            self._jobs.get()
            try:
                return self.waiting.popleft()
            except IndexError:
                continue  # It was refused meanwhile, or there is none.

    def _may_load(self):
        """Whether a rung may be loaded now: while nothing waits, and now and then while something always does, for the
        rung that is missing may be the one that could keep up.
        """
        return not self.waiting or time.monotonic() >= self._load_by

    def _answer(self, job):
        return self.model.answer(job.request, job.deadline, queued=len(self.waiting))

    def due(self):
        """Return when `refuse_late` may find something, None where nothing waits that has a deadline."""
        return self._earliest if self.waiting else None

    def refuse_late(self, now):
        """Return the jobs, answered, that waited and cannot be answered in time any more."""
        if self._earliest is None or now < min(self._looked + _LOOK_SECONDS, self._earliest):
            return []
        self._looked = now
        late, earliest = [], None
        for place, job in enumerate(list(self.waiting)):
            seems = job.request.asked.seems_due if job.request is not None else None
            if seems is None:
                continue
            if self._is_late(job, now, place + 1):
                late.append(job)
            elif earliest is None or seems < earliest:
                earliest = seems
        self._earliest = earliest
        return late

    def _is_late(self, job, now, queued):
        asked = job.request.asked
        if self._governor.can_finish(now, asked.seems_due, queued):
            return False
        try:
            self.waiting.remove(job)
        except ValueError:
            return False  # Its turn came meanwhile.
        try:
            self.model.decoded(job.request)
            self._governor.admit(now, asked.due, queued, asked.variant)
        except Refused as error:
            job.answer = refusal(error)
            return True
        asked.seems_due = asked.due
        self.waiting.insert(queued - 1, job)
        self._jobs.put(True)
        return False
