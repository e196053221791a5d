"""The hook that has recovery run at every start of the device goes with what it was for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.root, pytest.mark.slow]

# Cron as far as the helper looks: its program, and the folder that it reads. In mounts of this test alone.
CRON = """
mount -t tmpfs none /etc/cron.d
mount -t tmpfs none /usr/local/sbin
printf '#!/bin/sh\\n' >/usr/local/sbin/cron
chmod 755 /usr/local/sbin/cron
exec "$@"
"""
STORY = """
import subprocess, sys
from pathlib import Path
from benchmarks.faults.devices import Device
from benchmarks.faults.recordings import _send
from edgeship.deploy import deploy, remove
from edgeship.deploy.session import Session
from edgeship.progress import Silent

HOOK = Path("/etc/cron.d/edgeship-kws")
device = Device(Path(sys.argv[1]), mounted=False)
end, was_hooked = sys.argv[2:4]
new = device.bundle()
session = Session(device.host, device.options, "kws")
with device.faults.active():
    session.ship()
    fence = session.ask("lease", ready_seconds=5, allow_unsigned=True)["fence"]
    common = {"fence": fence, "tx": "first"}
    _send(session, new, fence)
    session.ask("stage", release=new.release, **common)
    armed = session.ask(
        "arm", release=new.release, ttl=60, service="supervised", listen=None, hook_boot=True, **common
    )
    assert armed["boot_hook"] == str(HOOK) and HOOK.exists(), armed
    command = HOOK.read_text().split("root ", 1)[1].split()
    assert not session.ask("activate", ready_seconds=5, prove_seconds=10, **common)["reason"]
    if end == "revert":
        told = session.ask("revert", reason="no", ready_seconds=5, prove_seconds=10, **common)
        assert told["record"]["state"] == "NONE", told
    elif end == "restart":
        device.kill_processes()
        device.boot()
        assert device.record()["state"] == "NONE", device.record()
    else:
        seen = session.ask("status")["serving"]
        session.ask("confirm", restarts=seen["restarts"], **common)
    assert HOOK.exists() is (was_hooked == "hooked"), HOOK.exists()
    assert subprocess.run(command).returncode == 0
    foreign = Path("/etc/cron.d/edgeship-kws-other")
    foreign.write_text(HOOK.read_text() if HOOK.exists() else "")
    session.close()
    remove(device.host, "kws", device.options)
    assert not HOOK.exists() and foreign.exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done
device.close()
"""


@pytest.mark.parametrize(
    ("end", "left"), [("revert", "unhooked"), ("restart", "hooked"), ("confirm", "hooked")]
)
def test_the_hook_of_a_first_deployment(tmp_path: Path, end: str, left: str) -> None:
    """Taken back at once, taken back by a start of the device (which the hook runs in), or confirmed; then removed.
    One that is left behind all the same has nothing to do, and says so."""
    story = [sys.executable, "-c", STORY, str(tmp_path / "device"), end, left]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-e", "-c", CRON, "sh", *story],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
