"""Where the page of a service is said to be: an address that works from here, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.viewing import page_line
from edgeship.remote import parse_host
from edgeship.report.deploys import deploy_text
from edgeship.values import DeployReport, Unavailable


def report(serving: str | None) -> DeployReport:
    none = Unavailable(reason="not here")
    return DeployReport(
        host="h", app="kws", target="host", release="a" * 64, from_release=None, state="committed", bytes_sent=1,
        seconds=1.0, steps=(), golden=none, reason="serves", serving=serving, engine=none, latency_ms=none,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("serving", "host", "wanted"),
    [
        ("http://127.0.0.1:8500", "pi@10.0.0.7",
         "http://127.0.0.1:8500/  after  ssh -N -L 8500:127.0.0.1:8500 pi@10.0.0.7"),
        ("http://[::1]:8500", "pi@board:2222",
         "http://127.0.0.1:8500/  after  ssh -N -L 8500:[::1]:8500 -p 2222 pi@board"),
        ("http://0.0.0.0:8500", "pi@10.0.0.7", "http://10.0.0.7:8500/"),
        ("http://[::]:8500", "pi@board", "http://board:8500/"),
        ("http://10.1.1.1:80", "pi@board", "http://10.1.1.1:80/"),
        ("http://0.0.0.0:8500", "local:dev", "http://127.0.0.1:8500/"),
        ("http://127.0.0.1:8500", "local:dev", "http://127.0.0.1:8500/"),
        ("unix:/var/lib/edgeship/x.sock", "pi@board", None),
        (None, "pi@board", None),
    ],
)  # fmt: skip
def test_the_address_works_from_here(serving: str | None, host: str, wanted: str | None) -> None:
    assert page_line(report(serving), parse_host(host), DeployOptions()) == wanted


def test_the_way_takes_the_key_and_settings_that_reached_the_device() -> None:
    options = DeployOptions(ssh_config=Path("my conf"), identity=Path("key"))
    line = page_line(report("http://127.0.0.1:80"), parse_host("pi@board"), options)
    assert line and line.endswith("ssh -N -L 8080:127.0.0.1:80 -F 'my conf' -i key pi@board")


def test_it_stands_behind_where_the_service_listens() -> None:
    text = deploy_text(report("http://127.0.0.1:8500"), page="http://127.0.0.1:8500/")
    assert "  serving: http://127.0.0.1:8500\n  page: http://127.0.0.1:8500/\n" in text
    assert "page:" not in deploy_text(report("http://127.0.0.1:8500"))
