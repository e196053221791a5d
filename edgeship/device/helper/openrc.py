"""The service manager where OpenRC booted the device: its supervise-daemon keeps our supervising process running."""

import contextlib
import os
import re
import shlex
import sys

from .base import Refusal, call, python_command, read_text
from .files import sync_folder, write_whole
from .supervise import Supervised, detach, run_folder

SCRIPTS = "/etc/init.d"
RUNLEVEL, RUNLEVELS = "default", "/etc/runlevels"
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+-]*\Z")

RECOVERY_SCRIPT = """\
#!/sbin/openrc-run
description="edgeship: bring {app} back to its last confirmed release"

depend() {{
\tafter localmount bootmisc clock
\tbefore {service}
}}

start() {{
\tebegin "Bringing {app} back to its last confirmed release"
\t{command}
\teend $?
}}
"""


def rc(*argv, **options):
    """Run one of OpenRC's programs. Raises Refusal `openrc` where it fails and `check` is not False."""
    status, out, err = call(list(argv), options.get("seconds", 90))
    if status != 0 and options.get("check", True):
        said = err or out.decode("utf-8", "replace").strip() or "timed out"
        raise Refusal("openrc", "%s: %s" % (" ".join(argv), said))
    return status


class Openrc(Supervised):
    """Runs an application's release as the service edgeship-<app>; what runs is observed as under `Supervised`."""

    kind = "openrc"

    def __init__(self, place, helper):
        Supervised.__init__(self, place, helper)
        self.service = "edgeship-%s" % place.app_name
        self.recovery = "edgeship-recover-%s" % place.app_name
        self.path = os.path.join(SCRIPTS, self.service)
        self.hook_path = os.path.join(SCRIPTS, self.recovery)

    @property
    def announce(self):
        """Where the service announces itself: in a folder that its account may write."""
        return "/run/edgeship-%s/serving.json" % self.place.app_name

    @staticmethod
    def missing():
        """Return why this device cannot have it, or None: OpenRC says which runlevel it is in only where it booted."""
        if os.path.isdir("/run/openrc") and os.path.exists("/run/openrc/softlevel"):
            return None
        return "OpenRC was asked for, and did not start this device"

    @staticmethod
    def lacks(place, release):
        """Return why a release cannot be run by it, or None: those built by an earlier edgeship bring no script."""
        if os.path.isfile(os.path.join(place.release(release), "service", "edgeship.initd")):
            return None
        return "the release has no service/edgeship.initd: an edgeship before OpenRC built it"

    def script(self, release):
        """Return the release's script with its four words filled in."""
        text = read_text(os.path.join(self.place.release(release), "service", "edgeship.initd"))
        if text is None:
            raise Refusal("no-openrc", self.lacks(self.place, release))
        values = {
            "@ROOT@": self.place.root,
            "@APP@": self.place.app_name,
            "@PYTHON@": sys.executable,
            "@HELPER@": self.helper,
        }
        for mark, value in values.items():
            if mark != "@APP@" and not PLAIN_PATH.match(value):
                raise Refusal(
                    "bad-request", "%s cannot stand in an OpenRC script: %r" % (mark.strip("@"), value)
                )
            text = text.replace(mark, value)
        return text

    def install(self, release, listen):
        """Write what the supervisor starts, and the script that has OpenRC start it."""
        text = self.script(release)
        Supervised.install(self, release, listen)
        if read_text(self.path) != text:
            write_whole(self.path, text.encode("utf-8"), 0o755)

    def install_unwritable(self, release, listen):
        """As `install`, on a device that cannot be written: the script that is there starts what it is told in memory.

        False: OpenRC starts it after recovery.
        """
        if not os.path.exists(self.path):
            raise Refusal("openrc", "%s is not installed any more" % self.service)
        Supervised.install_unwritable(self, release, listen)
        return False

    def enable(self):
        """Where a power cut lost the link that has the service started at every start of the device: make it again, and
        have the service started once recovery, which it needs and which runs this, is through. Durable on return."""
        if not os.path.islink(os.path.join(RUNLEVELS, RUNLEVEL, self.service)):
            self.link_service(self.service)
            argv = ["rc-service", self.service, "start"]
            detach(argv, os.path.join(run_folder(self.place, "log"), "supervisor.log"))

    def link_service(self, service):
        """Have a service started at every start of the device. Durable on return: rc-update itself syncs nothing."""
        rc("rc-update", "add", service, RUNLEVEL)
        sync_folder(os.path.join(RUNLEVELS, RUNLEVEL))

    def restart(self):
        """Start the installed release afresh, now and at every start of the device."""
        self.stop()
        self.link_service(self.service)
        rc("rc-service", self.service, "start")

    def stop(self):
        """Have OpenRC stop the service, then see that nothing of it is left."""
        if os.path.exists(self.path):
            rc("rc-service", self.service, "stop", check=False)
            rc("rc-service", self.service, "zap", check=False)
        Supervised.stop(self)

    def remove(self):
        """Stop and forget the service."""
        Supervised.remove(self)
        rc("rc-update", "del", self.service, RUNLEVEL, check=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def observe(self):
        """Return what `Supervised` does; a supervisor that OpenRC is starting again has not failed."""
        seen = Supervised.observe(self)
        if seen["failed"] and rc("rc-service", self.service, "status", check=False) == 0:
            seen["failed"] = False
        return seen

    def hook_boot(self):
        """Install recovery as a service that the application's needs; return its name."""
        command = " ".join(
            shlex.quote(word)
            for word in python_command(self.helper, "boot", self.place.root, self.place.app_name)
        )
        text = RECOVERY_SCRIPT.format(app=self.place.app_name, service=self.service, command=command)
        if read_text(self.hook_path) != text:
            write_whole(self.hook_path, text.encode("utf-8"), 0o755)
        self.link_service(self.recovery)
        rc("rc-service", self.recovery, "start")
        return self.recovery

    def unhook_boot(self):
        """Take the recovery service away."""
        rc("rc-update", "del", self.recovery, RUNLEVEL, check=False)
        rc("rc-service", self.recovery, "zap", check=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.hook_path)
