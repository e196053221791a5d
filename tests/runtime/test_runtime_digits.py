"""Arrays of small numbers read beside json: the same documents, and nothing taken that json would refuse."""

from __future__ import annotations

import json
import math
from typing import Any

import es_json
import pytest
from es_digits import bytes_of
from es_errors import Refused
from es_json import parse_json
from hypothesis import given, settings
from hypothesis import strategies as st

DIRT = [*"0123456789,[]. -\t\n\r!e", ", ", "00", "256", "], [", "],[", "] ", " [", ""]
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
bytes_ = st.one_of(st.integers(0, 255), st.sampled_from([0, 9, 10, 99, 100, 199, 200, 255]))


def nested(values: list[Any], shape: list[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        values = [values[i : i + size] for i in range(0, len(values), size)]
    return values


@st.composite
def arrays(draw: st.DrawFn) -> tuple[list[int], list[int], str]:
    """(shape, values, their JSON in one of the two usual spellings, flat or nested)."""
    shape = draw(shapes)
    total = math.prod(shape)
    values = draw(st.lists(bytes_, min_size=total, max_size=total))
    separators = draw(st.sampled_from([(", ", ": "), (",", ":")]))
    written = nested(values, shape) if draw(st.booleans()) else values
    return shape, values, json.dumps(written, separators=separators)


@given(arrays())
@settings(deadline=None, max_examples=200)
def test_usual_spellings_are_read(array: tuple[list[int], list[int], str]) -> None:
    shape, values, text = array
    assert bytes_of(text.encode(), shape) == bytes(values)


def flattened(found: Any, shape: list[int]) -> list[int]:
    """Return the numbers of a list nested as `shape` says; raises ValueError."""
    if not shape:
        if type(found) is not int or not 0 <= found < 256:
            raise ValueError
        return [found]
    if not isinstance(found, list) or len(found) != shape[0]:
        raise ValueError
    return [value for row in found for value in flattened(row, shape[1:])]


def read(text: str, shape: list[int]) -> list[int] | None:
    """The reference: json, then every number by itself; None where it is no such array."""
    try:
        found = json.loads(text)
        is_flat = isinstance(found, list) and bool(found) and not isinstance(found[0], list)
        return flattened(found, [math.prod(shape)] if is_flat else shape)
    except ValueError:
        return None


@given(
    arrays(), st.lists(st.tuples(st.integers(0, 300), st.sampled_from(DIRT), st.integers(0, 2)), max_size=3)
)
@settings(deadline=None, max_examples=500)
def test_what_is_taken_is_what_json_reads(
    array: tuple[list[int], list[int], str], changes: list[tuple[int, str, int]]
) -> None:
    shape, _, text = array
    inner = text[1:-1]
    for at, dirt, cut in changes:
        at %= len(inner) + 1
        inner = inner[:at] + dirt + inner[at + cut :]
    found = bytes_of(f"[{inner}]".encode(), shape)
    assert found is None or list(found) == read(f"[{inner}]", shape)


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3, 256]", "[1, 2, 3, 299]", "[1, 2, 3, 300]", "[1, 2, 3, 04]", "[1, 2, 3, 004]", "[1, 2, 3, 00]",
        "[1, 2, 3, -4]", "[1, 2, 3, 4.0]", "[1, 2, 3]", "[1, 2, 3, 4, 5]", "[1, 2 3, 4]", "[1,2 3,4]", "[1, 2,3, 4]",
        "[,1,2,3,4]", "[1,2,3,4,]", "[1,,3,4]", "[1, , 3, 4]", "[1, 2\t3, 4]", "[1,2\t3,4]", "[1,2\n,3,4]",
        "[[1, 2], [3, 4]", "[[1, 2], [3], 4]", "[[1, 2], [3, 4]5]", "[[1, 2]5, [, 4]]", "[[1, 2, 3, 4]]",
        "[[1, 2], 3[, 4]]", "[[1, 2, [3], 4]]", "[true, 2, 3, 4]", "[1, 2, 3, 1e0]", '["1", 2, 3, 4]', "[]", "[[], []]",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_json(text: str) -> None:
    assert bytes_of(text.encode(), [2, 2]) is None


def body(data: str, shape: str = "[2, 2]", datatype: str = "UINT8", more: str = "") -> bytes:
    text = '{"id": "é", "inputs": [{"name": "x", "datatype": "%s", "shape": %s, "data": %s%s}]}'
    return (text % (datatype, shape, data, more)).encode()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bodies too."""
    monkeypatch.setattr(es_json, "_SHORT", 0)


def test_an_array_is_taken_out_and_the_rest_is_read_by_json() -> None:
    for data in ("[1, 2, 3, 255]", "[[1, 2], [3, 255]]", "[1,2,3,255]"):
        document = parse_json(body(data))
        assert document["id"] == "é"
        item = {"name": "x", "datatype": "UINT8", "shape": [2, 2], "data": b"\1\2\3\xff"}
        assert document["inputs"] == [item]


@pytest.mark.parametrize(
    "sent",
    [
        body("[1, 2, 3, 4]", datatype="FP32"),
        body("[1, 2, 3, 4]", shape="[4, 2]"),
        body("[1, 2, 3, 4]", shape="[4000000000000]"),
        body("[1, 2, 3, 4]", shape="[true, 4]"),
        body("[1, 2, 3, 4]", shape='"x"'),
        body("[1, 2, 3, 4]", shape="4"),
        body("[1, 2, 3, 4]", more=', "data": [1, 2, 3, 4]'),
        body("[1, 2, 3, 4]", more=', "data": null'),
        body("[1, 2, 3, 4]", more=', "note": "NaN"'),
        body("[1, 2, 3, 300]"),
        b'{"data": [1, 2, 3, 4], "inputs": []}',
        b'{"inputs": {"data": [1, 2, 3, 4]}}',
        b'{"inputs": [{"x\\"data": [1, 2, 3, 4]}]}',
        b'{"inputs": [{"x": "\\"data\\": [1, 2, 3, 4]", "data": 5}]}',
        b'{"inputs": [{"parameters": {"data": [1, 2, 3, 4]}, "data": [5]}]}',
    ],
)
def test_where_it_is_not_an_inputs_data_json_reads_it_all(sent: bytes) -> None:
    assert parse_json(sent) == json.loads(sent)


@pytest.mark.parametrize(
    "wrong",
    [
        body("[1, 2, 3, 4]", more=', "note": NaN'),
        body("[1, 2, 3, 4]", more=', "note": -Infinity'),
        body("[1, 2, 3, 4]", more=","),
        body("[1, 2, 3, 4]") + b"x",
        body("[1, 2, 3, 4]")[:-1],
        body("[1, 2, 3, 4]").replace("é".encode(), b"\xff"),
        b'{"inputs": ["x" "data": [1, 2, 3, 4]]}',
        b'"data": [1, 2, 3, 4]',
        b'{"inputs": [{"data": [1, 2, 3, 4',
        body("[1, 2, 3, 4]", more=', "deep": ' + "[" * 200000),
    ],
)
def test_what_json_refuses_is_refused_in_its_words(wrong: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused) as found:
        parse_json(wrong)
    monkeypatch.setattr(es_json, "_SHORT", 10**9)
    with pytest.raises(Refused) as wanted:
        parse_json(wrong)
    assert (found.value.status, found.value.reason) == (wanted.value.status, wanted.value.reason)
