"""Ed25519 arithmetic in the open: slow, not constant in time, for making test vectors only.

Reads points and judges signatures as ZIP 215 says: any encoding of a point counts, the scalar must be below
the group order, and the equation is checked times the cofactor.
"""

import hashlib

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME
ROOT_OF_MINUS_ONE = pow(2, (PRIME - 1) // 4, PRIME)
IDENTITY = (0, 1)


def add(left, right):
    (x1, y1), (x2, y2) = left, right
    cross = CURVE_D * x1 * x2 * y1 * y2 % PRIME
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, PRIME) % PRIME
    y = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, PRIME) % PRIME
    return x, y


def multiply(scalar, point):
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def negate(point):
    return -point[0] % PRIME, point[1]


def encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode(encoded):
    """The point, also from an encoding that is not the shortest; None if there is none."""
    number = int.from_bytes(encoded, "little")
    y, sign = number % 2**255 % PRIME, number >> 255
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if x * x % PRIME != square:
        x = x * ROOT_OF_MINUS_ONE % PRIME
    if x * x % PRIME != square:
        return None
    return (-x % PRIME if x & 1 != sign else x), y


BASE = decode((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))


def torsion_generator():
    """A point of order 8: the first found by counting y up from 2."""
    for y in range(2, 100):
        point = decode(y.to_bytes(32, "little"))
        if point:
            torsion = multiply(ORDER, point)
            if multiply(4, torsion) != IDENTITY:
                return torsion
    raise AssertionError("a quarter of all points have full torsion")


def is_small_order(encoded):
    point = decode(encoded)
    return point is not None and multiply(8, point) == IDENTITY


def challenge(r, key, message):
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER


def verify(key, message, signature):
    """ZIP 215: 8·S·B = 8·R + 8·h·A."""
    r, scalar = decode(signature[:32]), int.from_bytes(signature[32:], "little")
    point = decode(key)
    if r is None or point is None or scalar >= ORDER:
        return False
    h = challenge(signature[:32], key, message)
    return multiply(8, multiply(scalar, BASE)) == multiply(8, add(r, multiply(h, point)))


def verify_without_cofactor(key, message, signature):
    """S·B = R + h·A, for showing where rules part."""
    r, scalar = decode(signature[:32]), int.from_bytes(signature[32:], "little")
    h = challenge(signature[:32], key, message)
    return multiply(scalar, BASE) == add(r, multiply(h, decode(key)))
