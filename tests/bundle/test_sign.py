"""Signing bundles with keys that people have: in files, behind passphrases, in the agent; and what leaks of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.bundle import envelope
from edgeship.bundle.seal import extract, open_bundle, put_signatures, seal
from edgeship.bundle.sign import holds, new_key, public_key, sign, sign_all
from edgeship.digest import canonical_json, sha256_bytes
from edgeship.errors import InputError
from edgeship.values import Bundle, SignedStatement

ROOT = Path(__file__).resolve().parents[2]
FILES = {"service.json": b"{}\n", "models/fp32.tflite": b"\0" * 5000, "site/run.py": b"print()\n"}
NOW = 1_800_000_000.0


def make(out: Path, version: str = "1") -> Bundle:
    """Return a small sealed bundle."""
    manifest = {
        "schema": "edgeship.manifest/1", "app": "demo", "version": version, "target": "host", "requires": {},
        "engine": {}, "chosen": "fp32", "variants": [], "provenance": {},
        "files": {
            name: {"sha256": sha256_bytes(data), "bytes": len(data), "executable": name == "site/run.py"}
            for name, data in FILES.items()
        },
    }  # fmt: skip
    return seal(FILES, manifest, executable=("site/run.py",), out=out)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "bob"):
        new_key(folder / name, comment=f"{name}@example.com", passphrase=False)
    return {name: folder / name for name in ("ann", "bob")}


def test_signing_leaves_the_release_as_it_is(tmp_path: Path, keys: dict[str, Path]) -> None:
    plain = make(tmp_path)
    signed = put_signatures(plain, sign_all(plain, [keys["ann"], keys["bob"]]).signatures)
    assert signed == open_bundle(plain.path) and signed.release == plain.release
    assert signed.sha256 != plain.sha256 and signed.path == plain.path
    assert {envelope.signer(s.signature).fingerprint for s in signed.signatures} == {
        public_key(path).fingerprint for path in keys.values()
    }
    assert all(holds(s) for s in signed.signatures)
    extract(signed, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked/signatures").exists()
    assert os.access(tmp_path / "unpacked/site/run.py", os.X_OK)
    bare = put_signatures(signed, ())
    assert bare == plain, "without signatures it is the file it was, byte for byte"


def test_what_is_signed(tmp_path: Path, keys: dict[str, Path]) -> None:
    signed = sign(make(tmp_path), keys["ann"], sequence=7, days=2, now=NOW)
    assert json.loads(signed.signatures[0].statement) == {
        "schema": "edgeship.statement/1", "release": signed.release, "app": "demo", "target": "host",
        "version": "1", "sequence": 7, "signed_at": int(NOW), "expires": int(NOW) + 2 * 86_400,
    }  # fmt: skip
    again = sign(signed, keys["ann"], now=NOW + 1)
    assert len(again.signatures) == 1
    assert envelope.statement(again.signatures[0])["sequence"] == int(NOW) + 1
    assert sign(make(tmp_path), keys["ann"], sequence=7, days=2, now=NOW) == signed, "same inputs, same bytes"


def test_ssh_keygen_itself_verifies_what_travels(tmp_path: Path, keys: dict[str, Path]) -> None:
    import tarfile

    bundle = make(tmp_path)
    put_signatures(bundle, sign(bundle, keys["ann"]).signatures)
    with tarfile.open(bundle.path) as archive:
        archive.extractall(tmp_path / "by-hand", filter="data")
    folder = tmp_path / "by-hand/signatures"
    statement, signature = next(folder.glob("*.json")), next(folder.glob("*.sig"))
    signers = tmp_path / "allowed_signers"
    signers.write_text(f'ann namespaces="edgeship" {public_key(keys["ann"]).line}\n')
    argv = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        str(signers),
        "-I",
        "ann",
        "-n",
        "edgeship",
        "-s",
        str(signature),
    ]
    assert subprocess.run(argv, input=statement.read_bytes(), capture_output=True).returncode == 0
    opened = open_bundle(bundle.path).signatures[0]
    assert holds(opened)
    assert not holds(replace(opened, statement=opened.statement.replace('"1"', '"2"')))


def swapped(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    """A signature of another release, under the name of its key."""
    return envelope.members(sign(other, key).signatures)


def halves(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    found = envelope.members(sign(bundle, key).signatures)
    return {name: data for name, data in found.items() if name.endswith(".json")}


def renamed(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    found = envelope.members(sign(bundle, key).signatures)
    return {"signatures/" + "0" * 16 + Path(name).suffix: data for name, data in found.items()}


def cut(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    found = envelope.members(sign(bundle, key).signatures)
    return {name: data[: len(data) // 2] if name.endswith(".sig") else data for name, data in found.items()}


def loose(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    found = envelope.members(sign(bundle, key).signatures)
    return {n: d.replace(b":", b": ") if n.endswith(".json") else d for n, d in found.items()}


def endless(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    found = envelope.members(sign(bundle, key).signatures)
    return {n: d + b" " * 20_000 for n, d in found.items()}


def many(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    return {f"signatures/{i:016x}.{kind}": b"{}" for i in range(17) for kind in ("json", "sig")}


def deeper(bundle: Bundle, other: Bundle, key: Path) -> dict[str, bytes]:
    return {"signatures/more/key.sig": b"x"}


TRAVELLING: dict[str, tuple[Callable[[Bundle, Bundle, Path], dict[str, bytes]], str]] = {
    "of another release": (swapped, "speaks of another release"),
    "a statement alone": (halves, "a statement without a signature, or the other way round"),
    "under another name": (renamed, "is not named after the key in it"),
    "cut": (cut, "SSH signature"),
    "not canonical": (loose, "edgeship.statement/1 document in canonical form"),
    "endless": (endless, "is too much"),
    "too many": (many, "is too much"),
    "in a deeper folder": (deeper, "is not named in the manifest"),
}


@pytest.mark.parametrize("how", TRAVELLING)
def test_bundles_with_unsound_signatures_are_refused(how: str, tmp_path: Path, keys: dict[str, Path]) -> None:
    make_members, words = TRAVELLING[how]
    bundle, other = make(tmp_path / "one"), make(tmp_path / "two", "2")
    members = make_members(bundle, other, keys["ann"])
    rewrite(bundle, members)
    with pytest.raises(InputError, match="is not a sound bundle") as caught:
        open_bundle(bundle.path)
    assert caught.value.reference == "bundle-corrupt" and words in caught.value.message


def rewrite(bundle: Bundle, members: dict[str, bytes]) -> None:
    """Write the archive again with more members in it."""
    import gzip
    import io
    import tarfile

    from edgeship.digest import write_tar

    with tarfile.open(bundle.path) as archive:
        files: dict[str, Any] = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    stream = io.BytesIO()
    write_tar(stream, {**files, **members}, executable=("site/run.py",))
    bundle.path.write_bytes(gzip.compress(stream.getvalue(), mtime=0))


def test_a_manifest_cannot_name_signatures(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    files = {
        **bundle.manifest["files"],
        "signatures/" + "0" * 16 + ".sig": bundle.manifest["files"]["service.json"],
    }
    with pytest.raises(InputError, match="is not sound"):
        open_bundle(seal(FILES, {**bundle.manifest, "files": files}, executable=(), out=tmp_path / "x").path)


def test_huge_and_sparse_members_are_refused_unread(tmp_path: Path) -> None:
    import gzip
    import io
    import tarfile
    import time

    files = {"big": {"sha256": "0" * 64, "bytes": 1 << 40, "executable": False}}
    manifest = {**make(tmp_path).manifest, "files": files}
    head = canonical_json(manifest)
    for kind, words in ((tarfile.GNUTYPE_SPARSE, "MiB"), (tarfile.REGTYPE, "MiB")):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
            info = tarfile.TarInfo("manifest.json")
            info.size = len(head)
            tar.addfile(info, io.BytesIO(head))
            sparse = tarfile.TarInfo("big")
            sparse.type, sparse.size = kind, 0
            tar.addfile(sparse)
        path = tmp_path / "sparse.edgeship"
        path.write_bytes(gzip.compress(stream.getvalue()))
        begun = time.process_time()  # what others do on this machine does not count
        with pytest.raises(InputError, match=words):
            open_bundle(path)
        assert time.process_time() - begun < 2


def test_a_sparse_member_of_honest_size_is_refused(tmp_path: Path) -> None:
    import gzip
    import io
    import tarfile

    zeros = b"\0" * 1024
    files = {"hole": {"sha256": sha256_bytes(zeros), "bytes": 1024, "executable": False}}
    head = canonical_json({**make(tmp_path).manifest, "files": files})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(head)
        tar.addfile(info, io.BytesIO(head))
        hole = tarfile.TarInfo("hole")
        body = b"1\n1023\n1\n".ljust(512, b"\0") + b"\0".ljust(512, b"\0")
        hole.size = len(body)
        hole.pax_headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole", "GNU.sparse.realsize": "1024",
        }  # fmt: skip
        tar.addfile(hole, io.BytesIO(body))
    path = tmp_path / "sparse.edgeship"
    path.write_bytes(gzip.compress(stream.getvalue()))
    with pytest.raises(InputError, match="'hole' is not a plain file"):
        open_bundle(path)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A running ssh-agent; SSH_AUTH_SOCK names it."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed")
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    for _ in range(200):
        if socket.exists():
            break
        __import__("time").sleep(0.02)
    yield socket
    process.terminate()
    process.wait()


def test_a_key_in_the_agent_signs_by_its_public_file(agent: Path, tmp_path: Path) -> None:
    key = tmp_path / "agent_key"
    new_key(key, comment="agent", passphrase=False)
    bundle = make(tmp_path)
    public = key.with_name(key.name + ".pub")
    subprocess.run(["ssh-add", "-q", str(key)], check=True)
    key.unlink()
    signed = sign(bundle, public)
    assert holds(signed.signatures[0])
    assert envelope.signer(signed.signatures[0].signature).fingerprint == public_key(public).fingerprint
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    with pytest.raises(InputError, match="could not sign"):
        sign(bundle, public)


@pytest.mark.parametrize(
    ("content", "reference"), [(None, "no-such-key"), ("hello", "key-not-usable"), ("", "key-not-usable")]
)
def test_what_is_no_key(content: str | None, reference: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
    bundle = make(tmp_path)
    before = bundle.path.read_bytes()
    with pytest.raises(InputError) as caught:
        sign(bundle, key)
    assert caught.value.reference == reference and caught.value.hint
    assert bundle.path.read_bytes() == before


def test_keys_are_not_overwritten_and_nonsense_is_no_public_key(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match="is left as it is"):
        new_key(keys["ann"], comment="x", passphrase=False)
    for text in ("", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIE"):
        path = tmp_path / "bad.pub"
        path.write_text(text)
        with pytest.raises(InputError, match="not an OpenSSH public key"):
            public_key(path)


PASSPHRASE = "correct-horse-battery-staple"


def test_secrets_stay_with_ssh_keygen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that edgeship starts is watched: neither passphrase nor private key is in any argument, environment,
    output, bundle or manifest."""
    key = tmp_path / "locked"
    real = shutil.which("ssh-keygen")
    assert real
    subprocess.run([real, "-q", "-t", "ed25519", "-N", PASSPHRASE, "-f", str(key)], check=True)
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\necho {PASSPHRASE}\n")
    tools, seen = tmp_path / "tools", tmp_path / "seen"
    tools.mkdir()
    (tools / "ssh-keygen").write_text(
        f'#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ >>{seen}\nexec {real} "$@"\n'
    )
    for path in (askpass, tools / "ssh-keygen"):
        path.chmod(0o700)
    bundle = make(tmp_path)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}", "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force",
        "DISPLAY": ":0", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path),
    }  # fmt: skip
    argv = [
        sys.executable,
        "-m",
        "edgeship",
        "keys",
        "sign",
        str(bundle.path),
        "--sign-with",
        str(key),
        "--json",
    ]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["signatures"][0]["holds"] is True
    jsonschema.validate(shown, json.loads((ROOT / "docs/schemas/signatures.schema.json").read_text()))
    assert b"-Y\0sign\0" in seen.read_bytes(), "the watcher saw nothing"
    private = [line.encode() for line in key.read_text().splitlines() if not line.startswith("-")]
    assert private
    unpacked = b"".join(p.read_bytes() for p in _unpacked(bundle, tmp_path / "u"))
    places = [
        seen.read_bytes(),
        done.stdout.encode(),
        done.stderr.encode(),
        bundle.path.read_bytes(),
        unpacked,
    ]
    for secret in (PASSPHRASE.encode(), *private):
        assert not [place for place in places if secret in place]
    # Without anybody to ask, it says what to do.
    nobody = {**environment, "SSH_ASKPASS": "/bin/false"}
    failed = subprocess.run(argv, env=nobody, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert failed.returncode == 2 and f"ssh-add {key}" in failed.stderr


def _unpacked(bundle: Bundle, folder: Path) -> list[Path]:
    import tarfile

    with tarfile.open(bundle.path) as archive:
        archive.extractall(folder, filter="data")
    return [p for p in folder.rglob("*") if p.is_file()]


def test_the_verbs_on_keys_and_bundles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeship.cli.main import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(["keys", "show"]) == 2 and "hint: edgeship keys new" in capsys.readouterr().err
    words = [sys.executable, "-m", "edgeship", "keys", "new"]
    for asking in ("", "/bin/false"):  # nobody to ask, and nobody who answers
        alone = subprocess.run(
            words,
            start_new_session=True,  # without a terminal, also where the tests have one
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "SSH_ASKPASS": asking, "SSH_ASKPASS_REQUIRE": "force"},
        )
        assert alone.returncode == 2 and "error: key-not-made" in alone.stderr, alone
        assert "hint: edgeship keys new --no-passphrase --out " in alone.stderr
        assert not list((tmp_path / "config/edgeship").glob("*"))
    assert run(["keys", "new", "--no-passphrase", "--name", "ci@lab"]) == 0
    said = capsys.readouterr().out
    path = tmp_path / "config/edgeship/signing_key"
    assert "next: edgeship keys trust" in said and path.stat().st_mode & 0o077 == 0
    assert run(["keys", "show"]) == 0 and "ci-lab" in capsys.readouterr().out
    assert run(["keys", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    jsonschema.validate(shown, json.loads((ROOT / "docs/schemas/key.schema.json").read_text()))
    assert run(["keys", "new", "--dry-run", "-o", "other"]) == 0 and not Path("other").exists()
    capsys.readouterr()
    bundle = make(tmp_path)
    assert run(["keys", "show", str(bundle.path)]) == 0 and "nobody signed it" in capsys.readouterr().out
    assert run(["keys", "sign", str(bundle.path)]) == 2
    assert "error: no-key" in capsys.readouterr().err
    assert run(["keys", "sign", str(bundle.path), "--sign-with", str(path), "--dry-run"]) == 0
    assert "writes" in capsys.readouterr().out and open_bundle(bundle.path) == bundle
    assert run(["keys", "sign", str(bundle.path), "--sign-with", str(path), "--sequence", "3"]) == 0
    assert "holds, sequence 3" in capsys.readouterr().out
    forged = open_bundle(bundle.path).signatures[0]
    wrong = SignedStatement(statement=forged.statement.replace(":3,", ":4,"), signature=forged.signature)
    put_signatures(open_bundle(bundle.path), [wrong])
    assert run(["keys", "show", str(bundle.path)]) == 1 and "DOES NOT HOLD" in capsys.readouterr().out
