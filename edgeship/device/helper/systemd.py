"""The service manager where systemd is pid 1: a hardened unit from the bundle, and recovery ordered before
it."""

import contextlib
import json
import os
import shlex
import sys

from .base import Refusal, call, emulated_cpu, python_command, read_text
from .files import sync_folder, write_whole

UNITS = "/etc/systemd/system"

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
        self.path = os.path.join(UNITS, self.unit)

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

    def install(self, release, listen):
        """Fill the release's unit in and install it; daemon-reload only where something changed."""
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
        template = with_emulated_cpu(template)
        if read_text(self.path) != template:
            write_whole(self.path, template.encode("utf-8"))
            systemctl("daemon-reload")

    def restart(self):
        """Start the installed unit afresh. Returns when systemd says it started or failed to; readiness comes
        later."""
        announce = self.announce
        systemctl("reset-failed", self.unit, check=False)
        systemctl("stop", self.unit, check=False)
        if announce:
            with contextlib.suppress(OSError):
                os.unlink(announce)
        systemctl("enable", self.unit)
        systemctl("start", "--no-block", self.unit)

    def stop(self):
        """Stop the unit."""
        systemctl("stop", self.unit, check=False)

    def remove(self):
        """Stop and forget the unit: after a first deployment that was taken back."""
        systemctl("disable", "--now", self.unit, check=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
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
        path = os.path.join(UNITS, self.recovery)
        folders = [os.path.join(UNITS, name) for name in ("multi-user.target.wants", self.unit + ".requires")]
        links = [os.path.join(folder, self.recovery) for folder in folders]
        if read_text(path) != text or not all(os.path.islink(link) for link in links):
            write_whole(path, text.encode("utf-8"))
            systemctl("daemon-reload")
            systemctl("enable", self.recovery)
            for folder in folders + [UNITS]:
                sync_folder(folder)
            systemctl("restart", "--no-block", self.recovery)
        return self.recovery

    def unhook_boot(self):
        """Take the recovery unit away."""
        systemctl("disable", self.recovery, check=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(UNITS, self.recovery))
        systemctl("daemon-reload", check=False)


def start_timer(name, seconds, argv):
    """Run `argv` as a system unit after `seconds`; return whether systemd says that the timer waits."""
    status, _, err = call(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit=" + name,
            "--on-active=%ds" % max(1, int(seconds)),
            "--timer-property=AccuracySec=500ms",
        ]
        + ["--setenv=%s=%s" % pair for pair in emulated_cpu().items()]
        + argv,
        60,
    )
    if status != 0:
        raise Refusal("not-armed", "systemd-run: %s" % (err or "timed out"))
    return timer_waits(name)


def timer_waits(name):
    """Return whether the timer is there and waits."""
    return systemctl("is-active", name + ".timer", check=False).strip() == "active"


def stop_timer(name):
    """Stop a timer; missing is fine."""
    systemctl("stop", name + ".timer", check=False)
