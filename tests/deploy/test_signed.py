"""Signed releases brought to devices that want them: what holds serves, what does not changes nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from edgeship.bundle.sign import new_key, public_key, sign
from edgeship.cli.main import run
from edgeship.deploy import deploy, rollback, verify
from edgeship.deploy.trust import change_trust, show_trust
from edgeship.digest import canonical_json, write_tar
from edgeship.errors import DeviceError
from edgeship.progress import Silent
from edgeship.values import EXIT_CODE_OF_STATE, Bundle, Goal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "bob", "eve"):
        new_key(folder / name, comment=name, passphrase=False)
    return SimpleNamespace(**{name: folder / name for name in ("ann", "bob", "eve")})


def tell(bench: Any, *trusted: Path, revoke: tuple[Path, ...] = (), **changes: Any) -> dict[str, Any]:
    """Tell the device which keys may sign, as `edgeship keys` does."""
    found = [public_key(path) for path in trusted]
    return change_trust(
        bench.host,
        bench.options,
        signers=[{"name": key.name, "key": key.line} for key in found],
        revoke=[public_key(path).fingerprint for path in revoke],
        changes={"unsigned": "refuse", **changes},
    )


def tree(root: Path) -> dict[str, Any]:
    """Return what is below the device's root, but for locks and the service's log."""
    return {
        str(path.relative_to(root)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if (path.is_file() or path.is_symlink()) and path.name != "lock" and path.suffix != ".log"
    }


def refuse(bench: Any, bundle: Bundle, reference: str, **options: Any) -> Any:
    """Deploy and check that the device refuses for that reason, and is as it was."""
    before = tree(bench.root)
    report = deploy(bundle, bench.host, replace(bench.options, **options), Silent())
    assert report.state == "failed" and EXIT_CODE_OF_STATE[report.state] == 1, report
    assert report.reason.startswith(f"{reference}: ") and report.hint, report
    assert tree(bench.root) == before
    return report


def serve(bench: Any, bundle: Bundle, **options: Any) -> Any:
    report = deploy(bundle, bench.host, replace(bench.options, **options), Silent())
    assert report.state == "committed", report
    return report


def test_a_device_never_told_refuses_and_says_what_to_type(remote: Any, keys: SimpleNamespace) -> None:
    strict = remote.with_options(allow_unsigned=False)
    one = remote.bundle("1")
    report = deploy(one, strict.host, strict.options, Silent())
    assert report.state == "failed" and report.reason.startswith("trust-not-set: ")
    assert (
        "--allow-unsigned" in report.hint and f"edgeship keys trust --host {remote.host.text}" in report.hint
    )
    assert not (remote.root / "apps").exists() and not (remote.root / "cas").exists()
    assert show_trust(strict.host, strict.options)["policy"] is None
    signed = sign(one, keys.ann)
    assert deploy(signed, strict.host, strict.options, Silent()).reason.startswith("trust-not-set: ")
    found = tell(strict, keys.ann)
    assert found["policy"]["unsigned"] == "refuse" and [s["name"] for s in found["signers"]] == ["ann"]
    refuse(strict, one, "unsigned")
    serve(strict, signed)
    again = deploy(one, strict.host, strict.options, Silent())
    assert again.state == "unchanged", "what serves is signed, whatever this copy of the bundle brings"


def test_unsigned_is_told_once_and_not_taken_back_by_a_deployment(remote: Any, keys: SimpleNamespace) -> None:
    serve(remote, remote.bundle("1"))
    assert json.loads((remote.root / "trust/policy.json").read_text())["unsigned"] == "allow"
    serve(remote, remote.bundle("2"), allow_unsigned=False)
    tell(remote, keys.ann)
    refuse(remote, remote.bundle("3"), "unsigned", allow_unsigned=True)
    # What was let in unsigned does not count as the very release that should serve, and is no release to go back to.
    refuse(remote, remote.bundle("2"), "unsigned")
    report = rollback(remote.host, "kws", remote.options, Silent())
    assert report.state == "failed" and report.reason.startswith("unsigned: ")
    assert remote.serving_release() == remote.bundle("2").release


BAD: dict[str, tuple[str, Callable[[Bundle, Bundle, SimpleNamespace], Bundle]]] = {
    "unsigned": ("unsigned", lambda b, o, k: b),
    "a stranger's key": ("unknown-signer", lambda b, o, k: sign(b, k.eve)),
    "a revoked key": ("key-revoked", lambda b, o, k: sign(b, k.bob)),
    "expired": (
        "signature-expired",
        lambda b, o, k: sign(b, k.ann, days=1, now=1_700_000_000, sequence=9**12),
    ),
    "replayed long after": (
        "signature-stale",
        lambda b, o, k: sign(b, k.ann, days=9999, now=1_700_000_000, sequence=9**12),
    ),
    "older than what ran": ("older-release", lambda b, o, k: sign(b, k.ann, sequence=1)),
    "another release's signature": (
        "wrong-release",
        lambda b, o, k: replace(b, signatures=sign(o, k.ann).signatures),
    ),
    "cut": ("bad-signature", lambda b, o, k: cut(sign(b, k.ann))),
    "statement changed": ("bad-signature", lambda b, o, k: moved(sign(b, k.ann))),
}


def cut(bundle: Bundle) -> Bundle:
    only = bundle.signatures[0]
    return replace(bundle, signatures=(replace(only, signature=only.signature[:100]),))


def moved(bundle: Bundle) -> Bundle:
    only = bundle.signatures[0]
    return replace(
        bundle, signatures=(replace(only, statement=only.statement.replace("sequence", "seqvence")),)
    )


def test_releases_that_are_not_trusted_change_nothing(local: Any, keys: SimpleNamespace) -> None:
    tell(local, keys.ann, keys.bob, max_age_days=365)
    one, two = local.bundle("1"), local.bundle("2")
    serve(local, sign(one, keys.ann))
    tell(local, revoke=(keys.bob,))
    for code, make in BAD.values():
        refuse(local, make(two, one, keys), code)
    assert local.serving_release() == one.release
    serve(local, sign(two, keys.ann))
    assert not verify(local.host, "kws", local.options)["drift"]


def test_a_threshold_of_two(local: Any, keys: SimpleNamespace) -> None:
    tell(local, keys.ann, keys.bob, threshold=2)
    one = local.bundle("1")
    refuse(local, sign(one, keys.ann), "too-few-signatures")
    refuse(local, sign(sign(one, keys.ann), keys.eve), "too-few-signatures")
    serve(local, sign(sign(one, keys.ann), keys.bob))


def test_the_floor_holds_for_new_releases_and_not_for_kept_ones(local: Any, keys: SimpleNamespace) -> None:
    tell(local, keys.ann)
    one, two = sign(local.bundle("1"), keys.ann, sequence=1), sign(local.bundle("2"), keys.ann, sequence=2)
    serve(local, one)
    serve(local, two)
    assert show_trust(local.host, local.options)["sequences"] == {"kws": 2}
    refuse(local, one, "older-release")
    refuse(local, one, "older-release", goal=Goal.STAGE)
    back = rollback(local.host, "kws", local.options, Silent())
    assert back.state == "committed" and local.serving_release() == one.release
    assert show_trust(local.host, local.options)["sequences"] == {"kws": 2}, "going back does not lower it"
    tell(local, keys.bob, revoke=(keys.ann,))
    report = rollback(local.host, "kws", local.options, Silent(), release=two.release)
    assert report.state == "failed" and report.reason.startswith("key-revoked: ")
    assert local.serving_release() == one.release
    # A trial that fails is taken back all the same: reverting asks nobody.
    bad = sign(local.bundle("3", serve="dies"), keys.bob)
    assert deploy(bad, local.host, local.options, Silent()).state == "reverted"
    assert local.serving_release() == one.release


def test_a_reverted_release_does_not_raise_the_floor(local: Any, keys: SimpleNamespace) -> None:
    tell(local, keys.ann)
    serve(local, sign(local.bundle("1"), keys.ann, sequence=1))
    bad = sign(local.bundle("2", serve="dies"), keys.ann, sequence=50)
    assert deploy(bad, local.host, local.options, Silent()).state == "reverted"
    assert show_trust(local.host, local.options)["sequences"] == {"kws": 1}
    serve(local, sign(local.bundle("3"), keys.ann, sequence=2))


def repacked(bundle: Bundle, folder: Path, **changed: bytes) -> Bundle:
    """Return the bundle with other contents under the names given, its manifest and signatures as they were."""
    with tarfile.open(bundle.path) as archive:
        files: dict[str, Any] = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    stream = io.BytesIO()
    write_tar(stream, {**files, **{name.replace("__", "/"): data for name, data in changed.items()}})
    path = folder / "swapped.edgeship"
    path.write_bytes(gzip.compress(stream.getvalue(), mtime=0))
    return replace(bundle, path=path)


def test_swapped_contents_are_refused_by_the_device_itself(
    local: Any, keys: SimpleNamespace, tmp_path: Path
) -> None:
    """The host's own checks are left out here: the device must not rely on them."""
    tell(local, keys.ann)
    one = sign(local.bundle("1"), keys.ann)
    serve(local, one)
    two = sign(local.bundle("2"), keys.ann)
    served = tree(local.root / "apps/kws/releases")
    manifest = canonical_json({**two.manifest, "version": "9"})
    model = b"\0" * two.manifest["files"]["models/model.tflite"]["bytes"]
    for name, data in (("manifest.json", manifest), ("models__model.tflite", model)):
        report = deploy(repacked(two, tmp_path, **{name: data}), local.host, local.options, Silent())
        assert report.state == "failed" and report.reason.startswith(("blob-hash", "blob-missing")), report
        assert tree(local.root / "apps/kws/releases") == served and local.serving_release() == one.release
    assert not verify(local.host, "kws", local.options)["drift"]


def test_rights_of_what_is_trusted(local: Any, keys: SimpleNamespace) -> None:
    tell(local, keys.ann)
    folder = local.root / "trust"
    assert {path.name: path.stat().st_mode & 0o7777 for path in folder.iterdir()} == {
        "policy.json": 0o640,
        "allowed_signers": 0o640,
    }
    assert folder.stat().st_mode & 0o7777 == 0o750
    with pytest.raises(DeviceError, match="1 keys may sign and the threshold is 3"):
        tell(local, threshold=3)


def test_no_secret_reaches_the_device_or_a_log(local: Any, keys: SimpleNamespace) -> None:
    tell(local, keys.ann)
    report = serve(local, sign(local.bundle("1"), keys.ann))
    private = [line for line in keys.ann.read_text().splitlines() if not line.startswith("-")]
    texts = [repr(report), *(p.read_bytes().decode("latin-1") for p in local.root.rglob("*") if p.is_file())]
    assert private and not [line for line in private for text in texts if line in text]


def test_the_command_line_from_key_to_service(remote: Any, tmp_path: Path) -> None:
    """A device over SSH: refused with the words to type, told, deployed to with --sign-with, shown, revoked."""
    import sys

    config = str(remote.options.ssh_config)
    at = ["--host", remote.host.text, "--root", str(remote.root), "--no-sudo", "--ssh-config", config]

    def edgeship(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(tmp_path),
        }
        argv = [sys.executable, "-m", "edgeship", *words]
        return subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=tmp_path)

    assert edgeship("keys", "new", "--no-passphrase").returncode == 0
    never = edgeship("keys", "show", *at).stdout
    assert "was never told whose releases it may run: the first deployment decides" in never
    told = " ".join(at)
    assert f"edgeship keys trust KEY.pub --host {remote.host.text} --root {remote.root} --no-sudo" in never, (
        told
    )
    assert "signed by 1 of these keys" in edgeship("keys", "trust", *at).stdout
    shown = json.loads(edgeship("keys", "show", *at, "--json").stdout)
    jsonschema.validate(shown, json.loads((ROOT / "docs/schemas/trust.schema.json").read_text()))
    planned = edgeship("keys", "policy", *at, "--unsigned", "allow", "--dry-run")
    assert planned.returncode == 0 and f"writes {remote.root}/trust/policy.json" in planned.stdout
    assert shown["devices"][0]["policy"]["unsigned"] == "refuse"
    assert edgeship("keys", "policy", *at).returncode == 2
    failed = edgeship("keys", "policy", *at, "--threshold", "2")
    assert failed.returncode == 1 and "error: too-few-keys" in failed.stderr and "hint: " in failed.stderr
    gone = edgeship("keys", "revoke", str(tmp_path / "edgeship/signing_key.pub"), *at)
    assert gone.returncode == 0 and "REVOKED" in gone.stdout
    assert (
        "0 usable of threshold 1: takes nothing until another key may sign: edgeship keys trust"
        in gone.stdout
    )
    away = f"{remote.host.user}@127.0.0.1:1"
    some = edgeship("keys", "policy", "--host", away, *at, "--unsigned", "allow")
    assert some.returncode == 1 and "error: connection-refused" in some.stderr
    assert f"told:     {remote.host.text}" in some.stderr and f"not told: {away}" in some.stderr
    allowed = edgeship("keys", "show", *at)
    assert allowed.returncode == 0 and "takes any release" in allowed.stdout


def test_a_revoked_key_on_a_device_that_takes_unsigned_releases(local: Any, keys: SimpleNamespace) -> None:
    serve(local, local.bundle("1"))
    change_trust(local.host, local.options, revoke=[public_key(keys.ann).fingerprint])
    signed = sign(local.bundle("2"), keys.ann)
    report = refuse(local, signed, "key-revoked")
    assert "sign with another key" in report.hint
    serve(local, sign(signed, keys.bob))
    serve(local, local.bundle("3"))


def test_what_keys_show_says_of_revoked_and_too_few_keys(
    local: Any, keys: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--host", local.host.text]
    bob = public_key(keys.bob).fingerprint
    tell(local, keys.ann, keys.bob, threshold=2)
    assert run(["keys", "revoke", str(keys.bob) + ".pub", *at]) == 0
    said = capsys.readouterr().out
    lower = f"edgeship keys policy --threshold 1 {' '.join(at)}"
    assert said.startswith(
        f"{local.host.text}: 1 usable of threshold 2: takes nothing until another key may sign: "
        f"edgeship keys trust KEY.pub {' '.join(at)}, or {lower}\n"
    )
    assert run([*lower.split()[1:]]) == 0
    assert "takes releases signed by 1 of these keys" in capsys.readouterr().out
    # one that may not sign, too
    eve = public_key(keys.eve).fingerprint
    assert run(["keys", "revoke", eve, *at]) == 0
    said = capsys.readouterr().out
    assert (
        f"  {bob}  bob  REVOKED\n" in said and f"  {eve}  (a key that may not sign here)  REVOKED\n" in said
    )
    assert run(["keys", "policy", "--unsigned", "allow", *at]) == 0
    assert (
        "takes any release, signed or not, but for what only revoked keys signed" in capsys.readouterr().out
    )


def test_signed_only_deploys_nothing_unsigned(
    local: Any, keys: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    one, words = local.bundle("1"), ["--host", local.host.text, "--signed-only", "-q"]
    for more in ([], ["--dry-run"]):
        assert run(["deploy", str(one.path), *words, *more]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: unsigned\n") and "hint: run it again with --sign-with KEY" in said
    assert not local.root.exists()
    # A device that was never told is not told now.
    assert run(["deploy", str(one.path), *words, "--sign-with", str(keys.ann)]) == 1
    assert "trust-not-set: " in capsys.readouterr().out and not (local.root / "trust/policy.json").exists()
    serve(local, one)
    before = tree(local.root)
    assert run(["deploy", str(local.bundle("2").path), *words]) == 2
    assert tree(local.root) == before
    assert run(["deploy", str(local.bundle("2").path), *words, "--sign-with", str(keys.ann)]) == 0


def test_hints_hold_the_whole_way_to_a_device(remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What errors say to type works as it stands: --root, --ssh-config and --no-sudo are in it."""
    config = str(remote.options.ssh_config)
    at = ["--host", remote.host.text, "--root", str(remote.root), "--no-sudo", "--ssh-config", config]
    serve(remote, remote.bundle("1"))
    for words in (
        ["pin", "ffffffff", *at],
        ["rollback", "--to", "ffffffff", *at],
    ):
        assert run(words) == 2
        hint = capsys.readouterr().err.partition("hint: ")[2].partition("\nmore: ")[0].strip()
        assert hint.startswith("edgeship status ") and run(hint.split()[1:]) == 0
        assert "committed; running" in capsys.readouterr().out
    release = remote.bundle("1").release
    assert run(["pin", release[:8], *at]) == 0
    typed = capsys.readouterr().out.splitlines()[1].partition(" goes back to it")[0]
    assert run([*typed.split()[1:], "--dry-run", "--quiet"]) == 0
    report = deploy(remote.bundle("2", golden="wrong"), remote.host, remote.options, Silent())
    assert f"--root {remote.root} --no-sudo --ssh-config {config}" in str(report.hint)
    capsys.readouterr()
    assert run(["status", "--app", "../../x", *at]) == 2
    assert "error: not-deployed" in capsys.readouterr().err
