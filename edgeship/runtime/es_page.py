"""The page for people at `/`: files of the release, read when they are asked for and never before.

It is there where the bundle has the folder `page` (`service.page` in edgeship.yaml); else its paths are unknown ones.
Its addresses are relative, so that it works behind a proxy that adds a prefix.
"""

from es_answers import Answer
from es_errors import Refused

# Path -> (file in the folder `page`, media type).
_PARTS = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.json": ("page.json", "application/json"),
}
# Nothing from elsewhere, nothing inline, in nobody's frame; `data:` is the empty icon.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    "Content-Type: %s; charset=utf-8\r\nETag: %s\r\nCache-Control: no-cache\r\n"
    "Content-Security-Policy: " + _POLICY + "\r\nX-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\nPermissions-Policy: camera=(self), microphone=(), geolocation=()\r\n"
)


def page_part(release, path, request):
    """Return the Answer to a request for a part of the page; None where `path` is none, or the release has no page.

    The release's digest is the ETag: another file would be another release. Raises Refused (405).
    """
    if path not in _PARTS:
        return None
    name, kind = _PARTS[path]
    try:
        with open(release.path("page/" + name), "rb") as stream:
            content = stream.read()
    except OSError:
        return None
    if request.method not in ("GET", "HEAD"):
        raise Refused(405, "%s needs GET" % path, [("Allow", "GET, HEAD")])
    tag = '"%s"' % str(release.id)[:32]
    same = _holds(request.headers.get("if-none-match", ""), tag)
    return Answer(304 if same else 200, _HEADERS % (kind, tag), content)


def _holds(header, tag):
    """Return whether an If-None-Match header names `tag`, compared weakly (RFC 9110, 13.1.2)."""
    tags = [item.strip() for item in header.split(",")]
    return tags == ["*"] or any((item[2:] if item[:2] == "W/" else item) == tag for item in tags)
