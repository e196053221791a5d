"""Devices whose file system is read-only from their start: what was confirmed serves, and nothing else ever does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import deploy, history, status
from edgeship.device.layout import helper_path
from edgeship.device.ship import helper_sha256
from edgeship.progress import Silent
from edgeship.report.operate import status_document, status_exit_code, status_text

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.root, pytest.mark.slow]


def commands() -> list[str]:
    """Return the command lines of all processes."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@contextmanager
def read_only_start(device: Any) -> Iterator[str]:
    """Power the device off, mount its file system read-only, run boot recovery; yield what that said on stderr."""
    device.kill_processes()
    device.mount_again("ro")
    assert not device.writable()
    yield boot(device)
    device.kill_processes()
    device.mount_again()


def boot(device: Any) -> str:
    """Run the helper's boot recovery with a new boot identity; return `STATUS: what it said`."""
    helper = helper_path(str(device.root), helper_sha256())
    fresh = device.folder / "boot_id"
    fresh.write_text(f"{next(device.numbers):08d}-read-only\n")
    recover = f"exec /usr/bin/python3 -I -B {helper} boot {device.root} kws"
    script = f"mount --bind {fresh} /proc/sys/kernel/random/boot_id && {recover}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    return f"{done.returncode}: {done.stderr.strip()}"


def trial(device: Any, **behaviour: Any) -> Any:
    """Bring a new release on trial and leave it there: its controller dies before it confirms."""
    bundle = device.bundle(prove_seconds=2, **behaviour)
    handed = device.folder / "controller.py"
    handed.write_text(
        "import pathlib, pickle, sys\nfrom edgeship.deploy import deploy\nfrom edgeship.progress import Silent\n"
        "bundle, host, options = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "deploy(bundle, host, options, Silent())\n"
    )
    import pickle

    data = device.folder / "controller.pickle"
    data.write_bytes(pickle.dumps((bundle, device.host, device.options)))
    child = subprocess.Popen([sys.executable, str(handed), str(data)], cwd=ROOT)
    device.wait(
        lambda: device.record()["state"] == "TRIAL" and device.answers() == bundle.release, 40, "no trial"
    )
    child.kill()
    child.wait()
    return bundle


def seen(device: Any) -> dict[str, Any]:
    return dict(status(device.host, "kws", device.options))


def test_the_confirmed_release_serves(device: Any) -> None:
    old = device.serve_old()
    with read_only_start(device) as said:
        serves = f"release {old.release[:12]} serves all the same"
        assert said == f"0: edgeship: {device.root} cannot be written, it is read-only: {serves}"
        device.wait(lambda: device.answers() == old.release, 15, "the confirmed release should serve")
        found = seen(device)
        assert found["apps"]["kws"]["serving"]["running"] and not found["apps"]["kws"]["writable"]
        assert "cannot be written: read-only" in status_text(found)
        assert status_document(found)["apps"]["kws"]["writable"] is False
        assert status_exit_code(found) == 0
        refused = deploy(device.bundle(), device.host, device.options, Silent())
        assert refused.state == "failed" and "Read-only file system" in refused.reason, refused.reason
        assert device.answers() == old.release
    # Writable again: the next start and the next deployment are as ever.
    device.boot()
    device.wait(lambda: device.answers() == old.release, 15, "after a start that can write")
    assert seen(device)["apps"]["kws"]["writable"] and not device.in_memory.exists()
    device.converge(device.bundle())


def test_an_open_trial_goes_back_all_the_same(device: Any) -> None:
    old = device.serve_old()
    tried = trial(device)
    with read_only_start(device) as said:
        assert said.startswith("0: ") and said.endswith(
            f"release {old.release[:12]} serves all the same; the trial of release {tried.release[:12]} is taken back "
            "once it can be written"
        ), said
        device.wait(lambda: device.answers() == old.release, 15, "the old release should serve")
        found = seen(device)
        text = status_text(found)
        assert f"release {old.release[:12]} serves, not the one that is current" in text, text
        assert status_document(found)["apps"]["kws"]["service"]["release"] == old.release
        assert device.record()["state"] == "TRIAL"
    device.boot()
    device.wait(lambda: device.answers() == old.release, 15, "after a start that can write")
    device.check_whole(old)
    last = history(device.host, "kws", device.options)["entries"][-1]
    assert (last["event"], last["to"], last["result"]) == ("committed", old.release, "reverted")
    assert last["reason"] == "the device restarted during the trial"


def test_a_first_trial_does_not_serve(device: Any) -> None:
    trial(device)
    with read_only_start(device) as said:
        assert said.startswith("1: ") and said.endswith(
            "nothing is started: no release was confirmed before"
        ), said
        assert device.answers() is None and not seen(device)["apps"]["kws"]["serving"]["running"]
    device.boot()
    assert device.answers() is None and device.record()["state"] == "NONE"


def test_a_damaged_release_does_not_serve(device: Any) -> None:
    old = device.serve_old()
    model = device.root / "apps/kws/releases" / old.release / "models/model.tflite"
    model.chmod(0o644)
    model.write_bytes(b"something else")
    with read_only_start(device) as said:
        assert said.startswith("1: ") and said.endswith(
            "nothing is started: models/model.tflite has changed"
        ), said
        assert device.answers() is None
