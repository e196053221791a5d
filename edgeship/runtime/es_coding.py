"""Compressed request bodies: which codings are taken, and what a body holds, never more of it than allowed."""

from es_errors import Refused

# What zlib reads them with: a gzip member, or a zlib stream (what HTTP calls deflate).
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
TAKEN = "gzip, deflate"


def coding_of(headers):
    """Return the coding of a request's body, None for a plain one; raises Refused (415) for one not taken."""
    coding = headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return None
    if coding not in _WINDOW:
        text = "the content encoding %r is not taken; send %s, or none" % (coding[:40], TAKEN)
        raise Refused(415, text, [("Accept-Encoding", TAKEN)], close=True)
    return coding


def decompressed(data, coding, most):
    """Return what a body holds, `most` bytes at the most. Raises Refused: 413 for more, 400 for what is no
    such coding or is cut short.
    """
    import zlib  # Here: it costs every start something, and few services are ever sent such a body.

    stream = zlib.decompressobj(_WINDOW[coding])
    try:
        body = stream.decompress(data, most + 1)
    except zlib.error as error:
        raise Refused(400, "the body is not %s: %s" % (coding, error))
    if len(body) > most:
        raise Refused(413, "the decompressed body holds more than %d bytes" % most)
    if not stream.eof:
        raise Refused(400, "the %s body is cut short" % coding)
    # One member only: thousands of tiny ones would each cost a copy of the rest.
    if stream.unused_data:
        raise Refused(400, "%d bytes follow the end of the %s body" % (len(stream.unused_data), coding))
    return body
