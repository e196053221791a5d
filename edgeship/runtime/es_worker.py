"""The thread that owns the engine: loads it, warms it up, then answers one job after another."""

import collections
import os
import queue
import threading
import time

from es_answers import log
from es_errors import CannotRun

WARM_UP_RUNS = 2

# A model that answers this fast is asked by the loop itself while the worker has nothing to do: two thread
# switches cost more (0.2 ms measured) than the answer, and no other client waits longer than for a
# scheduler's time slice.
HERE_SECONDS, _HERE_BYTES = 0.002, 65536
# Delegates that do not care which thread calls them, as long as only one does.
_HERE_DELEGATES = ("xnnpack", "none")


class Job(object):
    """One inference request on its way through the worker; `answer` is filled in before it comes back. One without
    a request is for the model's chores, and has no answer.
    """

    __slots__ = ("connection", "request", "started", "deadline", "answer")

    def __init__(self, connection=None, request=None, started=0.0, deadline=0.0):
        self.connection, self.request, self.started, self.deadline = connection, request, started, deadline
        self.answer = None


class Worker(object):
    """`start` begins loading; `ready`, `failure` and `finished` tell the loop, which is woken through
    `wake_fd`.
    """

    def __init__(self, load, wake_fd):
        self._load = load
        self._wake_fd = wake_fd
        self._jobs = queue.SimpleQueue()
        self.finished = collections.deque()
        self.ready = False
        self.failure = None
        self.model = None
        self.delegated = ("unknown", "the model is being loaded")
        self.busy_since = None
        self._last_seconds = None
        self._thread = threading.Thread(target=self._main, name="worker", daemon=True)

    def start(self):
        """Start the thread."""
        self._thread.start()

    def submit(self, job):
        """Hand over a job; it comes back in `finished`."""
        self._jobs.put(job)

    def answer_here(self, request, deadline):
        """Return the Answer computed in the caller's thread, or None where the worker should do it.

        To be called only while no job is with the worker: the engine belongs to one thread at a time.
        """
        if (
            self._last_seconds is None
            or self._last_seconds > HERE_SECONDS
            or len(request.body) > _HERE_BYTES
            or request.coding
        ):
            return None
        if self.model.engine.info()["delegate"] not in _HERE_DELEGATES:
            return None
        begun = time.monotonic()
        answer = self.model.answer(request, deadline, quick=True)
        if answer is not None:
            self._last_seconds = time.monotonic() - begun
        return answer

    def stuck(self, now, patience):
        """Return whether the thread is gone, or busy with one job for more than `patience` seconds."""
        since = self.busy_since
        return not self._thread.is_alive() or (since is not None and now - since > patience)

    def _wake(self):
        try:
            os.write(self._wake_fd, b"w")
        except BlockingIOError:
            pass  # The pipe is full of wake-ups already.

    def _next(self):
        return self._jobs.get()

    def _answer(self, job):
        return self.model.answer(job.request, job.deadline)

    def _main(self):
        try:
            self.model = self._load()
            self.model.warm_up(WARM_UP_RUNS)
            self.delegated = self.model.engine.delegated_here()
            self.ready = True
        except CannotRun as error:
            self.failure = error
        except Exception as error:
            self.failure = CannotRun("model-load", "%s: %s" % (type(error).__name__, error))
            log("model-load-failed", kind=type(error).__name__, reason=str(error))
        self._wake()
        while self.ready:
            job = self._next()
            self.busy_since = now = time.monotonic()
            if job.request is None:
                self.model.chores()
            else:
                job.answer = self._answer(job)
                self._last_seconds = time.monotonic() - now
            self.busy_since = None
            self.finished.append(job)
            self._wake()
