"""How much memory requests and answers may take over all connections together: a small board has no room for
`limits.connections` of the largest ones.
"""

import threading

from es_errors import Refused

# A body or an answer up to this size is not counted: even one a connection is a few megabytes, and small requests
# are served whatever large ones wait.
SMALL = 65536


class Budget(object):
    """Bytes held by bodies that arrive or wait, and by answers on their way. Safe for two threads."""

    def __init__(self, limits):
        self.most = limits.get("buffered_bytes") or 2 * limits["body_bytes"]
        self.held = 0
        self._lock = threading.Lock()

    def take(self, size, own=0):
        """Return the bytes taken for `size` bytes: all of them, or 0 for what is small. Raises Refused (503) where
        others hold too much.

        `own` bytes are held by the one who asks. Whoever is alone gets what it needs, so that no limit, however it
        is set, refuses one request for ever.
        """
        if size <= SMALL:
            return 0
        with self._lock:
            if self.held <= own or self.held + size <= self.most:
                self.held += size
                return size
            held = self.held
        text = "requests and answers on their way hold %d of %d bytes; %d more have no room now"
        raise Refused(503, text % (held, self.most, size), [("Retry-After", "1")])

    def give(self, size):
        """Give bytes back."""
        if size:
            with self._lock:
                self.held -= size
