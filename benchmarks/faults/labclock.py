"""A wrong clock for a lab device: the time of day jumps, what counts since boot does not, as on a real board.

libfaketime cannot do this: it moves CLOCK_BOOTTIME along, or, told not to, breaks sleeping. This library moves
CLOCK_REALTIME alone.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

LIBRARY, OFFSET, PRELOAD = "usr/local/lib/clock.so", "etc/clock-offset", "etc/ld.so.preload"
SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void)
{
    char text[32];
    int was = errno, file = syscall(SYS_openat, AT_FDCWD, "/etc/clock-offset", O_RDONLY | O_CLOEXEC);
    long size = file < 0 ? 0 : syscall(SYS_read, file, text, sizeof text - 1);
    if (file >= 0) syscall(SYS_close, file);
    errno = was;
    if (size <= 0) return 0;
    text[size] = 0;
    return strtol(text, 0, 10);
}

int clock_gettime(clockid_t id, struct timespec *at)
{
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    int failed = syscall(SYS_gettimeofday, at, zone);
    if (!failed && at) at->tv_sec += offset();
    return failed;
}

time_t time(time_t *into)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (into) *into = at.tv_sec;
    return at.tv_sec;
}
"""


def build_clock(folder: Path) -> bytes:
    """Return the library, built for this machine's processor."""
    made = folder / "clock.so"
    if not made.exists():
        (folder / "clock.c").write_text(SOURCE)
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(made), str(folder / "clock.c")]
        subprocess.run(command, check=True)
    return made.read_bytes()


def set_clock(root: Path, library: bytes, seconds: float) -> None:
    """Let the clock of the device whose root is `root` be `seconds` wrong, at once and after its next starts."""
    (root / LIBRARY).write_bytes(library)
    (root / OFFSET).write_text(f"{seconds:.0f}\n")
    (root / PRELOAD).write_text(f"/{LIBRARY}\n")


def right_clock(root: Path) -> None:
    """Let the clock be right again."""
    for name in (PRELOAD, OFFSET):
        (root / name).unlink(missing_ok=True)


def to_1970() -> float:
    """Return by how many seconds a clock is wrong that began at 1970 with a dead battery."""
    return 86_400 - time.time()
