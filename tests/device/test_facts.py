"""Facts: the probe's script on this machine, and the reading of what it prints on others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeship.device.facts import LOOKED_FOR, RootFacts, parse_facts, probe_argv, probe_script
from edgeship.errors import DeviceError

FACTS = Path(__file__).parent / "facts"


def read(name: str) -> str:
    return next(FACTS.glob(f"{name}.*.txt")).read_text()


@pytest.mark.parametrize("path", sorted(FACTS.glob("*.txt")), ids=lambda p: p.stem)
def test_every_recorded_answer_is_understood(path: Path) -> None:
    probed = parse_facts(path.read_text())
    assert probed.host.machine and probed.host.userland_bits in (32, 64)
    assert probed.host.cpu_flags and probed.root.disk_free_bytes and probed.root.file_system


def test_a_raspberry_pi() -> None:
    probed = parse_facts(read("raspberry-pi-os-12-pi4"))
    host = probed.host
    assert (host.machine, host.libc, host.libc_version) == ("aarch64", "glibc", "2.36")
    assert (host.python_version, host.init, host.user, host.sudo) == ("3.11.2", "systemd", "pi", True)
    assert host.model_name == "Raspberry Pi 4 Model B Rev 1.4" and host.memory_mb == 3793
    assert host.devices == ("/dev/dri/renderD128", "usb:1a6e:089a")
    assert host.sensors == {"cpu-thermal": "/sys/class/thermal/thermal_zone0/temp"}
    assert host.libraries["libedgetpu"] == "/usr/lib/aarch64-linux-gnu/libedgetpu.so.1"
    assert host.libraries["numpy"] == "1.24.2" and host.os_release["VERSION_CODENAME"] == "bookworm"
    assert probed.root.file_system == "ext4" and probed.root.writable and probed.root.cron


def test_a_64_bit_kernel_with_32_bit_programs() -> None:
    host = parse_facts(read("raspberry-pi-os-11-32bit-pi3")).host
    assert (host.machine, host.userland_bits) == ("aarch64", 32)


def test_a_device_without_python_and_with_musl() -> None:
    bare = parse_facts(read("buildroot-without-python"))
    assert bare.host.python_version is None and bare.host.libc is None and bare.host.init == "other"
    alpine = parse_facts(read("alpine-3.20-musl")).host
    assert (alpine.libc, alpine.libc_version, alpine.init) == ("musl", "1.2.5", "openrc")


def test_a_device_that_openrc_started() -> None:
    probed = parse_facts(read("debian12-amd64-openrc"))
    assert (probed.host.init, probed.host.sudo, probed.root.cron) == ("openrc", True, True)
    assert probed.root.store_elsewhere is None and probed.root.current_problem is None


def test_an_overlay_whose_upper_folder_is_seen() -> None:
    text = read("debian12-arm64-sh").replace("mount=/run tmpfs", "mount=/media/lab tmpfs")
    assert parse_facts(text).root.upper_file_system == "tmpfs"
    assert parse_facts(read("debian12-arm64-sh")).root.upper_file_system is None


def test_what_is_not_told_is_not_guessed() -> None:
    probed = parse_facts("probe=1\nmachine=riscv64\nend=1\n")
    assert probed.host.memory_mb is None and probed.host.sudo is None and probed.host.cpu_flags == ()
    assert probed.root.disk_free_bytes is None and not probed.root.writable


def test_a_probe_that_was_cut_short() -> None:
    with pytest.raises(DeviceError) as raised:
        parse_facts("Welcome to this router\nmachine=mips\n")
    assert raised.value.render() == (
        "error: probe-failed\n"
        "  the device did not run the probe to its end: it needs a POSIX sh, uname and id\n"
        "  output: Welcome to this router\n  machine=mips\n"
        "hint: log in by hand and look: ssh HOST 'sh -c \"uname -a; id\"'"
    )


@pytest.mark.parametrize("shell", [("sh",), ("bash", "--posix"), ("busybox", "sh")], ids=" ".join)
def test_the_script_on_this_machine(shell: tuple[str, ...], tmp_path: Path) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    argv = probe_argv(str(tmp_path / "a/b"), as_root=False)
    done = subprocess.run([*shell, *argv[1:]], input=probe_script(), capture_output=True, timeout=60)
    probed = parse_facts(done.stdout.decode())
    assert probed.host.python_version and probed.host.cpu_count and probed.host.boot_id
    assert probed.root.near == str(tmp_path) and probed.root.writable and probed.root.file_system
    assert list(tmp_path.iterdir()) == []


def test_a_root_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    argv = probe_argv(str(tmp_path / "file/root"), as_root=False)
    done = subprocess.run(argv, input=probe_script(), capture_output=True, timeout=60)
    root = parse_facts(done.stdout.decode()).root
    assert not root.writable and root.problem == f"{tmp_path}/file is not a folder"


def test_the_script_looks_for_what_preflight_believes_it_does() -> None:
    script = probe_script().decode()
    assert all(f"{name}.so" in script for name in LOOKED_FOR)


@pytest.mark.root
def test_what_lies_below_the_root_already(tmp_path: Path) -> None:
    """A store on a file system of its own, and a `current` that somebody made a folder."""
    root = tmp_path / "root"
    (root / "cas").mkdir(parents=True)
    (root / "apps" / "kws" / "current").mkdir(parents=True)

    def probe() -> RootFacts:
        argv = probe_argv(str(root), as_root=True, app="kws")
        done = subprocess.run(argv, input=probe_script(), capture_output=True, check=True)
        return parse_facts(done.stdout.decode()).root

    found = probe()
    assert found.current_problem == f"{root}/apps/kws/current" and found.store_elsewhere is None
    (root / "apps" / "kws" / "current").rmdir()
    (root / "apps" / "kws" / "current").symlink_to("releases/x")
    assert probe().current_problem is None
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(root / "cas")], check=True)
    try:
        said = probe().store_elsewhere
    finally:
        subprocess.run(["umount", str(root / "cas")], check=True)
    assert said and said.startswith(f"{root}/cas is on device ") and f", {root}/apps/kws on device " in said
