"""All client connections: accepting, reading, answering and timing them out. Knows HTTP, but no routes and no
engine.
"""

import select
import socket
import time

from es_answers import json_answer, log, refusal
from es_budget import SMALL
from es_connection import LINGERING, READING, WAITING, Connection
from es_errors import Refused
from es_http import response
from es_listen import BACKLOG

_IN, _OUT, _GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR
_ACCEPTS_A_TURN = 16
# A client that sends a large body reads the answer only after it; what it still sends is cheap to throw away.
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 1 << 26
# Bytes a second that large bodies and answers may take longer for: a board's wireless link brings no more.
_SLOWEST = 1 << 20
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Hub(object):
    """Turns bytes into calls of `handle(connection, request)`.

    `handle` returns (the route's name for the metrics, the Answer); None as the Answer means that `deliver`
    brings it later. Requests of one connection are answered one after another, so pipelining is safe.
    """

    def __init__(self, epoll, listener, release, metrics, budget, handle):
        self._budget = budget
        self._epoll, self._listener, self._metrics, self._handle = epoll, listener, metrics, handle
        self._release_id, self._limits = release.id, release.limits
        self.connections = {}
        self.draining = False
        self._date = (0, "")

    # --- events ---------------------------------------------------------------------------------------------

    def accept(self):
        """Accept what waits, and return whether more may wait. One connection too many is told so, far too many
        are closed without a word.
        """
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                log("accept-failed", reason=str(error))
                return False
            if len(self.connections) >= 2 * self._limits["connections"]:
                sock.close()
                continue
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._limits)
            self.connections[connection.fd] = connection
            connection.events = _IN
            self._epoll.register(connection.fd, _IN)
            if len(self.connections) > self._limits["connections"]:
                error = Refused(503, "too many connections", [("Retry-After", "1")], close=True)
                self._answer(connection, "connection", refusal(error), keep_alive=False)
                self._watch(connection)
        return True

    def on_event(self, fd, event):
        """Move the connection that epoll reported."""
        connection = self.connections.get(fd)
        if connection is None:
            return
        if event & _GONE:  # Both directions are closed: nobody is left to answer.
            return self.drop(connection)
        if event & _OUT:
            if not connection.send():
                return self.drop(connection)
            if not connection.out:
                self._sent(connection)
                self._next_requests(connection)
        if event & _IN:
            self._on_readable(connection)
        self._watch(connection)

    def _watch(self, connection):
        """Bring epoll's interest in line with what the connection waits for."""
        if self.connections.get(connection.fd) is not connection:
            return
        wanted = _OUT if connection.out else 0
        # While a request is being answered at most one more buffer is read: the rest waits in the socket.
        reading = connection.state != WAITING or not connection.reader.pending
        if reading and not connection.ended and not (connection.out and connection.state == READING):
            wanted |= _IN
        if wanted != connection.events:
            self._epoll.modify(connection.fd, wanted)
            connection.events = wanted

    def drop(self, connection):
        """Close a connection at once."""
        if self.connections.get(connection.fd) is not connection:
            return
        del self.connections[connection.fd]
        if connection.state != WAITING:  # Else the worker has the body still.
            self._release(connection)
        try:
            self._epoll.unregister(connection.fd)
        except OSError:
            pass
        connection.sock.close()

    def _on_readable(self, connection):
        data = connection.receive()
        if data is None:
            return
        if connection.state == LINGERING:
            connection.discarded += len(data)
            if not data or connection.discarded > _LINGER_BYTES:
                self.drop(connection)
            return
        if not data:
            # The client closed its side; an answer under way is still sent, for it may have closed only that
            # side.
            connection.ended = connection.closing = True
            if connection.state != WAITING and not connection.out:
                self.drop(connection)
            return
        if connection.idle:
            connection.idle = False
            self._begin(connection, 0)
        connection.reader.feed(data)
        self._next_requests(connection)

    # --- requests and answers -------------------------------------------------------------------------------

    def _next_requests(self, connection):
        """Take complete requests out of the reader until one must wait for its answer or for the socket."""
        while connection.state == READING and not connection.out and connection.fd in self.connections:
            try:
                request = connection.reader.next()
                size = connection.reader.announced if request is None else request.length
                connection.held += self._budget.take(size - connection.held, connection.held)
            except Refused as error:
                connection.started = time.monotonic()
                connection.reader.forget()
                route = "full" if error.status == 503 else "malformed"
                return self._answer(connection, route, refusal(error), keep_alive=False)
            if request is None:
                connection.deadline = connection.begun + self._seconds(size)
                if connection.reader.must_continue:
                    connection.reader.must_continue = False
                    connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            connection.started = time.monotonic()
            route, answer = self._handle(connection, request)
            if answer is None:
                connection.state = WAITING
                connection.deadline = None
                return
            self._answer(connection, route, answer, request.keep_alive, request.method == "HEAD")

    def deliver(self, connection, route, answer, request):
        """Send the answer that `handle` promised, and go on with what the client sent meanwhile."""
        if self.connections.get(connection.fd) is not connection:
            self._release(connection, answer.held)
            return self._metrics.count(route, answer.status)
        connection.state = READING
        self._answer(connection, route, answer, request.keep_alive)
        self._next_requests(connection)
        self._watch(connection)

    def _answer(self, connection, route, answer, keep_alive, head_only=False):
        self._metrics.count(route, answer.status)
        large = len(answer.body) if len(answer.body) > SMALL else 0
        self._release(connection, answer.held, min(connection.held + answer.held, large))
        keep_alive = keep_alive and not (answer.close or connection.closing or self.draining)
        headers = "Date: %s\r\nEdgeship-Release: %s\r\n%s" % (self._now(), self._release_id, answer.headers)
        data = response(answer.status, headers, answer.body, keep_alive, head_only)
        connection.closing = not keep_alive
        self._begin(connection, len(data))
        if not connection.send(data):
            return self.drop(connection)
        if not connection.out:
            self._sent(connection)

    def _release(self, connection, further=0, keep=0):
        """Give back what the connection holds of the budget, and `further` bytes that come with an answer; it holds
        `keep` of them on.
        """
        self._budget.give(connection.held + further - keep)
        connection.held = keep

    def _sent(self, connection):
        """An answer is out: linger and close, or wait for the next request."""
        self._release(connection)
        now = time.monotonic()
        if connection.closing:
            try:
                connection.sock.shutdown(socket.SHUT_WR)
            except OSError:
                return self.drop(connection)
            connection.state = LINGERING
            connection.deadline = now + _LINGER_SECONDS
            if connection.ended:
                self.drop(connection)
            return
        connection.idle = not connection.reader.begun
        if connection.idle:
            connection.deadline = now + self._limits["idle_seconds"]
        else:
            self._begin(connection, 0)

    def _begin(self, connection, size):
        """From now on `size` bytes are on their way."""
        connection.begun = time.monotonic()
        connection.deadline = connection.begun + self._seconds(size)

    def _seconds(self, size):
        """Return for how long `size` bytes may be on their way."""
        return self._limits["request_seconds"] + size / float(_SLOWEST)

    def _now(self):
        """Return the Date header's text; made once a second."""
        second = int(time.time())
        if second != self._date[0]:
            t = time.gmtime(second)
            day = "%s, %02d %s %d" % (_DAYS[t.tm_wday], t.tm_mday, _MONTHS[t.tm_mon - 1], t.tm_year)
            self._date = (second, "%s %02d:%02d:%02d GMT" % (day, t.tm_hour, t.tm_min, t.tm_sec))
        return self._date[1]

    # --- time -----------------------------------------------------------------------------------------------

    def sweep(self, now):
        """End what ran out of time: a request that did not arrive gets a 408, the rest is closed."""
        for connection in list(self.connections.values()):
            if connection.deadline is None or now < connection.deadline:
                continue
            arriving = connection.state == READING and not connection.out and not connection.closing
            if arriving and connection.reader.begun:
                connection.started = now
                text = "the request did not arrive within %.3g s" % (connection.deadline - connection.begun)
                self._answer(
                    connection, "timeout", json_answer(408, {"error": text}, close=True), keep_alive=False
                )
                self._watch(connection)
            else:
                self.drop(connection)

    def drain(self):
        """From now on every answer closes its connection; connections between requests are closed at once.

        A request that lies unread in the socket is answered first, for closing over it would reset the
        connection under a client that did nothing wrong; a new connection stays for its first request.
        """
        self.draining = True
        self._read_once_more()
        for connection in list(self.connections.values()):
            between = connection.state == READING and not connection.out and not connection.reader.begun
            if between and connection.started:
                self.drop(connection)

    def last_call(self):
        """Answer whoever has connected by now, and listen no more: who comes later is refused by the kernel."""
        if self._listener.fileno() < 0:
            return
        for _ in range(BACKLOG // _ACCEPTS_A_TURN + 1):
            if not self.accept():
                break
        self._epoll.unregister(self._listener.fileno())
        self._listener.close()
        self._read_once_more()

    def _read_once_more(self):
        """Take in what lies unread in the sockets of clients that are not being answered."""
        for connection in list(self.connections.values()):
            if connection.state == READING and not connection.out:
                self._on_readable(connection)
                self._watch(connection)

    def busy(self):
        """Return how many connections still have something to get or to send."""
        return sum(1 for c in self.connections.values() if c.state != READING or c.out or c.reader.begun)

    def unsent(self):
        """Return how many connections wait for an answer or for a part of one."""
        return sum(1 for c in self.connections.values() if c.state == WAITING or c.out)

    def close(self):
        """Close everything."""
        for connection in list(self.connections.values()):
            self.drop(connection)
        self._listener.close()
