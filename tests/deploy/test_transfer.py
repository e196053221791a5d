"""Chunks, packed frames and uploads that build on what is there: any edit arrives whole, and nothing is believed."""

from __future__ import annotations

import json
import os
import random
import struct
import types
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeship.deploy import chunks, deploy, pack
from edgeship.deploy.spool import Spool
from edgeship.deploy.upload import have_fields, sending_for
from edgeship.device.ship import helper_source
from edgeship.digest import sha256_bytes
from edgeship.progress import Silent


def load_helper() -> Any:
    """Return the helper as a module."""
    module = types.ModuleType("edgeship_helper")
    exec(compile(helper_source(), "helper.py", "exec"), module.__dict__)
    return module


HELPER = load_helper()
DRAW = random.Random(5)
NOISE = DRAW.randbytes(40_000)
TEXT = json.dumps([{"name": f"layer{i}", "scale": i / 7} for i in range(900)]).encode()


def as_stream(folder: Path, data: bytes) -> Any:
    path = folder / f"stream-{DRAW.randrange(1 << 60)}"
    path.write_bytes(data)
    return path.open("rb")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 40), st.integers(0, len(chunks.STEPS) - 1))
def test_both_sides_cut_alike(data: bytes, times: int, step: int) -> None:
    content = data * times
    places = chunks.cut(content, step)
    assert places == HELPER.cut(content, step)
    assert places[0] == 0 and places[-1] == len(content) and places == sorted(set(places))
    assert all(b - a <= chunks.STEPS[step][2] for a, b in pairwise(places))


def test_the_rules_stand_alike_on_both_sides() -> None:
    assert tuple(step[1:] for step in HELPER.STEPS) == chunks.STEPS
    assert (chunks.SPREAD, chunks.DIGEST_BYTES) == (HELPER.SPREAD, HELPER.CHUNK_DIGEST_BYTES)
    assert [HELPER.step_of(size) for size in (1, 1 << 14, (1 << 14) + 1, 48_208, 504_608, 100_000_000)] == [
        0, 0, 1, 1, 2, 4,
    ]  # fmt: skip


@pytest.mark.parametrize("content", [NOISE, TEXT], ids=["weights", "text"])
def test_a_changed_byte_costs_a_chunk(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(content)
    base = chunks.read_base({**HELPER.Base(str(tmp_path / "old")).offer(), "blob": "0" * 16})
    place = len(content) // 2
    for new in (content[:place] + b"\xff" + content[place + 1 :], content[:place] + content[place + 1 :],
                content[:place] + b"added" + content[place:]):  # fmt: skip
        ops = chunks.ops_for(new, [base])
        assert sum(op.length for op in ops) == len(new)
        assert 0 < chunks.sent_bytes(ops) <= 2 * chunks.STEPS[base.step][2]


class Device:
    """A store with one old file in it, which belongs to the release in use."""

    def __init__(self, root: Path, old: bytes) -> None:
        self.place = HELPER.Place(str(root), "kws")
        self.place.prepare()
        manifest = json.dumps({"files": {"model": {"sha256": sha256_bytes(old), "bytes": len(old)}}}).encode()
        self.release = sha256_bytes(manifest)
        folder = Path(self.place.release(self.release))
        folder.mkdir()
        (folder / "manifest.json").write_bytes(manifest)
        self.old = self.store(old)
        self.store(manifest)
        HELPER.change_state(self.place, "COMMITTED", to=self.release)

    def store(self, data: bytes) -> Path:
        path = Path(self.place.blob(sha256_bytes(data)))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def have(self, new: bytes, **options: Any) -> dict[str, Any]:
        return dict(HELPER.have(self.place, {"blobs": [sha256_bytes(new)[:16]], **options}))

    def plan(self, new: bytes, **options: Any) -> tuple[dict[str, Any], bytes]:
        """Return put's request and what follows it, as the controller makes them."""
        reply = self.have(new, **options)
        bases = [chunks.read_base(offer) for offer in reply["bases"]]
        offset = reply["missing"][0].get("offset", 0)
        ops = chunks.behind(chunks.ops_for(new, bases), offset)
        at, content = offset, []
        for op in ops:
            content += [memoryview(new)[at : at + op.length]] if op.base is None else []
            at += op.length
        blob = {
            "sha256": sha256_bytes(new),
            "bytes": len(new),
            "offset": offset,
            "ops": [op.as_json() for op in ops],
        }
        if not ops:
            del blob["ops"]
        request = {"fence": 0, "blobs": [blob], "bases": [base.name for base in bases]}
        return request, b"".join(pack.frames(content, chunks.sent_bytes(ops), deflate=True))

    def put(self, request: dict[str, Any], data: bytes, folder: Path) -> int:
        with as_stream(folder, data) as stream:
            return int(HELPER.put(self.place, request, stream)["bytes"])

    def content(self, new: bytes) -> bytes | None:
        path = Path(self.place.blob(sha256_bytes(new)))
        return path.read_bytes() if path.exists() else None


TAIL_BYTES = 5 + 2
"""What deflate ends a stretch with tells nothing, so that all which was sent may be there without it: the empty block
of a flush (5 bytes, RFC 1951 3.2.4) behind the end-of-block code (at most 15 bits, 3.2.7)."""


@st.composite
def edited(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return a file and what some edits made of it."""
    old = draw(st.sampled_from([NOISE, TEXT, NOISE[:300], b"", b"\0" * 30_000, TEXT + NOISE[:20_000]]))
    new = bytearray(old)
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(new)))
        new[at : at + draw(st.integers(0, 3000))] = draw(st.binary(max_size=200))
    return old, bytes(new)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edited(), st.floats(0, 1))
def test_any_edit_arrives_whole_cut_or_not(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[bytes, bytes], where: float
) -> None:
    old, new = pair
    folder = tmp_path_factory.mktemp("edit")
    device = Device(folder / "root", old)
    if new == old:
        assert device.have(new)["missing"] == []
        return
    request, data = device.plan(new)
    cut = data[: int(len(data) * where)]
    missing = len(data) - len(cut)
    try:
        device.put(request, cut, folder)
        assert missing <= TAIL_BYTES
    except HELPER.Refusal as refused:
        assert missing > 0 and refused.code == "upload-cut" and device.content(new) is None
        device.put(*device.plan(new), folder)  # goes on behind the verified prefix
    assert device.content(new) == new


def test_a_base_damaged_before_is_not_built_on(tmp_path: Path) -> None:
    device = Device(tmp_path / "root", NOISE)
    device.old.write_bytes(NOISE[:10_000] + b"\0" * 500 + NOISE[10_500:])
    new = NOISE + b"more"
    request, data = device.plan(new)
    assert 500 < device.put(request, data, tmp_path) < 6000  # the damaged stretch travels, the rest does not
    assert device.content(new) == new


@pytest.mark.parametrize("damage", ["flipped", "shorter", "gone"])
def test_a_base_damaged_in_between_is_found_out_and_sent_whole(tmp_path: Path, damage: str) -> None:
    device = Device(tmp_path / "root", NOISE)
    new = b"before" + NOISE
    request, data = device.plan(new)
    changed = bytearray(NOISE)
    changed[20_000] ^= 1
    if damage == "gone":
        device.old.unlink()
    else:
        device.old.write_bytes(bytes(changed) if damage == "flipped" else NOISE[:30_000])
    with pytest.raises(HELPER.Refusal) as refused:
        device.put(request, data, tmp_path)
    assert refused.value.code == "base-changed" and device.content(new) is None
    request, data = device.plan(new, whole=True)
    assert (
        request["bases"] == []
        and device.put(request, data, tmp_path) == len(new) - request["blobs"][0]["offset"]
    )
    assert device.content(new) == new


def test_a_wrong_part_counts_for_nothing(tmp_path: Path) -> None:
    device = Device(tmp_path / "root", NOISE)
    folder = tmp_path / "root/cas/incoming/kws"
    folder.mkdir(parents=True)
    new = NOISE[:5000]
    (folder / f"{sha256_bytes(new)}.part").write_bytes(b"wrong from the first byte")
    request, data = device.plan(new)
    assert request["blobs"][0]["offset"] == 25
    with pytest.raises(HELPER.Refusal) as refused:  # this test's plan believes the device; Spool does not
        device.put(request, data, tmp_path)
    assert refused.value.code in ("blob-hash", "base-changed")
    assert device.put(*device.plan(new), tmp_path) < len(new) and device.content(new) == new


REQUESTS = st.fixed_dictionaries(
    {
        "fence": st.just(0),
        "bases": st.lists(st.one_of(st.just(sha256_bytes(NOISE)[:16]), st.text(max_size=20)), max_size=3),
        "blobs": st.lists(
            st.fixed_dictionaries(
                {
                    "sha256": st.sampled_from([sha256_bytes(b"x"), "0" * 64, "../../etc", ""]),
                    "bytes": st.integers(-1, 3000),
                    "offset": st.integers(-1, 3000),
                    "ops": st.lists(
                        st.one_of(
                            st.integers(-1, 3000),
                            st.lists(st.integers(-1, 1 << 40), max_size=5),
                            st.none(),
                            st.booleans(),
                        ),
                        max_size=4,
                    ),
                }
            ),
            max_size=3,
        ),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REQUESTS, st.binary(max_size=200), st.booleans())
def test_no_request_and_no_bytes_break_the_helper(
    tmp_path_factory: pytest.TempPathFactory, request_: dict[str, Any], data: bytes, framed: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    device = Device(folder / "root", NOISE)
    if framed and data:
        body = zlib.compress(data)
        data = struct.pack(">I", len(body) | pack.DEFLATED) + body
    before = {path.name: path.read_bytes() for path in (folder / "root/cas").rglob("*") if path.is_file()}
    try:
        device.put(request_, data, folder)
    except HELPER.Refusal as refused:
        assert refused.code in ("bad-request", "base-changed", "blob-hash", "upload-cut", "upload-offset")
    for path in (folder / "root/cas").rglob("*"):
        if path.is_file() and "incoming" not in path.parts:
            assert path.name in before or sha256_bytes(path.read_bytes()) == path.name
    assert {path.name for path in folder.iterdir()} <= {"root"} | {p.name for p in folder.glob("stream-*")}


def test_what_a_frame_grows_to_is_held_back(tmp_path: Path) -> None:
    body = zlib.compress(b"\0" * 30_000_000)
    with as_stream(tmp_path, struct.pack(">I", len(body) | pack.DEFLATED) + body) as stream:
        packed = HELPER.Packed(stream)
        taken = [packed.some(1000) for _ in range(200)]
    assert all(piece == b"\0" * 1000 for piece in taken)


def test_frames_say_what_was_put_in(tmp_path: Path) -> None:
    content = [
        memoryview(TEXT),
        memoryview(b""),
        memoryview(os.urandom(3_000_000)),
        memoryview(b"\1" * 2_000_000),
    ]
    whole = b"".join(content)
    for deflate in (True, False):
        heard: list[int] = []
        data = b"".join(pack.frames(content, len(whole), deflate=deflate, progress=heard.append))
        assert heard[-1] == len(whole) and heard == sorted(heard)
        assert (len(data) < len(whole)) == deflate
        with as_stream(tmp_path, data) as stream:
            packed = HELPER.Packed(stream)
            assert b"".join(iter(lambda: packed.some(77_777), b"")) == whole  # noqa: B023 - used up at once


def test_a_link_that_is_faster_than_deflating_gets_the_bytes_as_they_are() -> None:
    def sent(link_rate: float) -> int:
        now = [0.0]
        made = 0
        for data in pack.frames(
            [memoryview(TEXT * 2000)], len(TEXT) * 2000, deflate=True, clock=lambda: now[0]
        ):
            now[0] += len(data) / link_rate  # what a slow link makes us wait
            made += len(data)
        return made

    assert sent(1e5) < 0.2 * 2000 * len(TEXT)
    # Deflating takes no time by this clock, so only a sample decides: it still pays.
    assert sent(1e12) < 0.2 * 2000 * len(TEXT)
    slow = pack.Deflater(thorough=False, clock=lambda: 0.0, taken=1000, made=500, seconds=1.0)
    assert slow.pays(memoryview(TEXT), 100.0) and not slow.pays(memoryview(TEXT), 1e6)
    ticks = iter(range(1000))
    timed = pack.Deflater(thorough=False, clock=lambda: float(next(ticks)))
    assert timed.pays(memoryview(TEXT * 20), 100.0) and timed.fastest == 3 * pack.SAMPLE
    asked = next(ticks)
    assert (
        not timed.pays(memoryview(TEXT * 20), 1e6) and next(ticks) == asked + 1
    )  # no further sample is taken
    assert timed.pays(memoryview(TEXT * 20), 100.0)


def test_a_changed_model_costs_about_its_changed_bytes(remote: Any) -> None:
    weights = bytearray(DRAW.randbytes(400_000))
    one = remote.bundle("1", ballast=bytes(weights))
    assert deploy(one, remote.host, remote.options, Silent()).state == "committed"
    weights[200_000:200_100] = DRAW.randbytes(100)
    two = remote.bundle("1", ballast=bytes(weights))
    report = deploy(two, remote.host, remote.options, Silent())
    assert report.state == "committed", report.reason
    upload = next(step for step in report.steps if step.name == "upload")
    assert int(upload.detail.split()[0]) < 25_000 and report.bytes_sent < 30_000
    model = remote.root / "apps/kws/releases" / two.release / "models/model.tflite"
    assert model.read_bytes().endswith(bytes(weights))
    assert deploy(two, remote.host, remote.options, Silent()).state == "unchanged"


def test_a_spool_believes_no_part_without_its_digest(local: Any) -> None:
    bundle = local.bundle("1")
    wanted = have_fields(bundle)["blobs"]
    with Spool(bundle) as spool:
        claims = [{"blob": n, "offset": 7, "prefix_sha256": "0" * 64} for n in range(len(wanted))]
        sending = sending_for(spool, {"missing": claims, "bases": []})
        assert {blob.offset for blob in sending.blobs} == {0}
        assert sending.total == sum(blob.bytes for blob in sending.blobs) > 1000
