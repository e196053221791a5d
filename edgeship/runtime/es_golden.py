"""Golden vectors: inputs with the outputs that were recorded for them, and the comparison that decides."""

import binascii
import json
import math
from collections import namedtuple

from es_errors import CannotRun
from es_tensors import DTYPES, count, is_float, unpack

GOLDEN_SCHEMA = "edgeship.golden/1"

# lsb and abs are the largest differences (lsb None for floats), cosine the smallest; text is "" where all is
# well.
Verdict = namedtuple("Verdict", "same lsb abs cosine text")


def load_golden(release, variant):
    """Return the golden document of a variant; raises CannotRun."""
    relative = variant.get("golden")
    if not relative:
        raise CannotRun("golden-missing", "service.json names no golden vectors for %s" % variant["name"])
    path = release.path(relative)
    try:
        with open(path, "rb") as stream:
            document = json.loads(stream.read().decode("utf-8"))
    except OSError as error:
        raise CannotRun("golden-missing", "%s: %s" % (path, error.strerror or error))
    except ValueError as error:
        raise CannotRun("bad-golden-file", "%s: %s" % (path, error))
    if not isinstance(document, dict) or document.get("schema") != GOLDEN_SCHEMA:
        raise CannotRun("bad-golden-file", "%s: `schema` must be %s" % (path, GOLDEN_SCHEMA))
    if not isinstance(document.get("vectors"), list) or not document["vectors"]:
        raise CannotRun("bad-golden-file", "%s: holds no vectors" % path)
    return document


def continues(document):
    """Return for each vector whether it goes on with the state that the one before it left; else it begins fresh."""
    return [isinstance(vector, dict) and vector.get("continues") is True for vector in document["vectors"]]


def vectors(document, variant, outputs=True):
    """Yield (inputs' bytes, outputs' bytes) of each vector, checked against the variant's specs."""
    for number, vector in enumerate(document["vectors"]):
        sides = []
        for side, wanted in (("inputs", variant["inputs"]), ("outputs", variant["outputs"])):
            if side == "outputs" and not outputs:
                sides.append([])
                continue
            texts = vector.get(side) if isinstance(vector, dict) else None
            if not isinstance(texts, list) or len(texts) != len(wanted):
                text = "vector %d: `%s` must be a list of %d texts"
                raise CannotRun("bad-golden-file", text % (number, side, len(wanted)))
            try:
                sides.append([binascii.a2b_base64(text.encode("ascii")) for text in texts])
            except (ValueError, AttributeError) as error:
                raise CannotRun("bad-golden-file", "vector %d: %s: %s" % (number, side, error))
        for spec, data in zip(variant["outputs"], sides[1]):
            tensor = spec["tensor"]
            size = count(tensor["shape"]) * DTYPES[tensor["dtype"]][2]
            if len(data) != size:
                text = "vector %d, output %r: %d bytes; %d expected"
                raise CannotRun("bad-golden-file", text % (number, spec["name"], len(data), size))
        yield sides[0], sides[1]


def tolerance_of(document, index):
    """Return the tolerance of output `index`: `tolerance` is one object for all, or a list with one an
    output.
    """
    tolerance = document.get("tolerance") or {}
    if isinstance(tolerance, list):
        tolerance = tolerance[index] if index < len(tolerance) else {}
    return tolerance


def same_triple(document, info):
    """Return whether the engine is the recorded one: then integer outputs must agree exactly."""
    recorded = document.get("recorded_with") or {}
    keys = (("engine", "name"), ("version", "version"), ("delegate", "delegate"))
    return all(recorded.get(theirs) == info[ours] for theirs, ours in keys)


def _cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    size_a, size_b = sum(x * x for x in a), sum(y * y for y in b)
    if size_a == 0.0 or size_b == 0.0:
        return 1.0 if size_a == size_b else 0.0
    return dot / math.sqrt(size_a * size_b)


def _best_differs(expected, got, width):
    """Return whether in some row of the last axis the highest value got is not a highest value expected."""
    for start in range(0, len(expected), width):
        row, other = expected[start : start + width], got[start : start + width]
        if row[max(range(len(row)), key=other.__getitem__)] != max(row):
            return True
    return False


def compare(expected, got, tensor, tolerance, exact):
    """Return the Verdict on one output tensor's bytes. `exact` is heeded for integer tensors only."""
    dtype = tensor["dtype"]
    same = bytes(expected) == bytes(got)
    theirs, ours = unpack(expected, dtype), unpack(got, dtype)
    if is_float(dtype):
        if not math.isfinite(sum(ours)):
            return Verdict(False, None, None, None, "holds a value that is not finite")
        scale = None
        real, mine = theirs, ours
    else:
        scale = tensor.get("scale") or 1.0
        zero = tensor.get("zero_point") or 0
        real, mine = [scale * (q - zero) for q in theirs], [scale * (q - zero) for q in ours]
    if same:
        return Verdict(True, None if scale is None else 0, 0.0, 1.0, "")
    difference = max(abs(a - b) for a, b in zip(real, mine))
    steps = None if scale is None else max(abs(a - b) for a, b in zip(theirs, ours))
    cosine = _cosine(real, mine)
    width = tensor["shape"][-1] if tensor["shape"] else 1
    complaints = _complaints(tolerance, exact and steps is not None, steps, difference, cosine)
    if tolerance.get("argmax") and width > 1 and _best_differs(real, mine, width):
        complaints.append("another class is highest")
    return Verdict(False, steps, difference, cosine, "; ".join(complaints))


def _complaints(tolerance, exact, steps, difference, cosine):
    if exact:
        return ["%d LSB off, where the same engine, version and delegate must agree exactly" % steps]
    found = []
    if steps is not None:
        if tolerance.get("max_lsb") is not None and steps > tolerance["max_lsb"]:
            found.append("%d LSB off (allowed %g)" % (steps, tolerance["max_lsb"]))
    elif tolerance.get("max_abs") is not None and difference > tolerance["max_abs"]:
        found.append("%g off (allowed %g)" % (difference, tolerance["max_abs"]))
    if tolerance.get("min_cosine") is not None and cosine < tolerance["min_cosine"]:
        found.append("cosine %.6f (at least %g)" % (cosine, tolerance["min_cosine"]))
    return found


class Tally(object):
    """Collects verdicts into the fields of an edgeship.prove/1 document."""

    def __init__(self):
        self.vectors = self.failed = 0
        self.exact = True
        self.lsb = self.abs = self.cosine = None
        self.text = ""

    def add(self, verdicts):
        """Count one vector; `verdicts` is [(output's name, Verdict)], the name "" for what concerns all of them."""
        self.vectors += 1
        bad = False
        for name, verdict in verdicts:
            self.exact = self.exact and verdict.same
            self.lsb = _most(self.lsb, verdict.lsb, max)
            self.abs = _most(self.abs, verdict.abs, max)
            self.cosine = _most(self.cosine, verdict.cosine, min)
            if verdict.text:
                bad = True
                where = (
                    "vector %d, output %r" % (self.vectors - 1, name)
                    if name
                    else "vector %d" % (self.vectors - 1)
                )
                self.text = self.text or "%s: %s" % (where, verdict.text)
        self.failed += bad

    def worst(self):
        """Return the `worst` object."""
        return {"lsb": self.lsb, "abs": self.abs, "cosine": self.cosine, "text": self.text}


def _most(known, new, choose):
    if new is None:
        return known
    return new if known is None else choose(known, new)
