"""The service manager where systemd is pid 1: a hardened unit from the bundle, and recovery ordered before
it."""

import contextlib
import json
import os
import re
import shlex
import sys

from .base import Refusal, call, emulated_cpu, python_command, read_text
from .files import make_folder, sync_folder, write_whole

UNITS = "/etc/systemd/system"
VOLATILE_UNITS = "/run/systemd/system"
TARGET_LINKS = "multi-user.target.wants"

RECOVERY_UNIT = """\
[Unit]
Description=edgeship: bring {app} back to its last confirmed release
RequiresMountsFor={root}
Before={service}
DefaultDependencies=yes

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}

[Install]
WantedBy=multi-user.target
RequiredBy={service}
"""


BAKE_DROP_IN = """\
# Until the release is baked: {restarts} restarts in {seconds} s are no crash loop, one more is.
[Unit]
OnFailure={hook}
StartLimitIntervalSec={seconds}
StartLimitBurst={starts}
"""

PATIENT_DROP_IN = """\
# There is no release to go back to: the service is started again and again.
[Unit]
StartLimitIntervalSec=0

[Service]
RestartSec={pause}
"""

BAKE_UNIT = """\
[Unit]
Description=edgeship: {app} goes back to the release before when it crashes again and again
RequiresMountsFor={root}
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart={command}
Restart=on-failure
RestartSec=5
"""
PATIENT_PAUSE = 30
RESTART_SECONDS = 5
"""Long enough for systemd's own limit, five starts in ten seconds, never to be met."""


def systemctl(*arguments, **options):
    """Run systemctl; return its output. Raises Refusal `systemd` where it fails and `check` is not False."""
    status, out, err = call(["systemctl"] + list(arguments), options.get("seconds", 90))
    text = out.decode("utf-8", "replace")
    if status != 0 and options.get("check", True):
        raise Refusal(
            "systemd", "systemctl %s: %s" % (" ".join(arguments), err or text.strip() or "timed out")
        )
    return text


def with_emulated_cpu(unit):
    """Return a unit whose processes keep the processor of a user-mode emulator; the same text on a real device."""
    lines = "".join("Environment=%s=%s\n" % pair for pair in emulated_cpu().items())
    return unit.replace("[Service]\n", "[Service]\n" + lines, 1)


class Systemd(object):
    """Runs an application's `current` release as the unit edgeship-<app>.service."""

    kind = "systemd"

    def __init__(self, place, helper):
        self.place, self.helper = place, helper
        self.unit = "edgeship-%s.service" % place.app_name
        self.recovery = "edgeship-recover-%s.service" % place.app_name
        self.hook = "edgeship-bake-%s.service" % place.app_name
        self.path = os.path.join(UNITS, self.unit)
        self.hook_path = os.path.join(UNITS, self.recovery)
        self.drop_in = os.path.join(UNITS, self.unit + ".d", "bake.conf")
        self.override = os.path.join(VOLATILE_UNITS, self.unit + ".d", "edgeship-read-only.conf")

    @staticmethod
    def missing():
        """Return why this device cannot have it, or None."""
        if os.path.isdir("/run/systemd/system") and call(["systemctl", "--version"], 20)[0] == 0:
            return None
        return "systemd was asked for, and is not pid 1 of this device"

    @staticmethod
    def lacks(_place, _release):
        """Return why a release cannot be run by it, or None: every release brings a unit."""
        return

    @property
    def announce(self):
        """Where the installed unit has the service announce itself."""
        for line in (read_text(self.path) or "").replace("\\\n", " ").splitlines():
            if line.startswith("ExecStart="):
                words = shlex.split(line[len("ExecStart=") :])
                if "--announce" in words[:-1]:
                    return (
                        words[words.index("--announce") + 1]
                        .replace("%t", "/run")
                        .replace("${RUNTIME_DIRECTORY}", "/run/edgeship-" + self.place.app_name)
                    )
        return None

    def unit_text(self, release, listen):
        """Return the release's unit with its four words filled in."""
        template = read_text(os.path.join(self.place.release(release), "service", "edgeship.service"))
        if template is None:
            raise Refusal("bad-manifest", "the release has no service/edgeship.service for systemd")
        service = json.loads(read_text(os.path.join(self.place.release(release), "service.json")) or "{}")
        address = listen or service.get("listen")
        if not address:
            raise Refusal("bad-manifest", "the release's service.json says no address to listen on")
        values = {
            "@ROOT@": self.place.root,
            "@APP@": self.place.app_name,
            "@PYTHON@": sys.executable,
            "@LISTEN@": address,
        }
        for mark, value in values.items():
            template = template.replace(mark, value)
        return with_emulated_cpu(template)

    def install(self, release, listen):
        """Fill the release's unit in and install it; daemon-reload only where something changed."""
        text = self.unit_text(release, listen)
        overridden = os.path.exists(self.override)
        if overridden:
            os.unlink(self.override)
        if read_text(self.path) != text:
            write_whole(self.path, text.encode("utf-8"))
            overridden = True
        if overridden:
            systemctl("daemon-reload")

    def install_unwritable(self, release, listen):
        """As `install`, where nothing can be written and `current` may name another release: until the next start of
        the device the unit starts `release`. False: systemd starts it after recovery."""
        start = next(
            line for line in self.unit_text(release, listen).splitlines() if line.startswith("ExecStart=")
        )
        start = re.sub(r"/current(?=[/ ]|$)", "/releases/" + release, start)
        self.override_unit("[Service]\nExecStart=\n%s\n" % start)
        return False

    def withhold(self):
        """Keep the unit from being started until the next start of the device, where it cannot be removed."""
        self.override_unit("[Unit]\nConditionPathExists=/run/edgeship-nothing-to-start\n")

    def override_unit(self, text):
        """Lay lines over the installed unit until the next start of the device."""
        make_folder(os.path.dirname(self.override))
        write_whole(self.override, text.encode("utf-8"))
        systemctl("daemon-reload")

    def enable(self):
        """Where a power cut lost the link that has the unit started at every start of the device: make it again, and
        start the unit now. Durable on return."""
        if not os.path.islink(os.path.join(UNITS, TARGET_LINKS, self.unit)):
            self.link_unit(self.unit)
            systemctl("start", "--no-block", self.unit)

    def link_unit(self, unit):
        """Have a unit started at every start of the device. Durable on return: systemctl itself syncs nothing."""
        systemctl("enable", unit)
        for folder in (TARGET_LINKS, self.unit + ".requires", ""):
            path = os.path.join(UNITS, folder)
            if os.path.isdir(path):
                sync_folder(path)

    def restart(self):
        """Start the installed unit afresh. Returns when systemd says it started or failed to; readiness comes
        later."""
        announce = self.announce
        systemctl("reset-failed", self.unit, check=False)
        systemctl("stop", self.unit, check=False)
        if announce:
            with contextlib.suppress(OSError):
                os.unlink(announce)
        self.link_unit(self.unit)
        systemctl("start", "--no-block", self.unit)

    def stop(self):
        """Stop the unit."""
        systemctl("stop", self.unit, check=False)

    def remove(self):
        """Stop and forget the unit: after a first deployment that was taken back."""
        systemctl("disable", "--now", self.unit, check=False)
        for path in (self.path, self.drop_in, os.path.join(UNITS, self.hook)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self.drop_in))
        systemctl("daemon-reload", check=False)
        systemctl("reset-failed", self.unit, check=False)

    def observe(self):
        """Return {"running", "pid", "restarts", "failed"} as systemd tells them."""
        names = "MainPID,NRestarts,ActiveState,SubState,Result,ExecMainStatus"
        shown = dict(
            line.split("=", 1)
            for line in systemctl("show", "-p", names, self.unit, check=False).splitlines()
            if "=" in line
        )
        pid = int(shown.get("MainPID") or 0)
        return {
            "manager": self.kind,
            "running": pid > 0,
            "pid": pid or None,
            "restarts": int(shown.get("NRestarts") or 0),
            "failed": shown.get("ActiveState") == "failed",
            "last_exit": int(shown.get("ExecMainStatus") or 0),
            "detail": shown.get("SubState"),
        }

    def arm_bake(self, seconds, restarts):
        """Have systemd start the crash-loop hook when the unit is started more than `restarts` + 1 times in `seconds`.

        A watchdog that was not served counts as any other failure. Read back with `bake_armed` once the unit runs.
        """
        command = " ".join(python_command(self.helper, "breach", self.place.root, self.place.app_name))
        unit = BAKE_UNIT.format(app=self.place.app_name, root=self.place.root, command=command)
        self.write_unit(os.path.join(UNITS, self.hook), with_emulated_cpu(unit))
        text = BAKE_DROP_IN.format(
            hook=self.hook, seconds=int(seconds), restarts=restarts, starts=int(restarts) + 1
        )
        self.write_unit(self.drop_in, text)

    def write_unit(self, path, text):
        """Write a unit file or drop-in; daemon-reload only where something changed."""
        if read_text(path) != text:
            make_folder(os.path.dirname(path))
            write_whole(path, text.encode("utf-8"))
            systemctl("daemon-reload")

    def bake_armed(self):
        """Return whether systemd itself says that the unit's failure starts the hook, and that it knows the hook."""
        named = systemctl("show", "-p", "OnFailure", self.unit, check=False).strip()
        loaded = systemctl("show", "-p", "LoadState", self.hook, check=False).strip()
        return self.hook in named.partition("=")[2].split() and loaded == "LoadState=loaded"

    def disarm_bake(self, start=False):
        """Take the hook and its limits away; `start`: the unit failed within limits that are no longer meant."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.drop_in)
            systemctl("daemon-reload")
        if start:
            systemctl("reset-failed", self.unit, check=False)
            systemctl("start", "--no-block", self.unit)

    def crash_loop(self, _told):
        """Return how often the service crashed where systemd gave it up, else None.

        Every crash counts as a restart there, the last one too: its restart was begun, and then refused.
        """
        seen = self.observe()
        return max(1, seen["restarts"]) if seen["failed"] else None

    def keep_trying(self):
        """Have systemd start the unit again and again, PATIENT_PAUSE seconds apart, and never give up."""
        self.write_unit(self.drop_in, PATIENT_DROP_IN.format(pause=PATIENT_PAUSE))
        systemctl("reset-failed", self.unit, check=False)
        systemctl("start", "--no-block", self.unit)

    def log_tail(self, lines):
        """Return the last lines of the unit's journal."""
        status, out, err = call(
            ["journalctl", "-u", self.unit, "-n", str(lines), "--no-pager", "-o", "short-iso"], 60
        )
        if status != 0:
            return ["journalctl: %s" % err]
        return out.decode("utf-8", "replace").splitlines()

    def hook_boot(self):
        """Install recovery as a oneshot unit that the application's unit requires; return the unit's name.

        Durable on return. A power cut may have kept the unit's file and lost the links that have it started.
        """
        command = " ".join(python_command(self.helper, "boot", self.place.root, self.place.app_name))
        text = RECOVERY_UNIT.format(
            app=self.place.app_name, root=self.place.root, service=self.unit, command=command
        )
        text = with_emulated_cpu(text)
        folders = (TARGET_LINKS, self.unit + ".requires")
        links = [os.path.join(UNITS, folder, self.recovery) for folder in folders]
        if read_text(self.hook_path) != text or not all(os.path.islink(link) for link in links):
            write_whole(self.hook_path, text.encode("utf-8"))
            systemctl("daemon-reload")
            self.link_unit(self.recovery)
            systemctl("restart", "--no-block", self.recovery)
        return self.recovery

    def unhook_boot(self):
        """Take the recovery unit away."""
        systemctl("disable", self.recovery, check=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.hook_path)
        systemctl("daemon-reload", check=False)


def start_timer(name, seconds, argv):
    """Run `argv` as a system unit after `seconds`; return whether systemd says that the timer waits.

    Whatever ends it early, it is started again; the oldest versions of systemd cannot be told so of such a unit, and
    run it once. (It is of Type=simple: of a oneshot, systemd before 244 would refuse that.)
    """
    for lasting in (["--property=Restart=on-failure", "--property=RestartSec=%d" % RESTART_SECONDS], []):
        status, _, err = call(
            [
                "systemd-run",
                "--quiet",
                "--collect",
                "--unit=" + name,
                "--on-active=%ds" % max(1, int(seconds)),
                "--timer-property=AccuracySec=500ms",
            ]
            + lasting
            + ["--setenv=%s=%s" % pair for pair in emulated_cpu().items()]
            + argv,
            60,
        )
        if status == 0:
            break
    if status != 0:
        raise Refusal("not-armed", "systemd-run: %s" % (err or "timed out"))
    return timer_waits(name)


def timer_waits(name):
    """Return whether the timer is there and waits."""
    return systemctl("is-active", name + ".timer", check=False).strip() == "active"


def stop_timer(name):
    """Stop a timer; missing is fine."""
    systemctl("stop", name + ".timer", check=False)
