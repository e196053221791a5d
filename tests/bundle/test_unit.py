"""The systemd unit of every target: hardened, and understood by systemd itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeship.assets import targets_folder, templates_folder
from edgeship.bundle.manifest import interpreter_entry
from edgeship.bundle.render import render, to_json
from edgeship.bundle.unit import device_rules, network, sessions_that_fit, unit_values
from edgeship.errors import EdgeshipError, InputError
from edgeship.profile import list_profiles, load_profile

PROFILES = {p.name: p for p in list_profiles(folders=(targets_folder(),))}
WORDS = {
    "@ROOT@": "/var/lib/edgeship",
    "@APP@": "kws",
    "@PYTHON@": "/usr/bin/env",
    "@LISTEN@": "127.0.0.1:8500",
}
EXPOSURE = 15
"""Tenths of systemd-analyze's exposure level, 0 (nothing) to 100."""


def unit_of(name: str, listen: str = "127.0.0.1:8500") -> str:
    values = unit_values(PROFILES[name], app="kws", listen=listen, drain_seconds=10.0)
    return render("edgeship.service.j2", values)


def filled_in(text: str) -> str:
    for word, value in WORDS.items():
        text = text.replace(word, value)
    return text


@pytest.mark.parametrize("name", PROFILES)
def test_four_words_and_no_others_are_left_to_the_device(name: str) -> None:
    text = unit_of(name)
    assert all(word in text for word in WORDS)
    assert "@" not in filled_in(text).replace("SystemCallFilter=~@", "").replace(" @", " ")
    assert "{" not in text and "\n\n\n" not in text
    assert f"MemoryMax={PROFILES[name].service.memory_max_mb}M\n" in text
    assert "\nWatchdogSec=30\n" in text and "\nTasksMax=64\n" in text and "\nCPUWeight=50\n" in text


def test_large_requests_get_the_memory_that_they_take() -> None:
    """33 MiB of JSON, one 640 x 640 x 3 tensor of floats, take a service 184 MB and more."""
    zero, pi = PROFILES["raspberry-pi-zero-2w"], PROFILES["raspberry-pi-5"]
    given = {"app": "kws", "listen": "127.0.0.1:8500", "drain_seconds": 10.0}
    for profile in PROFILES.values():
        assert unit_values(profile, **given)["memory_mb"] == profile.service.memory_max_mb
    assert unit_values(zero, **given, body_bytes=20 << 20)["memory_mb"] == 64 + 6 * 20
    assert unit_values(zero, **given, body_bytes=200 << 20)["memory_mb"] == zero.memory.ram_mb // 2
    assert unit_values(pi, **given, body_bytes=33 << 20)["memory_mb"] == 262
    assert unit_values(pi, **given, body_bytes=33 << 20, buffered_bytes=66 << 20)["memory_mb"] == 262 + 66
    for profile in PROFILES.values():  # what every model has fits what every target gives
        values = unit_values(profile, **given, buffered_bytes=16 << 20)
        assert values["memory_mb"] == profile.service.memory_max_mb
    assert unit_values(pi, **given, body_bytes=20 << 20)["memory_mb"] == pi.service.memory_max_mb


def test_models_that_are_loaded_count_and_sessions_are_as_many_as_fit() -> None:
    """16 sessions of a model of 17 MB took 292 MB beside its file: more than MemoryMax of most boards."""
    zero, pi = PROFILES["raspberry-pi-zero-2w"], PROFILES["raspberry-pi-5"]
    limits = {"body_bytes": 8 << 20, "buffered_bytes": 16 << 20, "sessions": 16}
    assert sessions_that_fit(zero, limits, 100_000) == 16 and sessions_that_fit(pi, limits, 16 << 20) == 11
    few = sessions_that_fit(zero, limits, 16 << 20)
    assert few == (256 - 128 - 32) // 32 and sessions_that_fit(zero, limits, 900 << 20) == 1
    given = {"app": "kws", "listen": "127.0.0.1:8500", "drain_seconds": 10.0, "buffered_bytes": 16 << 20}
    assert unit_values(zero, **given, loaded_bytes=(1 + few) * (16 << 20))["memory_mb"] == 256
    assert unit_values(pi, **given, loaded_bytes=100 << 20)["memory_mb"] == 64 + 6 * 8 + 16 + 200
    assert unit_values(pi, **given, loaded_bytes=50_000)["memory_mb"] == pi.service.memory_max_mb


def script_of(name: str) -> str:
    values = unit_values(PROFILES[name], app="kws", listen="127.0.0.1:8500", drain_seconds=10.0)
    return render("edgeship.initd.j2", values)


@pytest.mark.parametrize("name", PROFILES)
def test_the_openrc_script_leaves_four_words_and_is_a_script(name: str, tmp_path: Path) -> None:
    text = script_of(name)
    words = {**WORDS, "@HELPER@": "/var/lib/edgeship/bin/es.py"}
    del words["@LISTEN@"]
    assert all(word in text for word in words)
    for word, value in words.items():
        text = text.replace(word, value)
    assert (
        "@" not in text.replace(" @", " ")
        and "{" not in text.replace("depend() {", "")
        and "\n\n\n" not in text
    )
    path = tmp_path / "edgeship-kws"
    path.write_text(text)
    assert subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True).stderr == ""
    show = f'. {path}; set -f; printf "%s\\n" $command_args; echo "$rc_cgroup_settings"'
    said = subprocess.run(["sh", "-c", show], capture_output=True, text=True, check=True).stdout.split()
    service = PROFILES[name].service
    assert said[:6] == ["-I", "-B", "/var/lib/edgeship/bin/es.py", "supervise", "/var/lib/edgeship", "kws"]
    assert said[6:9] == [service.user or "-", ",".join(service.groups) or "-", "64"]
    assert said[9:] == ["memory.max", str(service.memory_max_mb << 20), "pids.max", "72"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("listen", ["127.0.0.1:8500", "unix:service.sock", "0.0.0.0:8500"])
@pytest.mark.parametrize("name", ["host", "coral-dev-board", "coral-usb-raspberry-pi", "gpu-linux-aarch64"])
def test_exposure(name: str, listen: str, tmp_path: Path) -> None:
    """Offline, as rendered. An accelerator's device nodes and an open port cost something; memory writable as
    code too."""
    path = tmp_path / "edgeship-kws.service"
    path.write_text(filled_in(unit_of(name, listen)))
    allowed = EXPOSURE + (2 if PROFILES[name].devices else 0) + (2 if listen.startswith("0.0.0.0") else 0)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={allowed}", "--no-pager", str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert "ignoring" not in done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    path = tmp_path / "edgeship-kws.service"
    path.write_text(filled_in(unit_of("coral-usb-raspberry-pi")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)],
        capture_output=True,
        text=True,
    )
    mine = [line for line in done.stderr.splitlines() if "edgeship-kws" in line]
    assert mine == []


def test_accelerators_open_their_nodes_and_no_others() -> None:
    assert device_rules(PROFILES["coral-dev-board"]) == ["char-apex rw"]
    assert device_rules(PROFILES["coral-usb-raspberry-pi"]) == ["char-usb_device rw"]
    gpu = device_rules(PROFILES["gpu-linux-aarch64"])
    assert "char-drm rw" in gpu and "/dev/mali0 rw" in gpu
    assert device_rules(PROFILES["host"]) == []
    assert "SupplementaryGroups=apex\n" in unit_of("coral-dev-board")
    assert "PrivateDevices=yes" in unit_of("host") and "PrivateDevices=no" in unit_of("coral-dev-board")
    assert "MemoryDenyWriteExecute" not in unit_of("gpu-linux-aarch64").replace("stays allowed", "")
    assert "MemoryDenyWriteExecute=yes" in unit_of("coral-dev-board")


@pytest.mark.parametrize(
    ("listen", "kind"),
    [
        ("127.0.0.1:1", "loopback"),
        ("127.9.9.9:1", "loopback"),
        ("localhost:1", "loopback"),
        ("[::1]:1", "loopback"),
        ("0.0.0.0:1", "any"),
        ("[::]:1", "any"),
        ("10.0.0.7:1", "any"),
        ("unix:service.sock", "unix"),
    ],
)
def test_network_follows_the_address(listen: str, kind: str) -> None:
    assert network(listen) == kind
    text = unit_of("host", listen)
    assert ("PrivateNetwork=yes" in text) == (kind == "unix")
    assert ("IPAddressAllow=localhost" in text) == (kind == "loopback")


def test_words_that_would_write_lines_into_the_unit_are_refused() -> None:
    profile: Any = load_profile("host", folders=(targets_folder(),))
    service = profile.service.model_copy(update={"groups": ("video\nExecStartPre=/bin/sh",)})
    with pytest.raises(InputError) as caught:
        unit_values(
            profile.model_copy(update={"service": service}), app="a", listen="unix:x", drain_seconds=1.0
        )
    assert caught.value.reference == "bad-unit-word"
    assert caught.value.context["key"] == "service.groups"


def test_a_template_that_asks_for_too_much_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.j2").write_text("fine\n{{ nothing }}\n")
    with pytest.raises(EdgeshipError) as caught:
        render("bad.j2", {}, folder=tmp_path)
    assert caught.value.reference == "template-failed"
    assert "'nothing' is undefined" in caught.value.message
    with pytest.raises(EdgeshipError, match=r"missing\.j2"):
        render("missing.j2", {}, folder=tmp_path)
    (tmp_path / "syntax.j2").write_text("{% if %}")
    with pytest.raises(EdgeshipError) as caught:
        render("syntax.j2", {}, folder=tmp_path)
    assert caught.value.context == {"file": "syntax.j2, line 1"}


def test_json_in_templates_is_not_escaped_for_web_pages(tmp_path: Path) -> None:
    (tmp_path / "j.j2").write_text("{{ x | json }}")
    assert (
        render("j.j2", {"x": {"b": "<&'\">", "a": "é"}}, folder=tmp_path) == '{"a": "é", "b": "<&\'\\">"}\n'
    )
    with pytest.raises(ValueError, match="JSON"):
        to_json(float("nan"))


def test_licence_text_in_templates_is_the_projects_own() -> None:
    own = (Path(__file__).resolve().parents[2] / "LICENSE").read_bytes()
    assert (templates_folder() / "licences" / "apache-2.0.txt").read_bytes() == own


def test_the_interpreter_is_told_where_a_target_names_one() -> None:
    nano, other = (
        load_profile(name, folders=(targets_folder(),)) for name in ("jetson-nano", "raspberry-pi-5")
    )
    assert interpreter_entry(nano) == {"interpreter": "python3.8"} and interpreter_entry(other) == {}


def test_a_sensor_opens_its_node_and_only_for_a_governor() -> None:
    """Of all targets the Raspberry Pi 5 alone has one: its PMIC is asked through /dev/vcio."""

    def lines(name: str, governed: bool) -> list[str]:
        values = unit_values(
            PROFILES[name], app="kws", listen="127.0.0.1:8500", drain_seconds=10.0, governed=governed
        )
        text = render("edgeship.service.j2", values)
        keys = ("DeviceAllow=", "PrivateDevices=", "PrivateUsers=", "SupplementaryGroups=", "DevicePolicy=")
        return sorted(line for line in text.splitlines() if line.startswith(keys))

    shut = ["DevicePolicy=closed", "PrivateDevices=yes", "PrivateUsers=yes"]
    assert lines("raspberry-pi-5", False) == lines("raspberry-pi-4", True) == shut
    assert lines("raspberry-pi-5", True) == [
        "DeviceAllow=/dev/vcio rw",
        "DevicePolicy=closed",
        "PrivateDevices=no",
        "PrivateUsers=yes",
        "SupplementaryGroups=video",
    ]
    for name, profile in PROFILES.items():
        if not any(sensor.device for sensor in profile.sensors):
            assert lines(name, True) == lines(name, False), name
