"""What a service writes, where no service manager keeps it."""

import contextlib
import os
import time

LOG_BYTES = 1 << 20


class Log(object):
    """A log file that is turned over once at LOG_BYTES, so that it never fills the disk."""

    def __init__(self, path):
        self.path, self.stream = path, None

    def write(self, data):
        """Append; what cannot be written (a full disk) is dropped rather than stopping the service."""
        with contextlib.suppress(OSError):
            if self.stream is not None and self.stream.tell() + len(data) > LOG_BYTES:
                full, self.stream = self.stream, None
                full.close()
                os.replace(self.path, self.path + ".1")
            if self.stream is None:
                self.stream = open(self.path, "ab", buffering=0)  # noqa: SIM115
            self.stream.write(data)

    def say(self, text):
        """Append a line of the supervisor's own."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.write(("%s edgeship: %s\n" % (stamp, text)).encode("utf-8"))
