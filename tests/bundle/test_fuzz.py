"""Hostile manifests, archives, signatures and policies: read, or refused with a reason, and never anything else.

A seeded sample runs with the tests. 100,000 inputs, shared out over the readers:

    EDGESHIP_FUZZ=100000 python -m pytest tests/bundle/test_fuzz.py --timeout 3600
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib.util
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from edgeship.bundle import envelope
from edgeship.bundle.seal import open_bundle, parse_manifest, read_manifest
from edgeship.bundle.sign import new_key, sign
from edgeship.cli.deploy import marked
from edgeship.deploy.ground import Allowed
from edgeship.deploy.preflight import preflight, service_wanted
from edgeship.device.facts import parse_facts
from edgeship.device.ship import helper_source
from edgeship.digest import canonical_json, sha256_bytes, write_tar
from edgeship.errors import InputError
from edgeship.report.inspection import bundle_text
from edgeship.values import Bundle, DeployReport, SignedStatement, Unavailable

INPUTS = int(os.environ.get("EDGESHIP_FUZZ", "2000"))
FILES = {"service.json": b"{}\n", "models/m.tflite": b"\0" * 700, "lib/x.so": b"elf"}


def share(part: float) -> Any:
    """Return the settings for a reader that gets `part` of all inputs; the order of inputs is always the same."""
    return settings(
        max_examples=max(20, int(INPUTS * part)),
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["../x", "/etc/passwd", "a//b", "a/../b", ".", "..", "", "a\0b", "A/b", "a/b", "manifest.json", "x" * 500,
     "signatures/0123456789abcdef.sig", "nul\n", "C:\\x", "con\u202e", "models/m.tflite", "MODELS/m.tflite"]
) | st.text(max_size=20)  # fmt: skip


@functools.cache
def helper() -> ModuleType:
    """Return the device's helper as a module."""
    folder = Path(tempfile.mkdtemp(prefix="edgeship-fuzz-"))
    path = folder / "es.py"
    path.write_bytes(helper_source())
    spec = importlib.util.spec_from_file_location("es_helper_fuzzed", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest(files: dict[str, bytes] = FILES) -> dict[str, Any]:
    return {
        "schema": "edgeship.manifest/1", "app": "a", "version": "1", "target": "t", "requires": {}, "engine": {},
        "chosen": "c", "variants": [], "provenance": {},
        "files": {n: {"sha256": sha256_bytes(d), "bytes": len(d), "executable": False} for n, d in files.items()},
    }  # fmt: skip


@functools.cache
def signed() -> SignedStatement:
    """Return a sound signature over the release of `manifest()`."""
    with tempfile.TemporaryDirectory() as folder:
        new_key(Path(folder) / "key", comment="fuzz", passphrase=False)
        head = canonical_json(manifest())
        bundle = Bundle(
            path=Path("x"),
            sha256="",
            bytes=0,
            release=sha256_bytes(head),
            app="a",
            target="t",
            manifest=manifest(),
        )
        return sign(bundle, Path(folder) / "key", now=1_800_000_000).signatures[0]


@functools.cache
def archive() -> bytes:
    """Return a sound signed archive, not compressed."""
    stream = io.BytesIO()
    members = envelope.members([signed()])
    write_tar(stream, {"manifest.json": canonical_json(manifest()), **FILES, **members})
    return stream.getvalue()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Return `data` with bytes changed, cut out, doubled or put in."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.sampled_from([1, 1, 2, 8, 100, 512]))
        how = draw(st.sampled_from(["flip", "cut", "insert", "double", "end", "field"]))
        if how == "flip":
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at] + data[at + size :]
        elif how == "insert":
            data = data[:at] + draw(st.binary(max_size=size)) + data[at:]
        elif how == "double":
            data = data[: at + size] + data[at:]
        elif how == "end":
            data = data[:at]
        else:  # one of tar's header fields
            put = draw(st.sampled_from([b"7777777777", b"\xff" * 8, b"5", b"x", b"S", b"1", b"\0"]))
            block = at // 512 * 512 + draw(st.sampled_from([0, 100, 124, 136, 148, 156, 157, 257, 345]))
            data = data[:block] + put + data[block + len(put) :]
    return data


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Return an archive whose members are of any type, name and size, after a manifest that may name them."""
    stream = io.BytesIO()
    names = draw(st.lists(NAMES, max_size=4))
    head = canonical_json(manifest({n.encode("utf-8", "replace").decode(): b"x" for n in names}))
    with tarfile.open(
        fileobj=stream, mode="w", format=draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    ) as tar:
        for name in draw(st.permutations(["manifest.json", *names])):
            data = head if name == "manifest.json" else b"x"
            info = tarfile.TarInfo(name.replace("\0", ""))
            info.type = draw(
                st.sampled_from(
                    [tarfile.REGTYPE] * 6
                    + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
                       tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE, b"Z"]
                )
            )  # fmt: skip
            info.size = len(data) if info.type == tarfile.REGTYPE else 0
            info.linkname = draw(st.sampled_from(["", "/etc/passwd", "../../x", "manifest.json"]))
            info.mode = draw(st.sampled_from([0o644, 0o755, 0o4755]))
            try:
                tar.addfile(info, io.BytesIO(data))
            except (UnicodeEncodeError, ValueError):
                continue
    return stream.getvalue()


def read_both(data: bytes) -> bool:
    """Open the bundle in `data` both ways; return whether it was taken."""
    with tempfile.NamedTemporaryFile(suffix=".edgeship") as stream:
        stream.write(data)
        stream.flush()
        path = Path(stream.name)
        for reader in (read_manifest, open_bundle):
            try:
                reader(path)
            except InputError as error:
                assert error.reference in {"bundle-corrupt", "bundle-too-new"}
                taken = False
            else:
                taken = True
    return taken


def test_the_sound_archive_is_taken() -> None:
    assert read_both(gzip.compress(archive(), mtime=0))


def released(data: bytes) -> dict[str, bytes]:
    """Return what a tar holds besides signatures, which only the device judges."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if not m.name.startswith("signatures/")}  # type: ignore[union-attr]


@seed(3)
@share(0.2)
@given(st.data())
def test_damaged_archives(data: st.DataObject) -> None:
    """A damaged archive that is taken all the same holds the very release that was sealed."""
    changed = data.draw(damaged(archive()))
    taken = read_both(gzip.compress(changed, compresslevel=1, mtime=0))
    right = not taken or released(changed) == released(archive())
    assert right and (taken or changed != archive())


@seed(3)
@share(0.05)
@given(st.data())
def test_damaged_compression(data: st.DataObject) -> None:
    read_both(data.draw(damaged(gzip.compress(archive(), mtime=0))))


@seed(3)
@share(0.15)
@given(archives())
def test_archives_of_anything(data: bytes) -> None:
    read_both(gzip.compress(data, compresslevel=1, mtime=0))


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    """Return a manifest with any value in any place, canonical or damaged."""
    value: Any = manifest()
    for _ in range(draw(st.integers(1, 3))):
        place = value
        while isinstance(place, dict) and place and draw(st.booleans()):
            key = draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict):
                break
            place = place[key]
        key = draw(st.sampled_from(sorted(place)) | NAMES if place else NAMES)
        place[key] = draw(
            JSON
            | st.sampled_from(
                [
                    [],
                    {},
                    -1,
                    1 << 70,
                    float("nan"),
                    float("inf"),
                    "\ud800",
                    "f" * 64,
                    "F" * 64,
                    "0" * 64 + "\n",
                ]
            )
        )
    try:
        data = canonical_json(value)
    except ValueError:
        data = json.dumps(value).encode()
    return draw(st.one_of(st.just(data), damaged(data), st.just(b"[" * 100_000)))


REQUIRED: dict[str, Any] = {
    "machine": "x86_64", "libc": {"kind": "glibc", "version": "2.34"}, "libstdcxx": None, "python": ["3.11"],
    "cpu_flags": ["avx"], "packages": ["numpy>=1.20"], "libraries": ["libedgetpu.so.1"], "ram_mb": 8, "disk_bytes": 9,
    "service": "auto", "devices": ["/dev/apex_0", {"name": "edgetpu", "any_of": ["/dev/apex_*"]}],
    "delegate": {"library": "libedgetpu.so.1", "version": "16.0"},
}  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def demanding(draw: st.DrawFn) -> dict[str, Any]:
    """Return a manifest, sound but for any value in a few places: most of them of what it requires of a device."""
    metric = {"name": "top1", "value": 1.5, "drop": 0}
    compiled = {"compiled": False, "reason": "r"}
    variants = [{"recipe": "c", "bytes": 1, "metric": metric, "compile": compiled}]
    value: dict[str, Any] = json.loads(
        json.dumps({**manifest({}), "requires": REQUIRED, "variants": variants})
    )
    for _ in range(draw(st.integers(1, 3))):
        within = draw(st.sampled_from([value["requires"]] * 3 + [value]))
        if within := places(within):
            place, key = draw(st.sampled_from(within))
            place[key] = draw(
                JSON | st.sampled_from([-1, 1 << 70, 1e300, "\x1b[2J", "9" * 5000, "x\ny", [[]], None])
            )
    return value


@seed(3)
@share(0.15)
@given(demanding())
def test_what_is_required_is_sound_or_refused(value: dict[str, Any]) -> None:
    """What is taken can be held against a device, and shown."""
    try:
        data = canonical_json(value)
    except ValueError:  # infinity
        data = json.dumps(value).encode()
    try:
        found = parse_manifest(Path("x.edgeship"), data)
    except InputError as error:
        assert error.reference == "bundle-corrupt", error
        return
    bundle = Bundle(
        path=Path("x"), sha256="", bytes=0, release="0" * 64, app=found["app"], target=found["target"], manifest=found
    )  # fmt: skip
    preflight(facts(), found, Allowed(), signed_at=None)
    shown = bundle_text(bundle) + service_wanted(bundle)
    assert "\x1b" not in shown
    marked(REPORT, bundle)


@functools.cache
def facts() -> Any:
    """Return a device that tells of everything."""
    return parse_facts(
        "machine=x86_64\nlibc=glibc 2.36\npython=3.11.2\nflags=avx\nmemory_kb=900000\ndisk_free_kb=900000\n"
        "inodes_free=5000\nroot_writable=yes\nroot_fs=ext4\ninit=systemd\nuid=0\ndevice=/dev/apex_0\n"
        "library=numpy 1.26\nlibrary=libedgetpu 1\npackage=libedgetpu1-std 16.0\nend=yes\n"
    )


REPORT = DeployReport(
    host="h", app="a", target="t", release="0" * 64, from_release=None, state="failed", bytes_sent=0, seconds=0.0,
    steps=(), golden=Unavailable(reason="x"), engine=Unavailable(reason="x"), latency_ms=Unavailable(reason="x"),
    gates=(), reason="r",
)  # fmt: skip


@seed(3)
@share(0.25)
@given(manifests())
def test_manifests(data: bytes) -> None:
    """The host's reader and the device's own: both take it, or refuse it with a reason."""
    try:
        parse_manifest(Path("x.edgeship"), data)
    except InputError as error:
        assert error.reference in {"bundle-corrupt", "bundle-too-new"}
    try:
        found = helper().sound_manifest(data)
    except helper().Refusal as refusal:
        assert refusal.code == "bad-manifest"
    else:
        root = Path("/device/releases/r")
        assert all(Path(os.path.normpath(root / name)).is_relative_to(root) for name in found["files"])


@seed(3)
@share(0.15)
@given(st.data())
def test_signatures_and_statements(data: st.DataObject) -> None:
    text = data.draw(damaged(signed().statement.encode()) | JSON.map(lambda v: json.dumps(v).encode()))
    armour = data.draw(damaged(signed().signature.encode()) | st.just(signed().signature.encode()))
    stem = next(iter(envelope.members([signed()]))).rpartition(".")[0]
    with contextlib.suppress(ValueError):
        envelope.read({stem + ".json": text, stem + ".sig": armour}, sha256_bytes(canonical_json(manifest())))
    with contextlib.suppress(ValueError):
        parts = helper().signature_parts(armour.decode("latin-1"))
        if helper().key_kind(parts[0]) in helper().OWN_KEY_TYPES:
            assert not helper().holds_here(parts, text) or text == signed().statement.encode()
    try:
        helper().read_statement(text.decode("latin-1"))
    except helper().Refusal as refusal:
        assert refusal.code == "bad-statement"


@seed(3)
@share(0.1)
@given(
    st.dictionaries(st.sampled_from(["schema", "unsigned", "threshold", "max_age_days", "revoked"]), JSON)
    | JSON
)
def test_policies(value: Any) -> None:
    """A policy is sound, or there is a word on why it is not; never does one that is not sound let anything in."""
    sound = dict(helper().NEW_POLICY)
    assert helper().policy_problem(sound) is None
    if isinstance(value, dict):
        helper().policy_problem({**sound, **value})
    if helper().policy_problem(value) is None:
        assert set(value) == set(sound) and value["unsigned"] in ("allow", "refuse")


SOUND = {
    "verb": "stage", "root": "/nonexistent/edgeship", "app": "kws", "fence": 3, "tx": "a1", "release": "0" * 64,
    "ttl": 60.0, "service": "auto", "ready_seconds": 5, "prove_seconds": 5.5, "seconds": 1, "restarts": 0,
    "reason": "r", "keep": 1, "lines": 10, "limit_seconds": 5, "blobs": ["0" * 64], "signatures": [],
}  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request with any value in any field, or fields left out, or one that was damaged on the way."""
    verbs = sorted({**helper().VERBS, **helper().DEVICE_VERBS, "put": 0, "apps": 0, "": 0})
    value: Any = {**SOUND, "verb": draw(st.sampled_from(verbs))}
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(SOUND)))
        how = draw(st.integers(0, 3))
        if how == 0:
            value.pop(name, None)
        elif how == 1:
            value[name] = draw(NAMES | st.sampled_from([-1, 1 << 70, float("nan"), float("inf"), True, None]))
        else:
            value[name] = draw(JSON)
    data = json.dumps(draw(st.just(value) | JSON)).encode()
    return draw(st.one_of(st.just(data), damaged(data), st.just(b"[" * 100_000)))


@seed(3)
@share(0.1)
@given(requests())
def test_requests(data: bytes) -> None:
    """What comes through is of the kind that verbs rely on; no name leaves its folder and no wait is endless."""
    try:
        found = helper().parse_request(data)
    except helper().Refusal as refusal:
        assert refusal.code == "bad-request"
        return
    verb = found["verb"]
    assert isinstance(verb, str) and isinstance(found["root"], str)
    assert all(found.get(name) is not None for name in helper().NEEDS.get(verb, ()))
    tx, fence, ttl = (found.get(name) for name in ("tx", "fence", "ttl"))
    assert tx is None or (tx not in ("", ".", "..") and not set(tx) & set("/\0\n"))
    assert fence is None or (type(fence) is int and fence >= 0)
    assert ttl is None or 0 <= ttl <= helper().MOST_SECONDS


@pytest.mark.parametrize(
    "verb", sorted(["hello", "stage", "arm", "activate", "confirm", "revert", "collect", "put"])
)
def test_a_request_that_lacks_something_is_refused_in_words(verb: str) -> None:
    needs = helper().NEEDS.get(verb, ("app",))
    for name in needs:
        request = {**SOUND, "verb": verb}
        helper().parse_request(json.dumps(request).encode())
        del request[name]
        with pytest.raises(helper().Refusal, match=f"the request has no '{name}'"):
            helper().parse_request(json.dumps(request).encode())


@pytest.mark.parametrize("kind", ["sig", "json"])
def test_endless_members_are_not_read(kind: str) -> None:
    """A signature of 30 MB that gzip makes small: refused by its size, before it is read."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        head = canonical_json(manifest())
        info = tarfile.TarInfo("manifest.json")
        info.size = len(head)
        tar.addfile(info, io.BytesIO(head))
        long = tarfile.TarInfo(f"signatures/0123456789abcdef.{kind}")
        long.size = 30 << 20
        tar.addfile(long, io.BytesIO(b"\0" * long.size))
    assert not read_both(gzip.compress(stream.getvalue(), compresslevel=1))
