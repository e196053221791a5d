"""The systemd unit and the OpenRC script: what the service of one target may see and do."""

from __future__ import annotations

import math
import re
from typing import Any

from edgeship.errors import InputError
from edgeship.profile import TargetProfile
from edgeship.project.schema import LEAST_BODY_BYTES

WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
PLAIN_NODE = re.compile(r"/dev/[A-Za-z0-9_./-]+\Z")

DEVICE_CLASSES: tuple[tuple[str, str], ...] = (
    ("usb:", "char-usb_device"),
    ("/dev/bus/usb", "char-usb_device"),
    ("/dev/dri", "char-drm"),
    ("/dev/apex", "char-apex"),
    ("/dev/nvidia", "char-nvidia*"),
    ("/dev/nvhost", "char-nvhost*"),
)
"""How an accelerator is seen -> its class in /proc/devices, which systemd matches without knowing a node's
number."""

JUST_IN_TIME = frozenset({"gpu"})
"""Delegates whose drivers write code into memory and run it."""


ROOM_MB, TIMES_BODY = 64, 6
"""Resident MiB of a service beside a request, and MiB for each one that a JSON body holds: measured 4.3 to 5.6 with
nested lists of 1,048,576 numbers in and out, on CPython 3.11."""


def unit_values(
    profile: TargetProfile,
    *,
    app: str,
    listen: str,
    drain_seconds: float,
    body_bytes: int = LEAST_BODY_BYTES,
    buffered_bytes: int = 0,
) -> dict[str, Any]:
    """Return what `edgeship.service.j2` and `edgeship.initd.j2` ask for. Raises InputError `bad-unit-word` for a name
    that systemd or a shell would misread."""
    words = [("service.groups", group) for group in profile.service.groups]
    words += [("service.user", profile.service.user)] if profile.service.user else []
    for key, word in words:
        if not WORD.match(word):
            raise InputError(
                "bad-unit-word",
                f"'{word}' cannot stand in a systemd unit",
                context={
                    "target": profile.name,
                    "key": key,
                    "wanted": "letters, digits, dot, dash and underscore",
                },
                hint=f"edgeship target show {profile.name}",
            )
    return {
        "app": app,
        "target": profile.name,
        "user": profile.service.user,
        "groups": list(profile.service.groups),
        "memory_mb": memory_mb(profile, body_bytes, buffered_bytes),
        "device_rules": device_rules(profile),
        "writes_code": profile.runtime.delegate in JUST_IN_TIME,
        "network": network(listen),
        "stop_seconds": math.ceil(drain_seconds) + 5,
    }


def memory_mb(profile: TargetProfile, body_bytes: int, buffered_bytes: int = 0) -> int:
    """Return the MiB the service may take: the profile's, or more where the largest request and what waits beside it
    need it, up to half of the device's memory."""
    needed = ROOM_MB + TIMES_BODY * -(-body_bytes // (1 << 20)) + -(-buffered_bytes // (1 << 20))
    return max(profile.service.memory_max_mb, min(needed, profile.memory.ram_mb // 2))


def device_rules(profile: TargetProfile) -> list[str]:
    """Return DeviceAllow= values for the accelerators of a profile, in its order, each once."""
    rules: dict[str, None] = {}
    for accelerator in profile.devices:
        for way in accelerator.any_of:
            known = next((name for prefix, name in DEVICE_CLASSES if way.startswith(prefix)), None)
            if known:
                rules[f"{known} rw"] = None
            elif PLAIN_NODE.match(way):
                rules[f"{way} rw"] = None
    return list(rules)


def network(listen: str) -> str:
    """Return what an address to serve on needs: `unix`, `loopback` or `any`."""
    if listen.startswith("unix:"):
        return "unix"
    host = listen.rpartition(":")[0].strip("[]")
    return "loopback" if host in {"localhost", "::1"} or host.startswith("127.") else "any"
