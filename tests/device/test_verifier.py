"""Ed25519 and RSA signatures checked in plain Python, against a cryptographic library and published test vectors."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

verifier: Any = importlib.import_module("edgeship.device.helper.verifier")

# RFC 8032, 7.1: secret key, public key, message, signature of tests 1 to 3.
VECTORS = (
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     ("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465514"
     "1438e7a100b")),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     ("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d2"
     "91612bb0c00")),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     ("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027b"
     "eceea1ec40a")),
)  # fmt: skip


def flipped(data: bytes, draw: random.Random) -> bytes:
    """Return `data` with one bit turned over."""
    at = draw.randrange(len(data) * 8)
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_published_vectors(secret: str, public: str, message: str, signature: str) -> None:
    parts = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).sign(parts[1]) == parts[2]
    assert verifier.ed25519_holds(*parts)


def test_ed25519_agrees_with_a_library() -> None:
    draw = random.Random(1)
    for number in range(12):
        key = Ed25519PrivateKey.from_private_bytes(draw.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), draw.randbytes(number * 7)
        signature = key.sign(message)
        assert verifier.ed25519_holds(public, message, signature)
        assert not verifier.ed25519_holds(public, message + b"x", signature)
        assert not verifier.ed25519_holds(public, message, flipped(signature, draw))
        assert not verifier.ed25519_holds(flipped(public, draw), message, signature)


def test_ed25519_refuses_what_is_not_canonical() -> None:
    _, public, message, signature = (bytes.fromhex(text) for text in VECTORS[2])
    number = int.from_bytes(signature[32:], "little") + verifier.ORDER
    assert not verifier.ed25519_holds(public, message, signature[:32] + number.to_bytes(32, "little"))
    for wrong in (signature[:-1], signature + b"\0", b"", bytes(64)):
        assert not verifier.ed25519_holds(public, message, wrong)
    for wrong in (
        public[:-1],
        public + b"\0",
        b"",
        (verifier.PRIME + 1).to_bytes(32, "little"),
        b"\2" + bytes(31),
    ):
        assert not verifier.ed25519_holds(wrong, message, signature)
    zero_with_sign = (1 | 1 << 255).to_bytes(32, "little")  # x = 0 has no sign
    assert verifier.decode_point(zero_with_sign) is None


def test_rsa_agrees_with_a_library() -> None:
    draw = random.Random(2)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    for kind, algorithm in (("rsa-sha2-256", hashes.SHA256()), ("rsa-sha2-512", hashes.SHA512())):
        message = draw.randbytes(40)
        signature = key.sign(message, padding.PKCS1v15(), algorithm)

        def holds(signature: bytes, message: bytes = message, kind: str = kind) -> bool:
            return bool(verifier.rsa_holds(numbers.e, numbers.n, kind, message, signature))

        assert holds(signature)
        assert not holds(signature, message + b"x")
        assert not holds(flipped(signature, draw))
        assert not holds(b"\0" + signature)
        assert not holds((int.from_bytes(signature, "big") + numbers.n).to_bytes(257, "big"))
        assert not holds(signature, kind="ssh-rsa")
        assert not holds(signature, kind="rsa-sha2-256" if kind == "rsa-sha2-512" else "rsa-sha2-512")
        pss = padding.PSS(padding.MGF1(algorithm), padding.PSS.MAX_LENGTH)
        assert not holds(key.sign(message, pss, algorithm))


def test_rsa_refuses_loose_padding_and_weak_keys() -> None:
    key = rsa.generate_private_key(public_exponent=3, key_size=2048)
    numbers, message = key.public_key().public_numbers(), b"a release"
    _, head = verifier.RSA_HASHES["rsa-sha2-256"]
    digest = hashes.Hash(hashes.SHA256())
    digest.update(message)
    # With exponent 3, padding that is not checked to its end lets a cube root pass for a signature (CVE-2006-4339).
    start = b"\0\1" + b"\xff" * 8 + b"\0" + head + digest.finalize()
    goal = int.from_bytes(start + bytes(256 - len(start)), "big")
    low, high = 0, 1 << 700
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < goal else (low, middle)
    forged = low.to_bytes(256, "big")
    assert (low**3).to_bytes(256, "big").startswith(start)
    assert not verifier.rsa_holds(numbers.e, numbers.n, "rsa-sha2-256", message, forged)
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    small = weak.public_key().public_numbers()
    signature = weak.sign(message, padding.PKCS1v15(), hashes.SHA256())
    assert not verifier.rsa_holds(small.e, small.n, "rsa-sha2-256", message, signature)
