"""SSH signatures checked in Python, for devices whose OpenSSH is older than 8.1: Ed25519 (RFC 8032) and RSA (RFC 8017).

Only public values pass through here, so it does no harm that its running time depends on them.
"""

import hashlib

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, PRIME - 2, PRIME) % PRIME
SQRT_MINUS_ONE = pow(2, (PRIME - 1) // 4, PRIME)
NEUTRAL = (0, 1, 1, 0)
RSA_LEAST_BITS = 2048
RSA_HASHES = {
    # The DER of DigestInfo up to the digest: RFC 8017, 9.2, note 1. SHA-1 ("ssh-rsa") is not taken.
    "rsa-sha2-256": ("sha256", bytes.fromhex("3031300d060960864801650304020105000420")),
    "rsa-sha2-512": ("sha512", bytes.fromhex("3051300d060960864801650304020305000440")),
}


def add_points(one, two):
    """Return the sum of two points in extended coordinates (RFC 8032, 5.1.4); right for equal points, too."""
    a = (one[1] - one[0]) * (two[1] - two[0]) % PRIME
    b = (one[1] + one[0]) * (two[1] + two[0]) % PRIME
    c = 2 * one[3] * two[3] * CURVE_D % PRIME
    d = 2 * one[2] * two[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME)


def multiply_point(number, point):
    """Return `number` times a point."""
    total = NEUTRAL
    while number:
        if number & 1:
            total = add_points(total, point)
        point = add_points(point, point)
        number >>= 1
    return total


def decode_point(data):
    """Return the point that 32 bytes stand for, or None (RFC 8032, 5.1.3)."""
    y = int.from_bytes(data, "little")
    odd, y = y >> 255, y & (2**255 - 1)
    if len(data) != 32 or y >= PRIME:
        return None
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, PRIME - 2, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * SQRT_MINUS_ONE % PRIME
    if (x * x - square) % PRIME or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = PRIME - x
    return (x, y, 1, x * y % PRIME)


def encode_point(point):
    """Return the 32 bytes of a point (RFC 8032, 5.1.2)."""
    inverse = pow(point[2], PRIME - 2, PRIME)
    x, y = point[0] * inverse % PRIME, point[1] * inverse % PRIME
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE_POINT = decode_point((4 * pow(5, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little"))


def ed25519_holds(public, message, signature):
    """Return whether an Ed25519 signature holds (RFC 8032, 5.1.7, without cofactor: what OpenSSH accepts)."""
    point = decode_point(public)
    number = int.from_bytes(signature[32:], "little")
    if point is None or len(signature) != 64 or number >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    negative = (PRIME - point[0], point[1], 1, PRIME - point[3])
    share = multiply_point(int.from_bytes(digest, "little") % ORDER, negative)
    return encode_point(add_points(multiply_point(number, BASE_POINT), share)) == signature[:32]


def rsa_holds(exponent, modulus, kind, message, signature):
    """Return whether an RSASSA-PKCS1-v1_5 signature holds (RFC 8017, 8.2.2); `kind` as in RFC 8332."""
    size = (modulus.bit_length() + 7) // 8
    number = int.from_bytes(signature, "big")
    if kind not in RSA_HASHES or modulus.bit_length() < RSA_LEAST_BITS:
        return False
    if len(signature) > size or number >= modulus or exponent < 3 or exponent % 2 == 0:
        return False
    hash_name, head = RSA_HASHES[kind]
    tail = b"\0" + head + hashlib.new(hash_name, message).digest()
    wanted = b"\0\1" + b"\xff" * (size - 2 - len(tail)) + tail
    return pow(number, exponent, modulus).to_bytes(size, "big") == wanted
