"""HTTP/1.1 on the server's side, as a strict reader without input or output of its own
(docs/adr/0003-http-parser.md). es_head.py reads the heads.
"""

import re

from es_head import HEADERS, Heads, refuse

_CHUNK_LINE = 256
_BARE_NEWLINE = re.compile(rb"(?<!\r)\n")
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
        self._heads = Heads()
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
        if not buffer:
            return False
        while (
            buffer[:2] == b"\r\n"
        ):  # An empty line or two after a body is an old client's habit (RFC 9112, 2.2).
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end > self._header_bytes:
            if len(buffer) > self._header_bytes:
                raise refuse(431, "the request's head is longer than %d bytes" % self._header_bytes)
            self._refuse_bare_newline()
            self._searched = len(buffer)
            return False
        self._searched = 0
        head = bytes(memoryview(buffer)[:end])
        del buffer[: end + 4]
        request = self._heads.parse(head)
        if request.length > self._body_bytes:
            raise refuse(
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
            raise refuse(400, "a line of the head ends without a carriage return")

    def _read_chunks(self):
        """Consume what is there of a chunked body; return whether its end was seen."""
        buffer = self._buffer
        while True:
            if self._missing:
                if len(buffer) < self._missing:
                    return False
                if buffer[self._missing - 2 : self._missing] != b"\r\n":
                    raise refuse(400, "a chunk does not end where its size says")
                self._chunks += memoryview(buffer)[: self._missing - 2]
                del buffer[: self._missing]
                self._missing = 0
            end = buffer.find(b"\r\n", 0, self._header_bytes + 2 if self._trailer else _CHUNK_LINE + 2)
            if end < 0:
                if len(buffer) > (self._header_bytes if self._trailer else _CHUNK_LINE):
                    raise refuse(400, "a line of the chunked body is too long")
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
            raise refuse(400, "a chunk's size is malformed")
        size = int(found.group(1), 16)
        if size == 0:
            self._trailer = True
            self._trailer_left = self._header_bytes
            return
        self._request.length += size
        if self._request.length > self._body_bytes:
            raise refuse(413, "the body holds more than %d bytes" % self._body_bytes)
        self._missing = size + 2

    def _trailer_line(self, line):
        self._trailer_left -= len(line) + 2
        if self._trailer_left < 0:
            raise refuse(431, "the trailer is longer than %d bytes" % self._header_bytes)
        if HEADERS.match(line + b"\r\n") is None:
            raise refuse(400, "a trailer line is malformed")


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
