"""A service manager that a release was started with and that the device does not have any more."""


class Absent(object):
    """Stands in its place: nothing runs under it, nothing of it has to be stopped, and it starts nothing.

    So a device that lost its service manager can still be asked, and be brought a release under another one.
    """

    announce = None

    def __init__(self, kind, refusal):
        self.kind, self.refusal = kind, refusal

    def observe(self):
        """Return what is known: nothing runs."""
        return {
            "manager": self.kind,
            "running": False,
            "pid": None,
            "restarts": 0,
            "failed": True,
            "last_exit": None,
        }

    def log_tail(self, _lines):
        """Return why there is no log."""
        return ["edgeship: %s" % self.refusal.reason]

    def bake_armed(self):
        """Return that nothing is watched."""
        return False

    def nothing(self, *_given, **_named):
        """Stop or take away what is not there."""

    stop = remove = withhold = disarm_bake = unhook_boot = nothing

    def refuse(self, *_given, **_named):
        """Raise Refusal `no-<manager>`."""
        raise self.refusal

    install = install_unwritable = enable = restart = arm_bake = crash_loop = keep_trying = hook_boot = refuse
