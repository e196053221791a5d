"""Connections to a real OpenSSH server: what works, and what each failure says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.errors import DeviceError, InputError
from edgeship.remote import Command, CommandTimeout, LinkLost, connect, parse_host
from edgeship.values import Host


def fingerprint(server: Any, key: str = "host_key") -> str:
    """Return the fingerprint as OpenSSH's own tool tells it."""
    done = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / f"{key}.pub")], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[1]


def refusal(host: Host, options: Any) -> DeviceError:
    """Return the error that connecting ends with."""
    with pytest.raises(DeviceError) as raised:
        connect(host, options)
    return raised.value


def test_a_command_takes_and_gives_bytes(server: Any) -> None:
    with closing(connect(server.host, server.options)) as link:
        data = os.urandom(300_000)
        done = link.run(Command(argv=("sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "it's *"), stdin=data))
        assert (done.status, done.stdout, done.stderr) == (7, data, "it's *\n")
        assert link.run(Command(argv=("printf", "%s|", "a b", "$HOME", "'", '"', "\\", "\n"))).stdout == (
            b"a b|$HOME|'|\"|\\|\n|"
        )


def test_streams_and_progress(server: Any) -> None:
    heard: list[int] = []
    pieces = [b"x" * 70_000, b"y" * 30_000]
    with closing(connect(server.host, server.options)) as link:
        done = link.run(Command(argv=("wc", "-c"), stdin=lambda: iter(pieces)), heard.append)
    assert done.stdout.strip() == b"100000" and heard[-1] == 100_000 and heard == sorted(heard)


def test_a_command_that_reads_nothing_still_has_its_say(server: Any) -> None:
    with closing(connect(server.host, server.options)) as link:
        done = link.run(Command(argv=("sh", "-c", "echo no >&2; exit 3"), stdin=b"z" * 8_000_000))
        assert (done.status, done.stderr) == (3, "no\n")
        assert link.run(Command(argv=("true",))).status == 0


def test_the_fast_cipher_is_taken(server: Any) -> None:
    with closing(connect(server.host, server.options)) as link:
        transport = link._connection.transport  # type: ignore[attr-defined]
        assert transport.local_cipher == "aes128-gcm@openssh.com" and transport.local_compression == "none"


def test_sudo_is_a_no_op_for_root(server: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    with closing(connect(server.host, server.options)) as link:
        assert link.run(Command(argv=("id", "-u"), sudo=True)).stdout == b"0\n"


def test_an_unknown_key_is_shown_and_refused(server: Any) -> None:
    server.known_hosts.write_text("")
    error = refusal(server.host, server.options)
    assert error.render() == (
        "error: unknown-host-key\n"
        f"  {server.host.text} is not in known_hosts, so nothing proves that this is the right device\n"
        f"  key:          ssh-ed25519 {fingerprint(server)}\n"
        f"  known_hosts:  {server.known_hosts}\n"
        "  compare with: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, typed on the device itself\n"
        f"hint: when the fingerprint is right: edgeship target probe {server.host.text} --ssh-config "
        f"{server.options.ssh_config} --accept-new-host-key (or: ssh -p {server.port} 127.0.0.1)"
    )
    assert server.known_hosts.read_text() == ""


def test_a_new_key_is_recorded_when_told_to(server: Any) -> None:
    server.known_hosts.write_text("other ssh-ed25519 AAAA")
    options = replace(server.options, accept_new_host_key=True)
    with closing(connect(server.host, options)) as link:
        (note,) = link.notes
    assert note == (
        f"recorded the new host key of [127.0.0.1]:{server.port} in {server.known_hosts}: "
        f"ssh-ed25519 {fingerprint(server)}"
    )
    assert server.known_hosts.read_text().splitlines()[1] == f"[127.0.0.1]:{server.port} {server.public()}"
    with closing(connect(server.host, server.options)) as link:  # OpenSSH's own client agrees
        assert link.notes == ()


def test_a_changed_key_is_refused_loudly_even_when_new_ones_are_accepted(server: Any) -> None:
    from edgeship.remote.hostkeys import fingerprint as ours

    other = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
    server.known_hosts.write_text(f"# mine\n\n[127.0.0.1]:{server.port} ssh-ed25519 {other}\n")
    error = refusal(server.host, replace(server.options, accept_new_host_key=True))
    assert error.render() == (
        "error: host-key-changed\n"
        f"  THE HOST KEY OF {server.host.text} HAS CHANGED: it was reinstalled, or another machine answers in "
        "its place\n"
        f"  recorded: {server.known_hosts}:3: ssh-ed25519 {ours(base64.b64decode(other))}\n"
        f"  offered:  ssh-ed25519 {fingerprint(server)}\n"
        f"hint: only if you know why: ssh-keygen -R '[127.0.0.1]:{server.port}' -f {server.known_hosts}, then "
        f"edgeship target probe {server.host.text} --accept-new-host-key"
    )


def test_a_revoked_key_is_refused(server: Any) -> None:
    name = f"[127.0.0.1]:{server.port}"
    server.trust(f"{name} {server.public()}\n@revoked {name} {server.public()}")
    assert refusal(server.host, server.options).reference == "host-key-revoked"


@pytest.mark.parametrize("form", ["hashed", "list", "two keys", "wildcard"])
def test_every_form_of_known_hosts(server: Any, form: str) -> None:
    name = f"[127.0.0.1]:{server.port}"
    salt = b"0123456789abcdefghij"
    digest = base64.b64encode(hmac.new(salt, name.encode(), hashlib.sha1).digest()).decode()
    other = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
    lines = {
        "hashed": f"|1|{base64.b64encode(salt).decode()}|{digest} {server.public()}",
        "list": f"example.org,{name} {server.public()} a comment",
        "two keys": f"{name} ssh-ed25519 {other}\n{name} {server.public()}",
        "wildcard": f"{name} {server.public()}\n!10.0.0.1,10.* ssh-ed25519 {other}",
    }
    server.trust(lines[form])
    connect(server.host, server.options).close()


def test_a_recorded_rsa_key_is_asked_for(server: Any) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(server.folder / "rsa_key")],
        check=True,
    )
    server.stop()
    server.write_config(keys=("host_key", "rsa_key"))
    server.start()
    server.trust(f"[127.0.0.1]:{server.port} {server.public('rsa_key')}")
    connect(server.host, server.options).close()


def test_a_wrong_key_is_named(server: Any) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(server.folder / "wrong")], check=True
    )
    wrong = server.folder / "wrong"
    error = refusal(server.host, replace(server.options, identity=wrong))
    rendered = error.render()
    assert error.reference == "login-refused" and str(wrong) in rendered
    assert f"hint: ssh-copy-id -p {server.port} {server.user}@127.0.0.1" in rendered


def test_a_missing_key_file_is_named(server: Any) -> None:
    error = refusal(server.host, replace(server.options, identity=Path("/nowhere/key")))
    assert error.reference == "no-such-file" and "/nowhere/key" in error.render()


def test_a_key_with_a_passphrase_asks_for_the_agent(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    locked = server.folder / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)], check=True)
    error = refusal(server.host, replace(server.options, identity=locked))
    assert (
        error.reference == "key-needs-passphrase" and error.hint == f'eval "$(ssh-agent)"; ssh-add {locked}'
    )


@pytest.mark.parametrize("named", ["--identity", "ssh_config", "public"])
def test_a_locked_key_works_once_the_agent_has_it(
    named: str, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = server.folder / "client_key"
    socket_file = server.folder / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_file))
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_file)], stdout=subprocess.DEVNULL) as agent:
        try:
            while subprocess.run(["ssh-add", "-l"], capture_output=True).returncode == 2:  # not there yet
                time.sleep(0.01)
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(server.folder / "other")]
            subprocess.run(made, check=True)
            for key in (server.folder / "other", own):
                subprocess.run(["ssh-add", "-q", str(key)], check=True)
            subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(own)], check=True)
            if named == "public":  # the private half lies elsewhere
                own.unlink()
            else:
                own.with_suffix(".pub").unlink()
            given = {"ssh_config": None, "--identity": own, "public": own.with_suffix(".pub")}[named]
            options = replace(server.options, identity=given)
            with closing(connect(server.host, options)) as link:
                assert link.run(Command(argv=("echo", "in"))).stdout == b"in\n"
            if named == "--identity":  # of the agent's keys it is that one or none
                subprocess.run(["ssh-add", "-q", "-D"], check=True)
                subprocess.run(["ssh-add", "-q", str(server.folder / "other")], check=True)
                shutil.copy(server.folder / "other.pub", server.folder / "authorized_keys")
                error = refusal(server.host, options)
                assert error.reference == "key-needs-passphrase" and error.hint == f"ssh-add {own}"
        finally:
            agent.terminate()


def test_password_only(server: Any) -> None:
    server.stop()
    server.write_config(extra="PubkeyAuthentication no\nPasswordAuthentication yes\nPermitRootLogin yes\n")
    server.start()
    error = refusal(server.host, server.options)
    assert error.reference == "password-only"
    assert "takes password only; edgeship logs in with keys, never passwords" in error.render()


def test_nobody_listens(server: Any) -> None:
    with socket.socket() as held:  # bound and not listening: nobody else can take it
        held.bind(("127.0.0.1", 0))
        error = refusal(parse_host(f"{server.user}@127.0.0.1:{held.getsockname()[1]}"), server.options)
    assert error.reference == "connection-refused" and "no SSH server there" in error.render()
    assert error.hint == "on the device: sudo systemctl enable --now ssh"


def test_no_such_name(server: Any) -> None:
    error = refusal(parse_host("pi@no-such-host.invalid"), server.options)
    assert error.reference == "unknown-host" and error.hint == "getent hosts no-such-host.invalid"


def test_a_frozen_device_accepts_and_says_nothing(server: Any) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        begun = time.monotonic()
        error = refusal(parse_host(f"pi@127.0.0.1:{port}"), replace(server.options, connect_seconds=1))
    assert error.reference == "no-ssh-banner" and "does not speak SSH" in error.render()
    assert time.monotonic() - begun < 10


def test_a_command_without_an_answer_ends(server: Any) -> None:
    with closing(connect(server.host, server.options)) as link, pytest.raises(CommandTimeout) as raised:
        link.run(Command(argv=("sleep", "60"), timeout=0.5))
    assert raised.value.render() == (
        "error: no-answer\n"
        f"  {server.host.text} did not answer within 0.5 s\n"
        f"  host: {server.host.text}\n"
        f"hint: edgeship status --host {server.host.text}"
    )


def test_closing_from_another_thread_ends_a_command(server: Any) -> None:
    link = connect(server.host, server.options)
    threading.Timer(0.5, link.close).start()
    begun = time.monotonic()
    with pytest.raises(LinkLost):
        link.run(Command(argv=("sleep", "60")))
    assert time.monotonic() - begun < 10


def test_ssh_config_names_host_port_user_and_key(server: Any) -> None:
    config = server.folder / "ssh_config"
    config.write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
        f"  HostKeyAlias my-board\n{config.read_text()}"
    )
    error = refusal(parse_host("board"), server.options)
    assert error.reference == "unknown-host-key"
    server.trust(f"my-board {server.public()}")  # as OpenSSH has it: without the port
    with closing(connect(parse_host("board"), server.options)) as link:
        assert link.run(Command(argv=("echo", "here"))).stdout == b"here\n"


def test_what_ssh_config_includes_counts(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(server.folder))
    (server.folder / ".ssh/more").mkdir(parents=True)
    (server.folder / ".ssh/more/board").write_text(
        f"Host board\n  Port {server.port}\n  HostName 127.0.0.1\n"
    )
    (server.folder / "login").write_text(f"  User {server.user}\n")
    config = server.folder / "ssh_config"
    rest = config.read_text()
    config.write_text(
        f"Include more/* nothing-there\nHost other\n  Port 1\nHost board\n  Include {server.folder}/login\n{rest}"
    )
    with closing(connect(parse_host("board"), server.options)) as link:
        assert link.run(Command(argv=("echo", "included"))).stdout == b"included\n"
    for text, words in (
        ("Host x\n  Include more/*\n", "has blocks of its own"),
        (f"Include {config}\n", "does a file include itself"),
    ):
        config.write_text(text)
        with pytest.raises(InputError, match=words) as caught:
            connect(parse_host("board"), server.options)
        assert caught.value.reference == "bad-ssh-config" and caught.value.hint


def test_a_jump_host_is_checked_as_strictly(server: Any) -> None:
    config = server.folder / "ssh_config"
    config.write_text(
        f"Host inner\n  HostName localhost\n  Port {server.port}\n  User {server.user}\n"
        f"  ProxyJump {server.user}@127.0.0.1:{server.port}\n{config.read_text()}"
    )
    server.trust(f"[127.0.0.1]:{server.port},[localhost]:{server.port} {server.public()}")
    with closing(connect(parse_host("inner"), server.options)) as link:
        assert link.run(Command(argv=("echo", "through"))).stdout == b"through\n"
    server.trust(f"[localhost]:{server.port} {server.public()}")
    assert refusal(parse_host("inner"), server.options).reference == "unknown-host-key"


def test_a_proxy_command_is_gone_through(server: Any) -> None:
    relay = server.folder / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "link = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536):\n"
        "        link.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := link.recv(65536):\n"
        "    os.write(1, data)\n"
    )
    config = server.folder / "ssh_config"
    config.write_text(
        f"Host behind\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
        f"  ProxyCommand {sys.executable} {relay} %h %p\n{config.read_text()}"
    )
    server.trust()
    with closing(connect(parse_host("behind"), server.options)) as link:
        assert link.run(Command(argv=("echo", "behind"))).stdout == b"behind\n"


def test_match_exec_of_ssh_config_asks_the_command(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing = tmp_path / "stdin"
    nothing.touch()
    monkeypatch.setattr(sys, "stdin", nothing.open())  # invoke looks whether there is something to pass on
    config = server.folder / "ssh_config"
    wanted, other = (
        f'Match originalhost {name} exec "test -d {folder}"\n  HostName 127.0.0.1\n  Port {server.port}\n'
        f"  User {server.user}\n"
        for name, folder in (("here", server.folder), ("gone", "/nowhere"))
    )
    config.write_text(wanted + other + config.read_text())
    server.trust()
    with closing(connect(parse_host("here"), server.options)) as link:
        assert link.run(Command(argv=("echo", "matched"))).stdout == b"matched\n"
    assert refusal(parse_host("gone"), server.options).reference == "unknown-host"


def test_jumps_end_where_a_wildcard_covers_the_jump_hosts_themselves(server: Any) -> None:
    config = server.folder / "ssh_config"
    here = f"  HostName 127.0.0.1\n  Port {server.port}\n"
    config.write_text(
        f"Host inner direct first\n{here}Host inner2\n{here}  ProxyJump [127.0.0.1]:{server.port}\n"
        f"Host direct\n  ProxyJump none\nHost *\n  User {server.user}\n  ProxyJump first\n{config.read_text()}"
    )
    server.trust()
    for name, hops in (("inner", 1), ("inner2", 2), ("first", 0), ("direct", 0)):
        with closing(connect(parse_host(name), server.options)) as link:
            assert link.run(Command(argv=("echo", name))).stdout == f"{name}\n".encode()
            each: Any = link
            each, gone = each._connection, 0
            while (each := each.gateway) is not None:
                gone += 1
            assert gone == hops, name


def test_settings_of_fabric_that_cannot_be_read_are_told(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".fabric.yaml").write_text("user: [")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="fabric's own settings") as caught:
        connect(server.host, server.options)
    assert caught.value.reference == "bad-ssh-config" and caught.value.hint


@pytest.mark.parametrize("line", ["Port many", "Match exec"], ids=["port", "match"])
def test_settings_of_a_host_without_sense_are_told(line: str, server: Any) -> None:
    config = server.folder / "own_config"
    config.write_text(f"Host board\n  {line}\n")
    with pytest.raises(InputError, match=r"board|own_config") as caught:
        connect(parse_host("board"), replace(server.options, ssh_config=config))
    assert caught.value.reference == "bad-ssh-config" and caught.value.hint


@pytest.mark.parametrize("text", [None, "Match exec\n", "nonsense\n"], ids=["missing", "match", "words"])
def test_an_ssh_config_that_cannot_be_read_is_named(text: str | None, server: Any) -> None:
    config = server.folder / "own_config"
    if text is not None:
        config.write_text(text)
    with pytest.raises(InputError) as caught:
        connect(server.host, replace(server.options, ssh_config=config))
    error = caught.value
    assert error.reference == "bad-ssh-config" and str(config) in error.render() and error.hint
