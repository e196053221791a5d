"""A target profile written from what a device says of itself (`edgeship target probe`)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.profile.loader import list_profiles
from edgeship.profile.schema import TargetProfile
from edgeship.profile.sensors import Sensor
from edgeship.profile.types import NAME
from edgeship.values import HostFacts

ANY = "any"
OLDEST_PYTHON = (3, 7)
"""The syntax and library that the runtime on the device keeps to."""


def from_facts(facts: HostFacts, name: str, *, folders: Sequence[Path]) -> str:
    """Return a commented profile called `name` for the device, extending the nearest target.

    Save it as `<name>.yaml`. Raises InputError: `bad-target-name`, `unsupported-libc`, `unsupported-machine`,
    `no-target-fits`.
    """
    if not re.fullmatch(NAME, name):
        raise InputError(
            "bad-target-name",
            f"'{name}' cannot be a target's name: use lower-case letters, digits and single dashes",
            hint="edgeship target probe HOST -o my-board.yaml",
        )
    base = nearest(facts, list_profiles(folders=folders))
    if name == base.name:
        raise InputError(
            "bad-target-name",
            f"'{name}' is the name of the target that this device is built on: choose another",
            hint=f"edgeship target probe HOST -o my-{name}.yaml",
        )
    lines = [*_head(facts, base, name), *_requirements(facts, base), *_sensors(facts, base)]
    return "\n".join([*lines, *_sources(facts, base), ""])


def nearest(facts: HostFacts, targets: Sequence[TargetProfile]) -> TargetProfile:
    """Return the target that is nearest to a device: it fits, and is recognised most precisely.

    A target fits when architecture, libc, processor features and required accelerators are there. One with an
    accelerator goes before one without, then the longest recognised text, then the newest libc.
    """
    machine = architecture(facts)
    if facts.libc == "musl":
        raise InputError(
            "unsupported-libc",
            f"{facts.hostname} has musl as its C library; the runtimes are built for glibc only",
            context={"seen": f"musl {facts.libc_version or ''}".strip(), "wanted": "glibc"},
            hint="use a distribution with glibc on the device: Debian, Ubuntu, Raspberry Pi OS",
        )
    known = sorted({t.architecture for t in targets if t.deployable})
    if machine not in known:
        raise InputError(
            "unsupported-machine",
            f"{facts.hostname} is a '{machine}' machine, for which there is no runtime",
            context={"seen": machine, "known": ", ".join(known)},
            hint="edgeship target list",
        )
    alike = [t for t in targets if t.architecture == machine]
    known_flags = {flag for t in alike for flag in t.cpu_flags}
    # Under emulation /proc/cpuinfo may be that of the machine below: flags of another architecture say nothing.
    flags = set(facts.cpu_flags) if known_flags & set(facts.cpu_flags) else known_flags
    scored = [(score, t) for t in alike if (score := _score(facts, t, flags)) is not None]
    if not scored:
        raise InputError(
            "no-target-fits",
            f"no target fits {facts.hostname}",
            context={
                "seen": f"{machine}, glibc {facts.libc_version}, {' '.join(facts.cpu_flags) or 'flags unknown'}",
                "wanted": "; ".join(
                    f"{t.name}: glibc {t.libc.version}, {' '.join(t.cpu_flags)}"
                    for t in alike
                    if ANY in t.recognised_by
                ),
            },
            hint="upgrade the device's distribution",
        )
    return max(scored, key=lambda pair: pair[0])[1]


def architecture(facts: HostFacts) -> str:
    """Return the architecture of the device's userland: a 64-bit kernel may carry a 32-bit one."""
    if facts.machine in ("aarch64", "armv8l") and facts.userland_bits == 32:
        return "armv7l"
    return facts.machine


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's leading numbers, for comparison."""
    return tuple(int(n) for n in re.findall(r"[0-9]+", version))


def _score(
    facts: HostFacts, target: TargetProfile, flags: set[str]
) -> tuple[bool, int, tuple[int, ...]] | None:
    """Return how well a target of the right architecture fits a device, more is better; None: not at all."""
    if facts.libc_version and numbers(facts.libc_version) < numbers(target.libc.version):
        return None
    if not set(target.cpu_flags) <= flags:
        return None
    required = [a for a in target.devices if a.required]
    if any(not any(fnmatch(seen, way) for seen in facts.devices for way in a.any_of) for a in required):
        return None
    texts = [facts.model_name or "", *facts.devices]
    found = [len(t) for t in target.recognised_by if t != ANY and any(t in text for text in texts)]
    if not found and ANY not in target.recognised_by:
        return None
    return bool(required), max(found, default=0), numbers(target.libc.version)


def _head(facts: HostFacts, base: TargetProfile, name: str) -> list[str]:
    model = _plain(facts.model_name or facts.machine)
    system = _plain(facts.os_release.get("PRETTY_NAME", "an unknown system"))
    return [
        f"# {model} under {system}, as {_plain(facts.hostname)} described itself to `edgeship target probe`.",
        f"# All that does not stand here is as in '{base.name}': `edgeship target show {name}.yaml` shows the whole.",
        f"name: {name}",
        f"title: {_text(model)}",
        f"summary: {_text(f'{model} under {system}.')}",
        f"extends: {base.name}",
        "",
    ]


def _requirements(facts: HostFacts, base: TargetProfile) -> list[str]:
    """Return libc, python, memory and service, each with what the device said."""
    lines: list[str] = []
    if facts.libc_version:
        lines += ["libc:", f"  version: {_text(facts.libc_version)}", ""]
    lines += _python(facts, base)
    if facts.memory_mb:
        lines += ["memory:", f"  ram_mb: {facts.memory_mb}           # what the kernel leaves of it", ""]
    manager = facts.init if facts.init in ("systemd", "openrc") else "supervised"
    lines += ["service:", f"  manager: {manager}", ""]
    seen = [d for d in facts.devices if not any(fnmatch(d, way) for a in base.devices for way in a.any_of)]
    if seen:
        lines += [
            f"# Also seen, and not used by this profile: {_plain(', '.join(seen))}.",
            "# `edgeship target list` names the targets with an accelerator.",
            "",
        ]
    return lines


def _python(facts: HostFacts, base: TargetProfile) -> list[str]:
    if not facts.python_version:
        return ["# No python3 was found; the service needs one: sudo apt install python3", ""]
    version = numbers(facts.python_version)[:2]
    short = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        return [
            f"# python3 is {_plain(facts.python_version)}, too old for the service. Install one of those that",
            f"# '{base.name}' takes ({', '.join(base.python.versions)}) and name it here.",
            "python:",
            f"  versions: [{_text(base.python.versions[0])}]",
            f"  command: python{base.python.versions[0]}",
            "",
        ]
    lines = ["python:", f"  versions: [{_text(short)}]", ""]
    if base.runtime.engine == "tflite_runtime" and short not in base.python.versions:
        lines.insert(
            0,
            f"# Careful: tflite_runtime {base.runtime.version} has packages for Python "
            f"{', '.join(base.python.versions)} only.",
        )
    return lines


def _sensors(facts: HostFacts, base: TargetProfile) -> list[str]:
    """Return the thermal zones found on the device, then what the base can read besides temperatures."""
    if not facts.sensors:
        return []
    lines = ["sensors:"]
    taken: set[str] = set()
    for zone, path in facts.sensors.items():
        known = next((s for s in base.sensors if path == s.path or zone in s.labels), None)
        name = _unique(re.sub(r"[^a-z0-9]+", "-", zone.lower()).strip("-") or "zone", taken)
        lines.append(_sensor(name, path, known))
    for sensor in base.sensors:
        if sensor.kind != "temperature":
            lines.append(f"  - {_flow(sensor.model_dump(mode='json', exclude_defaults=True))}")
    return [*lines, ""]


def _sensor(name: str, path: str, known: Sensor | None) -> str:
    value: dict[str, Any] = {
        "name": name,
        "kind": "temperature",
        "path": path,
        "unit": "celsius",
        "scale": 0.001,
    }
    if known and known.trips:
        value["trips"] = [t.model_dump() for t in known.trips]
    return f"  - {_flow(value)}"


def _sources(facts: HostFacts, base: TargetProfile) -> list[str]:
    figures = [
        *(["libc.version"] if facts.libc_version else []),
        *(["python.versions"] if facts.python_version else []),
        *(["memory.ram_mb"] if facts.memory_mb else []),
        *(["sensors"] if facts.sensors else []),
    ]
    if not figures:
        return []
    source = _text(f"edgeship target probe on {facts.hostname}")
    return [
        "sources:",
        *(f"  - {{figure: {figure}, source: {source}, confidence: measured}}" for figure in figures),
    ]


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}-{count}"
    taken.add(candidate)
    return candidate


def _plain(value: str) -> str:
    """Return what a device said as one line of printable text: it must not end a comment or a string."""
    return "".join(c for c in " ".join(value.split()) if c.isprintable())


def _text(value: str) -> str:
    """Return text in double quotes; what JSON escapes, YAML reads."""
    return json.dumps(_plain(value), ensure_ascii=False)


def _flow(value: Any) -> str:
    """Return plain values as one line of YAML; keys bare, text quoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)
