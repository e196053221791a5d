"""What the server does beside serving where a governor decides: let requests in or not, and keep its slow loop."""

import socket
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
        self._turned, self._behind = 0.0, {}

    def turn(self, events, connections):
        """Begin a turn of the loop: what can be read now has waited since now, and behind what is read before it."""
        self._turned = time.monotonic()
        self._behind = {}
        waiting = 0
        if len(events) > 1:
            for fd, _ in reversed(events):
                if fd in connections and _sent_something(connections[fd].sock):
                    self._behind[fd] = waiting
                    waiting += 1

    def admit(self, request, connection, queued):
        """Note what a request asks for; raise Refused (503) where it cannot be answered in time with `queued` before
        it, (400) where it is found to be none.
        """
        governor, started = self.governor, connection.started
        governor.tally.arrived(started)
        governor.touch(started)
        # Requests that came together wait for one another in their sockets: that is a queue, too.
        request.asked = asked = Asked(min(started, self._turned), governor.deadline_ms)
        asked.behind = self._behind.get(connection.fd, 0)
        if governor.can_finish(started, asked.glance(request), queued) or asked.heavy(request):
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


def _sent_something(sock):
    """Whether there is anything to read but the end of a connection."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
