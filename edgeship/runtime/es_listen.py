"""Addresses: `127.0.0.1:8500`, `[::1]:8500`, `unix:service.sock`; opened for listening without taking what is
another's.
"""

import errno
import os
import socket
import stat

from es_errors import CannotRun

BACKLOG = 128


def open_listener(address, directory):
    """Return (listening socket, url, path of the unix socket or None). Unix paths are relative to
    `directory`.
    """
    if address.startswith("unix:"):
        return _open_unix(os.path.join(directory, address[len("unix:") :]))
    host, mark, port = address.rpartition(":")
    if not mark or not port.isdigit() or int(port) > 65535:
        text = "listen address %r; wanted host:port, [ipv6]:port or unix:path"
        raise CannotRun("bad-listen-address", text % address)
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        sock.close()
        raise CannotRun("cannot-listen", "%s: %s" % (address, getattr(error, "strerror", None) or error))
    sock.setblocking(False)
    shown = "[%s]" % host if family == socket.AF_INET6 else host or "0.0.0.0"
    return sock, "http://%s:%d" % (shown, sock.getsockname()[1]), None


def _open_unix(path):
    path = os.path.abspath(path)
    if len(os.fsencode(path)) > 107:
        text = "%s is longer than the 107 bytes of a unix socket's path; announce in a shorter directory"
        raise CannotRun("cannot-listen", text % path)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(
        0o117
    )  # The owner and the group may talk to the service; the socket is born with these bits.
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotRun("cannot-listen", "%s: %s" % (path, error.strerror or error))
    finally:
        os.umask(mask)
    sock.setblocking(False)
    return sock, "unix:" + path, path


def _remove_stale(path):
    """Remove the socket that a dead process left; refuse where somebody answers or where it is no socket."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise CannotRun("cannot-listen", "%s exists and is not a socket" % path)
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(1.0)
        probe.connect(path)
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
            raise CannotRun("cannot-listen", "%s: %s" % (path, error.strerror or error))
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        return
    finally:
        probe.close()
    raise CannotRun("cannot-listen", "%s: another process answers there" % path)
