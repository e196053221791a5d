"""The supervising process of one application: it starts the service, watches it, and starts it again."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

from .bake import bake_left
from .base import (
    Refusal,
    boot_identity,
    boot_seconds,
    canonical,
    clean_environment,
    python_command,
    read_json,
    start_ticks,
)
from .confine import Confinement, die_with_parent
from .files import locked, write_whole
from .kept import is_governed
from .logbook import Log
from .state import Place, read_state
from .supervise import DRAIN_SECONDS, alive, detach, run_folder
from .watchdog import Watchdog

FIRST_PAUSE, LONGEST_PAUSE, CALM_SECONDS = 0.3, 30.0, 30.0
MOST_CRASHES = 1000
START_ERRORS = (OSError, MemoryError, Refusal, subprocess.SubprocessError, TypeError, KeyError, ValueError)
LOCK_BYTES = 127
START_FAILED = 127
"""Stands for the exit status of a service that could not even be started, as in a shell."""


class Supervisor(object):
    """Keeps one service running: restarts it with growing pauses, keeps its log, ends with it at SIGTERM."""

    def __init__(self, place, confinement=None):
        self.place, self.confinement = place, confinement
        self.log = Log(os.path.join(run_folder(place, "log"), "service.log"))
        self.restarts, self.last_exit, self.stopping, self.child = 0, None, False, None
        before = read_json(os.path.join(run_folder(place), "supervisor.json")) or {}
        if before.get("boot") == boot_identity():  # it was killed, and the service with it: that counts
            self.restarts, self.last_exit = before.get("restarts", 0) + 1, before.get("last_exit")
        self.told = False
        self.release, self.crashes, self.hook = None, [], None
        self.watchdog = Watchdog()
        self.wake, self.alarm = os.pipe()
        os.set_blocking(self.alarm, False)
        signal.signal(signal.SIGTERM, self.on_stop)
        signal.signal(signal.SIGINT, self.on_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def on_stop(self, _number, _frame):
        """Note that the end was asked for, and wake the loop up."""
        self.stopping = True
        with contextlib.suppress(OSError):
            os.write(self.alarm, b"x")

    def tell(self):
        """Write who runs: pids with their start times, so that a reused pid is never mistaken for ours.

        Where that cannot be written (a full disk) the service goes on, and it is tried again.
        """
        self.told = False
        with contextlib.suppress(OSError):
            self.write_record()
            self.told = True

    def write_record(self):
        """Write run/supervisor.json."""
        child = None if self.child is None else {"pid": self.child.pid, "start": start_ticks(self.child.pid)}
        write_whole(
            os.path.join(run_folder(self.place), "supervisor.json"),
            canonical(
                {
                    "boot": boot_identity(),
                    "supervisor": {"pid": os.getpid(), "start": start_ticks(os.getpid())},
                    "child": child,
                    "restarts": self.restarts,
                    "last_exit": self.last_exit,
                    "watches": True,
                }
            ),
        )

    def run(self):
        """Start, watch and restart until told to stop."""
        pause = FIRST_PAUSE
        while not self.stopping:
            begun = time.monotonic()
            if self.try_to_start():
                self.tell()
                self.pump()
                self.last_exit = self.child.wait()
            if self.stopping:
                break
            self.log.say(
                "the service ended with status %d; starting it again in %.1f s" % (self.last_exit, pause)
            )
            self.restarts += 1
            self.child = None
            self.tell()
            self.count_crash()
            pause = FIRST_PAUSE if time.monotonic() - begun > CALM_SECONDS else pause
            select.select([self.wake], [], [], pause)
            pause = min(LONGEST_PAUSE, pause * 2)
        self.log.say("stopped")

    def count_crash(self):
        """Count this end of the service; start the crash-loop hook where a watched release crashed too often.

        The hook stops this very process, so it is one of its own. One that was killed is started again at the next
        crash; so is one that could not be started, and a record that cannot be read now may be readable then.
        """
        self.crashes = self.crashes[-MOST_CRASHES:] + [boot_seconds()]
        with contextlib.suppress(OSError):
            record = read_state(self.place)
            if record.get("to") != self.release or bake_left(record) <= 0 or alive(self.hook):
                return
            opened = record["bake"]["until"] - record["bake"]["seconds"]
            crashes = sum(moment >= opened for moment in self.crashes)
            if crashes > record["bake"]["restarts"]:
                self.log.say("a crash loop: %d crashes while the release is watched" % crashes)
                argv = [self.place.root, self.place.app_name, self.release, str(crashes)]
                self.hook = detach(
                    python_command(os.path.abspath(sys.argv[0]), "keeper", *argv),
                    self.place.of("log", "supervisor.log"),
                )

    def try_to_start(self):
        """Start the release that is installed; return whether that went well.

        What keeps it from starting may pass (storage, memory, processes), and nobody else would try again: it counts as
        a crash of the service.
        """
        try:
            self.start_child()
        except START_ERRORS as error:
            self.last_exit = START_FAILED
            self.log.say("the service could not be started: %s: %s" % (type(error).__name__, error))
            return False
        return True

    def start_child(self):
        """Start the release that is installed."""
        start = read_json(os.path.join(run_folder(self.place), "start.json"))
        self.release = start["release"]
        folder = self.place.release(start["release"])
        announce, enter = os.path.join(run_folder(self.place), "announce.json"), die_with_parent
        if self.confinement:
            folder, announce = self.confinement.release(start["release"]), self.confinement.announce
            enter = self.confinement.enter
        kept = os.path.join(os.path.dirname(os.path.dirname(folder)), "kept")
        argv = python_command(os.path.join(folder, "runtime", "main.py"), "serve", "--release", folder)
        argv += ["--announce", announce]
        if start["listen"]:
            argv += ["--listen", start["listen"]]
        if is_governed(self.place, start["release"]):
            argv += ["--kept", kept]
        self.log.say("starting release %s" % start["release"][:12])
        self.child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=clean_environment(self.watchdog.environment()),
            preexec_fn=enter,
            close_fds=True,
        )

    def pump(self):
        """Copy the service's output to the log until it ends; when told to stop, end it within
        DRAIN_SECONDS."""
        pipe, deadline = self.child.stdout.fileno(), None
        while self.child.poll() is None:
            if self.stopping and deadline is None:
                deadline = time.monotonic() + DRAIN_SECONDS - 2
                self.child.terminate()
            if deadline is not None and time.monotonic() > deadline:
                self.child.kill()
            silent = self.watchdog.silent(self.child.pid)
            if silent is not None:
                self.log.say("the service was silent for %d s: it hangs, and is killed" % silent)
                self.child.kill()
                self.watchdog.last = None
            ready = select.select([pipe] if deadline else [pipe, self.wake], [], [], 0.2)[0]
            if not self.told:
                self.tell()
            if pipe in ready:
                data = os.read(pipe, 65536)
                if not data:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self.child.wait(timeout=0.2)
                else:
                    self.log.write(data)
        while select.select([pipe], [], [], 0)[0]:
            data = os.read(pipe, 65536)
            if not data:
                break
            self.log.write(data)


def run_supervisor(root, app, user=None, groups="-", tasks="64"):
    """Be the supervising process of one application; only one can be. `user`: confine the service, to that account or
    (`-`) to one of its own, with those groups (comma between them) and at most so many threads."""
    place = Place(root, app)
    with locked(os.path.join(run_folder(place), "supervisor.lock"), 20) as descriptor:
        with contextlib.suppress(OSError):  # known here before it stands in supervisor.json
            told = canonical({"pid": os.getpid(), "start": start_ticks(os.getpid())}).rstrip()
            # Over the last one, not after cutting it off: a full disk has room for that.
            os.pwrite(descriptor, told.ljust(LOCK_BYTES) + b"\n", 0)
        confinement = Confinement(place, user, groups, int(tasks)) if user else None
        supervisor = Supervisor(place, confinement)
        if confinement:
            supervisor.log.say(confinement.prepare())
        supervisor.run()
    return 0
