"""Signatures as they travel in a bundle: pairs of a statement and an SSH signature over it, beside the manifest.

What is checked here is form only: names, sizes, and that a statement speaks of this release. Whether a signature
holds, and whose it is, the device decides (and `edgeship.bundle.sign` on the host).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeship.digest import canonical_json
from edgeship.values import SignedStatement

FOLDER = "signatures/"
NAME = re.compile(r"signatures/([0-9a-f]{16})\.(json|sig)\Z")
SCHEMA = "edgeship.statement/1"
MOST = 16
STATEMENT_LIMIT = 4096
SIGNATURE_LIMIT = 16384
"""Bytes. An RSA signature of 16,384 bits has 6 kB in its armour."""
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
NUMBERS = ("sequence", "signed_at", "expires")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Whose an SSH signature says it is."""

    key: bytes
    """The public key, in SSH's own format."""
    fingerprint: str
    kind: str
    namespace: str


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key, as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def field(data: bytes, at: int) -> tuple[bytes, int]:
    """Return (one length-prefixed field of an SSH structure, where the next begins). Raises ValueError."""
    size = int.from_bytes(data[at : at + 4], "big")
    if len(data) < at + 4 + size:
        raise ValueError("it is cut short")
    return data[at + 4 : at + 4 + size], at + 4 + size


def base64_bytes(text: str) -> bytes:
    """Return what base64 `text` stands for. Raises ValueError."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("its base64 is damaged") from None


def signer(signature: str) -> Signer:
    """Return what an armoured signature says of itself (PROTOCOL.sshsig in OpenSSH). Raises ValueError."""
    lines = signature.strip().splitlines()
    if len(lines) < 3 or lines[0] != BEGIN or lines[-1] != END:
        raise ValueError("it is not an armoured SSH signature")
    data = base64_bytes("".join(lines[1:-1]))
    if data[:10] != b"SSHSIG\0\0\0\1":
        raise ValueError("it is not an SSH signature of version 1")
    key, at = field(data, 10)
    namespace, _ = field(data, at)
    kind, _ = field(key, 0)
    return Signer(
        key=key,
        fingerprint=fingerprint(key),
        kind=kind.decode("utf-8", "replace"),
        namespace=namespace.decode("utf-8", "replace"),
    )


def statement(signature: SignedStatement) -> dict[str, Any]:
    """Return what was signed. Raises ValueError where it is not an edgeship.statement/1 in canonical form."""
    try:
        said = json.loads(signature.statement)
        sound = (
            said["schema"] == SCHEMA
            and all(isinstance(said[key], str) for key in ("release", "app", "target", "version"))
            and all(type(said[key]) is int and 0 <= said[key] < 1 << 53 for key in NUMBERS)
            and canonical_json(said) == signature.statement.encode()
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise ValueError(f"what was signed is not an {SCHEMA} document in canonical form")
    return dict(said)


def members(signatures: Iterable[SignedStatement]) -> dict[str, bytes]:
    """Return archive name -> content. The name is the key's: one key signs a release once."""
    found = {}
    for each in signatures:
        stem = FOLDER + hashlib.sha256(signer(each.signature).key).hexdigest()[:16]
        found[stem + ".json"] = each.statement.encode()
        found[stem + ".sig"] = each.signature.encode()
    return found


def limit(name: str) -> int | None:
    """Return the bytes a member of that name may have; None: it is not the name of a signature or a statement."""
    match = NAME.match(name)
    return None if match is None else STATEMENT_LIMIT if match[2] == "json" else SIGNATURE_LIMIT


def read(found: Mapping[str, bytes], release: str) -> tuple[SignedStatement, ...]:
    """Return the signatures out of an archive's members. Raises ValueError where one is not sound."""
    stems = sorted({name.rpartition(".")[0] for name in found})
    if len(stems) > MOST:
        raise ValueError(f"{len(stems)} signatures, at most {MOST} are read")
    signatures = []
    for stem in stems:
        try:
            each = SignedStatement(
                statement=found[stem + ".json"].decode(), signature=found[stem + ".sig"].decode()
            )
        except KeyError:
            raise ValueError(f"'{stem}' is a statement without a signature, or the other way round") from None
        if members([each]).keys() != {stem + ".json", stem + ".sig"}:
            raise ValueError(f"'{stem}' is not named after the key in it")
        if statement(each)["release"] != release:
            raise ValueError(f"'{stem}.json' speaks of another release")
        signatures.append(each)
    return tuple(signatures)
