"""A service's own account and its own view of edgeship's folder, where no service manager gives it them."""

import contextlib
import ctypes
import grp
import os
import pwd
import resource
import signal

from .base import sha256_hex

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 32, 4096, 16384, 1 << 19
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
FIRST_ACCOUNT, ACCOUNTS = 61184, 4336
"""The numbers that systemd gives out to services without an account (its DynamicUser=): no distribution uses them."""


def kernel_call(name, *arguments):
    """Call a function of the C library; raises OSError where it fails."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (name, os.strerror(number)))


def die_with_parent():
    """Ask the kernel to end this process when the supervisor dies, however it dies."""
    with contextlib.suppress(OSError, AttributeError):
        kernel_call("prctl", PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def account_number(app):
    """Return the user and group number of an application without an account: always the same, and nobody else's."""
    number = int(sha256_hex(app.encode("utf-8"))[:8], 16) % ACCOUNTS
    for step in range(ACCOUNTS):
        free = FIRST_ACCOUNT + (number + step) % ACCOUNTS
        try:
            pwd.getpwuid(free)
        except KeyError:
            return free
    return FIRST_ACCOUNT + number


class Confinement(object):
    """What systemd's unit does for a service, as far as a plain process can: an account without rights, edgeship's
    folder closed but for the application's part, read-only, under /run, and few threads."""

    def __init__(self, place, user, groups, tasks):
        self.place, self.tasks = place, tasks
        self.folder = "/run/edgeship-%s" % place.app_name
        self.announce = os.path.join(self.folder, "serving.json")
        self.user, self.groups = user, [name for name in groups.split(",") if name not in ("", "-")]
        self.identity = None

    def release(self, release):
        """Return where the service sees a release's folder."""
        return (
            os.path.join(self.folder, "app", "releases", release)
            if self.identity
            else self.place.release(release)
        )

    def prepare(self):
        """Make the view, in mounts of this process and its children alone; return a line for the log.

        Where the kernel forbids it (some containers), the service runs with the rights of the supervisor.
        """
        os.makedirs(os.path.join(self.folder, "app"), exist_ok=True)
        try:
            identity = self.find_account()
            kernel_call("unshare", CLONE_NEWNS)
            kernel_call("mount", None, b"/", None, MS_REC | MS_SLAVE, None)
            view = os.path.join(self.folder, "app").encode("utf-8")
            kernel_call("mount", self.place.app.encode("utf-8"), view, None, MS_BIND, None)
            closed = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV
            kernel_call("mount", None, view, None, closed, None)
            os.chown(self.folder, identity[0], identity[1])
        except (OSError, KeyError, AttributeError) as error:
            return "the service cannot be confined and runs as user %d: %s" % (os.geteuid(), error)
        self.identity = identity
        return "the service runs as user %d, group %d" % identity[:2]

    def find_account(self):
        """Return (user, group, other groups) as numbers. Raises KeyError for a name that the device does not know."""
        groups = [grp.getgrnam(name).gr_gid for name in self.groups]
        if self.user != "-":
            account = pwd.getpwnam(self.user)
            return account.pw_uid, account.pw_gid, groups
        number = account_number(self.place.app_name)
        return number, number, groups

    def enter(self):
        """Give the rights up for good; runs in the service's process before its program does."""
        if self.identity:
            user, group, groups = self.identity
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
                stream.write("500")  # where memory gets scarce, what keeps the device reachable comes first
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_NPROC, (self.tasks, self.tasks))
            os.setgroups(groups)
            os.setgid(group)
            os.setuid(user)
            os.umask(0o077)
            kernel_call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        die_with_parent()
