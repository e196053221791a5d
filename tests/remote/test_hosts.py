"""Hosts as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.errors import InputError
from edgeship.project import checks
from edgeship.remote import parse_host
from edgeship.remote.hosts import explicit_port


@pytest.mark.parametrize(
    ("text", "user", "hostname", "port", "explicit"),
    [
        ("pi@10.0.0.7", "pi", "10.0.0.7", 22, None),
        ("pi@10.0.0.7:2222", "pi", "10.0.0.7", 2222, 2222),
        ("coral", None, "coral", 22, None),
        ("mendel@orange-snail.local:22", "mendel", "orange-snail.local", 22, 22),
        ("pi@[fe80::1%eth0]:2222", "pi", "fe80::1%eth0", 2222, 2222),
        ("pi@[2001:db8::7]", "pi", "2001:db8::7", 22, None),
        ("2001:db8::7", None, "2001:db8::7", 22, None),
        ("first.last@host", "first.last", "host", 22, None),
        ("DOM\\user@host:2222", "DOM\\user", "host", 2222, 2222),
    ],
)
def test_ssh_hosts(text: str, user: str | None, hostname: str, port: int, explicit: int | None) -> None:
    host = parse_host(text)
    assert (host.kind, host.text, host.user, host.hostname, host.port) == ("ssh", text, user, hostname, port)
    assert explicit_port(host) == explicit
    assert checks.host(text) == text  # edgeship.yaml takes the same


def test_local_hosts_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_host("local:device").directory == tmp_path / "device"
    assert parse_host("local:/x").directory == Path("/x") and parse_host("local:/x").kind == "local"
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse_host("local:~/d").directory == Path("/home/someone/d")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot read host '': empty, or with blanks in it"),
        ("pi@", "there is no host name"),
        ("pi@host:", "port '' is not a number from 1 to 65535"),
        ("pi@host:99999", "port '99999' is not a number from 1 to 65535"),
        ("pi@host:ssh", "port 'ssh' is not a number"),
        ("pi@ host", "blanks"),
        ("pi@host name", "blanks"),
        ("-oProxyCommand=x@host", "'-oProxyCommand=x' is not a user name"),
        ("pi@-oProxyCommand=x", "'-oProxyCommand=x' is not a host name"),
        ("pi@host:/tmp", "port '/tmp' is not"),
        ("/tmp/device", "a path"),
        ("host:1:2", "more than one colon"),
        ("pi@[fe80::1", "brackets hold an IPv6 address"),
        ("pi@[fe80::1]2222", "brackets hold an IPv6 address"),
        ("local:", "there is no directory after local:"),
    ],
)
def test_what_cannot_be_a_host(text: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_host(text)
    rendered = raised.value.render()
    assert rendered.startswith("error: bad-host\n") and words in rendered
    assert "wanted: user@host[:port] or local:DIR" in rendered and "\nhint: " in rendered
    with pytest.raises(ValueError, match="expected user@host, user@host:port or local:DIR, found"):
        checks.host(text)


def test_the_hint_for_a_url_and_a_path_is_what_was_meant() -> None:
    with pytest.raises(InputError) as raised:
        parse_host("ssh://pi@10.0.0.7:22/")
    assert raised.value.hint == "--host pi@10.0.0.7:22"
    with pytest.raises(InputError) as raised:
        parse_host("/tmp/device")
    assert raised.value.hint == "--host local:/tmp/device"
