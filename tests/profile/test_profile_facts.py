"""A profile from a device's facts: nearest target, what is written, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgeship.errors import InputError
from edgeship.profile import TargetProfile, from_facts, load_profile
from edgeship.values import HostFacts

PI5 = HostFacts(
    hostname="kitchen",
    machine="aarch64",
    libc="glibc",
    libc_version="2.36",
    python_version="3.11.2",
    userland_bits=64,
    model_name="Raspberry Pi 5 Model B Rev 1.0",
    cpu_count=4,
    cpu_flags=("fp", "asimd", "aes", "asimddp"),
    memory_mb=8053,
    disk_free_mb=20000,
    file_system="ext4",
    init="systemd",
    user="pi",
    uid=1000,
    sudo=True,
    boot_id="x",
    clock_unix=1,
    os_release={"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"},
    devices=("/dev/dri/renderD128",),
    sensors={"cpu-thermal": "/sys/class/thermal/thermal_zone0/temp"},
)


def profile_of(facts: HostFacts, shipped: Path, tmp_path: Path, name: str = "my-board") -> TargetProfile:
    path = tmp_path / f"{name}.yaml"
    path.write_text(from_facts(facts, name, folders=[shipped]))
    return load_profile(str(path), folders=[shipped])


def like(**changes: object) -> HostFacts:
    return dataclasses.replace(PI5, **changes)  # type: ignore[arg-type]


def test_raspberry_pi_5(shipped: Path, tmp_path: Path) -> None:
    profile = profile_of(PI5, shipped, tmp_path)
    assert profile.extends == "raspberry-pi-5" and profile.runtime.engine == "litert"
    assert profile.title == "Raspberry Pi 5 Model B Rev 1.0" and profile.memory.ram_mb == 8053
    assert profile.libc.version == "2.36" and profile.python.versions == ("3.11",)
    assert profile.service.manager == "systemd"
    heat = profile.sensors[0]
    assert (heat.name, heat.path) == ("cpu-thermal", "/sys/class/thermal/thermal_zone0/temp")
    assert [t.at for t in heat.trips] == [80, 85], "trip points of the base stay with the same sensor"
    assert "throttled" in [s.name for s in profile.sensors]
    measured = profile.source_of("memory.ram_mb")
    assert (
        measured
        and measured.source == "edgeship target probe on kitchen"
        and measured.confidence == "measured"
    )
    assert "# Also seen, and not used by this profile: /dev/dri/renderD128." in from_facts(
        PI5, "my-board", folders=[shipped]
    )


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({"model_name": "Raspberry Pi 4 Model B Rev 1.4", "cpu_flags": ("fp", "asimd")}, "raspberry-pi-4"),
        ({"model_name": "Raspberry Pi 3 Model B Plus Rev 1.3", "cpu_flags": ("asimd",)}, "raspberry-pi-3"),
        ({"model_name": "Raspberry Pi Zero 2 W Rev 1.0", "cpu_flags": ("asimd",)}, "raspberry-pi-zero-2w"),
        ({"devices": ("usb:1a6e:089a",)}, "coral-usb-raspberry-pi"),
        ({"model_name": "Radxa ROCK 5B"}, "rock-5b"),
        ({"model_name": "NVIDIA Jetson Orin Nano Developer Kit", "libc_version": "2.35"}, "jetson-orin-nano"),
        ({"model_name": "NVIDIA Jetson Nano Developer Kit", "libc_version": "2.27"}, "jetson-nano"),
        ({"model_name": "Some Board"}, "aarch64-linux"),
        ({"model_name": None}, "aarch64-linux"),
        (
            {"model_name": "Some Board", "libc_version": "2.31", "python_version": "3.9.2"},
            "aarch64-linux-older",
        ),
        ({"machine": "armv7l", "model_name": "Some Board", "cpu_flags": ("neon", "vfpv4")}, "armv7-linux"),
        ({"userland_bits": 32, "cpu_flags": ()}, "armv7-linux"),
        ({"machine": "x86_64", "cpu_flags": ("sse4_2",), "model_name": "Intel"}, "x86-64-linux"),
        ({"machine": "x86_64", "cpu_flags": (), "devices": ("/dev/apex_0",)}, "coral-m2-x86-64"),
        (
            {"model_name": "Freescale i.MX8MQ Phanbell", "libc_version": "2.28", "devices": ("/dev/apex_0",)},
            "coral-dev-board",
        ),
        ({"cpu_flags": ("fpu", "sse2", "avx2"), "model_name": "emulated"}, "aarch64-linux"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nearest_target(changes: dict[str, object], base: str, shipped: Path, tmp_path: Path) -> None:
    assert profile_of(like(**changes), shipped, tmp_path).extends == base


def test_a_pi_4_without_dot_product_is_never_taken_for_a_5(shipped: Path, tmp_path: Path) -> None:
    facts = like(cpu_flags=("fp", "asimd"))
    assert profile_of(facts, shipped, tmp_path).extends == "aarch64-linux"


def test_engine_follows_libc(shipped: Path, tmp_path: Path) -> None:
    old = profile_of(like(model_name="X", libc_version="2.31", python_version="3.9.2"), shipped, tmp_path)
    assert old.runtime.engine == "tflite_runtime" and "numpy>=1.21,<2" in old.runtime.packages
    new = profile_of(like(model_name="X", libc_version="2.34"), shipped, tmp_path)
    assert new.runtime.engine == "litert"


def test_old_python_is_said_and_replaced(shipped: Path, tmp_path: Path) -> None:
    facts = like(model_name="X", libc_version="2.27", python_version="3.6.9")
    text = from_facts(facts, "my-board", folders=[shipped])
    assert "# python3 is 3.6.9, too old for the service." in text
    profile = profile_of(facts, shipped, tmp_path)
    assert profile.python.command == "python3.9" and profile.python.versions == ("3.9",)


def test_python_without_packages_is_warned_of(shipped: Path) -> None:
    facts = like(model_name="X", libc_version="2.31", python_version="3.12.1")
    text = from_facts(facts, "my-board", folders=[shipped])
    assert "# Careful: tflite_runtime 2.13.0 has packages for Python 3.9, 3.8, 3.10 only." in text


def test_nothing_known_is_nothing_written(shipped: Path, tmp_path: Path) -> None:
    facts = like(
        libc_version=None,
        python_version=None,
        memory_mb=None,
        sensors={},
        model_name=None,
        init=None,
        os_release={},
    )
    profile = profile_of(facts, shipped, tmp_path)
    assert profile.extends == "aarch64-linux" and profile.service.manager == "supervised"


def test_hostile_facts_stay_text(shipped: Path, tmp_path: Path) -> None:
    facts = like(
        model_name='Evil "board"\nname: other # {x}',
        hostname="a: [b\u2028",
        sensors={"!!python/object x": "/sys/a: b", "!!python/object  x": "/sys/c\n- d"},
    )
    profile = profile_of(facts, shipped, tmp_path)
    assert profile.name == "my-board" and profile.title == 'Evil "board" name: other # {x}'
    assert [s.name for s in profile.sensors][:2] == ["python-object-x", "python-object-x-2"]


def test_musl_is_refused(shipped: Path) -> None:
    with pytest.raises(InputError) as caught:
        from_facts(like(libc="musl", libc_version="1.2.4"), "my-board", folders=[shipped])
    text = caught.value.render()
    assert text.startswith("error: unsupported-libc\n  kitchen has musl as its C library")
    assert "seen:   musl 1.2.4" in text


def test_unknown_machine_is_refused(shipped: Path) -> None:
    with pytest.raises(InputError) as caught:
        from_facts(like(machine="riscv64"), "my-board", folders=[shipped])
    assert "kitchen is a 'riscv64' machine" in caught.value.render()
    assert "known: aarch64, armv7l, x86_64" in caught.value.render()


def test_too_old_a_libc_is_refused(shipped: Path) -> None:
    with pytest.raises(InputError) as caught:
        from_facts(like(libc_version="2.19", model_name="X"), "my-board", folders=[shipped])
    text = caught.value.render()
    assert text.startswith("error: no-target-fits") and "seen:   aarch64, glibc 2.19" in text
    assert "aarch64-linux-older: glibc 2.27" in text


@pytest.mark.parametrize("name", ["My Board", "", "a--b", "../x", "raspberry-pi-5"])
def test_bad_name_is_refused(name: str, shipped: Path) -> None:
    with pytest.raises(InputError) as caught:
        from_facts(PI5, name, folders=[shipped])
    assert caught.value.reference == "bad-target-name"
