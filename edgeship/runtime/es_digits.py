"""Whole numbers from 0 to 255 out of their JSON text, all of them at once.

A picture is tens of thousands of small numbers, and a Python object for each is most of what a request costs. Here
the text is laid out backwards in cells of four characters by `expandtabs`, so that every number begins with its ones;
then ones, tens and hundreds are every fourth character, `bytes.translate` turns digits into what they stand for, and
additions of long integers, a byte of them for each number, make the values. What is not exactly such an array, in the
two ways in which programs write them (`[1, 2]` and `[1,2]`), gives None: json reads it then, and says what is wrong.
"""

from es_tensors import count

_DIGITS = b"0123456789"
_BAD = 0xFF


def _table(known, other):
    """Return a translate table: {character: meaning}, and `other` for all others."""
    return bytes(bytearray(known.get(chr(code), other) for code in range(256)))


def _placed(place):
    return {chr(48 + digit): digit * place for digit in range(10)}


# A tab ends a cell and spaces fill it: those that stand in the text otherwise become what is no digit.
_SPACED, _COMPACT = bytes.maketrans(b" \t", b"\t!"), bytes.maketrans(b",\t ", b"\t!!")
_ONES = _table(_placed(1), _BAD)
_TENS = _table(dict(_placed(10), **{" ": 0}), _BAD)
_HUNDREDS = _table({" ": 0, "1": 100, "2": 200}, _BAD)
# Bits that never meet in a number: tens of 0 and no hundreds; no tens and hundreds; hundreds of 2 and more than 55.
_TENS_RULES = _table({"0": 1, " ": 2}, 0)
_HUNDREDS_RULES = _table({" ": 1, "1": 2, "2": 6}, 0)
_OVER_55 = bytes(bytearray(4 if value > 55 else 0 for value in range(256)))


def bytes_of(text, shape):
    """Return a byte for each number of the array in `text` (bytes, with its brackets): flat, or nested as `shape`
    (sizes of at least 1) says. None where it is anything else.
    """
    total = count(shape)
    if 2 * total + 1 > len(text):
        return None
    comma = text.find(b",")
    separator = b", " if text[comma + 1 : comma + 2] == b" " else b","
    numbers = _flat(text, shape, separator)
    if not numbers or numbers[0] not in _DIGITS:  # A separator here would only fill the last cell.
        return None
    # A number's cell holds its digits and what stands for the separator, and ends with the tab's space.
    if separator == b", ":
        before, width, table = b",", 5, _SPACED
    else:
        before, width, table = b"", 4, _COMPACT
    cells = (before + numbers[::-1].translate(table)).expandtabs(width).ljust(width * total)
    if len(cells) != width * total or cells[width - 1 :: width] != b" " * total:
        return None
    first = len(before)
    if first and cells[0::width] != before * total:
        return None
    return _sum(*[cells[first + place :: width] for place in range(3)])


def _flat(text, shape, separator):
    """Return the text without its brackets, None where these are not those of the shape or of a flat list."""
    if text[1:2] != b"[":
        return text[1:-1]
    depth = len(shape)
    if not text.startswith(b"[" * depth) or not text.endswith(b"]" * depth):
        return None
    if text.translate(None, _DIGITS) != _skeleton(shape, separator):
        return None
    text = text[depth:-depth]
    for _ in range(depth - 1):  # Brackets that a number came between stay, and are no digits.
        text = text.replace(b"]" + separator + b"[", separator)
    return text


def _skeleton(shape, separator):
    """Return the JSON of a nested list without its numbers."""
    text = b""
    for size in reversed(shape):
        text = b"[" + (text + separator) * (size - 1) + text + b"]"
    return text


def _sum(ones, tens, hundreds):
    """Return the numbers, in their own order, of characters in the opposite one; None where some are none."""
    total = len(ones)
    planes = ones.translate(_ONES), tens.translate(_TENS), hundreds.translate(_HUNDREDS)
    if any(_BAD in plane for plane in planes):
        return None
    one, ten, hundred = (int.from_bytes(plane, "big") for plane in planes)
    below = one + ten  # At most 99: no byte carries into the next.
    wrong = int.from_bytes(tens.translate(_TENS_RULES), "big")
    wrong |= int.from_bytes(below.to_bytes(total, "big").translate(_OVER_55), "big")
    if wrong & int.from_bytes(hundreds.translate(_HUNDREDS_RULES), "big"):
        return None
    return (below + hundred).to_bytes(total, "little")
