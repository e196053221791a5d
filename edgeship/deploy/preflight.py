"""Reasons to refuse a device before anything is sent: pure checks of its facts against what the bundle requires."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeship.device.facts import LOOKED_FOR, PERSISTENT, VOLATILE, Probed
from edgeship.values import Figure, GateResult, Unavailable, Verdict

SPACE_FACTOR = 1.1
RESERVE_BYTES = 4 << 20
RESERVE_INODES = 64
CLOCK_FLOOR = 1_704_067_200
"""2024-01-01: no edgeship is older, so an earlier clock is wrong."""
REFUSED_FILE_SYSTEMS = frozenset(
    {"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "iso9660", "squashfs"}
)
SAME_MACHINE = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l", "armv7": "armv7l"}
WORDS_32 = frozenset({"armv7l", "armv6l", "i686", "i386"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's outcome and, where it failed, what to type next."""

    gate: GateResult
    hint: str | None = None


def preflight(
    probed: Probed, manifest: Mapping[str, Any], *, volatile_allowed: bool, sudo_wanted: bool, local: bool
) -> tuple[Finding, ...]:
    """Return the findings in the order they are checked. `inconclusive`: the device did not tell; it goes on."""
    requires: Mapping[str, Any] = manifest.get("requires", {})
    checks = [
        *_machine(probed, requires),
        *_libc(probed, requires),
        *_python(probed, requires, exact=_has_compiled_packages(manifest)),
        *_hardware(probed, requires),
        *_software(probed, requires),
        *_place(probed, requires, volatile_allowed=volatile_allowed or local),
        *_rights(probed, requires, sudo_wanted=sudo_wanted, local=local),
    ]
    return tuple(checks)


def failures(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings that refuse the device."""
    return tuple(finding for finding in findings if finding.gate.verdict == "fail")


def _finding(
    name: str,
    verdict: Verdict,
    reason: str,
    *,
    limit: object = None,
    value: object = None,
    hint: str | None = None,
) -> Finding:
    """Return a finding; limits and values that are no numbers are said in words."""
    gate = GateResult(name=name, verdict=verdict, limit=_figure(limit), value=_figure(value), reason=reason)
    return Finding(gate=gate, hint=hint if verdict == "fail" else None)


def _figure(value: object) -> Figure:
    """Return a number, or the words in its place."""
    if isinstance(value, int | float):
        return float(value)
    return Unavailable(reason=f"not a number: {value}" if value is not None else "not told")


def version_key(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _machine(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """The processor architecture, of the kernel and of the programs."""
    facts, wanted = probed.host, str(requires.get("machine", ""))
    seen = SAME_MACHINE.get(facts.machine, facts.machine)
    bits = facts.userland_bits
    small = bits == 32 and seen in ("aarch64", "x86_64")
    if not wanted:
        return
    if small and wanted not in WORDS_32:
        target = "armv7-linux" if seen == "aarch64" else "a 32-bit target"
        yield _finding(
            "machine",
            "fail",
            f"the kernel is 64-bit ({facts.machine}) and the programs are 32-bit; the bundle is for {wanted}",
            limit=wanted,
            value=f"{facts.machine}, 32-bit userland",
            hint=f"build for {target}, or install a 64-bit system on the device",
        )
    elif seen != wanted and not (small and wanted == "armv7l" and seen == "aarch64"):
        yield _finding(
            "machine",
            "fail",
            f"the device is {facts.machine}, the bundle is for {wanted}",
            limit=wanted,
            value=facts.machine,
            hint=f"edgeship target list shows the target for {facts.machine}; build with --target",
        )
    else:
        yield _finding("machine", "pass", f"{facts.machine}", limit=wanted, value=facts.machine)


def _libc(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """The C library's kind and version."""
    wanted = requires.get("libc")
    if not wanted:
        return
    facts = probed.host
    version = wanted.get("version")
    need = f"{wanted['kind']} {version or '(any)'}"
    if facts.libc is None:
        yield _finding("libc", "inconclusive", "the device did not tell its C library", limit=need)
        return
    have = f"{facts.libc} {facts.libc_version or '?'}"
    if facts.libc != wanted["kind"]:
        reason = f"the device has {have}, the bundle needs {need}: its libraries would not load"
        yield _finding(
            "libc", "fail", reason, limit=need, value=have, hint="build for a target with this C library"
        )
    elif facts.libc_version and version and version_key(facts.libc_version) < version_key(str(version)):
        yield _finding(
            "libc",
            "fail",
            f"the device has {have}, the bundle needs {need} or newer",
            limit=need,
            value=have,
            hint="upgrade the device's system, or build for a target with the tflite_runtime engine",
        )
    else:
        yield _finding("libc", "pass", have, limit=need, value=have)


def _python(probed: Probed, requires: Mapping[str, Any], *, exact: bool) -> Iterator[Finding]:
    """Python's presence and version."""
    versions = [str(version) for version in requires.get("python", [])] or ["3.7"]
    floor = min(versions, key=version_key)
    have = probed.host.python_version
    hint = "on the device: sudo apt-get install -y python3-minimal"
    if have is None:
        reason = f"the device has no python3; the runtime needs {floor} or newer"
        yield _finding("python", "fail", reason, limit=floor, value="none", hint=hint)
        return
    minor = ".".join(have.split(".")[:2])
    if version_key(minor) < version_key(floor):
        reason = f"python3 is {have}, older than {floor}"
        yield _finding("python", "fail", reason, limit=floor, value=have, hint=hint.replace("-minimal", ""))
    elif exact and minor not in versions:
        known = ", ".join(versions)
        reason = f"python3 is {have}; the bundle's packages are built for {known}"
        yield _finding(
            "python",
            "fail",
            reason,
            limit=known,
            value=have,
            hint="build again with this Python in the target",
        )
    else:
        yield _finding("python", "pass", f"python3 {have}", limit=floor, value=have)


def _has_compiled_packages(manifest: Mapping[str, Any]) -> bool:
    """Return whether extension modules are inside, which fit the listed Python versions only."""
    return any(name.startswith("site/") and name.endswith(".so") for name in manifest.get("files", {}))


def _hardware(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """Processor features, memory, accelerators."""
    facts = probed.host
    needed = [str(flag) for flag in requires.get("cpu_flags", [])]
    if needed and not facts.cpu_flags:
        yield _finding("cpu-flags", "inconclusive", "the device did not tell its processor's features")
    elif needed:
        missing = [flag for flag in needed if flag not in facts.cpu_flags]
        reason = f"the processor lacks {', '.join(missing)}" if missing else "all there"
        hint = "build for a target whose processor this is: edgeship target list"
        yield _finding("cpu-flags", "fail" if missing else "pass", reason, limit=" ".join(needed), hint=hint)
    ram = requires.get("ram_mb")
    if ram and facts.memory_mb is not None:
        short = facts.memory_mb < ram
        reason = f"{facts.memory_mb} MB of memory, {ram} MB needed"
        hint = "build a smaller variant: --recipe int8, or a device with more memory"
        yield _finding(
            "memory", "fail" if short else "pass", reason, limit=ram, value=facts.memory_mb, hint=hint
        )
    for device in requires.get("devices", []):
        ways = [device] if isinstance(device, str) else list(device["any_of"])
        name = device if isinstance(device, str) else device["name"]
        seen = any(fnmatch.fnmatchcase(found, way) for found in facts.devices for way in ways)
        reason = f"{name} is there" if seen else f"{name} was not found ({' or '.join(ways)})"
        hint = f"plug {name} in and load its driver, then: edgeship target probe HOST"
        yield _finding(f"device {name}", "pass" if seen else "fail", reason, hint=hint)


def _software(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """Shared libraries and Python packages that the bundle does not bring."""
    have = probed.host.libraries
    for library in requires.get("libraries", []):
        stem = str(library).partition(".so")[0]
        looked = stem in LOOKED_FOR
        verdict: Verdict = "pass" if stem in have else "fail" if looked else "inconclusive"
        package = {"libedgetpu": "libedgetpu1-std", "libstdc++": "libstdc++6", "libgcc_s": "libgcc-s1"}.get(
            stem, stem
        )
        hint = f"on the device: sudo apt-get install -y {package}"
        reason = f"{library}: {have.get(stem, 'not found' if looked else 'not looked for')}"
        yield _finding(f"library {library}", verdict, reason, hint=hint)
    for package in requires.get("packages", []):
        name = re.split(r"[^A-Za-z0-9_.-]", str(package))[0].replace("-", "_").lower()
        verdict = "pass" if name in have else "fail"
        reason = f"{package}: {have.get(name, 'Python cannot import it')}"
        hint = f"on the device: sudo apt-get install -y python3-{name.replace('_', '-')}"
        yield _finding(f"package {package}", verdict, reason, hint=hint)


def _place(probed: Probed, requires: Mapping[str, Any], *, volatile_allowed: bool) -> Iterator[Finding]:
    """The root's file system: kind, space, inodes, and whether it can be written."""
    root = probed.root
    kind = root.file_system
    near = root.near or "?"
    if not root.writable:
        reason = f"{near} cannot be written: {root.problem or 'no reason told'}"
        hint = "ssh to the device: mount | grep ' / '; or name another folder with --root DIR"
        yield _finding("root-writable", "fail", reason, hint=hint)
    durable = kind in PERSISTENT or (kind == "overlay" and root.upper_file_system in PERSISTENT)
    if kind is None:
        yield _finding("file-system", "inconclusive", f"the file system of {near} was not told")
    elif kind in REFUSED_FILE_SYSTEMS:
        reason = f"{near} is {kind}: no links, no safe renames"
        yield _finding("file-system", "fail", reason, value=kind, hint="--root DIR on an ext4 file system")
    elif (kind in VOLATILE or kind == "overlay") and not durable:
        what = (
            kind if kind != "overlay" else f"an overlay on {root.upper_file_system or 'something not seen'}"
        )
        verdict: Verdict = "inconclusive" if volatile_allowed else "fail"
        reason = f"{near} is {what}: a restart may lose everything"
        hint = "--root DIR on a disk; or accept it: --allow-volatile-root"
        yield _finding("file-system", verdict, reason, value=kind, hint=hint)
    else:
        yield _finding("file-system", "pass" if durable else "inconclusive", kind, value=kind)
    need = int(requires.get("disk_bytes", 0) * SPACE_FACTOR) + RESERVE_BYTES
    free = root.disk_free_bytes
    if free is not None:
        reason = f"{free / 1e6:.1f} MB free at {near}, {need / 1e6:.1f} MB needed"
        hint = f"free some space on the device: df -h {near}"
        yield _finding("disk", "fail" if free < need else "pass", reason, limit=need, value=free, hint=hint)
    if root.inodes_free:
        short = root.inodes_free < RESERVE_INODES
        reason = f"{root.inodes_free} inodes free at {near}"
        hint = f"remove small files: df -i {near}"
        yield _finding("inodes", "fail" if short else "pass", reason, limit=RESERVE_INODES, hint=hint)


def _rights(
    probed: Probed, requires: Mapping[str, Any], *, sudo_wanted: bool, local: bool
) -> Iterator[Finding]:
    """Rights, clock, and what brings the service back after a restart."""
    facts = probed.host
    if sudo_wanted and facts.uid != 0:
        hint = 'on the device: echo "$USER ALL=(ALL) NOPASSWD: ALL" | sudo tee /etc/sudoers.d/edgeship'
        verdict: Verdict = "pass" if facts.sudo else "fail"
        reason = "sudo works" if facts.sudo else f"{facts.user} cannot become root without a password"
        yield _finding("sudo", verdict, reason, hint=hint)
    if facts.clock_unix is not None:
        wrong = facts.clock_unix < CLOCK_FLOOR
        reason = "the device's clock is before 2024" if wrong else "plausible"
        hint = "on the device: sudo timedatectl set-ntp true; or sudo date -s '...'"
        yield _finding(
            "clock", "fail" if wrong else "pass", reason, limit=CLOCK_FLOOR, value=facts.clock_unix, hint=hint
        )
    if requires.get("service") == "systemd" and facts.init != "systemd" and not local:
        hint = "build for a target whose service manager is auto or supervised"
        reason = f"the target wants systemd; the device has {facts.init or 'no init system that it tells'}"
        yield _finding("service-manager", "fail", reason, hint=hint)
    elif facts.init != "systemd" and not probed.root.cron and not local:
        reason = "no systemd and no cron: after a restart the service stays down until edgeship comes again"
        yield _finding("boot-recovery", "inconclusive", reason)
