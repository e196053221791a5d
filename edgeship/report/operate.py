"""What the verbs that ask a device show to people."""

from __future__ import annotations

from typing import Any

from edgeship.deploy.change import shown
from edgeship.printable import one_line
from edgeship.report.figures import duration, moment
from edgeship.report.table import table
from edgeship.report.watching import governor_document, governor_text, problems

IDLE: dict[str, Any] = {"manager": "none", "running": False, "pid": None, "restarts": None, "last_exit": None}
"""What is said of the service where no release was ever switched to."""


OPEN = ("ARMED", "TRIAL", "REVERTING")
"""States of a deployment that has not come to its end."""


def status_document(found: dict[str, Any]) -> dict[str, Any]:
    """Return the `edgeship.status/1` document: what a device runs, without the device's own book-keeping."""
    return {
        "schema": "edgeship.status/1",
        "host": found["host"],
        "apps": {name: _app_document(status, found["at"], name) for name, status in found["apps"].items()},
    }


def _app_document(status: dict[str, Any], at: str, name: str) -> dict[str, Any]:
    record, serving = status["record"], status["serving"] or IDLE
    trial = status["seconds_left"] if record["state"] in ("ARMED", "TRIAL") else None
    return {
        "state": record["state"].lower(),
        "reason": _known(record.get("reason"), "nothing was noted"),
        "release": _known(status["current"], "nothing is deployed"),
        "previous": _known(record.get("previous"), "no release came before"),
        "went_back": record.get("result") == "went-back",
        "problem": _known(_problem(status, at, name), "nothing is known to be wrong"),
        "seconds_until_reverted": _known(trial, "nothing is on trial"),
        "seconds_watched": _known(
            status.get("bake_left") or None, "no release is watched for a crash loop now"
        ),
        "writable": status["writable"],
        "service": {
            "manager": serving["manager"],
            "running": serving["running"],
            "pid": _known(serving["pid"] if serving["running"] else None, "the service does not run"),
            "restarts": _known(serving["restarts"], "the service manager does not count them"),
            "url": _known(serving.get("url"), "the service does not run"),
            "release": _known(serving.get("release"), "the service does not run"),
        },
        "releases": [
            {
                "release": entry["release"],
                "version": entry["version"] or "?",
                "target": entry["target"] or "?",
                "variant": entry["chosen"] or "?",
                "variants": entry.get("variants") or [],
                "role": _role(entry["release"], status) or "kept",
                "pinned": entry["release"] in status["pins"],
            }
            for entry in status["releases"]
        ],
        **({"governor": governor_document(status["governor"])} if "governor" in status else {}),
        **({"settings": _settings(status["own"])} if "own" in status else {}),
    }


def _settings(own: dict[str, Any]) -> dict[str, Any]:
    return {f"governor.{key}": _known(value, "none is set") for key, value in own.items()}


def _problem(status: dict[str, Any], at: str, name: str) -> str | None:
    """Return why what was confirmed last is not what runs, and what to type; None where it is, or a trial is under
    way. (What a degraded device lacks, its record tells.)"""
    record, serving = status["record"], status["serving"] or IDLE
    if record["state"] in OPEN and not status["seconds_left"]:
        return (
            "its trial is overdue: by now the device should have gone back by itself; the next deployment takes it "
            f"back first: edgeship deploy BUNDLE {at}"
        )
    if record["state"] != "COMMITTED" or not record["to"]:
        return None
    serves, wanted = serving["release"] if serving["running"] else None, record["to"]
    if serves == wanted:
        return None
    if not serving["running"]:
        what = f"nothing serves, and release {wanted[:12]} should"
    elif serves is None:
        what = (
            f"the service runs and has not said that it is release {wanted[:12]}: it is starting, or it hangs"
        )
    else:
        what = f"release {serves[:12]} serves, and release {wanted[:12]} should"
    return (
        f"{what}; why: edgeship logs {at} --app {name}; start it again: edgeship deploy BUNDLE {at} --force, or "
        f"go back: edgeship rollback {at} --app {name}"
    )


def _against_the_record(status: dict[str, Any], at: str, name: str) -> list[str]:
    """Return what people must know where a device does not do what its record says."""
    serves, problem = (status["serving"] or IDLE).get("release"), _problem(status, at, name)
    lines = [f"  {problem}"] if problem else []
    said = problem and status["record"]["state"] == "COMMITTED"
    if serves and serves != status["current"] and not said:
        lines.append(f"  release {serves[:12]} serves, not the one that is current")
    if not status["writable"]:
        lines.append(
            "  the device cannot be written: read-only; what it could not note is noted at the next contact"
        )
    return lines


def history_document(host: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return the `edgeship.history/1` document."""
    broken = found["broken_at"]
    return {
        "schema": "edgeship.history/1",
        "host": host,
        "entries": found["entries"],
        "intact": broken is None,
        "broken_at": _known(broken, "the chain holds"),
    }


def verify_document(host: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return the `edgeship.verify/1` document."""
    return {
        "schema": "edgeship.verify/1",
        "host": host,
        "releases": found["releases"],
        "drift": found["drift"],
    }


def _known(value: Any, why: str) -> Any:
    return {"unavailable": why} if value is None else value


def status_text(found: dict[str, Any]) -> str:
    """Return what a device runs, one block an application."""
    if not found["apps"]:
        return f"{found['host']}: nothing is deployed here"
    return "\n\n".join(
        _app(found["host"], name, status, found["at"]) for name, status in found["apps"].items()
    )


def _app(host: str, name: str, status: dict[str, Any], at: str) -> str:
    record, serving = status["record"], status["serving"] or IDLE
    current = status["current"] or ""
    if serving["running"]:
        restarts = f", {serving['restarts']} restarts" if serving["restarts"] else ""
        live = f"running, pid {serving['pid']}{restarts}, {serving['url']}"
    else:
        live = "not running" + (
            f", last exit {serving['last_exit']}" if serving["last_exit"] is not None else ""
        )
    state = (
        f"release {current[:12]}: {record['state'].lower()}"
        if status["current"]
        else "nothing was switched to"
    )
    lines = [f"{host}: {name}", f"  {state}; {live}"]
    if record.get("reason"):
        lines.append(f"  {record['reason']}")
    lines += _against_the_record(status, at, name)
    if status["seconds_left"] and record["state"] in ("ARMED", "TRIAL"):
        lines.append(
            f"  on trial: goes back by itself in {duration(status['seconds_left'])} unless confirmed"
        )
    back = (record.get("bake") or {}).get("back")
    if status["bake_left"]:
        lines.append(
            f"  watched for another {duration(status['bake_left'])}: a crash loop goes back "
            + (f"to release {back[:12]}" if back else "nowhere")
        )
    lines += _governed(status)
    lines = [one_line(line) for line in lines]
    rows = [
        [
            _mark(entry["release"], status),
            entry["release"][:12],
            *(entry[key] or "?" for key in ("version", "target")),
            _serves(entry),
        ]
        for entry in status["releases"]
    ]
    if rows:
        lines += ["", table(["", "release", "version", "target", "variant"], rows)]
    return "\n".join(lines)


def _governed(status: dict[str, Any]) -> list[str]:
    """Return what a service with a governor says of itself, and what was tuned on the device."""
    governor = status.get("governor", {})
    lines = [f"  governor: {governor_text({**governor, 'problems': []})}"] if governor else []
    lines += [f"  problem: {text}" for text in problems(governor)]
    if own := status.get("own"):
        said = ", ".join(f"governor.{key}={shown(value, 'none')}" for key, value in sorted(own.items()))
        held = "" if "governor" in status else " (this release reads none)"
        lines.append(f"  settings of this device: {said}{held}")
    return lines


def _serves(entry: dict[str, Any]) -> str:
    """Return which variant of a release serves, and of how many."""
    count = len(entry.get("variants") or ())
    return (entry["chosen"] or "?") + (f" (1 of {count})" if count > 1 else "")


def status_exit_code(found: dict[str, Any]) -> int:
    """Return 0 where what was confirmed last is what runs, or a trial is under way, or nothing is deployed; 3 where it
    does not run, a trial is overdue, or a device went back by itself; 5 degraded."""
    codes = [_exit_code(status, found["at"], name) for name, status in found["apps"].items()]
    return max(codes, default=0)


def _exit_code(status: dict[str, Any], at: str, name: str) -> int:
    if status["record"]["state"] == "DEGRADED":
        return 5
    return 3 if status["record"].get("result") == "went-back" or _problem(status, at, name) else 0


def _mark(release: str, status: dict[str, Any]) -> str:
    words = [_role(release, status), "pinned" if release in status["pins"] else ""]
    return ", ".join(word for word in words if word)


def _role(release: str, status: dict[str, Any]) -> str:
    if release == status["current"]:
        return "current"
    return "previous" if release == status["record"].get("previous") else ""


def verify_text(host: str, at: str, found: dict[str, Any]) -> str:
    """Return whether what is on a device is what was deployed. `at`: how it is reached, in words to type."""
    if not found["drift"]:
        return f"{host}: {found['releases']} releases, every file as it was deployed"
    lines = [f"{host}: {len(found['drift'])} things are not as they were deployed:"]
    lines += [f"  {one_line(item)}" for item in found["drift"]]
    return "\n".join([*lines, f"hint: edgeship deploy BUNDLE {at} --force puts them right"])


def history_text(host: str, found: dict[str, Any]) -> str:
    """Return the audit log, oldest first, and whether its chain holds."""
    rows = [
        [
            moment(entry.get("at"), "%Y-%m-%d %H:%M:%S"),
            str(entry.get("event") or "?"),
            str(entry.get("to") or "")[:12],
            str(entry.get("reason") or entry.get("result") or "")
            + (f" (by {entry['by']})" if "by" in entry else ""),
        ]
        for entry in found["entries"]
    ]
    text = (
        table(["UTC (the device's clock)", "event", "release", "why"], rows)
        if rows
        else f"{host}: no history"
    )
    if found["broken_at"] is not None:
        text += f"\nthe chain is broken at line {found['broken_at']}: this log was edited or damaged"
    return text


def pin_document(host: str, done: dict[str, Any], *, remove: bool) -> dict[str, Any]:
    """Return the `edgeship.pin/1` document."""
    return {
        "schema": "edgeship.pin/1",
        "host": host,
        "app": done["app"],
        "release": done["release"],
        "pinned": not remove,
        "changed": done["changed"],
        "pins": done["pins"],
    }


def pin_text(host: str, at: str, done: dict[str, Any], *, remove: bool) -> str:
    """Return what a pin means from now on. `at`: how the device is reached, in words to type."""
    release = f"{host}: {done['app']}: release {done['release'][:12]}"
    if remove:
        said = "is no longer pinned" if done["changed"] else "was not pinned"
        return f"{release} {said}: the next deployment may delete it"
    said = "is pinned" if done["changed"] else "is pinned already"
    back = f"edgeship rollback {at} --app {done['app']} --to {done['release'][:12]} goes back to it"
    return f"{release} {said}: no deployment deletes it\n{back}"
