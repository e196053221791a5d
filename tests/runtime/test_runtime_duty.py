"""Duty of periodic jobs and stillness of streams: properties of the two pure rules."""

from __future__ import annotations

import array

import es_duty
import es_still
import pytest
from es_duty import duty, share
from es_still import Still, change
from hypothesis import given, settings
from hypothesis import strategies as st

shares = st.floats(0.0, 1.0)
loads = st.one_of(st.none(), st.floats(0.0, 10.0), st.just(float("nan")))


@given(shares, loads, st.integers(1, 200))
@settings(deadline=None, max_examples=200)
def test_work_stays_a_share_and_one_item_is_the_least(work: float, load: float | None, items: int) -> None:
    after = duty(work, load, items=items)
    assert 1.0 / items <= after <= 1.0
    assert 1 <= share(after, items) <= items
    if load is None or load != load:
        assert after == max(work, 1.0 / items)  # Unknown is neither idle nor busy.


@given(shares, st.floats(0.0, 10.0), st.floats(0.0, 10.0), st.integers(1, 200))
@settings(deadline=None, max_examples=200)
def test_more_load_never_gives_more_work(work: float, load: float, other: float, items: int) -> None:
    low, high = sorted((load, other))
    assert duty(work, high, items=items) <= duty(work, low, items=items)


@given(shares, st.floats(0.05, 20.0), st.integers(1, 100))
@settings(deadline=None, max_examples=100)
def test_it_converges_to_the_target_whatever_it_began_with(work: float, full: float, items: int) -> None:
    """`full` is the load of the job's whole work."""
    seen = []
    for period in range(260):
        if period >= 200:
            seen.append(full * work)
        work = duty(work, full * work, items=items)
    one = full / items
    assert max(seen) <= max(0.85, one) + one + 1e-9
    assert min(seen) >= min(full, max(0.75 * 0.7, one)) - 1e-9
    if one <= 0.1:  # An item is no larger than the band: it comes to rest, inside or with all of the work.
        assert len(set(seen)) == 1
        assert full == pytest.approx(seen[0]) or 0.75 <= seen[0] <= 0.85


@given(shares, shares, st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60), st.integers(5, 50))
@settings(deadline=None, max_examples=100)
def test_two_jobs_come_to_equal_shares(one: float, other: float, rest: list[float], items: int) -> None:
    """Two jobs on one device, and other work that comes and goes: no step takes them apart, each cut brings them
    together."""
    for busy in rest:
        gap, load = abs(one - other), one + other + busy
        one, other = duty(one, load, items=items), duty(other, load, items=items)
        assert abs(one - other) <= (0.7 if load > 0.85 else 1.0) * gap + 1e-9


def test_the_rule_in_figures() -> None:
    assert duty(1.0, 0.9, items=10) == pytest.approx(0.7)
    assert duty(0.5, 0.5, items=10) == pytest.approx(0.6)
    assert duty(0.5, 0.84, items=10) == duty(0.5, 0.76, items=10) == 0.5
    assert [share(work, 10) for work in (0.0, 0.05, 0.1 + 0.2, 0.31, 1.0)] == [1, 1, 3, 4, 10]
    assert es_duty.share(1.0, 0) == 0


def sample(data: bytes, datatype: str = "UINT8") -> list[tuple[bytes, str, list[int]]]:
    return [(data, datatype, [len(data)])]


def floats(values: list[float]) -> bytes:
    return array.array("f", values).tobytes()


pairs = st.integers(0, 300).flatmap(
    lambda n: st.tuples(st.binary(min_size=n, max_size=n), st.binary(min_size=n, max_size=n))
)


@given(pairs, st.sampled_from(["UINT8", "INT8", "FP32", "INT32"]))
@settings(deadline=None, max_examples=300)
def test_change_is_symmetric_and_a_share(pair: tuple[bytes, bytes], datatype: str) -> None:
    a, b = (data[: len(data) // 4 * 4] for data in pair)
    found = change(a, b, datatype)
    assert found == change(b, a, datatype)
    assert 0.0 <= found <= 1.0 or found == float("inf")
    if datatype in ("UINT8", "INT8"):
        signed = [(v - 256 if v > 127 and datatype == "INT8" else v) for v in a + b]
        apart = sum(abs(x - y) for x, y in zip(signed, signed[len(a) :], strict=False))
        assert found == pytest.approx(apart / 255 / max(1, len(a)))


@given(st.binary(min_size=1, max_size=50), st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=50)
def test_the_first_sample_is_never_skipped_and_the_same_one_always(data: bytes, limit: float) -> None:
    still = Still(limit)
    assert not still.same("cam", sample(data), 0.0)
    still.computed("cam", sample(data), 0.0, "answer")
    assert still.same("cam", sample(data), 1.0)
    assert still.answer("cam") == "answer"
    assert not still.same("another", sample(data), 1.0)
    assert still.answer("another") is None


@given(st.integers(1, 40), st.floats(0.01, 0.5))
@settings(deadline=None, max_examples=50)
def test_a_slow_drift_is_noticed(step: int, limit: float) -> None:
    """Each frame differs from the one before by less than the limit; what counts is the distance from the one
    computed."""
    still, computed = Still(limit, longest=1e9), 0
    still.computed("cam", sample(bytes(100)), 0.0, None)
    for level in range(0, 256, step):
        frame = sample(bytes([level]) * 100)
        assert still.same("cam", frame, 1.0) == (abs(level - computed) / 255.0 <= limit)
        if not still.same("cam", frame, 1.0):
            still.computed("cam", frame, 1.0, None)
            computed = level


def test_it_wakes_on_change_after_the_longest_time_and_where_nothing_compares() -> None:
    still = Still(0.02, longest=5.0)
    still.computed("cam", sample(bytes(100)), 100.0, "dark")
    assert still.same("cam", sample(bytes([5]) * 100), 104.9)
    assert not still.same("cam", sample(bytes([6]) * 100), 104.9)
    assert not still.same("cam", sample(bytes(100)), 105.0)
    assert not still.same("cam", sample(bytes(100)), 99.0)  # A clock that went back tells nothing.
    assert not still.same("cam", sample(bytes(100), "INT8"), 101.0)
    assert not still.same("cam", sample(bytes(101)), 101.0)
    assert not still.same("cam", sample(bytes(100)) * 2, 101.0)
    assert not Still(None).same("cam", sample(bytes(100)), 101.0)


def test_floats_are_measured_by_their_own_range_and_what_is_no_number_is_never_still() -> None:
    wave = [float(i % 11) for i in range(1000)]
    assert change(floats(wave), floats([v + 0.1 for v in wave]), "FP32") == pytest.approx(0.1 / 10.1)
    assert change(floats([3.0] * 9), floats([3.0] * 9), "FP32") == 0.0
    assert change(floats([3.0] * 9), floats([4.0] * 9), "FP32") == 1.0
    for wrong in (float("nan"), float("inf")):
        assert change(floats([1.0, wrong]), floats([1.0, wrong]), "FP32") == float("inf")
        assert change(floats([wrong, 1.0]), floats([1.0, 1.0]), "FP32") == float("inf")


def test_a_large_sample_is_looked_at_with_an_odd_step_and_streams_are_bounded() -> None:
    frame = bytearray(320 * 240 * 3)
    step = es_still._stride(len(frame), es_still.LOOKED_AT)
    assert step % 2 == 1 and len(frame) / step <= es_still.LOOKED_AT < len(frame) / (step - 2)
    moved = bytearray(frame)
    moved[320 * 3 * 100 : 320 * 3 * 140] = bytes([200]) * (320 * 3 * 40)  # A bar across a sixth of it.
    assert change(bytes(frame), bytes(moved), "UINT8") == pytest.approx(200 / 255 / 6, rel=0.02)
    still = Still(0.1)
    for number in range(100):
        still.computed(str(number), sample(bytes(4)), 0.0, number)
        still.same("0", sample(bytes(4)), 0.0)  # Asked for all the time, so it stays.
    assert len(still) == es_still.STREAMS
    assert still.answer("0") == 0 and still.answer("99") == 99 and still.answer("1") is None
