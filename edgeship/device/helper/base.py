"""Refusals, requests and replies, the device's identity, and running other programs."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

FORMAT = 1
REPLY_SCHEMA = "edgeship.helper/1"
CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Refusal(Exception):
    """A request that is not carried out: a stable code, a reason for people, and facts for the controller."""

    def __init__(self, code, reason, **facts):
        Exception.__init__(self, reason)
        self.code = code
        self.reason = reason
        self.facts = facts


def canonical(value):
    """Return `value` as canonical JSON bytes: sorted keys, no spaces, one final newline (as edgeship.digest
    does)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def sha256_hex(data):
    """Return the hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def read_text(path, limit=1 << 20):
    """Return a small file's text, or None where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(limit).decode("utf-8", "replace")
    except OSError:
        return None


def read_json(path, limit=1 << 20):
    """Return a small JSON file's content, or None where it is missing, torn, or longer than `limit` bytes."""
    text = read_text(path, limit)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def start_ticks(pid):
    """Return the kernel's start time of a process in clock ticks, or None where there is no such process.

    A pid alone may be reused; pid and start time together name one process for as long as the device is up. Read from
    the main thread's entry: user-mode emulators make up what a process reads in its own /proc/PID/stat.
    """
    text = read_text("/proc/%d/task/%d/stat" % (pid, pid))
    if not text or ")" not in text:
        return None
    fields = text.rsplit(")", 1)[1].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def boot_identity():
    """Return what changes with every start of the device: the kernel's boot id and the start time of pid 1.

    Containers share the kernel's boot id with their host, so pid 1's start time is part of it.
    """
    boot = (read_text("/proc/sys/kernel/random/boot_id") or "unknown").strip()
    return "%s.%s" % (boot, start_ticks(1) or 0)


def boot_seconds():
    """Return seconds since boot, counted through suspend and untouched by clock changes."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def emulated_cpu():
    """Return {"QEMU_CPU": name} on a device that a user-mode emulator runs, else {}: what is proved on one processor
    must also be served on it. Real devices do not set it."""
    name = os.environ.get("QEMU_CPU", "")
    return {"QEMU_CPU": name} if re.match(r"[A-Za-z0-9_.,=+-]{1,128}\Z", name) else {}


def clean_environment(extra=None):
    """Return the small environment that services and proofs run in."""
    environment = {
        **emulated_cpu(),
        "PATH": CLEAN_PATH,
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.update(extra or {})
    return environment


def call(argv, seconds, cwd=None, environment=None, feed=None):
    """Run a program in its own process group; return (exit status, stdout, stderr tail).

    `feed` is what it reads on stdin (None: nothing).
    The status is None where it ran past `seconds` (the whole group is then killed) and 127 where it is not
    there.
    """
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=clean_environment(environment),
            start_new_session=True,
        )
    except OSError as error:
        return 127, b"", str(error)
    try:
        out, err = child.communicate(feed, timeout=seconds)
        status = child.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        status = None
    return status, out, err.decode("utf-8", "replace")[-2000:].strip()


def python_command(*arguments):
    """Return argv that runs a Python file with this very interpreter, isolated and without a bytecode
    cache."""
    return [sys.executable, "-I", "-B"] + list(arguments)
