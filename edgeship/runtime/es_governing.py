"""What the server does beside serving where a governor decides: let requests in or not, and keep its slow loop."""

import time

from es_asked import Asked
from es_errors import Refused
from es_governor import Governor
from es_rung_worker import RungWorker


class Governing(object):
    """A Governor and the worker that goes by it, for the server's loop."""

    def __init__(self, release, metrics, budget, wake_fd, place):
        directory, environ = place
        self.governor = Governor(release, directory, environ)
        self.worker = RungWorker(release, metrics, budget, self.governor, wake_fd)
        self._turned = 0.0

    def turn(self):
        """Begin a turn of the loop: what can be read now has waited since now."""
        self._turned = time.monotonic()

    def admit(self, request, started, queued, behind):
        """Note what a request asks for; raise Refused (503) where it cannot be answered in time with `queued` before
        it, (400) where it is found to be none. `behind`: sockets with something to read.
        """
        governor = self.governor
        governor.tally.arrived(started)
        governor.touch(started)
        # Requests that came together wait for one another in their sockets: that is a queue, too.
        request.asked = asked = Asked(min(started, self._turned), governor.deadline_ms)
        asked.behind = behind
        if governor.can_finish(started, asked.glance(request), queued):
            return
        try:
            self.worker.model.decoded(request)
        except Refused:
            raise
        except Exception:
            return  # Whatever is wrong with it is told when its turn comes; it must not end the loop.
        governor.admit(started, asked.due, queued, asked.variant)

    def due(self):
        """Return the monotonic times at which there may be something to do; None: no such time."""
        return self.governor.due(), self.worker.due()

    def look(self, now):
        """Keep the slow loop; return the jobs, answered, that waited in vain."""
        due = self.governor.due()
        if due is not None and now >= due:
            self.governor.tick(now)
            if self.worker.model.to_load():
                self.worker.nudge()
        return self.worker.refuse_late(now)
