"""Preflight: facts of devices against what bundles require; every refusal with its reason and what to type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy.preflight import failures, preflight
from edgeship.device.facts import Probed, parse_facts

FACTS = Path(__file__).parents[1] / "device" / "facts"

REQUIRES: dict[str, Any] = {
    "machine": "aarch64",
    "libc": {"kind": "glibc", "version": "2.34"},
    "python": ["3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"],
    "cpu_flags": ["asimd"],
    "packages": [],
    "libraries": [],
    "ram_mb": 64,
    "disk_bytes": 7_000_000,
    "service": "auto",
}


def facts(name: str) -> Probed:
    return parse_facts(next(FACTS.glob(f"{name}.*.txt")).read_text())


PI = "raspberry-pi-os-12-pi4"


def refused(probed: Probed, files: tuple[str, ...] = (), sudo: bool = True, **changes: Any) -> dict[str, str]:
    """Return name -> "reason | hint" of what refuses the device."""
    manifest = {"requires": {**REQUIRES, **changes}, "files": {name: {} for name in files}}
    found = preflight(probed, manifest, volatile_allowed=False, sudo_wanted=sudo, local=False)
    assert all(f.hint for f in failures(found))
    return {f.gate.name: f"{f.gate.reason} | {f.hint}" for f in failures(found)}


def with_host(probed: Probed, **changes: Any) -> Probed:
    return replace(probed, host=replace(probed.host, **changes))


def with_root(probed: Probed, **changes: Any) -> Probed:
    return replace(probed, root=replace(probed.root, **changes))


def test_a_fitting_device_is_taken() -> None:
    assert refused(facts(PI)) == {}


@pytest.mark.parametrize(
    ("probed", "changes", "name", "words"),
    [
        (facts(PI), {"machine": "x86_64"}, "machine", "the device is aarch64, the bundle is for x86_64"),
        (
            facts("raspberry-pi-os-11-32bit-pi3"),
            {},
            "machine",
            "the programs are 32-bit; the bundle is for aarch64 | build for armv7-linux",
        ),
        (
            facts("mendel-5-coral-dev-board"),
            {},
            "libc",
            "the device has glibc 2.28, the bundle needs glibc 2.34 or newer",
        ),
        (
            facts("alpine-3.20-musl"),
            {"machine": "x86_64", "cpu_flags": []},
            "libc",
            "the device has musl 1.2.5, the bundle needs glibc 2.34: its libraries would not load",
        ),
        (facts("l4t-32-jetson-nano"), {}, "python", "python3 is 3.6.9, older than 3.7"),
        (
            facts("buildroot-without-python"),
            {"machine": "armv7l"},
            "python",
            "the device has no python3; the runtime needs 3.7 or newer | on the device: sudo apt-get install",
        ),
        (facts(PI), {"cpu_flags": ["asimd", "asimddp"]}, "cpu-flags", "the processor lacks asimddp"),
        (facts(PI), {"ram_mb": 8000}, "memory", "3793 MB of memory, 8000 MB needed"),
        (facts(PI), {"disk_bytes": 90e9}, "disk", "24696.1 MB free at /var/lib, 99004.2 MB needed"),
        (facts(PI), {"libraries": ["libGLESv2.so.2"]}, "library libGLESv2.so.2", "not found | on the device"),
        (
            facts("raspberry-pi-os-11-32bit-pi3"),
            {"machine": "armv7l", "libc": None, "libraries": ["libedgetpu.so.1"]},
            "library libedgetpu.so.1",
            "libedgetpu.so.1: not found | on the device: sudo apt-get install -y libedgetpu1-std",
        ),
        (
            facts(PI),
            {"packages": ["tflite-runtime>=2.5"]},
            "package tflite-runtime>=2.5",
            "Python cannot import it",
        ),
        (
            facts("l4t-32-jetson-nano"),
            {},
            "sudo",
            "nvidia cannot become root without a password | on the device: echo",
        ),
        (facts("l4t-32-jetson-nano"), {}, "root-writable", "cannot be written: sudo: a password is required"),
        (
            facts("l4t-32-jetson-nano"),
            {},
            "clock",
            "the device's clock is before 2024 | on the device: sudo timedatectl",
        ),
        (
            facts("buildroot-without-python"),
            {},
            "file-system",
            "/var is tmpfs: a restart may lose everything",
        ),
        (
            facts("debian12-arm64-sh"),
            {},
            "file-system",
            "may lose everything | --root DIR on a disk; or accept it: --allow-volatile-root",
        ),
        (with_root(facts(PI), file_system="vfat"), {}, "file-system", "/var/lib is vfat: no links"),
        (with_root(facts(PI), inodes_free=3), {}, "inodes", "3 inodes free at /var/lib"),
        (
            facts("debian12-arm64-sh"),
            {"service": "systemd"},
            "service-manager",
            "the target wants systemd; the device has other",
        ),
        (
            facts(PI),
            {"devices": [{"name": "Hailo-8", "any_of": ["pci:1e60:2864"]}]},
            "device Hailo-8",
            "Hailo-8 was not found (pci:1e60:2864) | plug Hailo-8 in",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_a_device_that_does_not_fit(probed: Probed, changes: dict[str, Any], name: str, words: str) -> None:
    found = refused(probed, **changes)
    assert name in found and words in found[name], found


def test_compiled_packages_fit_their_python_only() -> None:
    new = with_host(facts(PI), python_version="3.14.1")
    assert refused(new) == {}
    inside = ("site/numpy/_core.cpython-311-aarch64-linux-gnu.so",)
    assert "the bundle's packages are built for 3.11" in refused(new, inside, python=["3.11"])["python"]


def test_32_bit_programs_on_a_64_bit_kernel_take_armv7_bundles() -> None:
    assert (
        refused(facts("raspberry-pi-os-11-32bit-pi3"), machine="armv7l", libc=None, cpu_flags=["asimd"]) == {}
    )


def test_an_overlay_on_a_disk_is_taken_and_one_in_memory_allowed_on_request() -> None:
    probed = facts("debian12-arm64-sh")
    assert "file-system" not in refused(with_root(probed, upper_file_system="ext4"))
    found = preflight(
        probed, {"requires": REQUIRES, "files": {}}, volatile_allowed=True, sudo_wanted=True, local=False
    )
    (gate,) = [f.gate for f in found if f.gate.name == "file-system"]
    assert gate.verdict == "inconclusive" and "a restart may lose everything" in gate.reason


def test_what_the_device_did_not_tell_does_not_refuse_it() -> None:
    silent = with_host(facts(PI), libc=None, cpu_flags=(), memory_mb=None, clock_unix=None)
    found = preflight(
        silent, {"requires": REQUIRES, "files": {}}, volatile_allowed=False, sudo_wanted=True, local=False
    )
    assert not failures(found)
    assert {f.gate.name for f in found if f.gate.verdict == "inconclusive"} == {"libc", "cpu-flags"}
