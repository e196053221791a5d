"""What `edgeship tune` shows: each setting, what it is, and who says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeship.deploy.change import is_taken_up, shown
from edgeship.printable import one_line
from edgeship.report.figures import moment
from edgeship.report.table import table
from edgeship.report.watching import problems

WHO = {"device": "this device", "release": "release", "default": "default"}


def rows_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return {"setting", "value", "from", "default", "release", "device"} of every setting; what is not said is not
    there."""
    from edgeship.project.governing import settings_of

    defaults, rows = settings_of({}), []
    for key in [*defaults, *sorted(set(found["own"]) - set(defaults))]:
        row = {"setting": f"governor.{key}", "default": defaults.get(key)}
        if key in found["settings"]:
            row["release"] = found["settings"][key]
        if key in found["own"]:
            row["device"] = found["own"][key]
        said = next((who for who in ("device", "release") if who in row), "default")
        if said == "release" and row["release"] == row["default"]:
            said = "default"
        rows.append({**row, "value": row[said], "from": said})
    return rows


def tune_document(devices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `edgeship.tune/1` document."""
    return {
        "schema": "edgeship.tune/1",
        "devices": [
            {
                "host": found["host"],
                "app": found["app"],
                "release": _known(found["release"], "nothing is deployed"),
                "governed": found["governed"],
                "changed": bool(found.get("changed")),
                "variants": found["rungs"],
                "settings": [_row_document(row) for row in rows_of(found)] if found["governed"] else [],
                "kept": [
                    {"setting": f"governor.{key}", "value": _known(value, NONE)}
                    for key, value in found["own"].items()
                ],
                "problems": problems(found.get("governor") or {}),
                "tuned_at": _known(found["at"], "nothing was tuned on this device"),
            }
            for found in devices
        ],
    }  # fmt: skip


NONE = "none is set"


def _row_document(row: Mapping[str, Any]) -> dict[str, Any]:
    document = {
        key: _known(row[key], NONE) for key in ("value", "default", "release", "device") if key in row
    }
    for key, why in (("release", "the release says nothing"), ("device", "not tuned on this device")):
        document.setdefault(key, {"unavailable": why})
    return {"setting": row["setting"], "from": row["from"], **document}


def _known(value: Any, why: str) -> Any:
    return {"unavailable": why} if value is None else value


def _effect(found: Mapping[str, Any]) -> list[str]:
    """Return what the service makes of its settings: whether it goes by them, and what it cannot do of them."""
    governor = found.get("governor")
    if not isinstance(governor, Mapping):
        return []
    if "unavailable" in governor:
        return [f"  not taken up yet: {governor['unavailable']}"]
    taken = is_taken_up(governor, found)
    lines = ["  taken up, without a restart" if taken else "  not taken up yet: the service looks every 2 s"]
    return lines + [f"  problem: {text}" for text in problems(governor)]


def tune_text(found: Mapping[str, Any]) -> str:
    """Return what holds on one device; after a change what it was, and how to take it back."""
    release, way = (found["release"] or "")[:12], found["way"]
    head = f"{found['host']}: {found['app']}, release {release}"
    own = ", ".join(f"governor.{key}={shown(value, 'none')}" for key, value in sorted(found["own"].items()))
    if not found["governed"]:
        kept = f"; kept on this device for one that has: {own}" if own else ""
        said = "it has no governor, so there is nothing to tune"
        if found.get("changed"):
            said = f"changed{'' if own else ': nothing is kept'}, though it has no governor"
        return one_line(f"{head}: {said}{kept}")
    if "changed" in found:
        said = "changed" if found["changed"] else "nothing to change"
        holds = f"this device's own are {own}" if own else "all settings are those of the release"
        lines = [f"{head}: {said}; {holds}"]
        lines += _effect(found)
        if found["changed"]:
            lines.append(f"  live: edgeship watch {way}")
        return "\n".join(one_line(line) for line in lines)
    rows = [
        [
            row["setting"],
            shown(row["value"], "none"),
            WHO[row["from"]],
            shown(row["release"], "none") if "release" in row else "",
            shown(row["default"], "none"),
        ]
        for row in rows_of(found)
    ]
    lines = [head + (f", tuned {moment(found['at'])} UTC" if found["at"] else "")]
    lines.append(table(["setting", "in use", "from", "release", "default"], rows))
    lines += [one_line(line.strip()) for line in _effect(found)[1:]]
    if found["rungs"]:
        lines.append(one_line("may serve, cheapest first: " + ", ".join(found["rungs"])))
    if found["trial"]:
        lines.append("a deployment is on trial: settings cannot be changed until it is through")
    return "\n".join(lines)
