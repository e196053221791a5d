"""Preflight: facts of devices against what bundles require; every refusal with its reason and what to type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy.ground import Allowed, inodes_needed
from edgeship.deploy.preflight import failures, newest_signing, preflight, refusal
from edgeship.device.facts import Probed, parse_facts
from edgeship.values import Bundle, SignedStatement

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


def refused(
    probed: Probed,
    files: tuple[str, ...] = (),
    allowed: Allowed | None = None,
    signed_at: int | None = None,
    **changes: Any,
) -> dict[str, str]:
    """Return name -> what people read of each reason that refuses the device; where there are several, each alone."""
    manifest = {"requires": {**REQUIRES, **changes}, "files": {name: {} for name in files}}
    service = str(manifest["requires"]["service"])
    allowed = allowed or Allowed(service=service)
    found = preflight(probed, manifest, allowed, signed_at=signed_at)
    assert (refusal(found) is None) == (not failures(found))
    return {f.gate.name: error.render() for f in failures(found) if (error := refusal((f,)))}


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
            "the programs are 32-bit; the bundle is for aarch64",
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
            with_host(facts("l4t-32-jetson-nano"), python_version=None),
            {"interpreter": "python3.8"},
            "python",
            "apt-get install -y python3.8-minimal",
        ),
        (
            facts("buildroot-without-python"),
            {"machine": "armv7l"},
            "python",
            "the device has no python3; the runtime needs 3.7 or newer",
        ),
        (facts(PI), {"cpu_flags": ["asimd", "asimddp"]}, "cpu-flags", "the processor lacks asimddp"),
        (facts(PI), {"ram_mb": 8000}, "memory", "3793 MB of memory, 8000 MB needed"),
        (facts(PI), {"disk_bytes": 90e9}, "disk", "24696.1 MB free at /var/lib, 99004.2 MB needed"),
        (facts(PI), {"libraries": ["libGLESv2.so.2"]}, "library libGLESv2.so.2", "not found"),
        (
            facts("raspberry-pi-os-11-32bit-pi3"),
            {"machine": "armv7l", "libc": None, "libraries": ["libedgetpu.so.1"]},
            "library libedgetpu.so.1",
            "libedgetpu.so.1: not found",
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
            "nvidia cannot become root without a password",
        ),
        (facts("l4t-32-jetson-nano"), {}, "root-writable", "cannot be written: sudo: a password is required"),
        (
            facts("l4t-32-jetson-nano"),
            {},
            "clock",
            "the device's clock is before 2024",
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
            "may lose everything",
        ),
        (with_root(facts(PI), file_system="vfat"), {}, "file-system", "/var/lib is vfat: no links"),
        (with_root(facts(PI), inodes_free=3), {}, "inodes", "3 inodes free at /var/lib, 67 needed"),
        (
            facts("debian12-arm64-sh"),
            {"service": "systemd"},
            "service-manager",
            "systemd was asked for; the device has other",
        ),
        (
            facts(PI),
            {"devices": [{"name": "Hailo-8", "any_of": ["pci:1e60:2864"]}]},
            "device Hailo-8",
            "Hailo-8 was not found (pci:1e60:2864)",
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
        probed, {"requires": REQUIRES, "files": {}}, Allowed(volatile_root=True, no_boot_hook=True)
    )
    (gate,) = [f.gate for f in found if f.gate.name == "file-system"]
    assert gate.verdict == "inconclusive" and "a restart may lose everything" in gate.reason


def test_what_the_device_did_not_tell_does_not_refuse_it() -> None:
    silent = with_host(facts(PI), libc=None, cpu_flags=(), memory_mb=None, clock_unix=None)
    found = preflight(silent, {"requires": REQUIRES, "files": {}}, Allowed())
    assert not failures(found)
    assert {f.gate.name for f in found if f.gate.verdict == "inconclusive"} == {"libc", "cpu-flags"}


ELSEWHERE = parse_facts(
    "machine=aarch64\nstore_device=41 /mnt/store\nreleases_device=40 /var/lib/edgeship/apps\nroot_writable=yes\nend=1\n"
).root.store_elsewhere
CORAL: dict[str, Any] = {
    "packages": ["tflite-runtime==2.5.0.post1"],
    "delegate": {"library": "libedgetpu.so.1", "version": "16.0"},
}


def with_packages(probed: Probed, tflite: str, libedgetpu: str | None) -> Probed:
    """Return a device with these versions of the two that must be a pair."""
    libraries = {**probed.host.libraries, "tflite_runtime": tflite}
    packages = {"libedgetpu1-std": libedgetpu} if libedgetpu else {}
    return replace(with_host(probed, libraries=libraries), packages=packages)


HOOK = "after a restart the service stays down until edgeship comes again"
INSTALL = "on the device: sudo apt-get install -y cron; or accept it: --allow-no-boot-hook"
LINK = "/var/lib/edgeship/apps/kws/current"
SIGNED = 1_795_336_859


@pytest.mark.parametrize(
    ("name", "probed", "keywords", "reason", "hint"),
    [
        (
            "one-file-system",
            with_root(facts(PI), store_elsewhere=ELSEWHERE),
            {},
            (
                "releases cannot be linked from the store: /mnt/store is on device 41, "
                "/var/lib/edgeship/apps on device 40"
            ),
            "have the whole root on one file system: --root DIR",
        ),
        (
            "current-not-a-link",
            with_root(facts(PI), current_problem=LINK),
            {},
            f"{LINK} exists and is not a symbolic link",
            f"move it away, on the device: sudo mv {LINK} /tmp",
        ),
        (
            "inodes",
            with_root(facts(PI), inodes_free=900),
            {"files": tuple(f"site/numpy/{i}/{i}.py" for i in range(400))},
            "900 inodes free at /var/lib, 1230 needed",
            "remove small files: df -i /var/lib",
        ),
        (
            "clock",
            with_host(facts(PI), clock_unix=SIGNED - 7200),
            {"signed_at": SIGNED},
            "by the device's clock the release will be signed in 2.0 hours only: its clock is slow",
            "on the device: sudo timedatectl set-ntp true; or sudo date -s '...'",
        ),
        (
            "boot-hook",
            with_host(with_root(facts(PI), cron=False), init="other"),
            {},
            f"the device has neither systemd nor OpenRC nor cron: {HOOK}",
            INSTALL,
        ),
        (
            "boot-hook",
            facts(PI),
            {"allowed": Allowed(sudo=False)},
            f"without root nothing can be hooked into the device's start: {HOOK}",
            "leave --no-sudo out; or accept it: --allow-no-boot-hook",
        ),
        (
            "boot-hook",
            with_root(facts(PI), cron=False),
            {"allowed": Allowed(service="supervised")},
            f"as a process of our own the service needs cron, which the device lacks: {HOOK}",
            INSTALL,
        ),
        (
            "service-manager",
            facts(PI),
            {"service": "openrc"},
            "OpenRC was asked for; the device has systemd",
            "build for a target whose service manager is auto, or say which one it has: --manager supervised",
        ),
        (
            "service-manager",
            with_host(facts(PI), init="openrc"),
            {"service": "openrc"},
            "OpenRC was asked for; the bundle has no service/edgeship.initd: an edgeship before OpenRC built it",
            "build the bundle again with this edgeship; or have cron start it: --manager supervised",
        ),
        (
            "boot-hook",
            with_host(with_root(facts(PI), cron=False), init="openrc"),
            {},
            f"as a process of our own the service needs cron, which the device lacks: {HOOK}",
            INSTALL,
        ),
        (
            "package",
            with_packages(facts(PI), "2.14.0", "16.0"),
            CORAL,
            "tflite-runtime==2.5.0.post1: the device has 2.14.0",
            "on the device: sudo apt-get install -y python3-tflite-runtime",
        ),
        (
            "delegate",
            with_packages(facts(PI), "2.5.0.post1", "16.0tf2.17.0-1"),
            CORAL,
            "the device has libedgetpu1-std 16.0tf2.17.0-1, the bundle was made for libedgetpu 16.0",
            (
                "install libedgetpu 16.0 on the device (edgeship target show TARGET says where from), "
                "or remove the others"
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_people_read(
    name: str, probed: Probed, keywords: dict[str, Any], reason: str, hint: str
) -> None:
    text = f"error: preflight-{name}\n  the device cannot take this release: {reason}\nhint: {hint}"
    assert list(refused(probed, **keywords).values()) == [text]


def test_what_to_install_is_called_as_debian_calls_it() -> None:
    wanted = {
        "libusb-1.0.so.0": "libusb-1.0-0",
        "libOpenCL.so.1": "ocl-icd-libopencl1",
        "libGLESv2.so.2": "libgles2",
        "libEGL.so.1": "libegl1",
    }
    found = refused(with_host(facts(PI), libraries={}), libraries=list(wanted))
    hints = {name: text.rpartition("install -y ")[2] for name, text in found.items()}
    assert hints == {f"library {library}": package for library, package in wanted.items()}


def test_what_is_accepted_on_request_or_on_this_machine() -> None:
    bare = with_host(with_root(facts(PI), cron=False), init="other")
    assert refused(bare, allowed=Allowed(no_boot_hook=True)) == {}
    assert refused(bare, allowed=Allowed(sudo=False, local=True, service="supervised")) == {}
    assert refused(with_host(bare, init="openrc"), ("service/edgeship.initd",)) == {}
    assert refused(with_root(bare, cron=True)) == {}


def test_the_pair_of_the_edge_tpu() -> None:
    assert refused(with_packages(facts(PI), "2.5.0.post1", "16.0"), **CORAL) == {}
    unknown = preflight(
        with_packages(facts(PI), "2.5.0.post1", None),
        {"requires": {**REQUIRES, **CORAL}, "files": {}},
        Allowed(),
    )
    assert [f.gate.reason for f in unknown if f.gate.name == "delegate"] == [
        "the device did not tell which release of libedgetpu it has; the bundle was made for libedgetpu 16.0"
    ]


def test_a_clock_that_is_a_little_slow_is_not_held_against_the_device() -> None:
    near = with_host(facts(PI), clock_unix=SIGNED - 300)
    assert refused(near, signed_at=SIGNED) == {}


def test_inodes_are_those_of_blobs_folders_and_the_reserve() -> None:
    # 3 files and the manifest: 4 blobs in up to 4 folders; runtime, models and the release itself.
    assert inodes_needed(["runtime/main.py", "models/a.tflite", "service.json"]) == 13 + 64


def test_the_newest_signing_counts(tmp_path: Path) -> None:
    signed = [
        SignedStatement(statement=text, signature="")
        for text in ('{"signed_at": 7}', '{"signed_at": 9}', "[]")
    ]
    bundle = Bundle(
        path=tmp_path,
        sha256="",
        bytes=0,
        release="",
        app="a",
        target="t",
        manifest={},
        signatures=tuple(signed),
    )
    assert newest_signing(bundle) == 9
    assert newest_signing(replace(bundle, signatures=())) is None


def test_memory_for_a_ladder() -> None:
    needs = {"base_mb": 32, "resident_mb": {"int8": 10, "fp16": 30, "fp32": 60}}

    def asked(available: int | None, *, alone: bool = False) -> dict[str, str]:
        manifest = {"requires": {**REQUIRES, "ladder": needs}, "files": {}, "chosen": "fp16", "target": "pi"}
        found = preflight(replace(facts(PI), available_mb=available), manifest, Allowed(alone=alone))
        return {f.gate.name: error.render() for f in failures(found) if (error := refusal((f,)))}

    assert asked(132) == {} and asked(None) == {}, "it fits; it is not known"
    said = asked(131)["ladder"]
    assert said.startswith("error: preflight-ladder")
    assert (
        "3 variants loaded together take 132 MB, and the device has 131 MB available; fp16, int8 fit" in said
    )
    assert (
        "--set governor.mode=off (fp16 alone is loaded and serves)" in said
        and "--recipe fp16 --recipe int8" in said
    )
    assert "fit" not in asked(70)["ladder"].partition("hint:")[0], "one alone is no ladder"
    assert asked(70, alone=True) == {}, "the governor is off there"
    assert refused(facts(PI), ladder=needs) == {}, "recorded before the probe told what is available"
