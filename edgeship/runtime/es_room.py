"""How much memory this process can still have: the machine's, and what its own control group leaves it (MemoryMax)."""

from es_sensors_find import read_text

_MARGIN = 8 << 20  # Bytes left for what else is asked meanwhile.


def is_short(needed, root=""):
    """Return whether so many bytes more may be too many, half of them again in doubt; where nobody tells, they are."""
    available = available_bytes(root)
    return available is None or available < needed * 3 // 2 + _MARGIN


def available_bytes(root=""):
    """Return the bytes that can be had, None where the machine does not tell."""
    machine = _field(root + "/proc/meminfo", "MemAvailable:")
    left = _left(root)
    if machine is None:
        return None
    return machine * 1024 if left is None else min(machine * 1024, left)


def _left(root):
    """Return the bytes that the control group leaves (version 2, else 1), None without a limit."""
    for line in (_text(root + "/proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        kind, _, path = rest.partition(":")
        if number == "0" and not kind:
            files = ("/sys/fs/cgroup%s/memory." % path, "max", "current", "inactive_file")
        elif "memory" in kind.split(","):
            base = "/sys/fs/cgroup/memory%s/memory." % path
            files = (base, "limit_in_bytes", "usage_in_bytes", "total_inactive_file")
        else:
            continue
        base = root + files[0]
        most, used = _number(_text(base + files[1])), _number(_text(base + files[2]))
        if most is not None and used is not None:
            # Files read once and not since go first: they are memory that can be had.
            return max(0, most - used + (_field(base + "stat", files[3]) or 0))
    return None


def _text(path):
    try:
        return read_text(path)
    except (OSError, ValueError):
        return None


def _number(text):
    """Return a whole number; None for `max` and what is none."""
    try:
        return int(text)
    except (TypeError, ValueError):
        return None


def _field(path, name):
    """Return the number behind a word at the beginning of a line, None where there is none."""
    for line in (_text(path) or "").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return _number(words[1])
    return None
