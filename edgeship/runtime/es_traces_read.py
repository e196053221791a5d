"""Recorded traces: arrival times out of what services and people write down.

One request a line (or one JSON list of them): a number of seconds; an object or a row of CSV with a column for the
time and, if there is one, for the deadline; a line of a web server's access log; a log line that begins with a time;
a record of journald; a decision of the governor's own log. Packed with gzip or not.
"""

import json
import math
import random
import re

from es_errors import CannotRun
from es_traces import Trace

MOST_REQUESTS = 2000000
_LARGEST = 512 << 20
_TIMES = (
    "at", "time", "timestamp", "ts", "t", "arrival", "arrived_at", "arrival_time", "datetime", "date", "@timestamp",
    "__realtime_timestamp", "seconds",
)  # fmt: skip
_DEADLINES = {"deadline_ms": 1e-3, "deadline": 1.0, "deadline_s": 1.0, "deadline_seconds": 1.0}
# 2026-11-28T14:00:00.123456Z, also with a space, a comma before the fraction, an offset or none.
_ISO = re.compile(
    r"[\"'\[]?(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?\s?(Z|[+-]\d\d:?\d\d)?"
)
# [28/Nov/2026:14:00:00 +0000]: the common log format of web servers.
_CLF = re.compile(r"\[(\d\d?)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?:\.(\d+))? ([+-]\d{4})\]")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
# Numbers that large count since 1970 in smaller units than seconds.
_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))


def read_trace(path, name, deadline=None, seed=0, speed=1.0):
    """Return the Trace that a file holds: its first request comes at second 0. `deadline`: seconds, for requests that
    name none; `speed`: so many times as fast as it was. Raises CannotRun `bad-trace` saying file, line and what
    stands there.
    """
    lines = _lines(path)
    found = _records(path, lines)
    if len(found) < 2:
        raise CannotRun("bad-trace", "%s holds %d requests: a trace needs two" % (path, len(found)))
    found.sort(key=lambda pair: pair[0])
    first = found[0][0]
    at = [when / speed for when in _spread([when - first for when, _ in found], seed)]
    # As long again as the mean gap behind the last one: a trace that goes round has no seam.
    seconds = at[-1] * len(at) / (len(at) - 1.0) if at[-1] > 0 else 1.0
    trace = Trace(name, seconds, at, [deadline if own is None else own for _, own in found])
    trace.source = path
    return trace.shaken(seed)


def _lines(path):
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST + 1)
        if data[:2] == b"\x1f\x8b":
            import zlib

            unpack = zlib.decompressobj(31)
            data = unpack.decompress(data, _LARGEST + 1)
    except OSError as error:
        raise CannotRun("bad-trace", "%s: %s" % (path, error.strerror or error))
    except Exception as error:
        raise CannotRun("bad-trace", "%s cannot be unpacked: %s" % (path, error))
    if len(data) > _LARGEST:
        raise CannotRun("bad-trace", "%s holds more than %d bytes" % (path, _LARGEST))
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise CannotRun("bad-trace", "%s is no text" % path)


def _records(path, lines):
    """Return [(absolute seconds, deadline in seconds or None)]."""
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    rows = [(number, line) for number, line in rows if line and not line.startswith("#")]
    if not rows:
        return []
    if rows[0][1][0] == "[" and not _CLF.match(rows[0][1]):
        listed = _listed(lines)
        if listed is not None:
            return _all(path, list(enumerate(listed, 1)), _of_json)
    if rows[0][1][0] in "{[" and not _CLF.match(rows[0][1]):
        return _all(path, [(number, _parsed(path, number, line)) for number, line in rows], _of_json)
    if any(_CLF.search(line) for _, line in rows[:3]):
        return _all(path, rows, _of_access_log)
    header = _header(rows[0][1])
    if header:
        return _all(path, rows[1:], lambda line: _of_row(line, header))
    return _all(path, rows, _of_line)


def _listed(lines):
    """Return the items of a file that is one JSON list of requests; None where it is not."""
    try:
        whole = json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return None
    # A line of a decision log is a list too: of a sample, a decision and a reason.
    return whole if isinstance(whole, list) and not (whole and isinstance(whole[0], list)) else None


def _parsed(path, number, line):
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CannotRun("bad-trace", "%s, line %d is not JSON: %s" % (path, number, error))


def _all(path, rows, read):
    """Return what `read` makes of each row, None left out; a time that is none is an error with its line."""
    found = []
    for number, row in rows:
        try:
            pair = read(row)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            shown = row if isinstance(row, str) else json.dumps(row)
            raise CannotRun("bad-trace", "%s, line %d: %s: %s" % (path, number, error, shown[:120]))
        if pair is not None:
            found.append(pair)
        if len(found) > MOST_REQUESTS:
            raise CannotRun("bad-trace", "%s holds more than %d requests" % (path, MOST_REQUESTS))
    return found


def _of_json(item):
    """Return (seconds, deadline) of a JSON value; None for one that is no request (a decision about something else)."""
    if isinstance(item, list) and item and isinstance(item[0], list):
        item = item[0]
    if isinstance(item, dict) and isinstance(item.get("sample"), list):
        item = item["sample"]
    if isinstance(item, list):
        if not item or item[0] != "admit":
            return None
        return _moment(item[1]), _deadline(item[4], 1.0) if len(item) > 4 else None
    if isinstance(item, dict):
        named = {str(key).lower(): value for key, value in item.items()}
        key = next((key for key in _TIMES if key in named), None)
        if key is None:
            if "schema" in named or "state" in named:
                return None
            raise ValueError("names no time (one of %s)" % ", ".join(_TIMES[:4]))
        own = next((_deadline(named[k], unit) for k, unit in _DEADLINES.items() if k in named), None)
        return _moment(named[key]), own
    return _moment(item), None


def _header(line):
    """Return (separator, column of the time, column of the deadline or None, its unit) of a CSV's first line."""
    for separator in ",;\t":
        names = [name.strip().strip("\"'").lower() for name in line.split(separator)]
        if len(names) == 1 and separator != "\t":
            continue
        times = [names.index(name) for name in _TIMES if name in names]
        if times:
            ends = [(names.index(name), unit) for name, unit in _DEADLINES.items() if name in names]
            column, unit = ends[0] if ends else (None, 1.0)
            return separator, times[0], column, unit
    return None


def _of_row(line, header):
    separator, column, ends, unit = header
    cells = [cell.strip().strip("\"'") for cell in line.split(separator)]
    own = cells[ends] if ends is not None and ends < len(cells) else ""
    return _moment(cells[column]), _deadline(own, unit) if own else None


def _of_access_log(line):
    found = _CLF.search(line)
    if not found:
        raise ValueError("no time as web servers write it")
    day, month, year, hour, minute, second, fraction, offset = found.groups()
    numbers = (year, _MONTHS.index(month) + 1, day, hour, minute, second)
    return _civil(numbers, fraction, offset), None


def _of_line(line):
    """A number and perhaps a deadline in ms behind a comma, or a log line that begins with a time."""
    if _ISO.match(line):
        return _moment(line), None
    cells = re.split(r"[,;\t ]+", line)
    if not _NUMBER.fullmatch(cells[0]):
        raise ValueError("no time")
    second = cells[1] if len(cells) == 2 and _NUMBER.fullmatch(cells[1]) else None
    return _moment(cells[0]), _deadline(second, 1e-3) if second else None


def _moment(value):
    """Return seconds of a number (since whenever, in s, ms, us or ns by its size) or of a date with a time."""
    if isinstance(value, str):
        dated = _ISO.match(value)
        if dated:
            return _civil(dated.groups()[:6], dated.group(7), dated.group(8))
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("no time")
    unit = next((unit for least, unit in _UNITS if abs(value) >= least), 1.0)
    return value * unit


def _civil(numbers, fraction, offset):
    """Return seconds since 1970 of a date and a time; without an offset it is UTC."""
    import calendar

    year, month, day, hour, minute, second = (int(number) for number in numbers)
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError("no date")
    whole = calendar.timegm((year, month, day, hour, minute, second))
    if offset and offset != "Z":
        digits = offset[1:].replace(":", "")
        away = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        whole += -away if offset[0] == "+" else away
    return whole + (float("0." + fraction) if fraction else 0.0)


def _deadline(value, unit):
    if value is None:
        return None
    seconds = float(value) * unit
    if not 0 < seconds < 86400:
        raise ValueError("the deadline is %g s; wanted more than 0 and less than a day" % seconds)
    return seconds


def _spread(at, seed):
    """Return times of which many fall on the same whole second spread over it: logs know no better, and a crowd that
    comes at one moment was none.
    """
    if any(when != int(when) for when in at) or len(set(at)) == len(at):
        return at
    drawn = random.Random("%s/spread" % seed)
    spread = sorted(when + drawn.random() for when in at)
    return [when - spread[0] for when in spread]
