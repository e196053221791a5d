"""The head of an HTTP/1.1 request: its line and its headers, read strictly (docs/adr/0003-http-parser.md).

Strict means: what RFC 9112 lets a server refuse is refused (bare line feeds, folded headers, spaces before a
colon, both length headers, unknown transfer codings), because what two parsers read differently is how
requests are smuggled.
"""

import re

from es_coding import coding_of
from es_errors import Refused

MAX_TARGET = 2048
MAX_HEADERS = 100

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\Z")
HEADERS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\Z")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")
_LENGTH_LINE = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,18})(?=\r\n|\Z)")
# The longest head that a connection remembers.
_REMEMBERED = 2048


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


def refuse(status, reason):
    return Refused(status, reason, close=True)


def parse_head(head):
    """Return the Request of a head block (without its final empty line); raises Refused."""
    line, _, rest = head.partition(b"\r\n")
    found = _REQUEST_LINE.match(line)
    if found is None:
        raise refuse(400, "the request line is not `METHOD target HTTP/1.1`")
    method, target, major, minor = found.groups()
    if major != b"1":
        raise refuse(505, "HTTP/%s.%s is not served; use HTTP/1.1" % (major.decode(), minor.decode()))
    if len(target) > MAX_TARGET:
        raise refuse(414, "the request target is longer than %d bytes" % MAX_TARGET)
    request = Request()
    request.method = method.decode("ascii")
    request.path = _path(target.decode("ascii"))
    request.headers = headers = _headers(rest)
    modern = minor != b"0"
    if modern and "host" not in headers:
        raise refuse(400, "an HTTP/1.1 request needs one Host header")
    tokens = [token.strip() for token in headers.get("connection", "").lower().split(",")]
    request.keep_alive = "close" not in tokens and (modern or "keep-alive" in tokens)
    _framing(request, modern)
    request.body = b""
    return request


def _path(target):
    if target[0] != "/" and target != "*":
        scheme, mark, rest = target.partition("://")
        if not mark or scheme.lower() not in ("http", "https"):
            raise refuse(400, "the request target must be a path")
        target = "/" + rest.partition("/")[2]
    return target.partition("?")[0].partition("#")[0]


# A second one of these changes the meaning of the request, depending on who reads it.
_ONCE = ("host", "content-length", "transfer-encoding", "inference-header-content-length", "expect")


def _headers(block):
    if not block:
        return {}
    block += b"\r\n"
    if HEADERS.match(block) is None:
        raise refuse(400, "a header line is malformed")
    headers = {}
    lines = block.decode("latin-1").split("\r\n")
    if len(lines) > MAX_HEADERS + 1:
        raise refuse(431, "more than %d header lines" % MAX_HEADERS)
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name in _ONCE:
                raise refuse(400, "the header %s stands twice" % name)
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
            raise refuse(400, "Transfer-Encoding and Content-Length exclude each other")
        if not modern:
            raise refuse(400, "Transfer-Encoding needs HTTP/1.1")
        if coding.lower() != "chunked":
            raise refuse(501, "the transfer coding %r is not served; use chunked" % coding)
    elif length is not None:
        if _DIGITS.match(length.encode("latin-1")) is None:
            raise refuse(400, "Content-Length %r is not a number" % length[:40])
        request.length = int(length)
    request.coding = coding_of(headers) if request.chunked or request.length else None
    expect = headers.get("expect")
    request.expects_continue = False
    if expect is not None and modern:
        if expect.lower() != "100-continue":
            raise refuse(417, "the expectation %r is not served" % expect[:40])
        request.expects_continue = True


class Heads(object):
    """parse_head that remembers the last head: the requests of one client differ in the length of their bodies, if
    in anything. That number is all that a remembered head is let off; every other byte is the same.
    """

    def __init__(self):
        self._rest = self._like = None

    def parse(self, head):
        """Return the Request of a head block; raises Refused."""
        found = _LENGTH_LINE.search(head) if len(head) <= _REMEMBERED else None
        if found is None:
            return parse_head(head)
        rest = head[: found.start(1)] + head[found.end(1) :]
        if rest != self._rest:
            request = parse_head(head)
            if request.length:  # Without a body some headers mean nothing.
                self._rest, self._like = rest, _copy(request, found.group(1))
            return request
        return _copy(self._like, found.group(1)) if int(found.group(1)) else parse_head(head)


def _copy(like, digits):
    request = Request()
    request.method, request.path, request.keep_alive = like.method, like.path, like.keep_alive
    request.headers = dict(like.headers)
    request.headers["content-length"] = digits.decode("ascii")
    request.length, request.chunked, request.coding = int(digits), like.chunked, like.coding
    request.expects_continue, request.body = like.expects_continue, b""
    return request
