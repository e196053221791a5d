"""Keys that the SSH agent holds, by the file that a user names: `ssh-add FILE` is how a locked key is unlocked."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeship.remote.sshlib import paramiko

PRIVATE = ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----")
MAGIC = b"openssh-key-v1\0"


@contextmanager
def held(files: Iterable[str | Path]) -> Iterator[Any]:
    """Yield the agent's key for the first of `files` that it holds, to log in with; None: no agent, or none of them.

    The agent is asked for no other key: a login with another one than the user named must not just work.
    """
    wanted = [blob for blob in map(public_blob, files) if blob] if os.environ.get("SSH_AUTH_SOCK") else []
    if not wanted:
        yield None
        return
    agent = paramiko.Agent()
    try:
        keys = {bytes(key.asbytes()): key for key in agent.get_keys()}
        yield next((keys[blob] for blob in wanted if blob in keys), None)
    finally:
        agent.close()


def public_blob(file: str | Path) -> bytes | None:
    """Return the public key, in SSH's own format, of a private key's file or of a .pub file; None where it cannot be
    told. A private key in OpenSSH's format (PROTOCOL.key) shows it also where it is locked."""
    path = Path(file).expanduser()
    for each in (Path(f"{path}.pub"), path):
        try:
            text = each.read_text("ascii")[:65536].strip()
            if text.startswith(PRIVATE[0]):
                return _shown(base64.b64decode(text.removeprefix(PRIVATE[0]).removesuffix(PRIVATE[1])))
            return base64.b64decode(text.split()[1], validate=True)
        except (OSError, ValueError, IndexError):
            continue
    return None


def _shown(data: bytes) -> bytes:
    """Return the public key in an unpacked private key file. Raises ValueError where it is not of that format."""
    if not data.startswith(MAGIC):
        raise ValueError("not a private key of OpenSSH")
    at = len(MAGIC)
    for _ in range(3):  # cipher, key derivation, its options
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    size = int.from_bytes(data[at + 4 : at + 8], "big")  # behind the number of keys, which is one
    blob = data[at + 8 : at + 8 + size]
    if not size or len(blob) != size:
        raise ValueError("cut short")
    return blob
