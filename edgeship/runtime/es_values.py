"""Numbers between JSON and tensors' bytes, both ways.

What takes time for each number is left to C: map, set, chain, struct, and one format for many numbers.
"""

import json
import struct
from itertools import chain

from es_errors import Refused
from es_tensors import DATATYPES, DTYPES, RANGES, all_finite, count, is_float, pack, unpack

# Numbers spelled at once: a list of all of them takes eighty bytes for each.
_BLOCK = 4096


def _encoder():
    """Return a function document -> text, json.dumps with allow_nan=False; json makes a new encoder at each call."""
    plain = json.JSONEncoder(allow_nan=False)
    make = json.encoder.c_make_encoder
    if make is None:
        return plain.encode
    words = plain.key_separator, plain.item_separator
    one = make(None, plain.default, json.encoder.encode_basestring_ascii, None, *words, False, False, False)
    return lambda document: "".join(one(document, 0))


to_json = _encoder()


def flat(name, data, shape):
    """Return the numbers of a flat or nested list that agrees with `shape`; raises Refused (400) where it does not."""
    total = count(shape)
    if data and isinstance(data[0], list):
        for depth in range(len(shape)):
            if len(data) != count(shape[: depth + 1]):
                raise Refused(400, "input %r: `data` does not agree with shape %s" % (name, shape))
            if depth == len(shape) - 1:
                break
            if not set(map(type, data)) <= {list} or not set(map(len, data)) <= {shape[depth + 1]}:
                raise Refused(400, "input %r: `data` does not agree with shape %s" % (name, shape))
            data = list(chain.from_iterable(data))
    if len(data) != total:
        raise Refused(400, "input %r: %d values; shape %s needs %d" % (name, len(data), shape, total))
    return data


# What true and false become among float32.
_TRUE, _FALSE = struct.pack("<f", True), struct.pack("<f", False)


def packed(name, values, dtype):
    """Return the bytes of a list of JSON values; raises Refused (400) for what is of another type or does not fit."""
    if dtype == "float32" and len(values) <= _BLOCK:
        # The usual case. struct takes numbers and booleans, and to ask each value for its type costs more than it.
        try:
            data = struct.pack("<%df" % len(values), *values)
        except (OverflowError, struct.error):
            data = _FALSE
        if _TRUE not in data and _FALSE not in data:
            return data
    kinds = set(map(type, values))
    allowed = {bool} if dtype == "bool" else {int, float} if is_float(dtype) else {int}
    if not kinds <= allowed:
        seen = ", ".join(sorted(kind.__name__ for kind in kinds - allowed))
        raise Refused(400, "input %r: `data` holds %s; wanted %s" % (name, seen, dtype))
    try:
        return pack(values, dtype)
    except (OverflowError, ValueError):
        span = RANGES.get(dtype)
        text = "input %r: a value does not fit %s%s"
        raise Refused(400, text % (name, dtype, " (%d to %d)" % span if span else ""))


def spelled(decoder, tensor):
    """Yield the JSON of an output's numbers in pieces, from the model's own bytes; raises ValueError for what JSON
    cannot say.
    """
    if decoder.texts is None:
        decoder.texts = _table(decoder)
    texts = decoder.texts
    data = tensor if texts else decoder.decode(tensor)
    step = _BLOCK if texts else _BLOCK * DATATYPES[decoder.datatype][2]
    for start in range(0, len(data), step):
        block = data[start : start + step]
        text = b", ".join(map(texts.__getitem__, block)) if texts else _text(decoder, block)
        yield b", " + text if start else text


def same_numbers(decoder, values, data):
    """Return whether the JSON values of an output are the numbers in decoded bytes."""
    if decoder.datatype != "FP32":
        return values == decoder.numbers(data)
    # Nine digits name a float32, not the double that json reads.
    return isinstance(values, list) and set(map(type, values)) <= {float} and pack(values, "float32") == data


def _table(decoder):
    """Return the JSON of what each of the 256 values of an eight-bit tensor means; () for other tensors."""
    if DTYPES[decoder.dtype][2] != 1:
        return ()
    try:
        return _text(decoder, decoder.decode(bytes(bytearray(range(256))))).split(b", ")
    except ValueError:  # Some value is beyond float32; that the tensor holds it is not said.
        return ()


def _text(decoder, data):
    """Return the JSON of decoded numbers, without the brackets."""
    if decoder.datatype == "FP32":
        return _floats(data)
    return to_json(decoder.numbers(data))[1:-1].encode("ascii")


def _floats(data):
    """Return the JSON of float32 numbers: nine significant digits, which give the same float32 back; three times as
    fast as the shortest ones of their doubles. A number without a fraction keeps its point: 1.0.
    """
    if not all_finite(data):
        raise ValueError("not finite")
    values = tuple(unpack(data, "float32"))
    text = (b"%.9g, " * len(values))[:-2] % values
    if text.count(b".") == len(values):
        return text
    return b", ".join([word if b"." in word else _pointed(word) for word in text.split(b", ")])


def _pointed(word):
    mantissa, mark, exponent = word.partition(b"e")
    return mantissa + b".0" + mark + exponent
