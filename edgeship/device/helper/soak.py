"""A long benchmark that outlives the call that began it: it runs detached and writes a line a minute to a file."""

import contextlib
import json
import os
import signal
import time

from .base import Refusal, python_command, read_json, read_text
from .files import make_folder, write_whole
from .state import read_state
from .supervise import alive, detach, end_process, run_folder

SOAK_LINES = 20000
SOAK_ENDS_SECONDS = 20.0


def soak_path(place, name):
    """Return where a soak's note (`json`), lines (`jsonl`) or output (`out`) stands."""
    return os.path.join(run_folder(place), "soak." + name)


def soak(place, request):
    """Begin a soak of the current release, end it, or only tell of it; return what is known of it.

    One that runs is not begun again: whoever asks for one looks at that, and is told by "began".
    """
    began = False
    if request["action"] == "start":
        note = read_json(soak_path(place, "json"))
        if not (note and alive(note.get("process"))):
            begin_soak(place, request)
            began = True
    elif request["action"] == "stop":
        note = read_json(soak_path(place, "json"))
        if note:
            end_process(note.get("process"), signal.SIGTERM)
            until = time.monotonic() + SOAK_ENDS_SECONDS
            while alive(note.get("process")) and time.monotonic() < until:
                time.sleep(0.05)
    elif request["action"] != "look":
        raise Refusal("bad-request", "a soak is started, looked at or stopped, not %r" % request["action"])
    return dict(told_of_soak(place, int(request.get("after") or 0)), began=began)


def begin_soak(place, request):
    """Start it, in place of the files of the one before."""
    release = read_state(place).get("to")
    if not release:
        raise Refusal("nothing-deployed", "%s is not deployed here" % place.app_name)
    if request.get("soak") is None:
        raise Refusal("bad-request", "the request has no 'soak'")
    folder = place.release(release)
    make_folder(run_folder(place))
    for name in ("json", "jsonl", "out"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(soak_path(place, name))
    argv = python_command(os.path.join(folder, "runtime", "main.py"), "bench", "--release", folder)
    argv += ["--soak", str(request["soak"]), "--log", soak_path(place, "jsonl")]
    for name in ("variant", "period"):
        if request.get(name) is not None:
            argv += ["--" + name, str(request[name])]
    process = detach(argv, soak_path(place, "out"))
    note = {"process": process, "release": release, "wanted": request["soak"]}
    write_whole(soak_path(place, "json"), json.dumps(note).encode("utf-8"))


def told_of_soak(place, after):
    """Return {"release", "wanted", "running", "lines" from number `after` on, "document", "said"}: `document` once it
    ended by itself or was asked to, `said` the end of its output where it left none.
    """
    note = read_json(soak_path(place, "json"))
    if not isinstance(note, dict):
        return {"release": None, "wanted": 0, "running": False, "lines": [], "document": None, "said": ""}
    running = alive(note.get("process"))
    output = read_text(soak_path(place, "out"), 16 << 20) or ""
    document = None if running else soak_document(output)
    return {
        "release": note.get("release"),
        "wanted": note.get("wanted", 0),
        "running": running,
        "lines": soak_lines_of(read_text(soak_path(place, "jsonl"), 16 << 20) or "")[
            after : after + SOAK_LINES
        ],
        "document": document,
        "said": "" if running or document else output[-2000:],
    }


def soak_lines_of(text):
    """Return the lines of JSON that were written whole: the last one may be cut off."""
    found = []
    for line in text.split("\n")[:-1]:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def soak_document(output):
    """Return the JSON object in the last line of an output, or None."""
    for line in reversed(output.split("\n")):
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                return document
    return None
