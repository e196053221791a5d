"""Devices whose disk is full to its last block: what was confirmed serves, a trial goes back, and nobody gives up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.bundle.sign import new_key, public_key, sign
from edgeship.deploy import deploy, status
from edgeship.deploy.session import Session
from edgeship.deploy.trust import change_trust
from edgeship.progress import Silent
from edgeship.values import Goal

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.root, pytest.mark.slow]


def fill(device: Any) -> None:
    """Fill the disk to its last block."""
    subprocess.run([str(device.faults.folder / "full")], check=True)
    with pytest.raises(OSError, match="No space left"):
        (device.disk / "probe").write_bytes(b"x" * 4096)
    (device.disk / "probe").unlink()


def begin(device: Any, ttl: float, bundle: Any = None, **options: Any) -> tuple[Session, Any, dict[str, Any]]:
    """Bring a new release on trial; return (session, bundle, what names the trial)."""
    new = bundle or device.bundle()
    with device.faults.active():
        staged = deploy(new, device.host, replace(device.options, goal=Goal.STAGE, **options), Silent())
        assert staged.state == "staged", staged.reason
        session = Session(device.host, device.options, "kws")
        fence = session.ask("lease", ready_seconds=5)["fence"]
        common = {"fence": fence, "tx": f"full{next(device.numbers)}"}
        session.ask("arm", release=new.release, ttl=ttl, service="supervised", listen=None, **common)
        seen = session.ask("activate", ready_seconds=5, prove_seconds=10, **common)
        assert not seen["reason"], seen
    return session, new, common


def run_helper(device: Any, *words: str, **options: Any) -> Any:
    """Run the device's helper by its arguments."""
    argv = ["/usr/bin/python3", "-I", "-B", device.helper(), words[0], str(device.root), "kws", *words[1:]]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, **options)


def boot(device: Any) -> str:
    """Run boot recovery with a new boot identity; return `STATUS: what it said`."""
    fresh = device.folder / "boot_id"
    fresh.write_text(f"{next(device.numbers):08d}-full\n")
    recover = f"exec /usr/bin/python3 -I -B {device.helper()} boot {device.root} kws"
    script = f"mount --bind {fresh} /proc/sys/kernel/random/boot_id && {recover}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    return f"{done.returncode}: {done.stderr.strip()}"


def test_the_dead_man_of_a_timer_goes_back(device: Any) -> None:
    old = device.serve_old()
    begin(device, ttl=5)
    waiting = json.loads((device.root / "apps/kws/run/deadman.json").read_text())["process"]
    os.kill(waiting["pid"], signal.SIGKILL)  # here the timer's takes its place
    fill(device)
    tx = device.record()["tx"]
    done = run_helper(device, "deadman", tx)
    assert (done.returncode, done.stderr) == (0, "")
    assert (device.record()["state"], device.record()["to"]) == ("COMMITTED", old.release)
    device.check_whole(old)


def test_the_dead_man_that_waits_is_spared_where_memory_runs_out(device: Any) -> None:
    device.serve_old()
    own = Path("/proc/self/oom_score_adj")
    before = own.read_text()
    own.write_text("300")  # may be taken back without any privilege; what is less than before may not
    try:
        begin(device, ttl=8)
    finally:
        own.write_text(before)
    pid = json.loads((device.root / "apps/kws/run/deadman.json").read_text())["process"]["pid"]
    score = Path(f"/proc/{pid}/oom_score_adj")
    device.wait(lambda: int(score.read_text()) in (-900, int(before)), 5, "the dead-man is not spared")
    device.wait(lambda: device.record()["state"] == "COMMITTED", 30, "nobody went back")
    seen = json.loads((device.root / "apps/kws/run/supervisor.json").read_text())
    for part in ("supervisor", "child"):  # what it started is not
        assert Path(f"/proc/{seen[part]['pid']}/oom_score_adj").read_text().strip() == "300"


@pytest.mark.parametrize("reason", ["漢" * 1500, '"\\' * 750, "\x01" * 1500])
def test_going_back_for_a_long_reason(device: Any, reason: str) -> None:
    """A record never grows beyond its slot, whose place is kept, whatever its reason is written in."""
    old = device.serve_old()
    session, _, common = begin(device, ttl=60)
    fill(device)
    with device.faults.active():
        told = session.ask("revert", reason=reason, ready_seconds=10, prove_seconds=20, **common)["record"]
    assert (told["state"], told["to"]) == ("COMMITTED", old.release)
    assert len(told["reason"]) > 300 and reason.startswith(told["reason"])
    assert {path.stat().st_size for path in (device.root / "apps/kws").glob("state.?")} == {4096}
    device.check_whole(old)


def test_a_slot_that_needs_new_space(device: Any) -> None:
    """As on a file system that copies on writing: what was held back is given up for the record itself."""
    old = device.serve_old()
    session, _, common = begin(device, ttl=60)
    slots = {json.loads(p.read_text())["seq"]: p for p in (device.root / "apps/kws").glob("state.?")}
    os.truncate(slots[min(slots)], 0)
    fill(device)
    assert (device.root / "reserve").stat().st_size == 1 << 18
    with device.faults.active():
        told = session.ask("revert", reason="as planned", ready_seconds=10, prove_seconds=20, **common)
    assert told["record"]["to"] == old.release and told["record"]["state"] == "COMMITTED"
    assert not (device.root / "reserve").exists()
    device.check_whole(old)


@pytest.mark.timeout(120)
def test_a_file_system_that_copies_and_compresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """btrfs, which needs new space for every record, and would hold zeros back in no space at all."""
    if shutil.which("mkfs.btrfs") is None or "btrfs" not in Path("/proc/filesystems").read_text():
        pytest.skip("needs btrfs-progs, and a kernel with btrfs")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.faults.devices import Device

    class Copying(Device):
        def mount(self, *_options: str) -> None:
            image = self.folder / "image"
            image.unlink()
            with image.open("wb") as stream:
                stream.truncate(300 << 20)
            subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
            subprocess.run(["mount", "-o", "loop,compress-force=zstd", image, self.disk], check=True)

    made = Copying(tmp_path / "device", mounted=True)
    try:
        old = made.serve_old()
        session, _, common = begin(made, ttl=60)
        ballast = f"dd if=/dev/urandom of='{made.disk}/ballast' conv=notrunc oflag=append bs="
        for size in (
            "1M",
            "64k",
            "4k",
            "4k",
        ):  # data to the last block; what is freed meanwhile comes with a sync
            subprocess.run(
                ["sh", "-c", f"{ballast}{size}; sync -f '{made.disk}'"], capture_output=True, check=True
            )
        with made.faults.active():
            told = session.ask("revert", reason="no", ready_seconds=10, prove_seconds=20, **common)["record"]
        assert (told["state"], told["to"]) == ("COMMITTED", old.release)
        assert not (made.root / "reserve").exists()
        made.check_whole(old)
    finally:
        made.close()


def test_what_is_held_back_does_not_compress(device: Any) -> None:
    import zlib

    device.serve_old()
    reserve = device.root / "reserve"
    assert len(zlib.compress(reserve.read_bytes(), 9)) > 1 << 18
    reserve.write_bytes(b"\0" * (1 << 18))  # as helpers before wrote it
    device.converge(device.bundle())
    assert len(zlib.compress(reserve.read_bytes(), 9)) > 1 << 18
    kept = reserve.read_bytes()
    device.converge(device.bundle())
    assert reserve.read_bytes() == kept


def test_a_start_with_a_confirmed_release(device: Any) -> None:
    """Nothing has to be written then, not even where something that lies about cannot be swept away."""
    old = device.serve_old()
    device.kill_processes()
    stuck = device.root / "apps/kws/releases/.trash-stuck"
    stuck.mkdir()
    (stuck / "file").write_text("x")
    subprocess.run(["chattr", "+i", str(stuck / "file")], check=True)
    try:
        fill(device)
        assert boot(device) == "0: "
        device.check_whole(old)
    finally:
        subprocess.run(["chattr", "-i", str(stuck / "file")], check=True)


def test_a_start_that_finds_no_room_even_for_notes(device: Any) -> None:
    """Not one block is left, held back or not: it serves from memory until there is room."""
    old = device.serve_old()
    device.kill_processes()
    (device.root / "apps/kws/run/supervisor.json").unlink()
    (device.root / "reserve").unlink()
    fill(device)
    said = boot(device)
    assert said.startswith("0: ") and said.endswith(
        f"No space left on device: release {old.release[:12]} serves all the same"
    ), said
    device.check_whole(old)
    assert status(device.host, "kws", device.options)["apps"]["kws"]["serving"]["running"]
    refused = deploy(device.bundle(), device.host, device.options, Silent())
    assert refused.state == "failed", refused
    (device.disk / "ballast").unlink()
    device.check_whole(old)
    device.converge(device.bundle())
    assert not list(Path("/run").glob("edgeship-kws-*"))


@pytest.mark.parametrize("reserve", [True, False])
def test_a_start_in_the_middle_of_a_trial(device: Any, reserve: bool) -> None:
    """It goes back with what was held back; without that, the release before serves from memory."""
    old = device.serve_old()
    _, new, _ = begin(device, ttl=60)
    device.kill_processes()
    if not reserve:
        (device.root / "reserve").unlink()
    fill(device)
    said = boot(device)
    device.wait(lambda: device.answers() == old.release, 15, "the old release should serve")
    if reserve:
        assert said == "0: "
        device.check_whole(old)
        assert (device.record()["state"], device.record()["to"]) == ("COMMITTED", old.release)
        return
    assert said.startswith("0: ") and "No space left on device" in said, said
    assert f"release {old.release[:12]} serves all the same; the trial of release {new.release[:12]}" in said
    device.kill_processes()
    (device.disk / "ballast").unlink()
    assert boot(device) == "0: "
    device.check_whole(old)
    device.converge(device.bundle())
    assert not list(Path("/run").glob("edgeship-kws-*"))


def test_an_emergency_before_recovery(device: Any) -> None:
    """ext4 goes read-only by itself: its mount does not say so, and the first write tells."""
    old = device.serve_old()
    device.kill_processes()
    subprocess.run([str(device.faults.folder / "readonly")], check=True)
    said = boot(device)
    assert said.startswith("0: ") and said.endswith(f"release {old.release[:12]} serves all the same"), said
    device.wait(lambda: device.answers() == old.release, 15, "the confirmed release should serve")


def test_a_crash_loop_of_a_signed_release(device: Any) -> None:
    """Signatures are judged before anything is gone back to, and no folder on the device has room for a file."""
    key = device.folder / "ann"
    new_key(key, comment="ann", passphrase=False)
    public = public_key(key)
    old, new = (sign(device.bundle(), key) for _ in range(2))
    watched = replace(device.options, bake_seconds=600.0, trial_seconds=60)
    change_trust(
        device.host,
        watched,
        signers=[{"name": public.name, "key": public.line}],
        changes={"unsigned": "refuse"},
    )
    for bundle in (old, new):
        report = deploy(bundle, device.host, watched, Silent())
        assert report.state == "committed", report.reason
    fill(device)
    disk = device.disk
    nowhere = (  # for temporary files: /tmp and /var/tmp are read-only, and what is left is the full disk
        f"mount --bind '{disk}' /mnt; for d in /tmp /var/tmp; do mount -t tmpfs none $d; done; mkdir -p '{disk}'; "
        f"mount --move /mnt '{disk}'; for d in /tmp /var/tmp; do mount -o remount,ro $d; done; cd '{disk}'; exec "
    )
    words = f"/usr/bin/python3 -I -B {device.helper()} breach {device.root} kws {new.release} 9"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-e", "-c", nowhere + words], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (device.record()["to"], device.record()["result"]) == (old.release, "went-back")
    device.check_whole(old)
