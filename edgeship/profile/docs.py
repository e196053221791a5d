"""What is made from the profiles: docs/targets.md, the README's table and the JSON Schema.

`python -m edgeship.profile.docs` in a checkout writes them; a test says when they are behind.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeship.profile.loader import list_profiles
from edgeship.profile.schema import TargetProfile
from edgeship.profile.sensors import Sensor

BEGIN, END = "<!-- targets:begin -->", "<!-- targets:end -->"
OWN_KEYS = ("name", "title", "summary")
"""Keys that every file needs, whatever it extends."""
CONFIDENCE = {
    "documented": "by its maker",
    "measured": "by us",
    "reported": "by users",
    "estimated": "from published figures",
    "assumed": "verify before relying on it",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile file, for editors: what `extends:` can bring need not stand there."""
    schema = TargetProfile.model_json_schema()
    parts = schema["$defs"]
    for key, field in schema["properties"].items():
        inherited = field.get("$ref", "").rpartition("/")[2]
        if inherited and key not in OWN_KEYS:
            parts[inherited].pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "edgeship target profile",
        "required": list(OWN_KEYS),
    }


def documents(root: Path, folder: Path) -> dict[Path, str]:
    """Return path -> text of all that is made from the profiles in `folder`; the README only with its markers."""
    targets = list_profiles(folders=[folder], machine="x86_64")
    made = {
        root / "docs/targets.md": targets_page(targets),
        root / "docs/schemas/target.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False)
        + "\n",
    }
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if BEGIN in text and END in text:
        made[readme] = with_table(text, table(targets))
    return made


def table(targets: Sequence[TargetProfile]) -> str:
    """Return the Markdown table of the README: name, aliases, what runs the model, what it wants first."""
    rows = ["| target | also | runs with | wants first |", "|---|---|---|---|"]
    for target in targets:
        wants = ", ".join(target.precision.wants[:2])
        rows.append(f"| `{target.name}` | {', '.join(target.aliases) or '-'} | {_engine(target)} | {wants} |")
    return "\n".join(rows) + "\n"


def with_table(readme: str, rows: str) -> str:
    """Return the README with the table between its markers replaced."""
    pattern = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{rows}{END}", readme, count=1)


def targets_page(targets: Sequence[TargetProfile]) -> str:
    """Return docs/targets.md: the table, then every target with its figures, notes and sources."""
    lines = [
        "# Targets",
        "",
        "Made from `targets/*.yaml` by `python -m edgeship.profile.docs`: change the profiles, not this page.",
        "A target is one YAML file; the next board is a copy of the nearest one. `edgeship target probe HOST -o",
        "my-board.yaml` writes it from the board's own facts, `edgeship target check my-board.yaml` reads it",
        "critically, and `--target my-board.yaml` uses it. Files in `targets/` beside your `edgeship.yaml`, in",
        "`~/.config/edgeship/targets` or in the folders of `EDGESHIP_TARGETS` are found by name.",
        "",
        "How the sensors of a target are read, and what `power` and `thermal` mean: [sensors.md](sensors.md).",
        "",
        table(targets),
    ]
    for target in targets:
        lines += _chapter(target)
    return "\n".join(lines).rstrip("\n") + "\n"


def _engine(target: TargetProfile) -> str:
    runtime = target.runtime
    delegate = f" + {runtime.delegate}" if runtime.delegate not in ("xnnpack", "none") else ""
    return f"{runtime.engine}{'' if runtime.engine == 'tflm' else ' ' + runtime.version}{delegate}"


def _chapter(target: TargetProfile) -> list[str]:
    memory = target.memory
    on_chip = f", {memory.accelerator_kb} KiB on the accelerator" if memory.accelerator_kb else ""
    facts = {
        "machine": f"{target.architecture}, needs {', '.join(target.cpu_flags) or 'nothing special'}",
        "C library": f"{target.libc.kind} {target.libc.version} or newer" if target.deployable else "none",
        "Python": f"{', '.join(sorted(target.python.versions, key=_minor))} (`{target.python.command}`)"
        if target.deployable
        else "none",
        "runtime": _engine(target) + _brought(target),
        "wants": ", ".join(target.precision.wants),
        "accepts": ", ".join(target.precision.accepts),
        "memory": f"{memory.ram_mb} MiB{on_chip}",
        "sensors": ", ".join(_sensor(s) for s in target.sensors) or "none",
        "power": f"{target.power.idle_watts:g} W idle, {target.power.busy_watts:g} W with one core busy "
        f"({target.power.basis})"
        if target.power
        else "not known: nobody published it",
        "heat": f"{target.thermal.c_per_watt:g} degC above ambient for each watt, time constant "
        f"{target.thermal.seconds:g} s ({target.thermal.basis})"
        if target.thermal
        else "not known: nobody published it",
        "accelerators": ", ".join(f"{a.name} ({' or '.join(a.any_of)})" for a in target.devices) or "none",
    }
    lines = [f"## {target.title}", "", f"`--target {target.name}`", "", target.summary, ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items()), ""]
    if target.notes:
        lines += ["Before the first deployment:", "", *(f"- {note}" for note in target.notes), ""]
    lines += ["Sources of the figures:", ""]
    lines += [
        f"- `{s.figure}`: {s.source} ({s.confidence} {CONFIDENCE[s.confidence]})"
        if s.confidence != "assumed"
        else f"- `{s.figure}`: {s.source} (assumed: {CONFIDENCE['assumed']})"
        for s in target.sources
    ]
    return [*lines, ""]


def _sensor(sensor: Sensor) -> str:
    needs = f"needs {sensor.device}" if sensor.device else "root only" if sensor.root_only else ""
    return f"{sensor.name} ({needs})" if needs else sensor.name


def _brought(target: TargetProfile) -> str:
    if not target.deployable:
        return ", linked into your firmware"
    return ", brought by the device" if target.runtime.preinstalled else ", in the bundle"


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def main(root: Path) -> int:
    """Write the documents of the checkout at `root` and return the exit status."""
    for path, text in documents(root, root / "targets").items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
