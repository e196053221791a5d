"""SSH through fabric: strict host keys, the user's ssh_config, and links that end in seconds when they are
cut."""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeship.errors import EdgeshipError
from edgeship.remote import agentkeys, hostkeys
from edgeship.remote.command import Command, Completed, keep_end, link_lost, timed_out, too_long
from edgeship.remote.explain import explain
from edgeship.remote.hosts import explicit_port
from edgeship.remote.link import link, read_settings
from edgeship.remote.sshlib import fabric, paramiko
from edgeship.values import Host

KEEPALIVE_SECONDS = 3
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
SEND_BYTES = 32 * 1024  # one SSH packet of the size every server takes


class StrictKeys(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Refuses every host that no known_hosts file speaks of, unless the user said to record it."""

    def __init__(
        self, host: str, name: str, known: tuple[hostkeys.KnownKey, ...], file: Path, accepting: str | None
    ):
        self.host, self.name, self.known, self.file = host, name, known, file
        self.accepting = accepting
        """The command that records a new key; None: this one does."""
        self.notes: list[str] = []

    def missing_host_key(self, _client: Any, _hostname: str, key: Any) -> None:
        """Called by paramiko when it knows no key of this type for the host."""
        blob, keytype = key.asbytes(), key.get_name()
        same = [known for known in self.known if known.blob == blob]
        if any(known.revoked for known in same):
            raise hostkeys.revoked_key(self.host, same[0])
        if same:
            return
        usable = [known for known in self.known if not known.revoked]
        if usable:
            raise hostkeys.changed_key(self.host, self.name, keytype, blob, usable[0])
        if self.accepting:
            raise hostkeys.unknown_key(
                self.host, self.name, keytype, blob, file=self.file, accepting=self.accepting
            )
        self.notes.append(hostkeys.record_key(self.file, self.name, keytype, blob))


def known_hosts_files(config: dict[str, Any]) -> tuple[Path, ...]:
    """Return the known_hosts files in the order OpenSSH reads them; the first is where new keys go."""
    user = config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
    system = config.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2").split()
    files = [name for name in (*user, *system) if name not in ("none", "/dev/null")]
    return tuple(Path(name.replace("%d", "~", 1)).expanduser() for name in files)


def _probe_words(host: Host, ssh_config: Path | None, identity: Path | None) -> str:
    """Return the command that records the key of a new host and changes nothing else, whatever verb is under way."""
    options = [("--ssh-config", ssh_config), ("--identity", identity)]
    given = [word for name, path in options if path for word in (name, str(path))]
    return shlex.join(["edgeship", "target", "probe", host.text, *given, "--accept-new-host-key"])


class SshTransport:
    """One SSH connection. See `Transport`."""

    def __init__(
        self,
        host: Host,
        *,
        ssh_config: Path | None,
        identity: Path | None,
        accept_new_host_key: bool,
        connect_seconds: float,
        cut_seconds: float,
    ) -> None:
        self._probe = _probe_words(host, ssh_config, identity)
        self._host, self._cut_seconds = host, cut_seconds
        self._policies: list[StrictKeys] = []
        self._accept, self._seconds = accept_new_host_key, connect_seconds
        self._closed = threading.Event()
        quiet = logging.getLogger("paramiko")
        if (
            not quiet.handlers
        ):  # its tracebacks would reach the user's terminal by way of logging's last resort
            quiet.addHandler(logging.NullHandler())
        self._connection = link(
            host.hostname or "",
            read_settings(ssh_config),
            user=host.user,
            port=explicit_port(host),
            seconds=connect_seconds,
        )
        self._open(identity)

    @property
    def notes(self) -> tuple[str, ...]:
        """Host keys that were recorded."""
        return tuple(note for policy in self._policies for note in policy.notes)

    def _open(self, identity: Path | None) -> None:
        """Connect, jump hosts included; every failure becomes an error a person can act on."""
        connection, chain = self._connection, []
        while isinstance(connection, fabric.Connection):
            chain.append(connection)
            connection = connection.gateway
        try:
            for each in reversed(chain):
                self._prepare(each, identity)
                self._log_in(each)
        except EdgeshipError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise explain(error, self._host, self._connection, identity) from error
        for each in chain:
            each.transport.set_keepalive(KEEPALIVE_SECONDS)

    def _prepare(self, connection: Any, identity: Path | None) -> None:
        """Set host keys, ciphers, time limits and keys of one connection before it opens."""
        config = dict(connection.ssh_config)
        alias = config.get("hostkeyalias")  # stands in known_hosts as it is, whatever the port
        name = alias.lower() if alias else hostkeys.known_name(connection.host.lower(), connection.port)
        files = known_hosts_files(config)
        known = hostkeys.known_keys(files, name)
        file = files[0] if files else Path()
        policy = StrictKeys(self._host.text, name, known, file, None if self._accept else self._probe)
        self._policies.append(policy)
        connection.client.set_missing_host_key_policy(policy)
        options = connection.connect_kwargs
        options.update(
            transport_factory=self._transport_factory(policy),
            banner_timeout=self._seconds * 0.8,  # less than the time limit of the whole handshake
            auth_timeout=self._seconds + 5,
            channel_timeout=self._seconds + 5,
            compress=False,
        )
        if identity is not None and connection is self._connection:
            options["key_filename"] = [str(identity)]  # and none of ssh_config's, which fabric adds
        only = identity is not None or str(config.get("identitiesonly", "no")).lower() == "yes"
        if only and options.get("key_filename"):
            options.update(allow_agent=False, look_for_keys=False)

    def _log_in(self, connection: Any) -> None:
        """Open one connection. Where only the files that were named count, the agent counts for those it holds."""
        options = connection.connect_kwargs
        only = options.get("key_filename", ()) if options.get("allow_agent") is False else ()
        with agentkeys.held([only] if isinstance(only, str) else only) as key:
            if key is not None:  # not by way of connect_kwargs, which fabric copies: such a key cannot be
                connection.client.connect = functools.partial(connection.client.connect, pkey=key)
            connection.open()

    def _transport_factory(self, policy: StrictKeys) -> Callable[..., Any]:
        """Return what makes paramiko's transport: fast ciphers first, and a socket that notices a cut
        link."""

        def make(sock: Any, **options: Any) -> Any:
            if isinstance(sock, socket.socket):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._cut_seconds * 1000))
            transport = paramiko.Transport(sock, **options)
            security = transport.get_security_options()
            first = [cipher for cipher in CIPHERS if cipher in security.ciphers]
            security.ciphers = (*first, *(c for c in security.ciphers if c not in first))
            wanted = [known.keytype for known in policy.known if not known.revoked]
            if wanted:  # ask for a key type that is recorded, not for the one the server likes best
                wanted = [
                    *(["rsa-sha2-512", "rsa-sha2-256"] if "ssh-rsa" in wanted else []),
                    *wanted,
                ]
                mine = [kind for kind in security.key_types if kind in wanted]
                security.key_types = (*mine, *(k for k in security.key_types if k not in mine))
            return transport

        return make

    def run(
        self,
        command: Command,
        progress: Callable[[int], None] | None = None,
        hear: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """Run a command on the device; see `Transport.run`."""
        text = self._host.text
        try:
            _acknowledge_at_once(self._connection.transport.sock)
            channel = self._connection.transport.open_session(timeout=self._seconds + 5)
        except Exception as error:
            raise link_lost(text, str(error) or type(error).__name__) from error
        try:
            return self._talk(channel, command, progress, hear)
        except TimeoutError as error:
            raise timed_out(text, command.timeout) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise link_lost(text, str(error) or type(error).__name__) from error
        finally:
            # Saying goodbye on a link that just died raises, too, and must not take the place of what happened.
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                channel.close()

    def _talk(
        self,
        channel: Any,
        command: Command,
        progress: Callable[[int], None] | None,
        hear: Callable[[bytes], None] | None,
    ) -> Completed:
        """Send stdin, read stdout and stderr, and wait for the exit status."""
        channel.settimeout(command.timeout)
        channel.exec_command(command.shell_line())
        errors = bytearray()
        reader = threading.Thread(target=_read_all, args=(channel.recv_stderr, errors), daemon=True)
        reader.start()
        self._send(channel, command, progress)
        output = bytearray()
        while data := channel.recv(1 << 16):
            if hear is not None:
                hear(data)
                continue
            output += data
            if len(output) > command.most:
                raise too_long(self._host.text, command.most)
        if not channel.status_event.wait(command.timeout):
            raise TimeoutError
        status = channel.recv_exit_status()
        reader.join(2.0)
        if status == -1 and not channel.transport.is_active():
            raise EOFError("the link went away before the command ended")
        return Completed(status=status, stdout=bytes(output), stderr=errors.decode("utf-8", "replace"))

    def _send(self, channel: Any, command: Command, progress: Callable[[int], None] | None) -> None:
        """Send stdin; a command that ends without reading all of it has its say in the exit status."""
        sent = 0
        try:
            for piece in command.pieces():
                view = memoryview(piece)
                while view:
                    count = channel.send(view[:SEND_BYTES])
                    if not count:
                        raise OSError("the channel was closed")
                    view = view[count:]
                    sent += count
                    if progress:
                        progress(sent)
            channel.shutdown_write()
        except TimeoutError:
            raise
        except OSError:
            # closed by the other side: with a living link its answer is waiting to be read
            if not channel.transport.is_active():
                raise

    def close(self) -> None:
        """Close the connection and those it jumped through."""
        self._closed.set()
        connection = self._connection
        while isinstance(connection, fabric.Connection):
            with contextlib.suppress(Exception):
                connection.client.close()
            connection = connection.gateway


def _acknowledge_at_once(sock: Any) -> None:
    """Have the kernel confirm what came without the usual wait of 40 ms.

    OpenSSH's server tells its host keys behind the authentication and holds its next packet back until they are
    confirmed: the answer to the first command of a connection.
    """
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _read_all(receive: Callable[[int], bytes], into: bytearray) -> None:
    """Keep the end of a stream, reading until its end or the link's."""
    with contextlib.suppress(OSError, EOFError):
        while data := receive(1 << 16):
            keep_end(into, data)
