"""What a running service says of itself: its governor's document, asked over its own address."""

import contextlib
import json
import os
import re
import socket
import stat
import sys
import time

from .base import Refusal, boot_identity
from .health import manager_for, serving
from .kept import is_governed, own_settings
from .state import read_state
from .store import kept_manifest

ANSWER_SECONDS = 5.0
ANSWER_BYTES = 1 << 18
LOG_FILE, LOG_MOST = "decisions.jsonl", 4 << 20
DECIDES = re.compile(r"runtime/(es_govern(?:_[a-z_]+)?|es_decisions)\.py\Z")
"""What of a runtime decides, and writes that down."""
LEAST_PERIOD, LONGEST_PERIOD = 0.2, 60.0


def connect_service(url, seconds):
    """Return a socket to a service that announced `http://host:port` or `unix:/path`. Raises OSError."""
    if url.startswith("unix:"):
        link, address = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), url[len("unix:") :]
    else:
        host, _, port = url[len("http://") :].rstrip("/").rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
        link = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        address = (host, int(port))
    try:
        link.settimeout(seconds)
        link.connect(address)
    except OSError:
        link.close()
        raise
    return link


def ask_service(url, path):
    """Return (status, {header: value}, body) of a GET. Raises OSError, ValueError where nobody answers HTTP in time."""
    until = time.monotonic() + ANSWER_SECONDS
    with contextlib.closing(connect_service(url, ANSWER_SECONDS)) as link:
        link.sendall(
            ("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path).encode("ascii")
        )
        data = b""
        while len(data) <= ANSWER_BYTES:
            link.settimeout(max(0.01, until - time.monotonic()))
            piece = link.recv(65536)
            if not piece:
                break
            data += piece
    head, mark, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if not mark or len(data) > ANSWER_BYTES or len(words) < 2 or not words[1].isdigit():
        raise ValueError("what answers at %s is no service of edgeship's" % url)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
    }
    return int(words[1]), headers, body


def governor_at(place, url):
    """Return (the governor's document, or {"unavailable": why}; the release that answered, None: nobody did)."""
    try:
        status, headers, body = ask_service(url, "/v2/models/%s/governor" % place.app_name)
        release = headers.get("edgeship-release")
        if status == 404:
            return {"unavailable": "this release has no governor"}, release
        found = json.loads(body.decode("utf-8")) if status == 200 else None
        if not isinstance(found, dict):
            return {"unavailable": "the service answered %d" % status}, release
        return found, release
    except (OSError, ValueError, RecursionError) as error:
        return {"unavailable": "the service does not answer: %s" % (error or type(error).__name__)}, None


def governor_now(place, record, seen):
    """Return what `status` says of a release with a governor: its document and the device's own settings; nothing of a
    release without one."""
    release = record.get("to")
    own = own_settings(place)[0]
    if not release or not is_governed(place, release):
        return {"own": own} if own else {}
    if not seen or not seen["url"]:
        return {"governor": {"unavailable": "the service does not run"}, "own": own}
    return {"governor": governor_at(place, seen["url"])[0], "own": own}


def look(place, url):
    """Return (one line of `watch`, where the service is asked next time; None: look who serves again)."""
    record = read_state(place)
    line = {
        "ok": True,
        "clock": time.time(),
        "boot": boot_identity(),
        "state": record["state"],
        "release": None,
    }
    if url is None and record.get("to"):
        url = serving(place, manager_for(place, record["to"]))["url"]
    if url is None:
        return dict(line, governor={"unavailable": "the service does not run"}), None
    line["governor"], line["release"] = governor_at(place, url)
    return line, url if line["release"] else None


def watch(place, request):
    """Print a line of JSON each `period` seconds, for `seconds` (None: until nobody reads any more)."""
    if not os.path.isdir(place.app):
        raise Refusal("nothing-deployed", "%s is not deployed here" % place.app_name)
    period = min(LONGEST_PERIOD, max(LEAST_PERIOD, request["period"]))
    begun, url, count = time.monotonic(), None, 0
    until = None if request.get("seconds") is None else begun + request["seconds"]
    while until is None or time.monotonic() < until:
        line, url = look(place, url)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        count += 1
        time.sleep(max(0.0, begun + count * period - time.monotonic()))
    return {"lines": count}


def read_log(path):
    """Return a log's text, None where there is none. The service's account owns the folder: what it put there instead
    of a file (a link to somebody else's, a pipe that nobody writes) is not opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return stream.read(LOG_MOST).decode("utf-8", "replace")


def decisions(place, request):
    """Return the log of decisions that the running service writes, the older part first, and the digests of what in its
    runtime decides: who runs the same, comes to the same."""
    release = read_state(place).get("to")
    if not release:
        raise Refusal("nothing-deployed", "%s is not deployed here" % place.app_name)
    if not is_governed(place, release):
        raise Refusal("no-governor", "release %s has no governor: it decides nothing" % release[:12])
    announce = manager_for(place, release).announce
    path = os.path.join(os.path.dirname(announce or ""), LOG_FILE)
    parts = [read_log(path + ".1"), read_log(path)]
    if not any(parts):
        raise Refusal("no-decision-log", "the service of release %s has logged no decisions" % release[:12])
    files = (kept_manifest(place, release) or {"files": {}})["files"]
    deciding = {name[len("runtime/") :]: files[name]["sha256"] for name in files if DECIDES.match(name)}
    return {"release": release, "log": "".join(part for part in parts if part), "deciding": deciding}
