"""What a shared library really needs of a device, read from the ELF file itself: a wheel's tag may say
less."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeship.errors import ToolError

MACHINES: dict[str, tuple[str, int]] = {
    "x86_64": ("EM_X86_64", 64),
    "aarch64": ("EM_AARCH64", 64),
    "armv7l": ("EM_ARM", 32),
    "armv6l": ("EM_ARM", 32),
    "i686": ("EM_386", 32),
    "riscv64": ("EM_RISCV", 64),
}
"""uname -m -> (e_machine, bits), as in the ELF specifications' registry."""

MAGIC = b"\x7fELF"
GLIBC_OWN = re.compile(
    r"^(lib(c|m|dl|rt|pthread|util|resolv|nsl|anl|BrokenLocale)\.so\.\d+|ld-linux.*\.so\.\d+)$"
)
"""What glibc itself provides: requiring glibc requires these."""

HARD_FLOAT_REGISTERS = 1
"""Tag_ABI_VFP_args: floating-point arguments travel in VFP registers (Addenda to the Arm ABI, build
attributes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFacts:
    """What one shared library is and asks for."""

    machine: str
    """e_machine, e.g. EM_AARCH64."""
    bits: int
    needed: tuple[str, ...]
    """sonames of DT_NEEDED, in the file's order."""
    soname: str | None
    glibc: tuple[int, ...] | None
    """Highest GLIBC_x.y symbol version required; None where none is."""
    glibcxx: tuple[int, ...] | None
    """Highest GLIBCXX_x.y.z required of libstdc++."""
    musl: bool
    """Whether it asks for musl's C library by name."""
    hard_float: bool | None
    """32-bit Arm only: whether it uses the hard-float calling convention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What all native files of a release ask of the device together."""

    glibc: str | None
    glibcxx: str | None
    """Highest GLIBCXX_ symbol version required of libstdc++.so.6, e.g. 3.4.30 (GCC 12)."""
    libraries: tuple[str, ...]
    """sonames that neither the release nor glibc itself provides, sorted."""


def dotted(version: tuple[int, ...]) -> str:
    """Return `(2, 34)` as `2.34`."""
    return ".".join(map(str, version))


def parse_version(text: str) -> tuple[int, ...]:
    """Return `2.34` as `(2, 34)`; anything after the leading digits and dots is ignored."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def read_elf(path: Path, name: str | None = None) -> ElfFacts:
    """Return the facts of one ELF file. Raises ToolError `elf-unreadable`, which tells `name` (default: the file's
    own), where it is not a sound one."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            needed, soname = _dynamic(elf)
            versions = _required_versions(elf)
            return ElfFacts(
                machine=str(elf["e_machine"]),
                bits=int(elf.elfclass),
                needed=needed,
                soname=soname,
                glibc=_highest(versions, "GLIBC_"),
                glibcxx=_highest(versions, "GLIBCXX_"),
                musl=any("musl" in name for name in needed),
                hard_float=_hard_float(elf) if elf["e_machine"] == "EM_ARM" else None,
            )
    except (ELFError, OSError, ValueError, KeyError, AssertionError) as error:
        raise ToolError(
            "elf-unreadable",
            f"{name or path.name} is not a sound ELF file: {error}",
            hint="remove it from the cache and build again: it will be fetched anew",
        ) from None


def check_elf(
    files: Iterable[tuple[str, Path]],
    *,
    machine: str,
    libc: str,
    libc_version: str | None,
    libstdcxx: str | None,
    target: str,
) -> Needs:
    """Return what `files` (name in the release, path) ask of a device, once each has been found to fit
    `target`.

    Raises ToolError `elf-wrong-machine`, `elf-wrong-libc`, `elf-needs-newer-libc`,
    `elf-needs-newer-libstdcxx` or `elf-soft-float`, naming the file, what it needs and what the profile
    offers.
    """
    facts = {name: read_elf(path, name) for name, path in files}
    for name, one in facts.items():
        _check_machine(name, one, machine, target)
        _check_libc(name, one, libc, libc_version, target)
        _check_libstdcxx(name, one, libstdcxx, target)
    provided = {one.soname for one in facts.values()} | {name.rpartition("/")[2] for name in facts}
    libraries = {
        soname
        for one in facts.values()
        for soname in one.needed
        if soname not in provided and not GLIBC_OWN.match(soname)
    }
    glibc = max((one.glibc for one in facts.values() if one.glibc), default=None)
    glibcxx = max((one.glibcxx for one in facts.values() if one.glibcxx), default=None)
    return Needs(
        glibc=dotted(glibc) if glibc else None,
        glibcxx=dotted(glibcxx) if glibcxx else None,
        libraries=tuple(sorted(libraries)),
    )


def _check_machine(name: str, facts: ElfFacts, machine: str, target: str) -> None:
    wanted = MACHINES.get(machine)
    if wanted and (facts.machine, facts.bits) != wanted:
        raise ToolError(
            "elf-wrong-machine",
            f"{name} is built for another processor than target {target}",
            context={"needs": f"{facts.machine}, {facts.bits} bits", "profile": f"architecture: {machine}"},
            hint=f"edgeship target show {target}",
        )
    if facts.hard_float is False:
        raise ToolError(
            "elf-soft-float",
            f"{name} uses the soft-float calling convention, target {target} the hard-float one",
            context={"needs": "armel", "profile": f"architecture: {machine} (armhf)"},
            hint=f"edgeship target show {target}",
        )


def _check_libc(name: str, facts: ElfFacts, libc: str, libc_version: str | None, target: str) -> None:
    if libc == "musl" and facts.glibc:
        kind = "glibc"
    elif libc == "glibc" and facts.musl:
        kind = "musl"
    else:
        kind = libc
    if kind != libc:
        raise ToolError(
            "elf-wrong-libc",
            f"{name} is built against {kind}, target {target} has {libc}",
            context={"needs": kind, "profile": f"libc.kind: {libc}"},
            hint=f"edgeship target show {target}",
        )
    if libc == "glibc" and libc_version and facts.glibc and facts.glibc > parse_version(libc_version):
        raise ToolError(
            "elf-needs-newer-libc",
            f"{name} needs a newer C library than target {target} has",
            context={"needs": f"GLIBC_{dotted(facts.glibc)}", "profile": f"libc.version: {libc_version}"},
            hint="use runtime.engine: tflite_runtime in the target's YAML, or a newer system on the device",
        )


def _check_libstdcxx(name: str, facts: ElfFacts, libstdcxx: str | None, target: str) -> None:
    if libstdcxx and facts.glibcxx and facts.glibcxx > parse_version(libstdcxx):
        raise ToolError(
            "elf-needs-newer-libstdcxx",
            f"{name} needs a newer C++ library than target {target} has",
            context={
                "needs": f"GLIBCXX_{dotted(facts.glibcxx)}",
                "profile": f"libc.libstdcxx: {libstdcxx}",
            },
            hint=f"edgeship target show {target}",
        )


def _dynamic(elf: object) -> tuple[tuple[str, ...], str | None]:
    from elftools.elf.dynamic import DynamicSection

    needed: list[str] = []
    soname: str | None = None
    for section in elf.iter_sections():  # type: ignore[attr-defined]
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(str(tag.needed))
                elif tag.entry.d_tag == "DT_SONAME":
                    soname = str(tag.soname)
    return tuple(needed), soname


def _required_versions(elf: object) -> set[str]:
    """Return the symbol versions a file requires (.gnu.version_r). The loader checks every one, used or
    not."""
    from elftools.elf.gnuversions import GNUVerNeedSection

    return {
        str(one.name)
        for section in elf.iter_sections()  # type: ignore[attr-defined]
        if isinstance(section, GNUVerNeedSection)
        for _, auxiliaries in section.iter_versions()
        for one in auxiliaries
    }


def _highest(versions: set[str], prefix: str) -> tuple[int, ...] | None:
    found = [
        parse_version(v.removeprefix(prefix))
        for v in versions
        if v.startswith(prefix) and v[len(prefix) :][:1].isdigit()
    ]
    return max(found, default=None)


def _hard_float(elf: object) -> bool | None:
    """Return the calling convention of a 32-bit Arm file, or None where it carries no build attributes."""
    from elftools.elf.sections import ARMAttributesSection

    for section in elf.iter_sections():  # type: ignore[attr-defined]
        if isinstance(section, ARMAttributesSection):
            for part in section.iter_subsections():
                for group in part.iter_subsubsections():
                    for attribute in group.iter_attributes():
                        if attribute.tag == "TAG_ABI_VFP_ARGS":
                            return bool(attribute.value == HARD_FLOAT_REGISTERS)
            return False
    return None
