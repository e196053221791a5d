"""The JSON of a request. Arrays of small whole numbers, as pictures are sent, are read beside json, not by it."""

import json
import re
import sys

from es_errors import Refused

# Before 3.11 (and security releases of older ones) Python takes quadratic time for a very long integer.
_LONG_NUMBER = None if hasattr(sys, "get_int_max_str_digits") else re.compile(rb"[0-9]{400}")
# A body below this length is read by json as fast; the array is looked for in so many bytes.
_SHORT, _NEAR = 1024, 4096
_ARRAY = re.compile(rb'"data": ?(\[+)[0-9]{1,3}[,\]]')


def _no_constant(name):
    raise Refused(400, "the body is not JSON: %s is not a number" % name)


class _Hole(object):
    """What stands in a document for an array that was taken out."""


# Made once: json.loads builds a new one whenever an option is given.
_JSON = json.JSONDecoder(parse_constant=_no_constant)
_JSON_WITH_HOLE = json.JSONDecoder(parse_constant=lambda name: _Hole)


def parse_json(data):
    """Return the JSON object in bytes; raises Refused (400). The `data` of one UINT8 input may be bytes instead of a
    list: a byte for each number, as many as the input's `shape` says.
    """
    if len(data) > _SHORT:
        document = _with_bytes(data)
        if document is not None:
            return document
    if _LONG_NUMBER is not None and _LONG_NUMBER.search(data):
        raise Refused(400, "the body holds a number of more than 400 digits")
    try:
        document = _JSON.decode(data.decode("utf-8"))
    except RecursionError:
        raise Refused(400, "the body is not JSON that can be read: too deeply nested")
    except ValueError as error:
        raise Refused(400, "the body is not JSON: %s" % str(error)[:200])
    if not isinstance(document, dict):
        raise Refused(400, "the body must be a JSON object")
    return document


def _with_bytes(data):
    """Return the document with one array as bytes, None where there is no such array or anything is not as it
    should be.

    NaN, which no request may hold, stands in the array's place. Up to there the text is what it was, so json finds
    itself in the same place: where it takes the rest, with the hole as an input's `data`, it would have taken the
    whole.
    """
    found = _ARRAY.search(data, 0, _NEAR)
    if found is None:
        return None
    start, brackets = found.span(1)[0], found.group(1)
    end = data.find(b"]" * len(brackets), start) + len(brackets)
    before, after = data[:start], data[end:]
    if end < start or b"NaN" in before or b"NaN" in after or b"Infinity" in before or b"Infinity" in after:
        return None
    rest = before + b"NaN" + after
    if _LONG_NUMBER is not None and _LONG_NUMBER.search(rest):
        return None
    try:
        document = _JSON_WITH_HOLE.decode(rest.decode("utf-8"))
        item = next(one for one in document["inputs"] if one["data"] is _Hole)
        shape = item["shape"]
        if item["datatype"] != "UINT8" or not all(type(size) is int and size > 0 for size in shape):
            return None
        from es_digits import bytes_of  # Most models are sent nothing of the kind.

        item["data"] = bytes_of(data[start:end], shape)
    except (LookupError, RecursionError, StopIteration, TypeError, ValueError):
        return None
    return document if item["data"] is not None else None
