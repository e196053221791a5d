"""From what a client sends to what the model holds: resize, scale, mean, std, quantize. Standard library
only.

docs/formats.md fixes the arithmetic (IEEE double, one rounding at the end); the host has a NumPy twin.
Eight-bit samples have 256 possible values, so each becomes a table lookup done by `bytes.translate`, one
table per byte of the result.
"""

import math

import es_resize
from es_errors import CannotRun, Refused
from es_tensors import (
    DATATYPES,
    DTYPES,
    RANGES,
    all_finite,
    byte_tables,
    count,
    interleave,
    is_float,
    pack,
    unpack,
)

# 1.5 * 2**52: adding it to a double below 2**51 rounds to an integer, half to even, and leaves that integer
# (modulo 256) in the lowest byte of the sum: the rounding of IEEE 754 done by the adder instead of a call per
# element.
_ROUND = 6755399441055744.0
_INTEGERS = tuple(dtype for dtype in RANGES if dtype != "bool")


class InputEncoder(object):
    """Turns raw samples of one input of service.json into the bytes of the model's tensor."""

    def __init__(self, spec):
        self.name = spec["name"]
        self.datatype = spec["datatype"]
        self.shape = spec["shape"]
        self._closed = -1 not in self.shape
        tensor = spec["tensor"]
        self.dtype = tensor["dtype"]
        self.tensor_shape = tensor["shape"]
        self.scale = tensor.get("scale")
        self.zero_point = tensor.get("zero_point") or 0
        if self.datatype not in DATATYPES or self.dtype not in DTYPES:
            raise CannotRun("unknown-datatype", "input %r: %s to %s" % (self.name, self.datatype, self.dtype))
        self.raw_dtype = DATATYPES[self.datatype][0]
        rules = spec.get("preprocess") or {}
        self.resize = rules.get("resize")
        self.channels = self.shape[-1] if self.shape else 1
        self.steps = self._channel_steps(rules)
        self.stored = bool(spec.get("stored"))
        self.as_is = not self.steps and self.scale is None and self.resize is None
        # Indices and counts: numbers that nothing scales, so that a fraction has no meaning to be rounded to.
        self.counts = self.as_is and self.dtype in _INTEGERS
        self._tables = self._in_range = self._shift = None
        self._check_sizes()

    def _channel_steps(self, rules):
        """Return [(scale, mean, std)], one for all channels or one per channel; [] where nothing changes."""
        scale = float(rules.get("scale", 1.0))
        mean = [float(m) for m in rules.get("mean") or [0.0]]
        std = [float(s) for s in rules.get("std") or [1.0]]
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, self.channels):
                text = "input %r: preprocess.%s holds %d values for %d channels"
                raise CannotRun("bad-preprocess", text % (self.name, name, len(values), self.channels))
        if 0.0 in std:
            raise CannotRun("bad-preprocess", "input %r: preprocess.std holds a zero" % self.name)
        if scale == 1.0 and set(mean) == {0.0} and set(std) == {1.0}:
            return []
        n = max(len(mean), len(std))
        return [(scale, mean[i % len(mean)], std[i % len(std)]) for i in range(n)]

    def _check_sizes(self):
        good = all(size > 0 for size in self.tensor_shape)
        if self.resize is None:
            good = (
                good
                and all(size > 0 for size in self.shape)
                and count(self.shape) == count(self.tensor_shape)
            )
        else:
            height, width = self.resize["height"], self.resize["width"]
            good = (
                good
                and len(self.shape) == 4
                and count(self.tensor_shape) == count([self.shape[0], height, width, self.channels])
            )
            if self.resize.get("method", "bilinear") not in ("bilinear", "nearest"):
                raise CannotRun("bad-preprocess", "input %r: unknown resize method" % self.name)
        if not good:
            text = "input %r: shape %s cannot become the tensor's shape %s"
            raise CannotRun("bad-shape", text % (self.name, self.shape, self.tensor_shape))

    def accepts(self, datatype):
        """Return whether a client may send this datatype: the declared one, FP32 for an integer one, or the
        tensor's own where its numbers go in as they are."""
        return (
            datatype == self.datatype
            or (datatype == "FP32" and self.raw_dtype in _INTEGERS)
            or (
                (self.stored or self.as_is) and datatype in DATATYPES and DATATYPES[datatype][0] == self.dtype
            )
        )

    def zeros(self):
        """Return the tensor's bytes where every real value is 0."""
        zero = 0 if self.scale is None else self.zero_point
        return bytes(pack([zero], self.dtype)) * count(self.tensor_shape)

    def is_own(self, datatype, shape):
        """Return whether these are the declared datatype and shape, and no size of that is open."""
        return datatype == self.datatype and shape == self.shape and self._closed

    def check(self, datatype, shape):
        """Raise Refused (400) unless the client's datatype and shape fit this input."""
        if self.is_own(datatype, shape):
            return
        if not self.accepts(datatype):
            raise Refused(400, "input %r: datatype %s; wanted %s" % (self.name, datatype, self.datatype))
        good = len(shape) == len(self.shape)
        if not good or not all(s == w or (w == -1 and s > 0) for s, w in zip(shape, self.shape)):
            raise Refused(400, "input %r: shape %s; wanted %s" % (self.name, list(shape), self.shape))

    def encode(self, data, datatype, shape):
        """Return the tensor's bytes for raw `data` (bytes-like, C order). Raises Refused (400) for what
        cannot be.
        """
        self.check(datatype, shape)
        dtype, _, width = DATATYPES[datatype]
        if len(data) != count(shape) * width:
            text = "input %r: %d bytes of data; shape %s of %s needs %d"
            raise Refused(400, text % (self.name, len(data), list(shape), datatype, count(shape) * width))
        if self.stored and dtype == self.dtype:
            return self._as_stored(data, shape)
        if self.as_is and dtype == self.dtype:
            if is_float(dtype):
                self._finite(data, dtype)
            elif dtype == "bool" and bytes(data).strip(b"\0\1"):
                raise Refused(400, "input %r: a BOOL is one byte, 0 or 1" % self.name)
            return data
        if width == 1 and self._tabled():
            return self._encode_bytes(bytes(data), shape)
        if is_float(dtype):
            self._finite(data, dtype)
        values = unpack(data, dtype)
        if self.counts and is_float(dtype):
            self._whole(values)
        return self._encode_values(self._resized(values, shape))

    def _as_stored(self, data, shape):
        """Return stored numbers as they are; resized ones are rounded, half to even, and clamped."""
        if self.resize is None:
            return data
        low, high = RANGES[self.dtype]
        values = self._resized(unpack(data, self.dtype), shape)
        return pack([min(max(round(v), low), high) for v in values], self.dtype)

    def _finite(self, data, dtype):
        # An infinity or NaN anywhere makes the sum one.
        good = all_finite(data) if dtype == "float32" else math.isfinite(sum(unpack(data, dtype)))
        if not good:
            raise Refused(400, "input %r: holds a value that is not finite" % self.name)

    def _whole(self, values):
        low, high = RANGES[self.dtype]
        wrong = [v for v in values if v % 1 or not low <= v <= high]
        if wrong:
            text = "input %r: takes whole numbers, %d to %d; %d of %d are none of these, the first is %r"
            raise Refused(400, text % (self.name, low, high, len(wrong), len(values), wrong[0]))

    def _resized(self, values, shape):
        if self.resize is None:
            return values
        batch, height, width, channels = shape
        target = (self.resize["height"], self.resize["width"])
        function = getattr(es_resize, self.resize.get("method", "bilinear"))
        size = height * width * channels
        if batch == 1:
            return function(values, height, width, channels, *target)
        out = []
        for start in range(0, batch * size, size):
            out += function(values[start : start + size], height, width, channels, *target)
        return out

    def _tabled(self):
        return self.resize is None or self.resize.get("method") == "nearest"

    def _encode_bytes(self, data, shape):
        """The path of eight-bit samples whose values no interpolation changes."""
        if self.resize is not None:
            data = bytes(self._resized(data, shape))
        if self._tables is None:
            every = unpack(bytes(range(256)), self.raw_dtype)
            steps = self.steps or [None]
            self._tables = [
                byte_tables(self._store(self._normalised(every, step)), self.dtype) for step in steps
            ]
        if len(self._tables) == 1:
            return interleave([data.translate(table) for table in self._tables[0]])
        width, channels = len(self._tables[0]), self.channels
        out = bytearray(len(data) * width)
        for channel, tables in enumerate(self._tables):
            plane = data[channel::channels]
            for index, table in enumerate(tables):
                out[channel * width + index :: channels * width] = plane.translate(table)
        return bytes(out)

    @staticmethod
    def _normalised(values, step):
        if step is None:
            return values
        scale, mean, std = step
        return [(x * scale - mean) / std for x in values]

    def _encode_values(self, values):
        if len(self.steps) > 1:
            result = [0.0] * len(values)
            for channel, step in enumerate(self.steps):
                result[channel :: self.channels] = self._normalised(values[channel :: self.channels], step)
            values = result
        elif self.steps:
            values = self._normalised(values, self.steps[0])
        if self.dtype in ("int8", "uint8") and self.scale is not None:
            return self._quantize_bytes(values)
        return pack(self._store(values), self.dtype)

    def _store(self, values):
        """Return the numbers that the tensor holds: rounded, shifted and clamped, or the values of a float
        tensor.
        """
        if is_float(self.dtype):
            return values
        low, high = RANGES[self.dtype]
        scale, zero = self.scale, self.zero_point
        stored = [round(v) for v in values] if scale is None else [round(v / scale) + zero for v in values]
        if stored and (min(stored) < low or max(stored) > high):
            stored = [low if q < low else high if q > high else q for q in stored]
        return stored

    def _quantize_bytes(self, values):
        """`_store` and `pack` for eight bits, twice as fast where nothing needs clamping.

        The lowest bytes are right if every double is the one that a value inside the range would have given.
        """
        if self._in_range is None:
            low, high = RANGES[self.dtype]
            inside = range(low - self.zero_point, high - self.zero_point + 1)
            self._in_range = byte_tables(
                [_ROUND + q for q in sorted(inside, key=lambda q: q & 255)], "float64"
            )
            self._shift = bytes((q + self.zero_point) & 255 for q in range(256))
        scale = self.scale
        sums = pack([v / scale + _ROUND for v in values], "float64")
        lowest = sums[0::8]
        for index in range(1, 8):
            if sums[index::8] != lowest.translate(self._in_range[index]):
                return pack(self._store(values), self.dtype)
        return lowest.translate(self._shift)
