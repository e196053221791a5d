"""The server: one thread with epoll for all connections, one worker thread for the engine.

Nothing in the loop waits: health and metrics are answered while an inference runs. Requests of one connection are
answered one after another, so pipelining is safe; what arrives meanwhile stays in the socket.
"""

import os
import select
import signal
import socket
import sys
import time

from es_answers import Answering, json_answer, log, refusal
from es_connection import LINGERING, READING, WAITING, Connection
from es_errors import Refused
from es_http import response
from es_listen import open_listener
from es_metrics import Metrics
from es_notify import Notifier
from es_routes import Routes
from es_worker import Job, Worker

_IN, _OUT, _GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 1 << 20
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Server(object):
    """Serves one release until told to stop. `run` returns the exit code."""

    def __init__(self, release, address, directory, environ, announce):
        self._release, self._limits = release, release.limits
        self._announce = announce
        self._notifier = Notifier(environ)
        self.listener, self.url, self._socket_path = open_listener(address, directory)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        variant = release.variant()["recipe"]
        engine = release.engine_triple()
        build = {"app": release.app, "version": release.version, "release": release.id, "variant": variant}
        build.update(engine=engine["name"], engine_version=engine["version"], delegate=engine["delegate"])
        self.metrics = Metrics(build)
        self._worker = Worker(lambda: Answering(release, self.metrics), self._wake_write)
        self._routes = Routes(release, variant, self.metrics, self)
        self._epoll = select.epoll()
        self._connections = {}
        self._in_flight = 0
        self._started = False
        self._signals = 0
        self._drain_until = None
        self._next_ping = None
        self._date = (0, "")
        # Timeouts are kept to a quarter of the shortest one; with no client there is nothing to look after.
        shortest = min(self._limits["request_seconds"], self._limits["idle_seconds"])
        self._tick = min(0.5, shortest / 4.0)
        self._next_sweep = 0.0

    # --- what the routes ask -----------------------------------------------------------------------------------------

    def unready_reason(self):
        """Return why inference is not served now, or None."""
        if self._drain_until is not None:
            return "the service is stopping"
        if not self._worker.ready:
            return "the model is being loaded"
        if not self._worker.model.healthy:
            return "the engine failed several times in a row"
        return None

    def _queued(self):
        return max(0, self._in_flight - (1 if self._worker.busy_since is not None else 0))

    def gauges(self):
        """Return [(name, help, value)] of the moment."""
        return [
            ("edgeship_queue_depth", "Inference requests waiting for the engine.", self._queued()),
            ("edgeship_queue_limit", "Inference requests that may wait.", self._limits["queue"]),
            ("edgeship_in_flight", "Inference requests waiting or running.", self._in_flight),
            ("edgeship_connections", "Open connections.", len(self._connections)),
            ("edgeship_ready", "1 while inference is served.", 0 if self.unready_reason() else 1),
        ]

    # --- the loop ----------------------------------------------------------------------------------------------------

    def run(self):
        """Serve until SIGTERM or SIGINT; return 0 after a clean drain, 1 where answers had to be cut off.

        Raises CannotRun where the model cannot be loaded.
        """
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._epoll.register(self.listener.fileno(), _IN)
        self._epoll.register(self._wake_read, _IN)
        self._worker.start()
        try:
            while not self._done():
                self._turn()
            return 0 if not self._in_flight and not any(c.out for c in self._connections.values()) else 1
        finally:
            self._close_everything()

    def _on_signal(self, number, frame):
        self._signals += 1

    def _turn(self):
        for fd, event in self._epoll.poll(self._timeout()):
            if fd == self._wake_read:
                self._on_wake()
            elif fd == self.listener.fileno():
                self._accept()
            elif fd in self._connections:
                self._on_event(self._connections[fd], event)
        now = time.monotonic()
        if self._signals and self._drain_until is None:
            self._begin_drain(now)
        if now >= self._next_sweep:
            self._sweep(now)
        self._ping(now)

    def _timeout(self):
        waits = []
        now = time.monotonic()
        if self._connections or self._drain_until is not None:
            waits.append(max(0.0, self._next_sweep - now))
        if self._next_ping is not None:
            waits.append(max(0.0, self._next_ping - now))
        return min(waits) if waits else -1

    def _on_wake(self):
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        worker = self._worker
        if worker.failure is not None:
            raise worker.failure
        if worker.ready and not self._started:
            self._started = True
            self._announce(self.url)
            self._notifier.send("READY=1")
            if self._notifier.watchdog_seconds:
                self._next_ping = time.monotonic()
        while worker.finished:
            self._on_finished(worker.finished.popleft())

    def _ping(self, now):
        """Tell the watchdog that all is well, unless the worker is stuck: then systemd shall restart the service."""
        if self._next_ping is None or now < self._next_ping:
            return
        period = self._notifier.watchdog_seconds
        self._next_ping = now + period / 2.0
        if not self._worker.stuck(now, max(period, self._limits["request_seconds"])):
            self._notifier.send("WATCHDOG=1")

    # --- connections -------------------------------------------------------------------------------------------------

    def _accept(self):
        for _ in range(16):
            try:
                sock, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log("accept-failed", reason=str(error))
                return
            if len(self._connections) >= 2 * self._limits["connections"]:
                sock.close()
                continue
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._limits)
            self._connections[connection.fd] = connection
            connection.events = _IN
            self._epoll.register(connection.fd, _IN)
            if len(self._connections) > self._limits["connections"]:
                error = Refused(503, "too many connections", [("Retry-After", "1")], close=True)
                self._answer(connection, "connection", refusal(error), keep_alive=False)

    def _watch(self, connection):
        """Bring epoll's interest in line with what the connection waits for."""
        wanted = _OUT if connection.out else 0
        # While a request is being answered at most one more buffer is read: the rest waits in the socket.
        if connection.state != WAITING or not connection.reader.pending:
            wanted |= _IN
        if connection.out and connection.state == READING:
            wanted &= ~_IN
        if wanted != connection.events:
            self._epoll.modify(connection.fd, wanted)
            connection.events = wanted

    def _drop(self, connection):
        if self._connections.pop(connection.fd, None) is None:
            return
        try:
            self._epoll.unregister(connection.fd)
        except OSError:
            pass
        connection.sock.close()

    def _on_event(self, connection, event):
        if event & _GONE:  # Both directions are closed: nobody is left to answer.
            return self._drop(connection)
        if event & _OUT:
            if not connection.send():
                return self._drop(connection)
            if not connection.out:
                self._sent(connection)
        if event & _IN:
            self._on_readable(connection)
        if connection.fd in self._connections:
            self._watch(connection)

    def _on_readable(self, connection):
        data = connection.receive()
        if data is None:
            return
        if connection.state == LINGERING:
            connection.discarded += len(data)
            if not data or connection.discarded > _LINGER_BYTES:
                self._drop(connection)
            return
        if not data:
            return self._on_end(connection)
        if connection.idle:
            connection.idle = False
            connection.deadline = time.monotonic() + self._limits["request_seconds"]
        connection.reader.feed(data)
        if connection.state == READING and not connection.out:
            self._next_request(connection)

    def _on_end(self, connection):
        """The client closed its side: an answer under way is still sent, for it may have closed only that side."""
        connection.closing = True
        if connection.state != WAITING and not connection.out:
            self._drop(connection)
        else:
            self._epoll.modify(connection.fd, _OUT if connection.out else 0)
            connection.events = _OUT if connection.out else 0

    def _next_request(self, connection):
        """Take complete requests out of the reader until one must wait for the worker or for the socket."""
        while connection.state == READING and not connection.out and connection.fd in self._connections:
            try:
                request = connection.reader.next()
            except Refused as error:
                connection.started = time.monotonic()
                return self._answer(connection, "malformed", refusal(error), keep_alive=False)
            if request is None:
                if connection.reader.must_continue:
                    connection.reader.must_continue = False
                    connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._dispatch(connection, request)

    def _dispatch(self, connection, request):
        connection.started = time.monotonic()
        route = "unknown"
        keep_alive = request.keep_alive and self._drain_until is None
        try:
            route, answer = self._routes.find(request)
            if answer is None:
                return self._enqueue(connection, request)
        except Refused as error:
            answer = refusal(error)
        self._answer(connection, route, answer, keep_alive, request.method == "HEAD")

    def _enqueue(self, connection, request):
        reason = self.unready_reason()
        if reason is None and self._queued() >= self._limits["queue"]:
            reason = "the queue is full (%d requests)" % self._limits["queue"]
        if reason is not None:
            raise Refused(503, reason, [("Retry-After", "1")])
        connection.state = WAITING
        connection.deadline = None
        self._in_flight += 1
        self._worker.submit(Job(connection, request, connection.started + self._limits["request_seconds"]))

    def _on_finished(self, job):
        self._in_flight -= 1
        connection = job.connection
        connection.state = READING
        self.metrics.latency.observe(time.monotonic() - connection.started)
        keep_alive = job.request.keep_alive and self._drain_until is None
        if self._connections.get(connection.fd) is not connection:
            self.metrics.count("infer", job.answer.status)
            return
        self._answer(connection, "infer", job.answer, keep_alive)
        if connection.fd in self._connections:
            self._next_request(connection)
            if connection.fd in self._connections:
                self._watch(connection)

    def _answer(self, connection, route, answer, keep_alive, head_only=False):
        self.metrics.count(route, answer.status)
        keep_alive = keep_alive and not answer.close and not connection.closing
        headers = "Date: %s\r\nEdgeship-Release: %s\r\n%s" % (self._now(), self._release.id, answer.headers)
        data = response(answer.status, headers, answer.body, keep_alive, head_only)
        connection.closing = not keep_alive
        connection.deadline = time.monotonic() + self._limits["request_seconds"]
        if not connection.send(data):
            return self._drop(connection)
        if not connection.out:
            self._sent(connection)
        elif connection.fd in self._connections:
            self._watch(connection)

    def _sent(self, connection):
        """An answer is out: linger and close, or wait for the next request."""
        now = time.monotonic()
        if connection.closing:
            try:
                connection.sock.shutdown(socket.SHUT_WR)
            except OSError:
                return self._drop(connection)
            connection.state = LINGERING
            connection.deadline = now + _LINGER_SECONDS
            return
        connection.idle = not connection.reader.begun
        span = self._limits["idle_seconds"] if connection.idle else self._limits["request_seconds"]
        connection.deadline = now + span
        if not connection.idle and connection.state == READING:
            self._next_request(connection)

    def _now(self):
        second = int(time.time())
        if second != self._date[0]:
            t = time.gmtime(second)
            text = "%s, %02d %s %d %02d:%02d:%02d GMT"
            values = (_DAYS[t.tm_wday], t.tm_mday, _MONTHS[t.tm_mon - 1], t.tm_year, t.tm_hour, t.tm_min, t.tm_sec)
            self._date = (second, text % values)
        return self._date[1]

    # --- time ---------------------------------------------------------------------------------------------------------

    def _sweep(self, now):
        self._next_sweep = now + self._tick
        for connection in list(self._connections.values()):
            if connection.deadline is None or now < connection.deadline:
                continue
            arriving = connection.state == READING and not connection.out and not connection.closing
            if arriving and not connection.idle and connection.reader.begun:
                connection.started = now
                text = "the request did not arrive within %g s" % self._limits["request_seconds"]
                self._answer(connection, "timeout", json_answer(408, {"error": text}, close=True), keep_alive=False)
            else:
                self._drop(connection)

    def _begin_drain(self, now):
        self._drain_until = now + self._limits["drain_seconds"]
        self._notifier.send("STOPPING=1")
        self._next_ping = None
        self._next_sweep = now
        for connection in list(self._connections.values()):
            if connection.state == READING and not connection.out and not connection.reader.in_body:
                self._drop(connection)

    def _done(self):
        if self._drain_until is None:
            return False
        busy = [c for c in self._connections.values() if c.state != READING or c.out or c.reader.in_body]
        if not busy and not self._in_flight:
            return True
        return self._signals > 1 or time.monotonic() >= self._drain_until

    def _close_everything(self):
        for connection in list(self._connections.values()):
            self._drop(connection)
        self.listener.close()
        if self._socket_path is not None:
            try:
                os.unlink(self._socket_path)
            except OSError:
                pass
        sys.stderr.flush()
