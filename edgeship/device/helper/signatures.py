"""OpenSSH signatures: whose one is, and whether it holds. The device's own ssh-keygen judges; what was signed is not
read before that.
"""

import base64
import hashlib
import json
import os
import tempfile

from .base import Refusal, call

NAMESPACE = "edgeship"
STATEMENT_SCHEMA = "edgeship.statement/1"
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


def take_field(blob, at):
    """Return (one length-prefixed field of an SSH structure, where the next one begins)."""
    size = int.from_bytes(blob[at : at + 4], "big")
    if len(blob) < at + 4 + size:
        raise ValueError("cut short")
    return blob[at + 4 : at + 4 + size], at + 4 + size


def fingerprint_of(key):
    """Return the fingerprint of a public key's blob, as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def signer_of(signature):
    """Return (fingerprint, namespace) that an armoured SSH signature names. Raises ValueError."""
    lines = signature.strip().splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != ARMOUR:
        raise ValueError("it is not an SSH signature")
    blob = base64.b64decode("".join(lines[1:-1]).encode("ascii"), validate=True)
    if blob[:6] != b"SSHSIG" or blob[6:10] != b"\0\0\0\1":
        raise ValueError("it is not an SSH signature of version 1")
    key, at = take_field(blob, 10)
    namespace, _ = take_field(blob, at)
    kind = take_field(key, 0)[0].decode("ascii", "replace")
    if kind not in KEY_TYPES:
        raise ValueError("keys of type %r are not taken" % kind[:60])
    return fingerprint_of(key), namespace.decode("utf-8", "replace")


def ssh_keygen(arguments, feed):
    """Run ssh-keygen -Y; return (status, output). Raises Refusal `no-verifier` where it cannot verify."""
    status, out, err = call(["ssh-keygen", "-Y"] + arguments, 30, feed=feed)
    if status == 127 or any(words in err for words in NO_SUCH_OPTION):
        raise Refusal(
            "no-verifier",
            "this device cannot verify signatures: it has no ssh-keygen of OpenSSH 8.1 or newer",
        )
    return status, (out.decode("utf-8", "replace") + "\n" + err).strip()


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
        fingerprint, namespace = signer_of(signature)
    except ValueError as error:
        raise Refusal("bad-signature", "a signature is not sound: %s" % error) from None
    if namespace != NAMESPACE:
        raise Refusal(
            "wrong-namespace", "%s signed for %r, not for %r" % (fingerprint, namespace[:60], NAMESPACE)
        )
    if fingerprint in revoked:
        raise Refusal("key-revoked", "%s is revoked" % fingerprint)
    who = [name for name, key in names if key == fingerprint]
    if not who:
        raise Refusal("unknown-signer", "%s may not sign for this device" % fingerprint)
    with tempfile.TemporaryDirectory(prefix="edgeship-") as folder:
        path = os.path.join(folder, "sig")
        with open(path, "w") as stream:
            stream.write(signature)
        for name in who:
            argv = ["verify", "-f", signers, "-I", name, "-n", NAMESPACE, "-s", path]
            status, said = ssh_keygen(argv, statement.encode("utf-8"))
            if status == 0 and fingerprint in said:
                return fingerprint, statement
    raise Refusal("bad-signature", "the signature of %s does not hold" % fingerprint)


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
