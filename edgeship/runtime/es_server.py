"""The service's life: load, announce, serve, drain. One thread with epoll, one worker thread for the engine.

Nothing in the loop waits: health and metrics are answered while a long inference runs.
"""

import os
import select
import signal
import time

from es_answers import Answering, log, refusal
from es_budget import Budget
from es_errors import Refused
from es_hub import Hub
from es_listen import open_listener
from es_metrics import Metrics
from es_notify import Notifier
from es_routes import Routes
from es_worker import Job, Worker


class Server(object):
    """Serves one release until told to stop. `announce(url)` is called once, when the first inference can
    come.
    """

    def __init__(self, release, address, directory, environ, announce):
        self._limits = release.limits
        self._announce = announce
        self._notifier = Notifier(environ)
        self._listener, self._url, self._socket_path = open_listener(address, directory)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.metrics = Metrics(_build(release))
        self._serving = _build(release)
        note = release.variant().get("note")
        if note:
            self._serving["note"] = note
        self._budget = Budget(self._limits)
        self._governing = self._governed(release, directory, environ)
        if self._governing is None:
            self._worker = Worker(lambda: Answering(release, self.metrics, self._budget), self._wake_write)
        else:
            self._worker = self._governing.worker
        self._routes = Routes(release, self.metrics, self)
        self._epoll = select.epoll()
        self._hub = Hub(self._epoll, self._listener, release, self.metrics, self._budget, self._handle)
        self._in_flight = 0
        self._started = False
        self._signals = 0
        self._drain_until = None
        self._next_ping = None
        # Timeouts are kept to a quarter of the shortest one; with no client there is nothing to look after.
        self._tick = min(0.5, self._limits["request_seconds"] / 4.0, self._limits["idle_seconds"] / 4.0)
        self._next_sweep = 0.0

    def _governed(self, release, directory, environ):
        """Return the Governing of a release that has a governor; None for a model with state, which stays with its
        variant: another would not know what it keeps.
        """
        if not release.service.get("governor"):
            return None
        if release.variant().get("state"):
            log(
                "no-governor",
                reason="the model keeps state between runs: %s serves" % release.variant()["name"],
            )
            return None
        from es_governing import Governing  # Here: a service without one pays nothing.

        place = directory, environ
        return Governing(release, self.metrics, self._budget, self._wake_write, place)

    # --- what the routes ask --------------------------------------------------------------------------------

    def unready_reason(self):
        """Return why inference is not served now, or None."""
        if self._drain_until is not None:
            return "the service is stopping"
        if not self._worker.ready:
            return "the model is being loaded"
        if not self._worker.model.healthy:
            return "the engine failed several times in a row"
        return None

    def delegated(self):
        """Return (answer, how it is known): whether the delegate takes part in this very process."""
        return self._worker.delegated

    def _queued(self):
        return max(0, self._in_flight - 1)  # The worker runs the first of them.

    def gauges(self):
        """Return [(name, help, value)] of the moment."""
        return [
            ("edgeship_queue_depth", "Inference requests waiting for the engine.", self._queued()),
            ("edgeship_queue_limit", "Inference requests that may wait.", self._limits["queue"]),
            ("edgeship_in_flight", "Inference requests waiting or running.", self._in_flight),
            ("edgeship_buffered_bytes", "Held by large bodies and answers on their way.", self._budget.held),
            ("edgeship_buffered_bytes_limit", "What they may hold.", self._budget.most),
            ("edgeship_connections", "Open connections.", len(self._hub.connections)),
            *self._session_gauges(),
            ("edgeship_ready", "1 while inference is served.", 0 if self.unready_reason() else 1),
        ]

    @property
    def governor(self):
        """The Governor, None where there is none."""
        return self._governing.governor if self._governing is not None else None

    def families(self):
        """Return what the governor counts, for the metrics."""
        return self.governor.families(time.monotonic()) if self._governing is not None else ()

    def _session_gauges(self):
        sessions = self.sessions()
        if sessions is None:
            return []
        return [
            ("edgeship_sessions", "Sessions whose state is kept.", len(sessions)),
            ("edgeship_sessions_limit", "Sessions that may be open at a time.", sessions.most),
        ]

    def sessions(self):
        """Return the Sessions of a model with state once it is loaded, else None."""
        return self._worker.model.sessions if self._worker.model else None

    # --- the loop -------------------------------------------------------------------------------------------

    def run(self):
        """Serve until SIGTERM or SIGINT; return 0 after a clean drain, 1 where answers had to be cut off.

        Raises CannotRun where the model cannot be loaded.
        """
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        listener = self._listener.fileno()
        self._epoll.register(listener, select.EPOLLIN)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._worker.start()
        try:
            while not self._done():
                events = self._epoll.poll(self._timeout())
                if self._governing is not None:
                    self._governing.turn(events, self._hub.connections)
                for fd, event in events:
                    if fd == self._wake_read:
                        self._on_wake()
                    elif fd == listener:
                        self._hub.accept()
                    else:
                        self._hub.on_event(fd, event)
                self._look_at_the_clock()
            return 1 if self._in_flight or self._hub.unsent() else 0
        finally:
            if self._governing is not None:
                self.governor.close()
            self._hub.close()
            self._remove_socket()

    def _on_signal(self, number, frame):
        self._signals += 1

    def _timeout(self):
        """Return for how long epoll may sleep: for ever while there is no client, no watchdog and no session."""
        waits = []
        now = time.monotonic()
        if self._hub.connections or self._drain_until is not None:
            waits.append(max(0.0, self._next_sweep - now))
        for moment in (self._next_ping, self._chores_due(), *self._governor_due()):
            if moment is not None:
                waits.append(max(0.0, moment - now))
        return min(waits) if waits else -1

    def _look_at_the_clock(self):
        now = time.monotonic()
        if self._signals and self._drain_until is None:
            self._drain_until = now + self._limits["drain_seconds"]
            self._next_ping = None
            self._next_sweep = now
            self._notifier.send("STOPPING=1")
            self._hub.drain()
        if now >= self._next_sweep:
            self._next_sweep = now + self._tick
            self._hub.sweep(now)
        self._ping(now)
        if self._governing is not None and self._started:
            for job in self._governing.look(now):
                self._finish(job, now)
        due = self._chores_due()
        if due is not None and now >= due:
            self._in_flight += 1
            self._worker.submit(Job())

    def _governor_due(self):
        if self._governing is None or self._drain_until is not None or not self._started:
            return ()
        return self._governing.due()

    def _chores_due(self):
        """Return the monotonic time of the model's next chore, None where there is none or the worker is busy: it looks
        after its sessions with each request.
        """
        if self._in_flight or self._drain_until is not None or not self._worker.ready:
            return None
        return self._worker.model.due()

    def _done(self):
        if self._drain_until is None:
            return False
        if not self._in_flight and not self._hub.busy():
            self._hub.last_call()
            if not self._hub.busy():
                return True
        return self._signals > 1 or time.monotonic() >= self._drain_until

    def _remove_socket(self):
        if self._socket_path is not None:
            try:
                os.unlink(self._socket_path)
            except OSError:
                pass

    # --- the worker -----------------------------------------------------------------------------------------

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
            log("serving", **self._serving)
            self._announce(self._url)
            self._notifier.send("READY=1")
            if self._notifier.watchdog_seconds:
                self._next_ping = time.monotonic()
        while worker.finished:
            self._finish(worker.finished.popleft(), time.monotonic())

    def _finish(self, job, now):
        self._in_flight -= 1
        if job.request is None:
            return
        self._observe(job.request, now, job.started, job.answer.status)
        self._hub.deliver(job.connection, "infer", job.answer, job.request)

    def _observe(self, request, now, started, status):
        self.metrics.latency.observe(now - started)
        if self._governing is not None:
            self.governor.tally.answered(now, request.asked, status)

    def _ping(self, now):
        """Tell the watchdog that all is well, unless the worker is stuck: then systemd shall restart the
        service.
        """
        if self._next_ping is None or now < self._next_ping:
            return
        period = self._notifier.watchdog_seconds
        self._next_ping = now + period / 2.0
        if not self._worker.stuck(now, max(period, self._limits["request_seconds"])):
            self._notifier.send("WATCHDOG=1")

    def _handle(self, connection, request):
        """Return (route, Answer); None as the Answer means that the worker will bring it."""
        route = "unknown"
        try:
            route, answer = self._routes.find(request)
            if answer is None:
                answer = self._infer(connection, request)
            return route, answer
        except Refused as error:
            return route, refusal(error)

    def _infer(self, connection, request):
        reason = self.unready_reason()
        if reason is None and self._in_flight > self._limits["queue"]:
            reason = "the queue is full (%d requests)" % self._limits["queue"]
        if reason is not None:
            raise Refused(503, reason, [("Retry-After", "1")])
        deadline = connection.started + self._limits["request_seconds"]
        if self._governing is not None:
            self._governing.admit(request, connection, self._in_flight)
        if not self._in_flight:
            answer = self._worker.answer_here(request, deadline)
            if answer is not None:
                self._observe(request, time.monotonic(), connection.started, answer.status)
                return answer
        self._in_flight += 1
        self._worker.submit(Job(connection, request, connection.started, deadline))
        return None


def _build(release):
    """Return the labels of the build information."""
    engine = release.engine_triple()
    build = {"app": release.app, "version": release.version, "release": release.id}
    build["variant"] = release.variant()["name"]
    build.update(engine=engine["name"], engine_version=engine["version"], delegate=engine["delegate"])
    return build
