"""The systemd unit and the OpenRC script: what the service of one target may see and do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from edgeship.errors import InputError
from edgeship.profile import TargetProfile
from edgeship.profile.types import UNIT_WORD
from edgeship.project.schema import LEAST_BODY_BYTES

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

TIMES_MODEL = 2
"""Bytes that a loaded model takes for each byte of its file: weights are packed for the kernels, those of fp16 to twice
their size. Each session of a model with state loads it once more (16.5 MiB for a float file of 16.8 MB, measured)."""
MIB = 1 << 20


def unit_values(
    profile: TargetProfile,
    *,
    app: str,
    listen: str,
    drain_seconds: float,
    body_bytes: int = LEAST_BODY_BYTES,
    buffered_bytes: int = 0,
    loaded_bytes: int = 0,
    governed: bool = False,
) -> dict[str, Any]:
    """Return what `edgeship.service.j2` and `edgeship.initd.j2` ask for. `governed`: it reads what was tuned on the
    device, and the target's sensors. Raises InputError `bad-unit-word` for a name that systemd or a shell misreads."""
    words = [("service.groups", group) for group in profile.service.groups]
    words += [("service.user", profile.service.user)] if profile.service.user else []
    for key, word in words:
        if not re.fullmatch(UNIT_WORD, word):
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
    sensors, sensor_groups = sensor_access(profile) if governed else ([], [])
    return {
        "app": app,
        "target": profile.name,
        "user": profile.service.user,
        "groups": list(dict.fromkeys([*profile.service.groups, *sensor_groups])),
        "memory_mb": memory_mb(profile, body_bytes, buffered_bytes, loaded_bytes),
        "device_rules": device_rules(profile),
        "sensor_rules": sensors,
        "writes_code": profile.runtime.delegate in JUST_IN_TIME,
        "network": network(listen),
        "stop_seconds": math.ceil(drain_seconds) + 5,
        "governed": governed,
    }


def memory_mb(profile: TargetProfile, body_bytes: int, buffered_bytes: int = 0, loaded_bytes: int = 0) -> int:
    """Return the MiB the service may take: the profile's, or more where the largest request, what waits beside it and
    the models that are loaded (bytes of their files) need it, up to half of the device's memory."""
    return max(
        profile.service.memory_max_mb,
        min(needed_mb(body_bytes, buffered_bytes, loaded_bytes), profile.memory.ram_mb // 2),
    )


def sessions_that_fit(profile: TargetProfile, limits: Mapping[str, Any], model_bytes: int) -> int:
    """Return how many sessions of a model with state may be open: `limits.sessions`, or as many as the service has
    memory for beside the model itself and its largest request; one at least."""
    room = most_mb(profile) - needed_mb(limits["body_bytes"], limits["buffered_bytes"], model_bytes)
    return max(1, min(int(limits["sessions"]), room * MIB // (TIMES_MODEL * model_bytes)))


def most_mb(profile: TargetProfile) -> int:
    """Return the MiB that a service of the profile may take at the most, whatever it needs."""
    return max(profile.service.memory_max_mb, profile.memory.ram_mb // 2)


def needed_mb(body_bytes: int, buffered_bytes: int, loaded_bytes: int) -> int:
    """Return the MiB that a service needs for its largest request, what waits beside it and its models."""
    body, buffered = -(-body_bytes // MIB), -(-buffered_bytes // MIB)
    return ROOM_MB + TIMES_BODY * body + buffered + TIMES_MODEL * loaded_bytes // MIB


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


def sensor_access(profile: TargetProfile) -> tuple[list[str], list[str]]:
    """Return (DeviceAllow= values, groups) that the service needs to read the target's sensors; both empty for all that
    /sys and /proc tell."""
    rows = [sensor for sensor in profile.sensors if sensor.device]
    rules = dict.fromkeys(f"{sensor.device} rw" for sensor in rows)
    groups = dict.fromkeys(sensor.group for sensor in rows if sensor.group)
    return list(rules), list(groups)


def network(listen: str) -> str:
    """Return what an address to serve on needs: `unix`, `loopback` or `any`."""
    if listen.startswith("unix:"):
        return "unix"
    host = listen.rpartition(":")[0].strip("[]")
    return "loopback" if host in {"localhost", "::1"} or host.startswith("127.") else "any"
