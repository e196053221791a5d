"""Reasons to refuse where a release would lie on a device, and what the account there may do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edgeship.deploy.finding import Finding, finding
from edgeship.device.facts import PERSISTENT, VOLATILE, Probed
from edgeship.values import Verdict

SPACE_FACTOR = 1.1
RESERVE_BYTES = 4 << 20
RESERVE_INODES = 64
CLOCK_FLOOR = 1_704_067_200
"""2024-01-01: no edgeship is older, so an earlier clock is wrong."""
CLOCK_SLACK = 600
"""Seconds that the clocks of the signer and of the device may differ."""
STORE_FOLDERS = 256
"""Folders that blobs are spread over."""
REFUSED_FILE_SYSTEMS = frozenset(
    {"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "iso9660", "squashfs"}
)
OPENRC_SCRIPT = "service/edgeship.initd"
INITS = {"systemd": "systemd", "openrc": "OpenRC"}
"""Service managers that start the service again by themselves -> how they are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What the user decided about a device, and how it is reached."""

    volatile_root: bool = False
    no_boot_hook: bool = False
    sudo: bool = True
    """Whether the helper becomes root."""
    local: bool = False
    """Whether it is a folder of this machine, for trying things out."""
    service: str = "auto"
    """The service manager that is asked for."""
    alone: bool = False
    """Whether only the chosen variant of a ladder is to be loaded."""


def place(
    probed: Probed, requires: Mapping[str, Any], files: Sequence[str], allowed: Allowed
) -> Iterator[Finding]:
    """Yield what is found of the root's file system: kind, links, space, inodes, and whether it can be written."""
    root = probed.root
    near = root.near or "?"
    if not root.writable:
        reason = f"{near} cannot be written: {root.problem or 'no reason told'}"
        hint = "ssh to the device: mount | grep ' / '; or name another folder with --root DIR"
        yield finding("root-writable", "fail", reason, hint=hint)
    yield _file_system(probed, volatile_allowed=allowed.volatile_root or allowed.local)
    if root.store_elsewhere:
        reason = f"releases cannot be linked from the store: {root.store_elsewhere}"
        hint = "have the whole root on one file system: --root DIR"
        yield finding("one-file-system", "fail", reason, hint=hint)
    if root.current_problem:
        reason = f"{root.current_problem} exists and is not a symbolic link"
        hint = f"move it away, on the device: sudo mv {root.current_problem} /tmp"
        yield finding("current-not-a-link", "fail", reason, hint=hint)
    need = int(requires.get("disk_bytes", 0) * SPACE_FACTOR) + RESERVE_BYTES
    free = root.disk_free_bytes
    if free is not None:
        reason = f"{free / 1e6:.1f} MB free at {near}, {need / 1e6:.1f} MB needed"
        hint = f"free some space on the device: df -h {near}"
        yield finding("disk", "fail" if free < need else "pass", reason, limit=need, value=free, hint=hint)
    if root.inodes_free:  # file systems that make inodes as they are needed say 0, or nothing
        need = inodes_needed(files)
        reason = f"{root.inodes_free} inodes free at {near}, {need} needed"
        hint = f"remove small files: df -i {near}"
        verdict: Verdict = "fail" if root.inodes_free < need else "pass"
        yield finding("inodes", verdict, reason, limit=need, value=root.inodes_free, hint=hint)


def inodes_needed(files: Sequence[str]) -> int:
    """Return the inodes that a release may take, with the reserve: a blob for each file and the manifest, to which the
    release's files are links, the folders of both, and what edgeship itself notes."""
    blobs = len(files) + 1
    folders = {parent for name in files for parent in PurePosixPath(name).parents}
    return math.ceil((blobs + len(folders) + min(STORE_FOLDERS, blobs)) * SPACE_FACTOR) + RESERVE_INODES


def _file_system(probed: Probed, *, volatile_allowed: bool) -> Finding:
    """Return what is found of the file system's kind."""
    root, kind, near = probed.root, probed.root.file_system, probed.root.near or "?"
    durable = kind in PERSISTENT or (kind == "overlay" and root.upper_file_system in PERSISTENT)
    if kind is None:
        return finding("file-system", "inconclusive", f"the file system of {near} was not told")
    if kind in REFUSED_FILE_SYSTEMS:
        reason = f"{near} is {kind}: no links, no safe renames"
        return finding("file-system", "fail", reason, value=kind, hint="--root DIR on an ext4 file system")
    if (kind in VOLATILE or kind == "overlay") and not durable:
        upper = root.upper_file_system or "something not seen"
        reason = f"{near} is {kind if kind != 'overlay' else f'an overlay on {upper}'}: a restart may lose everything"
        hint = "--root DIR on a disk; or accept it: --allow-volatile-root"
        verdict: Verdict = "inconclusive" if volatile_allowed else "fail"
        return finding("file-system", verdict, reason, value=kind, hint=hint)
    return finding("file-system", "pass" if durable else "inconclusive", kind, value=kind)


def rights(
    probed: Probed, files: Sequence[str], allowed: Allowed, signed_at: int | None
) -> Iterator[Finding]:
    """Yield what is found of rights, the clock, and what brings the service back after a restart."""
    facts = probed.host
    if allowed.sudo and facts.uid != 0:
        hint = 'on the device: echo "$USER ALL=(ALL) NOPASSWD: ALL" | sudo tee /etc/sudoers.d/edgeship'
        reason = "sudo works" if facts.sudo else f"{facts.user} cannot become root without a password"
        yield finding("sudo", "pass" if facts.sudo else "fail", reason, hint=hint)
    if facts.clock_unix is not None:
        yield _clock(facts.clock_unix, signed_at)
    wanted = allowed.service
    if wanted in INITS and facts.init != wanted and not allowed.local:
        hint = (
            "build for a target whose service manager is auto, or say which one it has: --manager supervised"
        )
        has = INITS.get(facts.init or "", facts.init or "no init system that it tells")
        reason = f"{INITS[wanted]} was asked for; the device has {has}"
        yield finding("service-manager", "fail", reason, hint=hint)
    elif wanted == "openrc" and OPENRC_SCRIPT not in files:
        reason = (
            f"OpenRC was asked for; the bundle has no {OPENRC_SCRIPT}: an edgeship before OpenRC built it"
        )
        hint = "build the bundle again with this edgeship; or have cron start it: --manager supervised"
        yield finding("service-manager", "fail", reason, hint=hint)
    elif not allowed.local:
        yield _boot_hook(probed, allowed, managed=facts.init != "openrc" or OPENRC_SCRIPT in files)


def _clock(clock: int, signed_at: int | None) -> Finding:
    """Return what is found of the clock: not before edgeship, nor before the release was signed."""
    hint = "on the device: sudo timedatectl set-ntp true; or sudo date -s '...'"
    if clock < CLOCK_FLOOR:
        reason = "the device's clock is before 2024"
        return finding("clock", "fail", reason, limit=CLOCK_FLOOR, value=clock, hint=hint)
    if signed_at is not None and clock < signed_at - CLOCK_SLACK:
        late = (signed_at - clock) / 3600
        reason = (
            f"by the device's clock the release will be signed in {late:.1f} hours only: its clock is slow"
        )
        return finding("clock", "fail", reason, limit=signed_at - CLOCK_SLACK, value=clock, hint=hint)
    return finding("clock", "pass", "plausible", limit=signed_at or CLOCK_FLOOR, value=clock)


def _boot_hook(probed: Probed, allowed: Allowed, *, managed: bool) -> Finding:
    """Return what is found of something that runs recovery and starts the service after a restart. `managed`: whether
    the device's own service manager could run the bundle."""
    managed = managed and probed.host.init in INITS and allowed.service != "supervised"
    hint = "on the device: sudo apt-get install -y cron; or accept it: --allow-no-boot-hook"
    if not allowed.sudo:
        reason = "without root nothing can be hooked into the device's start"
        hint = "leave --no-sudo out; or accept it: --allow-no-boot-hook"
    elif managed:
        return finding("boot-hook", "pass", f"{INITS[probed.host.init or '']} starts it")
    elif probed.root.cron:
        return finding("boot-hook", "pass", "cron starts it")
    else:
        reason = "the device has neither systemd nor OpenRC nor cron"
        if probed.host.init in INITS:
            reason = "as a process of our own the service needs cron, which the device lacks"
    reason += ": after a restart the service stays down until edgeship comes again"
    verdict: Verdict = "inconclusive" if allowed.no_boot_hook else "fail"
    return finding("boot-hook", verdict, reason, hint=hint)
