"""When an upload is tried again: as long as attempts bring something, and for a while when they do not."""

from __future__ import annotations

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0


class Retries:
    """Counts attempts. `most`: how many in a row may bring nothing."""

    def __init__(self, most: int) -> None:
        self.most, self.attempts = most, 0
        self._idle = 0
        self._left: int | None = None

    def begin(self) -> None:
        """Note that an attempt begins."""
        self.attempts += 1

    def missing(self, count: int) -> None:
        """Note what the device lacks now, bytes: less than at the attempt before, and that one was not in vain."""
        if self._left is not None and count < self._left:
            self._idle = 0
        self._left = count

    def pause(self) -> float | None:
        """Return the seconds to wait before the next attempt, None where it was the last one.

        They double from FIRST_PAUSE to LONGEST_PAUSE: six attempts outlast a server that is away for half a minute.
        """
        self._idle += 1
        if self._idle >= self.most:
            return None
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._idle - 1)))
