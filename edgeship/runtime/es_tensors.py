"""Element types and the plain-Python numbers inside tensors (C order, little endian)."""

import array
import math
import struct
import sys

# Open Inference Protocol datatype -> (numpy name, array type code, bytes an element). FP16 has no array type
# code.
DATATYPES = {
    "BOOL": ("bool", "B", 1),
    "UINT8": ("uint8", "B", 1),
    "INT8": ("int8", "b", 1),
    "UINT16": ("uint16", "H", 2),
    "INT16": ("int16", "h", 2),
    "UINT32": ("uint32", "I", 4),
    "INT32": ("int32", "i", 4),
    "UINT64": ("uint64", "Q", 8),
    "INT64": ("int64", "q", 8),
    "FP16": ("float16", None, 2),
    "FP32": ("float32", "f", 4),
    "FP64": ("float64", "d", 8),
}
DTYPES = {entry[0]: (datatype, entry[1], entry[2]) for datatype, entry in DATATYPES.items()}
RANGES = {
    "bool": (0, 1),
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
# Numbers that are handed to `struct` at once, for which it takes eight bytes each beside the list.
_AT_ONCE = 16384


def is_float(dtype):
    """Return whether a numpy dtype name is a floating-point one."""
    return dtype.startswith("float")


def count(shape):
    """Return the number of elements of a shape without open sizes."""
    total = 1
    for size in shape:
        total *= size
    return total


def unpack(data, dtype):
    """Return the elements of `data` (bytes-like) as an array, or a tuple for float16."""
    if dtype == "float16":
        return struct.unpack("<%de" % (len(data) // 2), data)
    values = array.array(DTYPES[dtype][1])
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def pack(values, dtype):
    """Return the bytes of a sequence of numbers; raises OverflowError, ValueError or TypeError where one does not fit
    the dtype. A float32 takes any number: what is beyond it becomes infinite.
    """
    if dtype in ("float16", "float64"):
        try:
            return struct.pack("<%d%s" % (len(values), "e" if dtype == "float16" else "d"), *values)
        except struct.error as error:  # Of a whole number that is too large.
            raise OverflowError(str(error))
    code = DTYPES[dtype][1]
    if code == "B":
        return bytes(bytearray(values))
    if len(values) <= _AT_ONCE:
        try:  # Twice as fast as an array; that one says what is wrong.
            return struct.pack("<%d%s" % (len(values), code), *values)
        except (OverflowError, struct.error):
            pass
    packed = array.array(code, values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def all_finite(data):
    """Return whether bytes of float32 hold neither an infinity nor a NaN."""
    high = bytes(data[3::4])
    if 0x7F not in high and 0xFF not in high:  # No exponent is one of the two largest.
        return True
    # One of them makes the sum one; finite float32 values cannot overflow a double.
    return math.isfinite(sum(unpack(data, "float32")))


def interleave(planes):
    """Return bytes that hold byte i of every element in `planes[i]`; the inverse of slicing with a stride."""
    if len(planes) == 1:
        return planes[0]
    width = len(planes)
    out = bytearray(width * len(planes[0]))
    for index, plane in enumerate(planes):
        out[index::width] = plane
    return bytes(out)


def byte_tables(values, dtype):
    """Return translate tables, one per byte of `dtype`, that map byte k to the packed `values[k]` (256
    values).
    """
    packed = pack(values, dtype)
    width = len(packed) // 256
    return [packed[index::width] for index in range(width)]
