"""The service manager where there is no systemd: one supervising process for each application."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time

from .bake import bake_left
from .base import (
    CLEAN_PATH,
    Refusal,
    boot_identity,
    boot_seconds,
    canonical,
    clean_environment,
    python_command,
    read_json,
    sha256_hex,
    start_ticks,
)
from .confine import Confinement, die_with_parent
from .files import locked, make_folder, remove_tree, write_whole
from .logbook import Log
from .state import Place, read_state
from .watchdog import Watchdog

FIRST_PAUSE, LONGEST_PAUSE, CALM_SECONDS = 0.3, 30.0, 30.0
DRAIN_SECONDS = 15.0
MOST_CRASHES = 1000


def alive(process):
    """Return whether {"pid", "start"} still names the same living process."""
    return (
        bool(process) and process.get("start") is not None and start_ticks(process["pid"]) == process["start"]
    )


def end_process(process, number=signal.SIGTERM):
    """Signal a recorded process, unless its pid belongs to another one by now."""
    if alive(process):
        with contextlib.suppress(OSError):
            os.kill(process["pid"], number)


def detach(argv, log):
    """Start `argv` in a session of its own, so that it outlives this call and the SSH session it came by."""
    with open(log, "ab") as sink:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd="/",
            env=clean_environment(),
            start_new_session=True,
            close_fds=True,
        )
    return {"pid": child.pid, "start": start_ticks(child.pid)}


def volatile_folder(place):
    """Return the folder in memory that holds what runs while the device's own folder cannot be written."""
    return "/run/edgeship-%s-%s" % (place.app_name, sha256_hex(place.root.encode("utf-8"))[:12])


def run_folder(place, kind="run"):
    """Return where pids (`run`) and logs (`log`) stand: the application's folder, or one in memory for as long as
    what was started from there, because that folder was read-only, may run."""
    volatile = volatile_folder(place)
    return volatile if os.path.isdir(volatile) else place.of(kind)


class Supervised(object):
    """Runs an application's release under a supervising process of ours."""

    kind = "supervised"

    def __init__(self, place, helper):
        self.place, self.helper = place, helper

    @property
    def record_path(self):
        """Where the supervisor says what runs."""
        return self.running("supervisor.json")

    @property
    def announce(self):
        """Where the service announces itself."""
        return self.running("announce.json")

    @staticmethod
    def missing():
        """Return why this device cannot have it, or None."""
        return

    @staticmethod
    def lacks(_place, _release):
        """Return why a release cannot be run by it, or None."""
        return

    def running(self, name):
        """Return the path of a file about what runs."""
        return os.path.join(run_folder(self.place), name)

    def install(self, release, listen):
        """Write what the supervisor starts: the release's folder and where it listens."""
        make_folder(run_folder(self.place))
        start = {"release": release, "listen": listen}
        write_whole(self.running("start.json"), canonical(start))

    def install_unwritable(self, release, listen):
        """As `install`, where the device's folder is read-only and `current` may name another release; True: it still
        has to be started."""
        make_folder(volatile_folder(self.place), 0o700)
        Supervised.install(self, release, listen)
        return True

    def withhold(self):
        """Keep what was started at boot from starting now; nothing is, here."""

    def restart(self):
        """Stop what runs and start the installed release. Returns at once; readiness is asked for
        separately."""
        self.stop()
        argv = python_command(self.helper, "supervise", self.place.root, self.place.app_name)
        log = os.path.join(run_folder(self.place, "log"), "supervisor.log")
        supervisor = detach(argv, log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = (read_json(self.record_path) or {}).get("supervisor")
            if found and found["pid"] == supervisor["pid"]:
                return
            if not alive(supervisor):
                break
            self.end_orphan(supervisor)
            time.sleep(0.02)
        raise Refusal(
            "service-start",
            "the supervising process did not start; see %s" % log,
        )

    def end_orphan(self, supervisor):
        """End a supervising process that stands in the way of ours: its starter was killed before it was on record."""
        holder = read_json(self.running("supervisor.lock"))
        if isinstance(holder, dict) and holder.get("pid") not in (None, supervisor["pid"]):
            end_process(holder)

    def stop(self):
        """End supervisor and service: politely first, for DRAIN_SECONDS, then not."""
        record = read_json(self.record_path) or {}
        parts = [record.get("supervisor"), record.get("child")]
        end_process(parts[0])
        if not alive(parts[0]):
            end_process(parts[1])
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(alive(part) for part in parts) and time.monotonic() < deadline:
            time.sleep(0.02)
        for part in parts:
            end_process(part, signal.SIGKILL)
        for path in (self.record_path, self.announce):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.leave_memory()

    def leave_memory(self):
        """Once nothing runs any more: give the folder in memory up, where the device's own can be written again."""
        volatile = volatile_folder(self.place)
        if os.path.isdir(volatile) and os.access(self.place.of("run"), os.W_OK):
            starts = read_json(os.path.join(volatile, "start.json"))
            if starts:
                write_whole(self.place.of("run", "start.json"), canonical(starts))
            remove_tree(volatile)

    def remove(self):
        """Stop, and forget what to start: after a first deployment that was taken back."""
        self.stop()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.running("start.json"))

    def observe(self):
        """Return {"running", "pid", "restarts", "failed"}: what the supervisor and the kernel say now."""
        record = read_json(self.record_path) or {}
        child = record.get("child")
        running = alive(child)
        return {
            "manager": self.kind,
            "running": running,
            "pid": child["pid"] if running else None,
            "restarts": record.get("restarts", 0),
            "failed": not alive(record.get("supervisor")),
            "last_exit": record.get("last_exit"),
        }

    def arm_bake(self, _seconds, _restarts):
        """Nothing to install: the supervising process itself counts, by the state record."""

    def bake_armed(self):
        """Return whether the supervising process that runs now counts crashes."""
        record = read_json(self.record_path) or {}
        return alive(record.get("supervisor")) and record.get("watches") is True

    def disarm_bake(self, start=False):
        """Nothing to take away, and nothing to start: the supervising process never stops trying."""

    def crash_loop(self, told):
        """Return how often the service crashed where that is a crash loop: what the supervising process counted."""
        return told

    def keep_trying(self):
        """Nothing to change: the supervising process goes on, with pauses that grow to LONGEST_PAUSE."""

    def log_tail(self, lines):
        """Return the last lines of the service's log."""
        text = b""
        volatile = [volatile_folder(self.place)] if os.path.isdir(volatile_folder(self.place)) else []
        for folder in [self.place.of("log")] + volatile:
            for name in ("service.log.1", "service.log"):
                with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as stream:
                    text += stream.read()
        return [line.decode("utf-8", "replace") for line in text.splitlines()[-lines:]]

    def hook_boot(self):
        """Have recovery run at boot through cron where it is installed; return the hook's name or None."""
        found = [shutil.which(name, path=CLEAN_PATH) for name in ("cron", "crond")]
        # BusyBox has a crond too; it reads no /etc/cron.d and knows no @reboot.
        cron = [path for path in found if path and os.path.basename(os.path.realpath(path)) != "busybox"]
        if os.geteuid() != 0 or not cron or not os.path.isdir("/etc/cron.d"):
            return None
        path = "/etc/cron.d/edgeship-%s" % self.place.app_name
        command = " ".join(python_command(self.helper, "boot", self.place.root, self.place.app_name))
        line = "@reboot root %s\n" % command
        with contextlib.suppress(OSError), open(path) as stream:
            if stream.read() == line:
                return path
        write_whole(path, line.encode("utf-8"))
        return path

    def unhook_boot(self):
        """Take the boot hook away."""
        with contextlib.suppress(OSError):
            os.unlink("/etc/cron.d/edgeship-%s" % self.place.app_name)


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
            self.start_child()
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

    def start_child(self):
        """Start the release that is installed."""
        start = read_json(os.path.join(run_folder(self.place), "start.json"))
        self.release = start["release"]
        folder = self.place.release(start["release"])
        announce, enter = os.path.join(run_folder(self.place), "announce.json"), die_with_parent
        if self.confinement:
            folder, announce = self.confinement.release(start["release"]), self.confinement.announce
            enter = self.confinement.enter
        argv = python_command(os.path.join(folder, "runtime", "main.py"), "serve", "--release", folder)
        argv += ["--announce", announce]
        if start["listen"]:
            argv += ["--listen", start["listen"]]
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
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, canonical({"pid": os.getpid(), "start": start_ticks(os.getpid())}), 0)
        confinement = Confinement(place, user, groups, int(tasks)) if user else None
        supervisor = Supervisor(place, confinement)
        if confinement:
            supervisor.log.say(confinement.prepare())
        supervisor.run()
    return 0
