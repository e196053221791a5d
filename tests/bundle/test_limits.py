"""limits.body_bytes: as set, else from the model's own tensors; a limit that holds no request is refused early."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeship.bundle.limits import (
    binary_request_bytes,
    body_bytes,
    check_body_limit,
    golden_count,
    service_limits,
)
from edgeship.bundle.service import DATATYPES
from edgeship.errors import InputError
from edgeship.project.schema import LEAST_BODY_BYTES, Limits

ROOT = Path(__file__).resolve().parents[2]


def tensor(shape: list[int], datatype: str = "FP32", inner: list[int] | None = None) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, "tensor": {"shape": inner or shape}}


def variant(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"recipe": "r", "inputs": inputs, "outputs": outputs}


SMALL = variant([tensor([1, 10])], [tensor([1, 2])])
YOLO = variant([tensor([1, 640, 640, 3])], [tensor([1, 84, 8400])])


def longest(datatype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the values of a datatype whose JSON is longest."""
    dtype = next(np.dtype(name) for name, known in DATATYPES.items() if known == datatype)
    if dtype.kind == "b":
        return np.zeros(shape, bool)
    if dtype.kind == "f":
        return np.full(shape, -np.finfo(np.float32).tiny if dtype.itemsize > 2 else -6.104e-05, dtype)
    info = np.iinfo(dtype)
    return np.full(shape, info.min if info.min < 0 else info.max, dtype)


@given(st.sampled_from(sorted(DATATYPES.values())), st.sampled_from([(1, 900, 1), (1, 30, 30), (900,)]))
def test_a_request_as_json_fits_whatever_it_holds(datatype: str, shape: tuple[int, ...]) -> None:
    """A thousand of them, so that the 8 MiB that every model has do not hide a wrong sum."""
    values = longest(datatype, shape)
    sent = len(json.dumps(values.tolist())) * 1000
    entry = variant([tensor([shape[0] * 1000, *shape[1:]], datatype)], [tensor([1, 1])])
    assert body_bytes([entry]) >= sent
    if values.dtype.kind in "iu":  # FP32 is taken for integers as well
        assert body_bytes([entry]) >= len(json.dumps(longest("FP32", shape).tolist())) * 1000


def test_small_models_keep_what_every_model_has() -> None:
    assert service_limits(Limits(), [SMALL])["body_bytes"] == LEAST_BODY_BYTES == 8 << 20


def test_the_limit_follows_from_both_ways_and_every_variant() -> None:
    elements = 640 * 640 * 3
    limit = body_bytes([YOLO])
    assert 26 * elements < limit < 34 * elements and limit % (1 << 20) == 0
    back = variant(YOLO["outputs"], [tensor([1, 640, 640, 3])])
    assert body_bytes([back]) == limit
    assert body_bytes([SMALL, YOLO]) == limit
    bytes_in = variant([tensor([1, 640, 640, 3], "UINT8")], [tensor([1, 2])])
    assert body_bytes([bytes_in]) == limit


def test_open_sizes_count_as_the_models_own() -> None:
    opened = variant([tensor([1, -1, -1, 3], "FP32", [1, 640, 640, 3])], [tensor([1, 2])])
    assert body_bytes([opened]) == body_bytes([variant([tensor([1, 640, 640, 3])], [tensor([1, 2])])])


def test_a_limit_that_is_set_is_kept() -> None:
    assert service_limits(Limits(body_bytes=6_000_000), [YOLO])["body_bytes"] == 6_000_000
    needed = binary_request_bytes(YOLO["inputs"])
    assert 640 * 640 * 3 * 4 < needed < 640 * 640 * 3 * 4 + 200
    check_body_limit(Limits(body_bytes=needed), YOLO)


def test_what_all_connections_hold_follows_from_the_largest_request() -> None:
    assert service_limits(Limits(), [SMALL])["buffered_bytes"] == 16 << 20
    assert service_limits(Limits(), [YOLO])["buffered_bytes"] == 2 * body_bytes([YOLO])
    held = service_limits(Limits(buffered_bodies=5), [YOLO])
    assert held["buffered_bytes"] == 5 * body_bytes([YOLO]) and "buffered_bodies" not in held


def test_a_limit_that_holds_no_request_is_refused_in_words() -> None:
    needed = binary_request_bytes(YOLO["inputs"])
    with pytest.raises(InputError) as caught:
        service_limits(Limits(body_bytes=needed - 1), [SMALL, YOLO])
    error = caught.value
    assert error.reference == "body-limit"
    assert (
        error.message == f"service.limits.body_bytes: {needed - 1} is too small for one request of this model"
    )
    assert error.context["inputs"] == "x FP32 [1, 640, 640, 3]"
    assert error.context["wanted"].startswith(f"{needed} at least")
    assert "remove body_bytes" in str(error.hint)


def test_a_bundle_carries_it(
    make: Callable[..., Any], profile_of: Callable[[str], Any], tmp_path: Path
) -> None:
    """What the service reads is the number, never `null`."""
    import tarfile

    bundle = make(profile_of("host"), tmp_path / "out")
    with tarfile.open(bundle.path) as archive:
        held = archive.extractfile("service.json")
        assert held is not None
        assert json.load(held)["limits"]["body_bytes"] == LEAST_BODY_BYTES


def test_golden_vectors_of_several_variants_share_their_room() -> None:
    large = variant([tensor([1, 512, 512, 3])], [tensor([1, 10])])
    assert [golden_count(None, large, among=n) for n in (1, 2, 9)] == [5, 3, 3]
    assert golden_count(None, SMALL, among=9) == 8 and golden_count(20, large, among=9) == 20


@pytest.mark.parametrize(
    ("entry", "count"),
    [
        (SMALL, 8),
        (variant([tensor([1, 224, 224, 3])], [tensor([1, 1000])]), 8),
        (YOLO, 3),
        (variant([tensor([1, 512, 512, 4])], [tensor([1, 512, 512, 4])]), 3),
        (variant([tensor([1, 512, 512, 3])], [tensor([1, 10])]), 5),
    ],
)
def test_golden_vectors_of_large_tensors_are_fewer_unless_a_number_was_asked_for(
    entry: dict[str, Any], count: int
) -> None:
    assert golden_count(None, entry) == count
    assert golden_count(20, entry) == 20
