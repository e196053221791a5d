"""A small HTTP client for `prove --live`: one keep-alive connection to a TCP or unix address."""

import http.client
import socket

from es_errors import CannotRun


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        http.client.HTTPConnection.__init__(self, "localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client(object):
    """`url` is `http://host:port` or `unix:/path`, as the service announces it."""

    def __init__(self, url, timeout):
        self._url = url
        if url.startswith("unix:"):
            self._connection = _UnixConnection(url[len("unix:") :], timeout)
        elif url.startswith("http://"):
            # A service that listens everywhere is asked where it certainly is.
            address = url[len("http://") :].rstrip("/").replace("0.0.0.0:", "127.0.0.1:")
            try:
                self._connection = http.client.HTTPConnection(address, timeout=timeout)
            except http.client.InvalidURL as error:
                raise CannotRun("bad-url", "%s: %s" % (url, error))
        else:
            raise CannotRun("bad-url", "%r; wanted http://host:port or unix:/path" % url)

    def ask(self, method, path, body=None, headers=None):
        """Return (status, headers, body); raises CannotRun where nobody answers in time.

        A service that refuses answers before it has everything (413, 431, 503) and reads no more: what it said
        is the answer, whatever became of the rest of the request.
        """
        try:
            cut = self._send(method, path, body, headers or {})
            try:
                answer = self._connection.getresponse()
                found = answer.status, answer.headers, answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise cut or error
            if cut:
                self._connection.close()  # Half a request is no beginning for the next one.
            return found
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            told = str(error) or type(error).__name__
            raise CannotRun("service-unreachable", "%s: %s" % (self._url, told))

    def _send(self, method, path, body, headers):
        """Send a request; return the OSError that cut it short, None where all of it went out."""
        if self._connection.sock is None:
            self._connection.connect()
        try:
            self._connection.request(method, path, body=body, headers=headers)
        except OSError as error:
            return error
        return None

    def close(self):
        """Close the connection."""
        self._connection.close()
