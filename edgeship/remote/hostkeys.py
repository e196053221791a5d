"""Strict host keys: what known_hosts says of one host, and refusals that name file, line and fingerprint."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeship.errors import DeviceError


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """One line of a known_hosts file that speaks of the host."""

    path: Path
    line: int
    keytype: str
    blob: bytes
    revoked: bool


def fingerprint(blob: bytes) -> str:
    """Return OpenSSH's SHA256 fingerprint of a public key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def known_name(hostname: str, port: int) -> str:
    """Return the name that known_hosts files a host under."""
    return hostname if port == 22 else f"[{hostname}]:{port}"


def known_keys(paths: Iterable[Path], name: str) -> tuple[KnownKey, ...]:
    """Return the keys recorded for `name`. Reads each file once and decodes matching lines only."""
    found = []
    for path in paths:
        try:
            text = path.read_text("utf-8", errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            key = _matching(path, number, line, name)
            if key is not None:
                found.append(key)
    return tuple(found)


def _matching(path: Path, number: int, line: str, name: str) -> KnownKey | None:
    """Return the key of one line where it speaks of `name`."""
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if len(fields) < 3 or fields[0].startswith("#") or marker == "@cert-authority":
        return None
    if not _names_match(fields[0], name):
        return None
    try:
        blob = base64.b64decode(fields[2], validate=True)
    except ValueError:
        return None
    return KnownKey(path=path, line=number, keytype=fields[1], blob=blob, revoked=marker == "@revoked")


def _names_match(patterns: str, name: str) -> bool:
    """Return whether a line's host field covers `name`: hashed, or a list of patterns where ! excludes."""
    if patterns.startswith("|1|"):
        try:
            _, _, salt, wanted = patterns.split("|")
            digest = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
            return hmac.compare_digest(digest, base64.b64decode(wanted))
        except ValueError:
            return False
    hit = False
    for pattern in patterns.lower().split(","):
        plain = pattern.removeprefix("!")
        # [host]:port is literal: fnmatch would read the brackets as a set of characters
        matches = plain == name if plain.startswith("[") else fnmatch.fnmatchcase(name, plain)
        if matches and pattern.startswith("!"):
            return False
        hit = hit or matches
    return hit


def unknown_key(
    host: str, name: str, keytype: str, blob: bytes, *, file: Path, accepting: str
) -> DeviceError:
    """Return the refusal of a host that is in no known_hosts file. `accepting`: the command that records its key."""
    bare = name.removeprefix("[").split("]")[0]
    port = f" -p {name.rpartition(':')[2]}" if name.startswith("[") else ""
    return DeviceError(
        "unknown-host-key",
        f"{host} is not in known_hosts, so nothing proves that this is the right device",
        context={
            "key": f"{keytype} {fingerprint(blob)}",
            "known_hosts": file,
            "compare with": "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, typed on the device itself",
        },
        hint=f"when the fingerprint is right: {accepting} (or: ssh{port} {bare})",
    )


def changed_key(host: str, name: str, keytype: str, blob: bytes, known: KnownKey) -> DeviceError:
    """Return the refusal of a host whose key is another one than recorded."""
    return DeviceError(
        "host-key-changed",
        f"THE HOST KEY OF {host} HAS CHANGED: it was reinstalled, or another machine answers in its place",
        context={
            "recorded": f"{known.path}:{known.line}: {known.keytype} {fingerprint(known.blob)}",
            "offered": f"{keytype} {fingerprint(blob)}",
        },
        hint=(
            f"only if you know why: ssh-keygen -R '{name}' -f {known.path}, then "
            f"edgeship target probe {host} --accept-new-host-key"
        ),
    )


def revoked_key(host: str, known: KnownKey) -> DeviceError:
    """Return the refusal of a key marked @revoked."""
    return DeviceError(
        "host-key-revoked",
        f"{host} offers a key that is marked as revoked",
        context={"revoked": f"{known.path}:{known.line}: {known.keytype} {fingerprint(known.blob)}"},
        hint="give the device a new host key: ssh-keygen -A after removing /etc/ssh/ssh_host_*",
    )


def record_key(path: Path, name: str, keytype: str, blob: bytes) -> str:
    """Append a key to a known_hosts file; return a sentence that says so."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as stream:
        stream.write(("\n" if torn else "") + f"{name} {keytype} {base64.b64encode(blob).decode()}\n")
    return f"recorded the new host key of {name} in {path}: {keytype} {fingerprint(blob)}"
