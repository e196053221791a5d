"""Numbers between JSON and tensors' bytes, against the plain way of doing the same."""

from __future__ import annotations

import array
import json
import math
import struct
from typing import Any

import pytest
from es_decode import OutputDecoder
from es_errors import Refused
from es_tensors import DTYPES, all_finite, pack
from es_values import flat, packed, same_numbers, spelled
from hypothesis import given, settings
from hypothesis import strategies as st

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


def decoder(
    datatype: str, dtype: str, count: int, scale: float | None = None, zero: int = 0
) -> OutputDecoder:
    inner = {"dtype": dtype, "shape": [count], "scale": scale, "zero_point": zero}
    return OutputDecoder({"name": "y", "datatype": datatype, "shape": [count], "tensor": inner})


def text_of(made: OutputDecoder, data: bytes) -> str:
    return "[" + b"".join(spelled(made, data)).decode("ascii") + "]"


@given(st.lists(st.one_of(float32s, st.integers(-20, 20).map(float)), min_size=1, max_size=50))
@settings(deadline=None, max_examples=150)
def test_nine_digits_give_every_float32_back(values: list[float]) -> None:
    data = struct.pack(f"<{len(values)}f", *values)
    made = decoder("FP32", "float32", len(values))
    text = text_of(made, data)
    found = json.loads(text)
    assert [type(value) for value in found] == [float] * len(values)
    assert struct.pack(f"<{len(found)}f", *found) == data
    assert max(len(word) for word in text[1:-1].split(", ")) <= 15
    assert same_numbers(made, found, data)
    assert not same_numbers(made, [*found[:-1], found[-1] + 1 + abs(found[-1])], data)


def test_how_floats_are_spelled() -> None:
    values = [0.1, 0.0, -0.0, 5.0, -1.5, 1e-5, 1e10, 123456789.0, 3.4028234663852886e38, 1e-45]
    text = text_of(decoder("FP32", "float32", len(values)), array.array("f", values).tobytes())
    words = "0.100000001, 0.0, -0.0, 5.0, -1.5, 9.99999975e-06, 1.0e+10, 123456792.0, 3.40282347e+38, 1.40129846e-45"
    assert text == f"[{words}]"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen_and_not_spelled(wrong: float) -> None:
    for values in ([wrong], [1.0, wrong, 2.0], [3e38, 3e38, wrong]):
        data = array.array("f", values).tobytes()
        assert not all_finite(data)
        with pytest.raises(ValueError, match="finite"):
            text_of(decoder("FP32", "float32", len(values)), data)
    assert all_finite(array.array("f", [3.4e38] * 9 + [-3.4e38, 1e-45]).tobytes())


@given(st.binary(min_size=4, max_size=80))
@settings(deadline=None, max_examples=150)
def test_finite_is_what_math_says(data: bytes) -> None:
    data = data[: len(data) // 4 * 4]
    assert all_finite(data) == all(map(math.isfinite, struct.unpack(f"<{len(data) // 4}f", data)))


CASES = [
    ("FP32", "int8", 1 / 256, -128),
    ("FP32", "uint8", 0.1, 7),
    ("UINT8", "uint8", None, 0),
    ("INT8", "int8", None, 0),
    ("BOOL", "bool", None, 0),
    ("FP16", "int8", 0.25, 3),
]


@pytest.mark.parametrize("case", CASES)
def test_eight_bits_are_spelled_from_a_table_as_without_it(case: tuple[str, str, float | None, int]) -> None:
    datatype, dtype, scale, zero = case
    data = bytes([0, 1]) * 3000 if dtype == "bool" else bytes(range(256)) * 20
    made = decoder(datatype, dtype, len(data), scale, zero)
    numbers = made.numbers(made.decode(data))
    text = text_of(made, data)
    assert made.texts
    found = json.loads(text)
    assert [type(value) for value in found] == [type(value) for value in numbers]
    if datatype == "FP32":
        assert struct.pack(f"<{len(found)}f", *found) == struct.pack(f"<{len(found)}f", *numbers)
    else:
        assert found == numbers
    made.texts = ()
    assert text_of(made, data) == text


def test_a_value_beyond_float32_is_refused_only_where_the_tensor_holds_it() -> None:
    made = decoder("FP32", "uint8", 2, 3e37, 0)
    assert json.loads(text_of(made, b"\0\1")) == [0.0, pytest.approx(3e37)]
    with pytest.raises(ValueError, match="finite"):
        text_of(made, b"\0\xff")


def test_wide_integers_are_spelled_in_blocks() -> None:
    values = [(-1) ** i * i * 10**14 for i in range(9000)]
    made = decoder("INT64", "int64", len(values))
    data = array.array("q", values).tobytes()
    assert len(list(spelled(made, data))) == 3
    assert json.loads(text_of(made, data)) == values


scalars = st.one_of(
    st.integers(-300, 300),
    st.integers(),
    float32s,
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=2),
)


def plainly(values: list[Any], dtype: str) -> bytes:
    """The reference: type by type, value by value."""
    wanted = {bool} if dtype == "bool" else {int, float} if dtype.startswith("float") else {int}
    if any(type(value) not in wanted for value in values):
        raise TypeError
    code = DTYPES[dtype][1]
    if code is None or code == "d":
        try:
            return struct.pack(f"<{len(values)}{code or 'e'}", *values)
        except struct.error as error:
            raise OverflowError from error
    return array.array(code, values).tobytes()


@given(st.sampled_from(sorted(DTYPES)), st.lists(scalars, max_size=9), st.booleans())
@settings(deadline=None, max_examples=150)
def test_packed_is_what_value_by_value_gives(dtype: str, values: list[Any], whole: bool) -> None:
    if whole:
        values = [value for value in values if type(value) is int]
    try:
        wanted = plainly(values, dtype)
    except (TypeError, OverflowError) as error:
        with pytest.raises(Refused) as caught:
            packed("x", values, dtype)
        said = "holds" if isinstance(error, TypeError) else "does not fit"
        assert caught.value.status == 400 and said in caught.value.reason
    else:
        assert packed("x", values, dtype) == wanted


def test_many_values_are_packed_as_few_are() -> None:
    values = [i % 1000 / 7 for i in range(40000)]
    assert pack(values, "float32") == array.array("f", values).tobytes()
    assert pack([1e39], "float32") == array.array("f", [math.inf]).tobytes()


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def nested(values: list[Any], shape: list[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        values = [values[i : i + size] for i in range(0, len(values), size)]
    return values


@given(shapes, shapes)
@settings(deadline=None, max_examples=150)
def test_nested_lists_are_flattened_where_they_agree_with_the_shape(
    shape: list[int], other: list[int]
) -> None:
    values = list(range(math.prod(shape)))
    assert flat("x", nested(values, shape), shape) == values
    assert flat("x", values, shape) == values
    if other == shape or len(other) == 1 == other[0] * len(shape):
        return
    given_as = nested(list(range(math.prod(other))), other)
    if len(other) == 1 and other[0] == len(values):
        assert flat("x", given_as, shape) == values
        return
    with pytest.raises(Refused, match="input 'x'"):
        found = flat("x", given_as, shape)
        packed("x", found, "int32")  # A list too deep leaves lists among the values.


def test_ragged_rows_are_refused() -> None:
    for data in ([[1, 2], [3]], [[1, 2], 3], [[1, 2], [3, 4], [5, 6]], [[1, 2, 3, 4]], [[1, 2], [3, 4, 5]]):
        with pytest.raises(Refused, match="agree with shape"):
            flat("x", data, [2, 2])
    with pytest.raises(Refused, match=r"3 values; shape \[2, 2\] needs 4"):
        flat("x", [1, 2, 3], [2, 2])
