"""What a device is asked: its state, its logs, its speed, its history. Nothing here changes anything."""

import json
import os
import time

from .bake import bake_left
from .base import Refusal, boot_identity, call, python_command, read_json
from .files import hash_file
from .health import helper_path, manager_for, manager_of, serving
from .live import governor_now
from .pins import pins_present
from .state import IN_TRIAL, read_audit, read_floor, read_state, time_left
from .store import changed_modes, check_release, kept_manifest, releases_present
from .trust import still_trusted


def describe(place, release):
    """Return what a kept release's manifest says of it."""
    manifest = kept_manifest(place, release) or {}
    settings = read_json(place.of("settings", release + ".json")) or {}
    return {
        "release": release,
        "version": manifest.get("version"),
        "target": manifest.get("target"),
        "chosen": manifest.get("chosen"),
        "variants": [str(v.get("name", v.get("recipe"))) for v in manifest.get("variants") or []],
        "listen": settings.get("listen"),
        "manager": settings.get("manager"),
    }


def status(place, request):
    """Return the state record, what serves now, and the releases kept on the device."""
    record = read_state(place)
    release = record.get("to")
    manager = manager_for(place, release) if release else None
    link = place.of("current")
    seen = serving(place, manager) if manager else None
    return {
        # The audit line is the device's own book-keeping; its digest would not even deflate.
        "record": {key: value for key, value in record.items() if key != "audit"},
        "seconds_left": time_left(record),
        "bake_left": bake_left(record),
        "pins": pins_present(place),
        "boot": boot_identity(),
        "serving": seen,
        "writable": writable(place),
        "current": os.path.basename(os.readlink(link)) if os.path.islink(link) else None,
        "releases": [describe(place, name) for name in releases_present(place)],
        "fence": read_floor(place)["fences"].get(place.app_name, 0),
        "clock": int(time.time()),
        "helper": os.path.basename(helper_path()),
        **(governor_now(place, record, seen) if request.get("governor") else {}),
    }


def writable(place):
    """Return whether the file system takes writes, as far as it says."""
    folder = place.app if os.path.isdir(place.app) else "/"
    return folder == "/" or not os.statvfs(folder).f_flag & os.ST_RDONLY


def hello(place, request):
    """Return `status`, and whether the wanted release already serves with every hash as it should be."""
    found = status(place, request)
    record, wanted = found["record"], request.get("release")
    same = record["state"] == "COMMITTED" and record["to"] == wanted and found["current"] == wanted
    seen = found["serving"] or {}
    listen = next((kept["listen"] for kept in found["releases"] if kept["release"] == wanted), None)
    same = same and seen.get("running") and seen.get("release") == wanted and listen == request.get("listen")
    same = same and still_trusted(place, wanted)
    found["problems"] = check_release(place, wanted) if same else None
    found["unchanged"] = bool(same and not found["problems"])
    return found


def apps(root):
    """Return the names of the applications that were ever deployed below a root."""
    folder = os.path.join(root, "apps")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if not name.startswith("."))


def logs(place, request):
    """Return the last lines that the service wrote."""
    release = read_state(place).get("to")
    manager = manager_for(place, release) if release else manager_of(place, request["service"])
    return {"lines": manager.log_tail(int(request["lines"]))}


def bench(place, request):
    """Run the current release's own benchmark on this device."""
    release = read_state(place).get("to")
    if not release:
        raise Refusal("nothing-deployed", "%s is not deployed here" % place.app_name)
    folder = place.release(release)
    argv = python_command(os.path.join(folder, "runtime", "main.py"), "bench", "--release", folder)
    for name in ("variant", "seconds", "runs", "idle", "rungs"):
        if request.get(name) is not None:
            argv += ["--" + name, str(request[name])]
    code, out, err = call(argv, request["limit_seconds"], cwd=folder)
    try:
        document = json.loads(out.decode("utf-8"))
    except ValueError:
        raise Refusal("bench-failed", "bench ended with status %s: %s" % (code, err or "no output")) from None
    return {"release": release, "status": code, "bench": document}


def verify(place, request):
    """Hash again everything that is kept, and tell what drifted from the state record."""
    record = read_state(place)
    drift = [
        "release %s: %s" % (name[:12], problem)
        for name in releases_present(place)
        for problem in check_release(place, name) + changed_modes(place, name)
    ]
    link = place.of("current")
    target = os.readlink(link) if os.path.lexists(link) and os.path.islink(link) else None
    wanted = os.path.join("releases", record["to"]) if record.get("to") else None
    if target != wanted and record["state"] not in IN_TRIAL:
        drift.append("current says %s, the state record %s" % (target, wanted))
    for base, folders, names in os.walk(place.cas):
        if base == place.cas and "incoming" in folders:
            folders.remove("incoming")
        for name in names:
            if hash_file(os.path.join(base, name))[0] != name:
                drift.append("blob %s has changed" % name[:12])
    broken = read_audit(place)[1]
    if broken is not None:
        drift.append("the audit log is broken at line %d" % broken)
    seen = serving(place, manager_for(place, record["to"])) if record.get("to") else None
    if seen is not None and seen["release"] != record["to"]:
        drift.append(
            "release %s should serve, %s does" % (record["to"][:12], (seen["release"] or "nothing")[:12])
        )
    return {"record": record, "drift": drift, "releases": len(releases_present(place)), "serving": seen}


def history(place, request):
    """Return the audit log and whether each line follows from the one before it."""
    entries, broken = read_audit(place)
    return {"entries": entries, "broken_at": broken}
