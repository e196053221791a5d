"""Sign a release with an SSH key, and look at signatures. ssh-keygen does the signing: keys and passphrases stay with
it and with the agent; edgeship sees neither.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeship.bundle import envelope
from edgeship.digest import canonical_json
from edgeship.errors import InputError, ToolError
from edgeship.values import Bundle, SignedStatement

NAMESPACE = "edgeship"
DAYS = 365.0
"""How long a signature lets a release be deployed, unless the user says otherwise."""
DAY = 86_400
PATIENCE = 300.0
"""Seconds ssh-keygen may take: somebody may be typing a passphrase or touching a security key."""
KEY_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The public half of a key that may sign."""

    name: str
    """Who it belongs to, for people: from the key's comment."""
    line: str
    """Type and key as in an OpenSSH .pub file, without the comment."""
    fingerprint: str


def sign(
    bundle: Bundle, key: Path, *, sequence: int | None = None, days: float = DAYS, now: float | None = None
) -> Bundle:
    """Return `bundle` with a signature by `key` (a private key file, or a .pub file whose key the agent holds).

    A signature that the key gave before is replaced. `sequence` orders releases on a device, later ones higher; the
    default is the time of signing, in seconds. After `days` a device no longer takes the release. The bundle's file is
    not touched: see `edgeship.bundle.seal.put_signatures`. Raises InputError `no-such-key`, `key-not-usable`.
    """
    moment = int(time.time() if now is None else now)
    text = canonical_json(
        {
            "schema": envelope.SCHEMA,
            "release": bundle.release,
            "app": bundle.app,
            "target": bundle.target,
            "version": str(bundle.manifest["version"]),
            "sequence": moment if sequence is None else sequence,
            "signed_at": moment,
            "expires": moment + int(days * DAY),
        }
    )
    signed = sign_text(text, key)
    mine = envelope.signer(signed.signature).fingerprint
    others = [old for old in bundle.signatures if envelope.signer(old.signature).fingerprint != mine]
    return replace(bundle, signatures=(*others, signed))


def sign_text(text: bytes, key: Path) -> SignedStatement:
    """Return a statement with its signature by `key`. Raises InputError `no-such-key`, `key-not-usable`."""
    if not key.is_file():
        raise _no_key(key)
    done = _ssh_keygen(["-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE], text)
    signed = SignedStatement(statement=text.decode(), signature=done.stdout.decode("utf-8", "replace"))
    try:
        sound = done.returncode == 0 and bool(envelope.signer(signed.signature))
    except ValueError:
        sound = False
    if not sound:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise InputError(
            "key-not-usable",
            f"ssh-keygen could not sign with {key}",
            context={"said": said[-1][-300:]},
            hint=f"with a passphrase and no terminal to ask on, hand the key to the agent first: ssh-add {key}",
        )
    return signed


def sign_all(bundle: Bundle, keys: Sequence[Path]) -> Bundle:
    """Return `bundle` signed by each of `keys`."""
    for key in keys:
        bundle = sign(bundle, key)
    return bundle


def holds(signed: SignedStatement) -> bool:
    """Return whether a signature is over its statement, for edgeship, by the key it names. Whose key that is, it
    does not say."""
    with tempfile.NamedTemporaryFile(suffix=".sig") as stream:
        stream.write(signed.signature.encode())
        stream.flush()
        argv = ["-Y", "check-novalidate", "-n", NAMESPACE, "-s", stream.name]
        return _ssh_keygen(argv, signed.statement.encode()).returncode == 0


def new_key(path: Path, *, comment: str, passphrase: bool) -> PublicKey:
    """Make an Ed25519 key pair at `path` and `path`.pub and return its public half.

    With `passphrase`, ssh-keygen itself asks for one on the terminal, or by way of SSH_ASKPASS. Raises InputError
    `key-exists`, `cannot-write` or `key-not-made`.
    """
    for taken in (path, public_path(path)):
        if os.path.lexists(taken):
            raise InputError(
                "key-exists",
                f"{taken} is there already, and is left as it is",
                hint=f"edgeship keys show {taken}, or name another file: --out FILE",
            )
    asked = not passphrase or _has_terminal()
    if not asked and not os.environ.get("SSH_ASKPASS"):
        raise _nobody_to_ask(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            "cannot-write",
            f"a key cannot be written into {path.parent}: {error.strerror}",
            context={"folder": path.parent.absolute()},
            hint="edgeship keys new --out FILE",
        ) from None
    empty = [] if passphrase else ["-N", ""]
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-C", comment, "-f", str(path), *empty]
    try:
        status = subprocess.run(argv, timeout=PATIENCE, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_tool(error) from None
    if status != 0 or not path.exists():
        raise InputError(
            "key-not-made",
            "ssh-keygen made no key",
            context={"status": status},
            hint="it asks for a passphrase on a terminal; without one: edgeship keys new --no-passphrase",
        )
    # an SSH_ASKPASS that could not ask is taken for the answer "none"
    if not asked and _ssh_keygen(["-y", "-P", "", "-f", str(path)], b"").returncode == 0:
        path.unlink()
        public_path(path).unlink(missing_ok=True)
        raise _nobody_to_ask(path)
    return public_key(path)


def _has_terminal() -> bool:
    """Return whether ssh-keygen can ask somebody: it opens the process's terminal, whatever stdin is."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _nobody_to_ask(path: Path) -> InputError:
    return InputError(
        "key-not-made",
        "there is no terminal to ask for a passphrase on, and a key without one was not asked for",
        hint=f"edgeship keys new --no-passphrase --out {shlex.quote(str(path))}",
    )


def public_path(key: Path) -> Path:
    """Return where the public half of a key lies: the file itself, where that is what was named."""
    return key if key.suffix == ".pub" else key.with_name(key.name + ".pub")


def public_key(key: Path) -> PublicKey:
    """Return the public half of `key` (either file). Raises InputError `no-such-key` or `not-a-key`."""
    path = public_path(key)
    try:
        if not path.is_file():
            raise _no_key(path)
        words = path.read_text("utf-8", "replace")[:32768].split(maxsplit=2)
    except OSError as error:
        raise InputError(
            "not-a-key", f"{path} cannot be read: {error.strerror}", hint=f"ls -l {shlex.quote(str(path))}"
        ) from None
    try:
        data = envelope.base64_bytes(words[1])
        kind, _ = envelope.field(data, 0)
        if kind.decode() != words[0]:
            raise ValueError("the type is not the key's")
    except (ValueError, IndexError) as error:
        raise InputError(
            "not-a-key",
            f"{path} is not an OpenSSH public key: {error}",
            hint=f"ssh-keygen -y -f PRIVATE_KEY > {path}",
        ) from None
    comment = words[2].splitlines()[0] if len(words) > 2 else key.stem
    name = KEY_NAME.sub("-", comment).strip("-._")[:64] or "signer"
    return PublicKey(name=name, line=f"{words[0]} {words[1]}", fingerprint=envelope.fingerprint(data))


def _ssh_keygen(arguments: list[str], text: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen with `text` on stdin. It asks for passphrases on the terminal or through SSH_ASKPASS itself."""
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments], input=text, capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_tool(error) from None


def _no_tool(error: Exception) -> ToolError:
    return ToolError(
        "no-ssh-keygen",
        f"ssh-keygen could not be run: {error}",
        hint="sudo apt-get install -y openssh-client",
    )


def _no_key(path: Path) -> InputError:
    return InputError("no-such-key", f"there is no key {path}", hint="edgeship keys new")
