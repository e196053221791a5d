"""Preprocessing and dequantization against NumPy written from docs/formats.md, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from es_decode import OutputDecoder, classify
from es_encode import InputEncoder
from es_errors import CannotRun, Refused
from es_model import raw_shape
from hypothesis import given, settings
from hypothesis import strategies as st
from island_lab import tensor

DATATYPES = {
    "UINT8": "uint8",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "FP16": "float16",
    "FP32": "float32",
}


def resize(x: np.ndarray, rule: dict[str, Any]) -> np.ndarray:
    """Return x [n, h, w, c] resized, in doubles."""
    height, width = x.shape[1:3]
    rows, columns = np.arange(rule["height"]), np.arange(rule["width"])
    if rule["method"] == "nearest":
        y = np.minimum(np.floor((rows + 0.5) * height / rule["height"]).astype(int), height - 1)
        z = np.minimum(np.floor((columns + 0.5) * width / rule["width"]).astype(int), width - 1)
        return x[:, y][:, :, z].astype(np.float64)
    y = np.clip((rows + 0.5) * height / rule["height"] - 0.5, 0, height - 1)
    z = np.clip((columns + 0.5) * width / rule["width"] - 0.5, 0, width - 1)
    y0, z0 = np.floor(y).astype(int), np.floor(z).astype(int)
    y1, z1 = np.minimum(y0 + 1, height - 1), np.minimum(z0 + 1, width - 1)
    wy, wz = (y - y0)[None, :, None, None], (z - z0)[None, None, :, None]
    x = x.astype(np.float64)
    a, b, c, d = x[:, y0][:, :, z0], x[:, y0][:, :, z1], x[:, y1][:, :, z0], x[:, y1][:, :, z1]
    return (a * (1 - wz) + b * wz) * (1 - wy) + (c * (1 - wz) + d * wz) * wy


def twin(spec: dict[str, Any], raw: np.ndarray) -> np.ndarray:
    """Return the tensor for raw samples, after docs/formats.md."""
    rules, inner = spec["preprocess"], spec["tensor"]
    value: np.ndarray = raw.astype(np.float64)
    if rules and rules["resize"]:
        value = resize(raw, rules["resize"])
    if rules:
        value = (value * rules["scale"] - np.array(rules["mean"])) / np.array(rules["std"])
    dtype = np.dtype(inner["dtype"])
    if inner["scale"] is None:
        return value.astype(dtype)
    span = np.iinfo(dtype)
    return np.clip(np.rint(value / inner["scale"]) + inner["zero_point"], span.min, span.max).astype(dtype)


def check(spec: dict[str, Any], raw: np.ndarray, datatype: str | None = None) -> None:
    """Compare the encoder's bytes with the twin's."""
    sent = raw.astype(DATATYPES[datatype]) if datatype else raw
    got = InputEncoder(spec).encode(sent.tobytes(), datatype or spec["datatype"], list(raw.shape))
    want = twin(spec, sent)
    assert np.array_equal(np.frombuffer(got, want.dtype).reshape(want.shape), want)


def preprocess(
    resize: dict[str, Any] | None = None, scale: float = 1.0, mean: Any = (0.0,), std: Any = (1.0,)
) -> Any:
    """Return a preprocess object."""
    return {"resize": resize, "scale": scale, "mean": list(mean), "std": list(std)}


RULES = [
    None,
    preprocess(scale=1 / 255),
    preprocess(scale=1 / 127.5, mean=[1.0]),
    preprocess(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    preprocess(mean=[1.0, 2.0, 3.0]),
]
TENSORS = [
    ("int8", 0.0078125, 0),
    ("int8", 0.0187, -13),
    ("uint8", 0.0187, 114),
    ("int16", 0.0003, 0),
    ("float32", None, None),
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(("dtype", "scale", "zero"), TENSORS)
@pytest.mark.parametrize("datatype", ["UINT8", "INT8", "INT16", "FP32", "FP16"])
def test_encoding_is_numpys_to_the_bit(rules: Any, dtype: str, scale: Any, zero: Any, datatype: str) -> None:
    rng = np.random.default_rng(3)
    spec = tensor("x", [1, 5, 4, 3], dtype, scale, zero, datatype, None, rules)
    kind = np.dtype(DATATYPES[datatype])
    if kind.kind == "f":
        raw = rng.normal(0, 40, (1, 5, 4, 3)).astype(kind)
    else:
        span = np.iinfo(kind)
        raw = rng.integers(span.min, span.max + 1, (1, 5, 4, 3)).astype(kind)
    check(spec, raw)
    if kind.kind != "f":
        check(spec, raw, "FP32")


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(7, 5), (3, 4), (16, 16), (1, 1), (23, 2)])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize(("dtype", "scale", "zero"), [("int8", 0.0187, -13), ("float32", None, None)])
def test_resizing_is_numpys_to_the_bit(
    method: str, size: tuple[int, int], datatype: str, dtype: str, scale: Any, zero: Any
) -> None:
    rng = np.random.default_rng(5)
    rules = preprocess({"height": 6, "width": 5, "method": method}, 1 / 255, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    spec = tensor("x", [1, 6, 5, 3], dtype, scale, zero, datatype, [1, -1, -1, 3], rules)
    raw = rng.integers(0, 256, (1, *size, 3)).astype(DATATYPES[datatype])
    check(spec, raw)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["int8", "uint8"]),
    st.sampled_from([0.5, 0.25, 0.0039215686, 1.0, 3.7]),
    st.integers(-128, 127),
    st.lists(
        st.floats(-1e4, 1e4, width=32) | st.integers(-600, 600).map(lambda n: n / 2.0),
        min_size=1,
        max_size=40,
    ),
)
def test_halves_round_to_even_and_the_range_clamps(
    dtype: str, scale: float, zero: int, values: list[float]
) -> None:
    zero = zero if dtype == "int8" else zero + 128
    spec = tensor("x", [len(values)], dtype, scale, zero)
    check(spec, np.array(values, np.float32))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("dtype", "scale", "zero"), [("int8", 0.1, 0), ("float32", None, None), ("int16", 0.1, 0)]
)
def test_what_is_not_finite_is_refused(value: float, dtype: str, scale: Any, zero: Any) -> None:
    raw = np.array([1.0, value, 3.0], np.float32)
    with pytest.raises(Refused, match="not finite"):
        InputEncoder(tensor("x", [3], dtype, scale, zero)).encode(raw.tobytes(), "FP32", [3])


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (tensor("x", [1, 4], datatype="FP99"), "unknown-datatype"),
        (tensor("x", [1, 4], raw_shape=[1, 5]), "bad-shape"),
        (tensor("x", [1, -1]), "bad-shape"),
        (tensor("x", [1, 4, 4, 3], preprocess=preprocess(mean=[1.0, 2.0])), "bad-preprocess"),
        (tensor("x", [1, 4, 4, 3], preprocess=preprocess(std=[0.0])), "bad-preprocess"),
        (
            tensor("x", [1, 4], preprocess=preprocess({"height": 2, "width": 2, "method": "nearest"})),
            "bad-shape",
        ),
    ],
)
def test_specs_that_make_no_sense_are_refused_at_the_start(spec: dict[str, Any], reference: str) -> None:
    with pytest.raises(CannotRun) as refused:
        InputEncoder(spec)
    assert refused.value.error == reference


def test_open_sizes_are_found_from_the_length() -> None:
    rules = preprocess({"height": 4, "width": 4, "method": "bilinear"})
    encoder = InputEncoder(tensor("x", [1, 4, 4, 3], "int8", 1.0, 0, "UINT8", [1, -1, -1, 3], rules))
    assert raw_shape(encoder, 8 * 8 * 3) == [1, 8, 8, 3]


@pytest.mark.parametrize(
    ("dtype", "scale", "zero"), [("int8", 0.0039, -128), ("uint8", 0.7, 3), ("int16", 3e-5, 0)]
)
def test_dequantization_is_numpys_to_the_bit(dtype: str, scale: float, zero: int) -> None:
    span = np.iinfo(dtype)
    stored = np.linspace(span.min, span.max, 256).astype(dtype)
    got = OutputDecoder(tensor("y", [256], dtype, scale, zero)).decode(stored.tobytes())
    want = (scale * (stored.astype(np.float64) - zero)).astype(np.float32)
    assert np.array_equal(np.frombuffer(got, np.float32), want)


@pytest.mark.parametrize(
    ("datatype", "dtype"), [("UINT8", "bool"), ("INT64", "int32"), ("FP32", "float64"), ("FP32", "int64")]
)
def test_the_tensors_own_type_is_taken_where_nothing_is_done_to_it(datatype: str, dtype: str) -> None:
    """Samples of another type (NumPy's int64, uint8 for bool) do not shut out who sends what the model says."""
    encoder = InputEncoder(tensor("x", [3], dtype, datatype=datatype))
    own = np.array([0, 1, 1], dtype)
    word = {"bool": "BOOL", "int32": "INT32", "float64": "FP64", "int64": "INT64"}[dtype]
    assert encoder.encode(own.tobytes(), word, [3]) == own.tobytes()
    sent = own.astype({"UINT8": "uint8", "INT64": "int64", "FP32": "float32"}[datatype])
    assert encoder.encode(sent.tobytes(), datatype, [3]) == own.tobytes()
    prepared = tensor("x", [3], dtype, datatype=datatype, preprocess={"scale": 0.5, "mean": [0], "std": [1]})
    assert not InputEncoder(prepared).accepts(word)


@pytest.mark.parametrize(
    ("dtype", "datatype"), [("float32", "FP32"), ("int32", "INT32"), ("bool", "BOOL"), ("int64", "FP32")]
)
def test_outputs_without_a_scale_are_passed_on_or_widened(dtype: str, datatype: str) -> None:
    stored = np.array([0, 1, 1], dtype)
    decoder = OutputDecoder(tensor("y", [3], dtype, datatype=datatype))
    numbers = decoder.numbers(decoder.decode(stored.tobytes()))
    assert numbers == [0, 1, 1] and type(numbers[0]) is {"BOOL": bool, "INT32": int}.get(datatype, float)


def test_classify_orders_rows_and_keeps_ties_by_index() -> None:
    strings, shape = classify([0.5, 0.5, 0.1, 0.0, 2.0, 1.0], [2, 3], 2, ["a", "b"])
    assert shape == [2, 2]
    assert strings == ["0.500000:0:a", "0.500000:1:b", "2.000000:1:b", "1.000000:2"]


def test_labels_are_of_the_outputs_that_have_a_value_for_each() -> None:
    """Of a model of several outputs, the names of one's classes are nobody else's."""
    decoder = OutputDecoder(tensor("y", [1, 4, 2]))
    assert decoder.named_by(["no", "yes"]) == ["no", "yes"]
    assert decoder.named_by(["a", "b", "c"]) == decoder.named_by(["one"]) == decoder.named_by([]) == ()


def test_what_is_no_number_is_no_class_before_others() -> None:
    nan = float("nan")
    assert classify([nan, 0.5, nan, 0.75], [1, 4], 3, [])[0] == ["0.750000:3", "0.500000:1", "nan:0"]


@pytest.mark.parametrize("value", [1.5, 2.0**31, -(2.0**32)])
def test_an_index_is_a_whole_number(value: float) -> None:
    encoder = InputEncoder(tensor("ids", [1, 2], "int32", datatype="INT32"))
    whole = np.array([[7, -3]], np.float32)
    assert np.frombuffer(encoder.encode(whole.tobytes(), "FP32", [1, 2]), np.int32).tolist() == [7, -3]
    with pytest.raises(
        Refused, match=r"input 'ids': takes whole numbers, -2147483648 to .* 1 of 2 are none of these"
    ):
        encoder.encode(np.array([[7, value]], np.float64).astype(np.float32).tobytes(), "FP32", [1, 2])


def test_a_bool_is_nothing_but_0_or_1() -> None:
    encoder = InputEncoder(tensor("mask", [1, 3], "bool", datatype="BOOL"))
    assert encoder.encode(b"\0\1\1", "BOOL", [1, 3]) == b"\0\1\1"
    with pytest.raises(Refused, match="0 or 1"):
        encoder.encode(b"\0\2\1", "BOOL", [1, 3])
    with pytest.raises(Refused, match="datatype FP32; wanted BOOL"):
        encoder.encode(bytes(12), "FP32", [1, 3])


@pytest.mark.parametrize(
    ("dtype", "scale", "zero"),
    [("int8", 0.1, -7), ("uint8", 0.5, 128), ("int16", 0.1, 0), ("float32", None, 0), ("int32", None, 0)],
)
def test_zeros_are_real_ones(dtype: str, scale: float | None, zero: int) -> None:
    """A warm-up with zero bytes would be the middle of an int8 input's range: an index beyond a small table's end."""
    encoder = InputEncoder(tensor("x", [1, 3], dtype, scale, zero, datatype="FP32"))
    assert encoder.zeros() == bytes(encoder.encode(np.zeros((1, 3), np.float32).tobytes(), "FP32", [1, 3]))
