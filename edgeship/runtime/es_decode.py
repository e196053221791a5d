"""From what the model holds to what a client gets: dequantize to FP32, and the most likely classes with their
labels.
"""

from es_errors import CannotRun
from es_tensors import DATATYPES, DTYPES, byte_tables, count, interleave, is_float, pack, unpack


class OutputDecoder(object):
    """Turns the bytes of one output tensor into the bytes of the datatype that service.json promises."""

    def __init__(self, spec):
        self.name = spec["name"]
        self.datatype = spec["datatype"]
        self.shape = spec["shape"]
        tensor = spec["tensor"]
        self.dtype = tensor["dtype"]
        self.tensor_shape = tensor["shape"]
        self.scale = tensor.get("scale")
        self.zero_point = tensor.get("zero_point") or 0
        if self.datatype not in DATATYPES or self.dtype not in DTYPES:
            raise CannotRun(
                "unknown-datatype", "output %r: %s to %s" % (self.name, self.dtype, self.datatype)
            )
        self.out_dtype = DATATYPES[self.datatype][0]
        if self.scale is None and not is_float(self.out_dtype) and self.out_dtype != self.dtype:
            raise CannotRun(
                "unknown-datatype", "output %r: %s as %s" % (self.name, self.dtype, self.datatype)
            )
        if count(self.shape) != count(self.tensor_shape) or not all(size > 0 for size in self.shape):
            text = "output %r: shape %s does not fit the tensor's shape %s"
            raise CannotRun("bad-shape", text % (self.name, self.shape, self.tensor_shape))
        self._tables = None
        self.opened = None  # The JSON of one run's answer up to the numbers, once it is asked for.
        self.texts = None  # The JSON of each value of an eight-bit tensor, once it is asked for.

    def _real(self, values):
        """Return scale * (stored - zero_point) for each value, in doubles."""
        scale, zero = self.scale, self.zero_point
        if scale is None:
            return values
        return [scale * (q - zero) for q in values]

    def decode(self, data):
        """Return bytes of `datatype` for the tensor's bytes; rounded once."""
        if self.scale is None and self.dtype == self.out_dtype:
            return data
        if DTYPES[self.dtype][2] == 1:
            if self._tables is None:
                every = unpack(bytes(range(256)), self.dtype)
                self._tables = byte_tables(self._real(every), self.out_dtype)
            return interleave([data.translate(table) for table in self._tables])
        return pack(self._real(unpack(data, self.dtype)), self.out_dtype)

    def named_by(self, labels):
        """Return the labels where this output has a value for each of them, else none: names of one output's classes
        are not those of the others.
        """
        return labels if self.shape and self.shape[-1] == len(labels) else ()

    def numbers(self, decoded):
        """Return decoded bytes as a list of Python numbers (booleans for BOOL)."""
        values = unpack(decoded, self.out_dtype)
        if self.datatype == "BOOL":
            return [bool(v) for v in values]
        return list(values)


def classify(numbers, shape, k, labels):
    """Return (strings, shape): per row of the last axis the `k` highest as "value:index[:label]", highest
    first.

    The form of the Open Inference Protocol's classification extension. Equal values keep the order of their
    index, and what is no number stands last.
    """
    width = shape[-1] if shape else 1
    k = min(k, width)
    strings = []
    for start in range(0, len(numbers), width):
        row = numbers[start : start + width]
        for index in sorted(range(width), key=lambda i: (row[i] != row[i], -row[i], i))[:k]:
            text = "%f:%d" % (row[index], index)
            strings.append(text + ":" + labels[index] if index < len(labels) else text)
    return strings, list(shape[:-1]) + [k]
