"""OpenSSH signatures: whose one is, and whether it holds. The device's own ssh-keygen judges, or `verifier` where that
is too old to; what was signed is not read before.
"""

import base64
import contextlib
import hashlib
import json
import os
import re

from .base import Refusal, call, read_text
from .verifier import ed25519_holds, rsa_holds

NAMESPACE = "edgeship"
STATEMENT_SCHEMA = "edgeship.statement/1"
MAGIC = b"SSHSIG"
STATEMENT_BYTES = 4096
SIGNATURE_BYTES = 16384
NO_SUCH_OPTION = ("unknown option", "illegal option", "invalid option", "Unsupported operation")
ARMOUR = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")
KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


OWN_KEY_TYPES = frozenset(["ssh-ed25519", "ssh-rsa"])
"""Keys whose signatures are verified without ssh-keygen, too."""
NAMESPACES = re.compile(r'^namespaces="([^"]*)"\Z')
NO_VERIFIER = "this device has no ssh-keygen of OpenSSH 8.1 or newer: it verifies Ed25519 and RSA keys only"


def take_field(blob, at):
    """Return (one length-prefixed field of an SSH structure, where the next one begins)."""
    size = int.from_bytes(blob[at : at + 4], "big")
    if len(blob) < at + 4 + size:
        raise ValueError("cut short")
    return blob[at + 4 : at + 4 + size], at + 4 + size


def key_kind(key):
    """Return the type that a public key's blob names."""
    return take_field(key, 0)[0].decode("ascii", "replace")


def fingerprint_of(key):
    """Return the fingerprint of a public key's blob, as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def signature_parts(signature):
    """Return (public key, namespace, reserved, hash, signature proper) of an armoured SSH signature: bytes each.

    Raises ValueError. The format: OpenSSH's PROTOCOL.sshsig.
    """
    lines = signature.strip().splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != ARMOUR:
        raise ValueError("it is not an SSH signature")
    blob = base64.b64decode("".join(lines[1:-1]).encode("ascii"), validate=True)
    if blob[:6] != MAGIC or blob[6:10] != b"\0\0\0\1":
        raise ValueError("it is not an SSH signature of version 1")
    parts, at = [], 10
    for _ in range(5):
        part, at = take_field(blob, at)
        parts.append(part)
    if at != len(blob):
        raise ValueError("something follows it")
    kind = key_kind(parts[0])
    if kind not in KEY_TYPES:
        raise ValueError("keys of type %r are not taken" % kind[:60])
    return parts


def ssh_keygen(arguments, feed):
    """Run ssh-keygen -Y; return (status, output). Raises Refusal `no-verifier` where it cannot verify."""
    status, out, err = call(["ssh-keygen", "-Y"] + arguments, 30, feed=feed)
    if status == 127 or any(words in err for words in NO_SUCH_OPTION):
        raise Refusal("no-verifier", NO_VERIFIER)
    return status, (out.decode("utf-8", "replace") + "\n" + err).strip()


def check_verifier(kinds):
    """Refuse keys of types that this device could not verify signatures of: `no-verifier`."""
    beyond = sorted(set(kinds) - OWN_KEY_TYPES)
    try:
        ssh_keygen(["verify", "-f", os.devnull, "-I", "-", "-n", NAMESPACE, "-s", os.devnull], b"")
    except Refusal as refusal:
        if beyond:
            raise Refusal(refusal.code, "%s (%s)" % (refusal.reason, ", ".join(beyond))) from None


def verify_one(signers, names, entry, revoked):
    """Return (fingerprint, text that was signed) of a signature that holds; a Refusal says why one does not.

    `signers` is the file of those who may sign, `names` its names and fingerprints; ssh-keygen reads the file itself.
    """
    statement, signature = entry.get("statement"), entry.get("signature")
    if (
        not isinstance(statement, str)
        or not isinstance(signature, str)
        or len(statement.encode("utf-8", "replace")) > STATEMENT_BYTES
        or len(signature) > SIGNATURE_BYTES
    ):
        raise Refusal("bad-signature", "a signature is not sound: wrong kind or too long")
    try:
        parts = signature_parts(signature)
    except ValueError as error:
        raise Refusal("bad-signature", "a signature is not sound: %s" % error) from None
    fingerprint, namespace = fingerprint_of(parts[0]), parts[1].decode("utf-8", "replace")
    if namespace != NAMESPACE:
        raise Refusal(
            "wrong-namespace", "%s signed for %r, not for %r" % (fingerprint, namespace[:60], NAMESPACE)
        )
    if fingerprint in revoked:
        raise Refusal("key-revoked", "%s is revoked" % fingerprint)
    who = [name for name, key in names if key == fingerprint]
    if not who:
        raise Refusal("unknown-signer", "%s may not sign for this device" % fingerprint)
    text = statement.encode("utf-8")
    try:
        good = keygen_says_it_holds(signers, who, fingerprint, text, signature)
    except Refusal:
        if key_kind(parts[0]) not in OWN_KEY_TYPES:
            raise
        good = may_sign(signers, parts[0]) and holds_here(parts, text)
    if not good:
        raise Refusal("bad-signature", "the signature of %s does not hold" % fingerprint)
    return fingerprint, statement


def keygen_says_it_holds(signers, who, fingerprint, text, signature):
    """Return whether ssh-keygen says that one of the names `who` made this signature with the key of that
    fingerprint."""
    for name in who:
        with in_a_pipe(signature.encode("ascii")) as path:
            status, said = ssh_keygen(
                ["verify", "-f", signers, "-I", name, "-n", NAMESPACE, "-s", path], text
            )
        if status == 0 and fingerprint in said:
            return True
    return False


@contextlib.contextmanager
def in_a_pipe(data):
    """Give the path under which another program reads a little data, once. It is no file: there may be no disk with
    room for one. Raises Refusal `no-verifier` where it does not fit a pipe, or the other program could not open it."""
    reading, writing = os.pipe()
    try:
        try:
            os.set_blocking(writing, False)
            fits = os.write(writing, data) == len(data)
        finally:
            os.close(writing)
        path = "/proc/%d/fd/%d" % (os.getpid(), reading)
        if not fits or not os.access(path, os.R_OK):
            raise Refusal("no-verifier", "ssh-keygen cannot be handed the signature on this device")
        yield path
    finally:
        os.close(reading)


def may_sign(signers, key):
    """Return whether a line of the file lets a key sign for us. Lines with options that only ssh-keygen understands (a
    time of validity, certificates) let nobody sign: refusing too much is safe."""
    for line in (read_text(signers) or "").splitlines():
        words = line.split()
        kinds = [index for index, word in enumerate(words) if word in KEY_TYPES]
        if not kinds or words[0].startswith("#") or words[kinds[0] + 1 : kinds[0] + 2] != [encoded(key)]:
            continue
        options = words[1 : kinds[0]]
        named = NAMESPACES.match(options[0]) if len(options) == 1 else None
        if not options or (named and NAMESPACE in named.group(1).split(",")):
            return True
    return False


def encoded(key):
    """Return a public key's blob as it stands in files."""
    return base64.b64encode(key).decode("ascii")


def holds_here(parts, text):
    """Return whether a signature's parts hold for a text, judged by `verifier`: PROTOCOL.sshsig, "Signed Data"."""
    key, namespace, reserved, hash_name, signature = parts
    if hash_name not in (b"sha256", b"sha512"):
        return False
    digest = hashlib.new(hash_name.decode("ascii"), text).digest()
    signed = MAGIC + b"".join(
        len(part).to_bytes(4, "big") + part for part in (namespace, reserved, hash_name, digest)
    )
    try:
        kind, at = take_field(key, 0)
        first, at = take_field(key, at)
        made_as, behind = take_field(signature, 0)
        proper, end = take_field(signature, behind)
        if end != len(signature):
            return False
        if kind == b"ssh-ed25519":
            return made_as == kind and at == len(key) and ed25519_holds(first, signed, proper)
        modulus, at = take_field(key, at)
    except ValueError:
        return False
    exponent, modulus = int.from_bytes(first, "big"), int.from_bytes(modulus, "big")
    return at == len(key) and rsa_holds(exponent, modulus, made_as.decode("ascii", "replace"), signed, proper)


def read_statement(text):
    """Return a signed statement's content. Raises Refusal `bad-statement`."""
    try:
        said = json.loads(text)
        numbers = [said[key] for key in ("sequence", "signed_at", "expires")]
        sound = said["schema"] == STATEMENT_SCHEMA and isinstance(said["release"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refusal("bad-statement", "what was signed is not an %s document" % STATEMENT_SCHEMA) from None
    if not sound or not all(type(number) is int and 0 <= number < 1 << 53 for number in numbers):
        raise Refusal("bad-statement", "what was signed is not an %s document" % STATEMENT_SCHEMA)
    return said
