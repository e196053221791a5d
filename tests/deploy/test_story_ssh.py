"""The whole story over a real OpenSSH server, through the command line, with the real runtime."""

from __future__ import annotations

import base64
import importlib.util
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.bundle.seal import extract, open_bundle, seal
from edgeship.cli.main import run
from edgeship.digest import sha256_file
from edgeship.values import Bundle

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def edgeship(
    remote: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, Any]]:
    """Run a verb against the SSH server; return its exit status and its JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESHIP_CACHE", str(tmp_path / "cache"))

    def call(*words: object, host: bool = True) -> tuple[int, Any]:
        place = ["--host", remote.host.text, "--ssh-config", remote.options.ssh_config, "--root", remote.root,
                 "--no-sudo"] if host else []  # fmt: skip
        place += ["--allow-no-boot-hook"] if words[0] == "deploy" else []
        capfd.readouterr()
        status = run([str(w) for w in (*words, *place, "--json")])
        said = capfd.readouterr()
        assert said.out, said.err
        return status, json.loads(said.out)

    return call


@pytest.fixture
def made(edgeship: Any, remote: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Build a tiny model for this machine with one recipe; return the bundle."""
    spec = importlib.util.spec_from_file_location("tiny_models", ROOT / "tests" / "quantize" / "tiny.py")
    assert spec and spec.loader
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.classifier(tmp_path / "model.tflite")
    np.savez(tmp_path / "data.npz", x=tiny.pictures(40), y=np.arange(40) % 4)

    def build(recipe: str) -> Path:
        status, document = edgeship(
            "build", "model.tflite", "--target", "host", "--calibration", "data.npz", "--eval", "data.npz",
            "--recipe", recipe, "--listen", f"127.0.0.1:{remote.port}", host=False,
        )  # fmt: skip
        assert status == 0
        return Path(document["targets"][0]["bundle"])

    return build


def with_wrong_golden(bundle: Bundle, folder: Path) -> Path:
    """Return a well-formed bundle whose golden vectors expect something the model does not compute."""
    tree = folder / "tree"
    extract(bundle, tree)
    name = next(n for n in bundle.manifest["files"] if n.startswith("golden/"))
    golden = json.loads((tree / name).read_text())
    for vector in golden["vectors"]:
        expected = np.frombuffer(base64.b64decode(vector["outputs"][0]), np.int8)
        vector["outputs"] = [base64.b64encode(expected[::-1].tobytes()).decode()]
    (tree / name).write_text(json.dumps(golden))
    manifest = json.loads(json.dumps(bundle.manifest))
    manifest["files"][name] |= {"sha256": sha256_file(tree / name), "bytes": (tree / name).stat().st_size}
    return seal({n: tree / n for n in manifest["files"]}, manifest, executable=(), out=folder / "wrong").path


def test_deploy_again_anew_and_back(edgeship: Any, made: Any, remote: Any, tmp_path: Path) -> None:
    first = made("int8")
    status, one = edgeship("deploy", first)
    assert status == 0 and one["state"] == "committed", one
    _, said = edgeship("status")
    assert said["apps"]["model"]["service"]["running"]

    status, again = edgeship("deploy", first)
    assert status == 0 and again["state"] == "unchanged"

    status, two = edgeship("deploy", made("fp16"))
    assert status == 0 and two["state"] == "committed" and two["from"] == one["release"]
    assert serving(two["serving"]) == two["release"]

    # A model that fails its golden vectors on the device never serves; what ran goes on.
    wrong = with_wrong_golden(open_bundle(first), tmp_path)
    status, refused = edgeship("deploy", wrong)
    assert status == 1 and refused["state"] == "failed", refused
    assert "golden" in refused["reason"] and refused["golden"]["failed"] == refused["golden"]["vectors"]
    assert serving(two["serving"]) == two["release"]

    status, back = edgeship("rollback")
    assert status == 0 and back["release"] == one["release"]
    assert serving(two["serving"]) == one["release"]
    _, said = edgeship("status")
    assert said["apps"]["model"]["release"] == one["release"]


def serving(url: str) -> str:
    """Return the release that answers at `url`."""
    with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=10) as answer:
        return str(answer.headers["Edgeship-Release"])
