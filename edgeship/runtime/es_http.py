"""HTTP/1.1 on the server's side, as a strict reader without input or output of its own
(docs/adr/0003-http-parser.md).

Strict means: what RFC 9112 lets a server refuse is refused (bare line feeds, folded headers, spaces before a
colon, both length headers, unknown transfer codings), because what two parsers read differently is how
requests are smuggled.
"""

import re

from es_coding import coding_of
from es_errors import Refused

MAX_TARGET = 2048
MAX_HEADERS = 100
_CHUNK_LINE = 256

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\Z")
_HEADERS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\Z")
_BARE_NEWLINE = re.compile(rb"(?<!\r)\n")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")

REASONS = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Request(object):
    """One request: method, path (without the query, not decoded), headers by lower-case name, body once
    complete.
    """

    __slots__ = (
        "method",
        "path",
        "headers",
        "keep_alive",
        "length",
        "chunked",
        "coding",
        "expects_continue",
        "body",
        "started",
        "asked",  # What a governor knows of it; never set where there is none.
    )


def _refuse(status, reason):
    return Refused(status, reason, close=True)


def parse_head(head):
    """Return the Request of a head block (without its final empty line); raises Refused."""
    line, _, rest = head.partition(b"\r\n")
    found = _REQUEST_LINE.match(line)
    if found is None:
        raise _refuse(400, "the request line is not `METHOD target HTTP/1.1`")
    method, target, major, minor = found.groups()
    if major != b"1":
        raise _refuse(505, "HTTP/%s.%s is not served; use HTTP/1.1" % (major.decode(), minor.decode()))
    if len(target) > MAX_TARGET:
        raise _refuse(414, "the request target is longer than %d bytes" % MAX_TARGET)
    request = Request()
    request.method = method.decode("ascii")
    request.path = _path(target.decode("ascii"))
    request.headers = headers = _headers(rest)
    modern = minor != b"0"
    if modern and "host" not in headers:
        raise _refuse(400, "an HTTP/1.1 request needs one Host header")
    tokens = [token.strip() for token in headers.get("connection", "").lower().split(",")]
    request.keep_alive = "close" not in tokens and (modern or "keep-alive" in tokens)
    _framing(request, modern)
    request.body = b""
    return request


def _path(target):
    if target[0] != "/" and target != "*":
        scheme, mark, rest = target.partition("://")
        if not mark or scheme.lower() not in ("http", "https"):
            raise _refuse(400, "the request target must be a path")
        target = "/" + rest.partition("/")[2]
    return target.partition("?")[0].partition("#")[0]


# A second one of these changes the meaning of the request, depending on who reads it.
_ONCE = ("host", "content-length", "transfer-encoding", "inference-header-content-length", "expect")


def _headers(block):
    if not block:
        return {}
    block += b"\r\n"
    if _HEADERS.match(block) is None:
        raise _refuse(400, "a header line is malformed")
    headers = {}
    lines = block.decode("latin-1").split("\r\n")
    if len(lines) > MAX_HEADERS + 1:
        raise _refuse(431, "more than %d header lines" % MAX_HEADERS)
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name in _ONCE:
                raise _refuse(400, "the header %s stands twice" % name)
            value = headers[name] + ", " + value
        headers[name] = value
    return headers


def _framing(request, modern):
    headers = request.headers
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    request.chunked = coding is not None
    request.length = 0
    if coding is not None:
        if length is not None:
            raise _refuse(400, "Transfer-Encoding and Content-Length exclude each other")
        if not modern:
            raise _refuse(400, "Transfer-Encoding needs HTTP/1.1")
        if coding.lower() != "chunked":
            raise _refuse(501, "the transfer coding %r is not served; use chunked" % coding)
    elif length is not None:
        if _DIGITS.match(length.encode("latin-1")) is None:
            raise _refuse(400, "Content-Length %r is not a number" % length[:40])
        request.length = int(length)
    request.coding = coding_of(headers) if request.chunked or request.length else None
    expect = headers.get("expect")
    request.expects_continue = False
    if expect is not None and modern:
        if expect.lower() != "100-continue":
            raise _refuse(417, "the expectation %r is not served" % expect[:40])
        request.expects_continue = True


class RequestReader(object):
    """Bytes in, requests out, one at a time.

    `feed` takes what arrived; `next` returns a complete Request, or None while there is none. `next` raises
    Refused where the stream cannot be trusted any more. `must_continue` is true once when the client waits
    for "100 Continue".
    """

    def __init__(self, header_bytes, body_bytes):
        self._header_bytes = header_bytes
        self._body_bytes = body_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._request = None
        self._chunks = None  # What came of a chunked body; not kept once it is complete.
        self._missing = 0
        self._trailer = False
        self.must_continue = False

    def feed(self, data):
        """Append received bytes."""
        self._buffer += data

    @property
    def pending(self):
        """Bytes received and not yet part of a returned request."""
        return len(self._buffer)

    @property
    def announced(self):
        """Bytes of body that the request that is arriving brings: those announced, of a chunked one those seen."""
        return self._request.length if self._request is not None else 0

    def forget(self):
        """Free what came: the stream is not read on."""
        self._buffer, self._request, self._chunks = bytearray(), None, None

    @property
    def begun(self):
        """Whether a part of a request is here."""
        return self._request is not None or bool(self._buffer)

    def next(self):
        """Return the next complete Request or None."""
        if self._request is None and not self._read_head():
            return None
        request = self._request
        if request.chunked:
            if not self._read_chunks():
                return None
            request.body, self._chunks = bytes(self._chunks), None
        elif request.length:
            if len(self._buffer) < request.length:
                return None
            request.body = bytes(memoryview(self._buffer)[: request.length])
            del self._buffer[: request.length]
        self._request = None
        self.must_continue = False
        return request

    def _read_head(self):
        buffer = self._buffer
        while (
            buffer[:2] == b"\r\n"
        ):  # An empty line or two after a body is an old client's habit (RFC 9112, 2.2).
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end > self._header_bytes:
            if len(buffer) > self._header_bytes:
                raise _refuse(431, "the request's head is longer than %d bytes" % self._header_bytes)
            self._refuse_bare_newline()
            self._searched = len(buffer)
            return False
        self._searched = 0
        head = bytes(memoryview(buffer)[:end])
        del buffer[: end + 4]
        request = parse_head(head)
        if request.length > self._body_bytes:
            raise _refuse(
                413, "the body holds %d bytes; at most %d are taken" % (request.length, self._body_bytes)
            )
        self._request, self._chunks, self._missing, self._trailer = request, bytearray(), 0, False
        self.must_continue = (
            request.expects_continue and not buffer and (request.chunked or request.length > 0)
        )
        return True

    def _refuse_bare_newline(self):
        # Without this a client that ends lines with LF alone would wait for its timeout to learn of the
        # mistake.
        if _BARE_NEWLINE.search(self._buffer, self._searched):
            raise _refuse(400, "a line of the head ends without a carriage return")

    def _read_chunks(self):
        """Consume what is there of a chunked body; return whether its end was seen."""
        buffer = self._buffer
        while True:
            if self._missing:
                if len(buffer) < self._missing:
                    return False
                if buffer[self._missing - 2 : self._missing] != b"\r\n":
                    raise _refuse(400, "a chunk does not end where its size says")
                self._chunks += memoryview(buffer)[: self._missing - 2]
                del buffer[: self._missing]
                self._missing = 0
            end = buffer.find(b"\r\n", 0, self._header_bytes + 2 if self._trailer else _CHUNK_LINE + 2)
            if end < 0:
                if len(buffer) > (self._header_bytes if self._trailer else _CHUNK_LINE):
                    raise _refuse(400, "a line of the chunked body is too long")
                return False
            line = bytes(memoryview(buffer)[:end])
            del buffer[: end + 2]
            if self._trailer:
                if not line:
                    return True
                self._trailer_line(line)
            else:
                self._chunk_line(line)

    def _chunk_line(self, line):
        found = _CHUNK_SIZE.match(line)
        if found is None:
            raise _refuse(400, "a chunk's size is malformed")
        size = int(found.group(1), 16)
        if size == 0:
            self._trailer = True
            self._trailer_left = self._header_bytes
            return
        self._request.length += size
        if self._request.length > self._body_bytes:
            raise _refuse(413, "the body holds more than %d bytes" % self._body_bytes)
        self._missing = size + 2

    def _trailer_line(self, line):
        self._trailer_left -= len(line) + 2
        if self._trailer_left < 0:
            raise _refuse(431, "the trailer is longer than %d bytes" % self._header_bytes)
        if _HEADERS.match(line + b"\r\n") is None:
            raise _refuse(400, "a trailer line is malformed")


def response(status, headers, body, keep_alive, head_only=False):
    """Return the bytes of an answer. `headers` is text of whole lines ("Name: value\\r\\n..."), `body`
    bytes: of an answer without one (HEAD, 304) what it would be, for its length.
    """
    connection = "Connection: keep-alive\r\n" if keep_alive else "Connection: close\r\n"
    head = "HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\n%s\r\n" % (
        status,
        REASONS.get(status, "Unknown"),
        headers,
        len(body),
        connection,
    )
    data = head.encode("latin-1")
    return data if head_only or status == 304 else data + body
