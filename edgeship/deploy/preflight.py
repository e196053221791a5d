"""Reasons to refuse a device before anything is sent: pure checks of its facts against what the bundle requires."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgeship.deploy.finding import Finding, finding
from edgeship.deploy.ground import Allowed, place, rights
from edgeship.deploy.room import ladder
from edgeship.device.facts import LOOKED_FOR, Probed
from edgeship.errors import DeviceError
from edgeship.values import Bundle, Verdict

SAME_MACHINE = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l", "armv7": "armv7l"}
WORDS_32 = frozenset({"armv7l", "armv6l", "i686", "i386"})


def preflight(
    probed: Probed, manifest: Mapping[str, Any], allowed: Allowed, *, signed_at: int | None = None
) -> tuple[Finding, ...]:
    """Return the findings in the order they are checked. `inconclusive`: the device did not tell; it goes on.

    `signed_at`: when the release was signed, in seconds since 1970; None: it is not.
    """
    requires: Mapping[str, Any] = manifest.get("requires", {})
    files = list(manifest.get("files", {}))
    checks = [
        *_machine(probed, requires),
        *_libc(probed, requires),
        *_python(
            probed,
            requires,
            exact=_has_compiled_packages(manifest),
            passed_over=manifest.get("engine", {}).get("reason"),
        ),
        *_hardware(probed, requires),
        *ladder(probed, manifest, alone=allowed.alone),
        *_software(probed, requires),
        *_delegate(probed, requires),
        *place(probed, requires, files, allowed),
        *rights(probed, files, allowed, signed_at),
    ]
    return tuple(checks)


def refusal(findings: tuple[Finding, ...]) -> DeviceError | None:
    """Return the error `preflight-<check>` of the first finding that refuses the device, with the reasons of all."""
    bad = failures(findings)
    if not bad:
        return None
    return DeviceError(
        f"preflight-{bad[0].gate.name.split()[0]}",
        "the device cannot take this release: " + "; ".join(finding.gate.reason for finding in bad),
        hint=bad[0].hint,
    )


def service_wanted(bundle: Bundle) -> str:
    """Return the service manager that the bundle's target asks for."""
    return str(bundle.manifest.get("requires", {}).get("service", "auto"))


def newest_signing(bundle: Bundle) -> int | None:
    """Return when the release was signed last, in seconds since 1970; None where it carries no statement to read."""
    moments = []
    for signed in bundle.signatures:
        try:
            moments.append(int(json.loads(signed.statement)["signed_at"]))
        except (ValueError, KeyError, TypeError):
            continue  # the device refuses it with the reason
    return max(moments, default=None)


def failures(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings that refuse the device."""
    return tuple(finding for finding in findings if finding.gate.verdict == "fail")


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
        yield finding(
            "machine",
            "fail",
            f"the kernel is 64-bit ({facts.machine}) and the programs are 32-bit; the bundle is for {wanted}",
            limit=wanted,
            value=f"{facts.machine}, 32-bit userland",
            hint=f"build for {target}, or install a 64-bit system on the device",
        )
    elif seen != wanted and not (small and wanted == "armv7l" and seen == "aarch64"):
        yield finding(
            "machine",
            "fail",
            f"the device is {facts.machine}, the bundle is for {wanted}",
            limit=wanted,
            value=facts.machine,
            hint=f"edgeship target list shows the target for {facts.machine}; build with --target",
        )
    else:
        yield finding("machine", "pass", f"{facts.machine}", limit=wanted, value=facts.machine)


def _libc(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """The C library's kind and version."""
    wanted = requires.get("libc")
    if not wanted:
        return
    facts = probed.host
    version = wanted.get("version")
    need = f"{wanted['kind']} {version or '(any)'}"
    if facts.libc is None:
        yield finding("libc", "inconclusive", "the device did not tell its C library", limit=need)
        return
    have = f"{facts.libc} {facts.libc_version or '?'}"
    if facts.libc != wanted["kind"]:
        reason = f"the device has {have}, the bundle needs {need}: its libraries would not load"
        yield finding(
            "libc", "fail", reason, limit=need, value=have, hint="build for a target with this C library"
        )
    elif facts.libc_version and version and version_key(facts.libc_version) < version_key(str(version)):
        yield finding(
            "libc",
            "fail",
            f"the device has {have}, the bundle needs {need} or newer",
            limit=need,
            value=have,
            hint="upgrade the device's system, or build for a target with the tflite_runtime engine",
        )
    else:
        yield finding("libc", "pass", have, limit=need, value=have)


def _python(
    probed: Probed, requires: Mapping[str, Any], *, exact: bool, passed_over: str | None
) -> Iterator[Finding]:
    """Python's presence and version; `passed_over`: why the bundle has not the target's first engine."""
    versions = [str(version) for version in requires.get("python", [])] or ["3.7"]
    floor = min(versions, key=version_key)
    have = probed.host.python_version
    name = str(requires.get("interpreter", "python3"))
    hint = f"on the device: sudo apt-get install -y {name.rpartition('/')[2]}-minimal"
    if have is None:
        reason = f"the device has no {name}; the runtime needs {floor} or newer"
        yield finding("python", "fail", reason, limit=floor, value="none", hint=hint)
        return
    minor = ".".join(have.split(".")[:2])
    if version_key(minor) < version_key(floor):
        reason = f"{name} is {have}, older than {floor}"
        yield finding("python", "fail", reason, limit=floor, value=have, hint=hint.replace("-minimal", ""))
    elif exact and minor not in versions:
        known = ", ".join(versions)
        reason = f"{name} is {have}; the bundle's packages are built for {known}"
        yield finding(
            "python",
            "fail",
            reason,
            limit=known,
            value=have,
            hint="build again with this Python in the target"
            + (f"; the target's first engine would run on any, but {passed_over}" if passed_over else ""),
        )
    else:
        yield finding("python", "pass", f"{name} {have}", limit=floor, value=have)


def _has_compiled_packages(manifest: Mapping[str, Any]) -> bool:
    """Return whether extension modules are inside, which fit the listed Python versions only."""
    return any(name.startswith("site/") and name.endswith(".so") for name in manifest.get("files", {}))


def _hardware(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """Processor features, memory, accelerators."""
    facts = probed.host
    needed = [str(flag) for flag in requires.get("cpu_flags", [])]
    if needed and not facts.cpu_flags:
        yield finding("cpu-flags", "inconclusive", "the device did not tell its processor's features")
    elif needed:
        missing = [flag for flag in needed if flag not in facts.cpu_flags]
        reason = f"the processor lacks {', '.join(missing)}" if missing else "all there"
        hint = "build for a target whose processor this is: edgeship target list"
        yield finding("cpu-flags", "fail" if missing else "pass", reason, limit=" ".join(needed), hint=hint)
    ram = requires.get("ram_mb")
    if ram and facts.memory_mb is not None:
        short = facts.memory_mb < ram
        reason = f"{facts.memory_mb} MB of memory, {ram} MB needed"
        hint = "take a device with more memory, or a smaller model (goals.size.max_kb is a limit for it)"
        yield finding(
            "memory", "fail" if short else "pass", reason, limit=ram, value=facts.memory_mb, hint=hint
        )
    for device in requires.get("devices", []):
        ways = [device] if isinstance(device, str) else list(device["any_of"])
        name = device if isinstance(device, str) else device["name"]
        seen = any(fnmatch.fnmatchcase(found, way) for found in facts.devices for way in ways)
        reason = f"{name} is there" if seen else f"{name} was not found ({' or '.join(ways)})"
        hint = f"plug {name} in and load its driver, then: edgeship target probe HOST"
        yield finding(f"device {name}", "pass" if seen else "fail", reason, hint=hint)


PACKAGES = {
    "libedgetpu": "libedgetpu1-std",
    "libstdc++": "libstdc++6",
    "libgcc_s": "libgcc-s1",
    "libusb-1.0": "libusb-1.0-0",
    "libOpenCL": "ocl-icd-libopencl1",
    "libGLESv2": "libgles2",
    "libEGL": "libegl1",
}
"""Shared library -> Debian's and Ubuntu's package that has it."""


def _software(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """Shared libraries and Python packages that the bundle does not bring."""
    have = probed.host.libraries
    for library in requires.get("libraries", []):
        stem = str(library).partition(".so")[0]
        looked = stem in LOOKED_FOR
        verdict: Verdict = "pass" if stem in have else "fail" if looked else "inconclusive"
        package = PACKAGES.get(stem, stem)
        hint = f"on the device: sudo apt-get install -y {package}"
        reason = f"{library}: {have.get(stem, 'not found' if looked else 'not looked for')}"
        yield finding(f"library {library}", verdict, reason, hint=hint)
    for package in requires.get("packages", []):
        name = re.split(r"[^A-Za-z0-9_.-]", str(package))[0].replace("-", "_").lower()
        hint = f"on the device: sudo apt-get install -y python3-{name.replace('_', '-')}"
        verdict, reason = _package(str(package), have.get(name))
        yield finding(f"package {package}", verdict, reason, hint=hint)


def _package(wanted: str, have: str | None) -> tuple[Verdict, str]:
    """Return whether a Python package of the device is one that the bundle was made for, and why."""
    if have is None:
        return "fail", f"{wanted}: Python cannot import it"
    from packaging.requirements import InvalidRequirement, Requirement  # slow to import, and rarely wanted
    from packaging.version import InvalidVersion, Version

    try:
        fits = Requirement(wanted).specifier.contains(Version(have), prereleases=True)
    except (InvalidRequirement, InvalidVersion):
        return "inconclusive", f"{wanted}: the device has {have}"
    return ("pass" if fits else "fail"), f"{wanted}: the device has {have}"


def _delegate(probed: Probed, requires: Mapping[str, Any]) -> Iterator[Finding]:
    """The accelerator's library, whose releases pair with the engine's: another pair crashes or refuses models."""
    wanted = requires.get("delegate")
    if not wanted:
        return
    stem = str(wanted["library"]).partition(".so")[0]
    have = {name: text for name, text in probed.packages.items() if name.startswith(stem)}
    need = f"{stem} {wanted['version']}"
    if not have:
        reason = f"the device did not tell which release of {stem} it has; the bundle was made for {need}"
        yield finding("delegate", "inconclusive", reason, limit=need)
        return
    said = ", ".join(f"{name} {text}" for name, text in have.items())
    fits = any(re.sub(r"^\d+:|-[^-]*$", "", text) == str(wanted["version"]) for text in have.values())
    hint = f"install {need} on the device (edgeship target show TARGET says where from), or remove the others"
    yield finding("delegate", "pass" if fits else "fail", f"the device has {said}, the bundle was made for {need}",
                  limit=need, value=said, hint=hint)  # fmt: skip
