"""What a device says of itself: a script to run there, and a pure reading of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from edgeship.errors import DeviceError
from edgeship.values import HostFacts

PERSISTENT = frozenset({"ext2", "ext3", "ext4", "btrfs", "xfs", "f2fs", "zfs", "ubifs", "jffs2", "bcachefs"})
"""What going back on a full disk may count on differs between them: docs/reliability.md, "A disk that is full"."""
LOOKED_FOR = frozenset(
    {"libedgetpu", "libOpenCL", "libEGL", "libGLESv2", "libusb-1.0", "libstdc++", "libgcc_s"}
)
"""Shared libraries that the probe looks for; of others it says nothing."""
VOLATILE = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFacts:
    """What was found of the device root's file system. None: it could not be told."""

    near: str | None
    """The nearest folder that exists."""
    writable: bool
    problem: str | None
    disk_free_bytes: int | None
    inodes_free: int | None
    file_system: str | None
    upper_file_system: str | None
    """Under an overlay: the file system that really keeps what is written; None where it cannot be seen."""
    cron: bool
    """Whether cron is there, which can run recovery at every start of the device."""
    store_elsewhere: str | None = None
    """Where blobs and releases lie on two file systems: which folder lies where."""
    current_problem: str | None = None
    """Path of a `current` that is no symbolic link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """All that one probe found."""

    host: HostFacts
    root: RootFacts
    packages: Mapping[str, str]
    """Versions of the distribution's packages that were asked for."""
    available_mb: int | None = None
    """Memory that a new program can have, MiB (Linux's MemAvailable); None: the device does not tell."""


def probe_argv(
    root: str, *, as_root: bool, app: str | None = None, interpreter: str = "python3"
) -> tuple[str, ...]:
    """Return the command whose stdin is `probe_script()`. `as_root`: look and try writing the way the helper will;
    `interpreter`: the Python to tell of."""
    return ("sh", "-s", "--", root, "root" if as_root else "user", app or "", interpreter)


def probe_script() -> bytes:
    """Return the script that tells the facts; POSIX sh, changes nothing."""
    return (resources.files("edgeship.device") / "probe.sh").read_bytes()


def parse_facts(text: str) -> Probed:
    """Return what the probe printed. Raises DeviceError `probe-failed` where it did not run to its end."""
    many: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.replace(".", "").replace("_", "").isalnum():
            many.setdefault(key, []).append(value.strip())
    if "end" not in many or "machine" not in many:
        raise DeviceError(
            "probe-failed",
            "the device did not run the probe to its end: it needs a POSIX sh, uname and id",
            context={"output": text[-300:].strip() or "(nothing)"},
            hint="log in by hand and look: ssh HOST 'sh -c \"uname -a; id\"'",
        )
    one = {key: values[0] for key, values in many.items()}
    packages = dict(_pairs(many.get("package", []), last=False))
    available = _number(one.get("available_kb"))
    return Probed(
        host=_host_facts(one, many),
        root=_root_facts(one, many),
        packages=packages,
        available_mb=available // 1024 if available is not None else None,
    )


def _host_facts(one: dict[str, str], many: dict[str, list[str]]) -> HostFacts:
    """Return the facts that hold for the whole device."""
    kind, libc_version = _libc(one.get("libc", ""))
    free = _number(one.get("disk_free_kb"))
    memory = _number(one.get("memory_kb"))
    return HostFacts(
        hostname=one.get("hostname", ""),
        machine=one["machine"],
        libc=kind,
        libc_version=libc_version,
        python_version=one.get("python"),
        userland_bits=_number(one.get("python_bits")) or _number(one.get("bits")),
        model_name=one.get("model"),
        cpu_count=_number(one.get("cpus")) or None,
        cpu_flags=tuple(one.get("flags", "").split()),
        memory_mb=memory // 1024 if memory is not None else None,
        disk_free_mb=free // 1024 if free is not None else None,
        file_system=one.get("root_fs"),
        init=_init(one.get("init")),
        user=one.get("user"),
        uid=_number(one.get("uid")),
        sudo=one["sudo"] == "yes" if "sudo" in one else None,
        boot_id=one.get("boot_id"),
        clock_unix=_number(one.get("clock")),
        os_release={key[3:]: value for key, value in one.items() if key.startswith("os.")},
        devices=tuple(many.get("device", ())),
        sensors=dict(_pairs(many.get("sensor", []), last=True)),
        libraries=dict(_pairs(many.get("library", []), last=False)),
    )


def _root_facts(one: dict[str, str], many: dict[str, list[str]]) -> RootFacts:
    """Return the facts of the device root."""
    free = _number(one.get("disk_free_kb"))
    mounts = dict(_pairs(many.get("mount", []), last=True))
    upper = one.get("root_upper")
    return RootFacts(
        near=one.get("root_near"),
        writable=one.get("root_writable") == "yes",
        problem=one.get("root_problem") or one.get("root_error"),
        disk_free_bytes=free * 1024 if free is not None else None,
        inodes_free=_number(one.get("inodes_free")),
        file_system=one.get("root_fs"),
        upper_file_system=_file_system_of(upper, mounts) if upper else None,
        cron=one.get("cron") == "yes",
        store_elsewhere=_elsewhere(one.get("store_device", ""), one.get("releases_device", "")),
        current_problem=one.get("current_problem"),
    )


def _elsewhere(store: str, releases: str) -> str | None:
    """Return which folder lies where, from `DEVICE FOLDER` of each, where the devices differ."""
    (one, _, folder), (other, _, beside) = store.partition(" "), releases.partition(" ")
    if not one or not other or one == other:
        return None
    return f"{folder} is on device {one}, {beside} on device {other}"


def _file_system_of(path: str, mounts: dict[str, str]) -> str | None:
    """Return the file system that holds `path`; None where only the overlay itself covers it."""
    holding = [at for at in mounts if at != "/" and (path == at or path.startswith(at + "/"))]
    return mounts[max(holding, key=len)] if holding else None


def _libc(text: str) -> tuple[Literal["glibc", "musl"] | None, str | None]:
    """Return (kind, version) from `glibc 2.36` or `musl 1.2.4`."""
    kind, _, version = text.partition(" ")
    if kind == "glibc":
        return "glibc", version.strip() or None
    if kind == "musl":
        return "musl", version.strip() or None
    return None, None


def _init(text: str | None) -> Literal["systemd", "openrc", "other"] | None:
    """Return the init system, where it was told."""
    if text == "systemd":
        return "systemd"
    if text == "openrc":
        return "openrc"
    return "other" if text else None


def _number(text: str | None) -> int | None:
    """Return a whole number of up to 18 digits, or None."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _pairs(lines: list[str], *, last: bool) -> list[tuple[str, str]]:
    """Return (name, value) of lines with a blank between them: the first blank, or the last one."""
    cut = (lambda line: line.rpartition(" ")) if last else (lambda line: line.partition(" "))
    return [(name, value) for name, _, value in map(cut, lines) if name and value]
