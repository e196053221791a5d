"""The service manager where there is no systemd: one supervising process for each application."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

from .base import (
    CLEAN_PATH,
    Refusal,
    canonical,
    clean_environment,
    python_command,
    read_json,
    read_text,
    sha256_hex,
    start_ticks,
)
from .files import keep_whole, make_folder, remove_tree, write_whole

DRAIN_SECONDS = 15.0
NOTES_BYTES = 16384
OOM_SCORE = "/proc/self/oom_score_adj"


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


def set_oom_score(*scores):
    """Tell the kernel how soon to end this process where memory runs out: the first score that it lets us have (-1000:
    never, 1000: first; what is less than was given at first takes privileges). Children inherit it. Return what held
    before; None: nothing could be changed."""
    before = read_text(OOM_SCORE)
    for score in scores:
        with contextlib.suppress(OSError):
            with open(OOM_SCORE, "w") as stream:
                stream.write("%d" % score)
            return int(before)
    return None


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


def check_room(place):
    """Raise OSError where what is about to start would find no room to note that it runs, and end over it."""
    path = place.of("run", "room")
    write_whole(path, os.urandom(NOTES_BYTES))
    os.unlink(path)


class Supervised(object):
    """Runs an application's release under a supervising process of ours."""

    kind = "supervised"

    def __init__(self, place, helper):
        self.place, self.helper = place, helper
        self.hook_path = "/etc/cron.d/edgeship-%s" % place.app_name

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
        keep_whole(self.running("start.json"), canonical(start))

    def install_unwritable(self, release, listen):
        """As `install`, where the device's folder is read-only and `current` may name another release; True: it still
        has to be started."""
        make_folder(volatile_folder(self.place), 0o700)
        Supervised.install(self, release, listen)
        return True

    def withhold(self):
        """Keep what was started at boot from starting now; nothing is, here."""

    def enable(self):
        """Nothing to do so that the service is started at every start of the device: recovery does it, here."""

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
        holder = self.lock_holder()
        if holder and holder["pid"] != supervisor["pid"]:
            end_process(holder)

    def lock_holder(self):
        """Return the supervising process that holds the lock, or None. It says so there even where a full disk keeps
        supervisor.json from being written."""
        holder = read_json(self.running("supervisor.lock"))
        return holder if isinstance(holder, dict) and holder.get("pid") and alive(holder) else None

    def stop(self):
        """End supervisor and service: politely first, for DRAIN_SECONDS, then not."""
        record = read_json(self.record_path) or {}
        parts = [record.get("supervisor"), self.lock_holder(), record.get("child")]
        end_process(parts[0])
        end_process(parts[1])
        if not alive(parts[0]) and not alive(parts[1]):
            end_process(parts[2])
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
            try:
                check_room(self.place)
                if starts:
                    keep_whole(self.place.of("run", "start.json"), canonical(starts))
            except OSError:  # a full disk: what is started next starts from memory as well
                return
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
        """Nothing to change: the supervising process goes on, with pauses that grow to its LONGEST_PAUSE."""

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
        path = self.hook_path
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
            os.unlink(self.hook_path)
