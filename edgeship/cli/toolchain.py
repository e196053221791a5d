"""`edgeship toolchain`: the tools in environments of their own, and what else this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common

if TYPE_CHECKING:
    from edgeship.toolchain.environments import Installed
    from edgeship.toolchain.tools import Tool


@click.group()
def toolchain() -> None:
    """List and install tools that need an environment of their own; examine this machine."""


@toolchain.command("list")
@common.output_options
def list_tools(as_json: bool, quiet: bool) -> int:
    """List the tools, their pinned versions and whether they are installed."""
    from edgeship.report.table import table
    from edgeship.toolchain.environments import find
    from edgeship.toolchain.tools import TOOLS

    rows = [(tool, find(name)) for name, tool in TOOLS.items()]
    text = table(
        ["tool", "pinned", "installed", "where", "for"],
        [
            [
                tool.name,
                ", ".join(tool.requirements),
                found.version if found else "no",
                found.where if found else "",
                tool.summary,
            ]
            for tool, found in rows
        ],
    )
    document = {"schema": "edgeship.toolchains/1", "tools": [_entry(tool, found) for tool, found in rows]}
    common.show(text, lambda: document, as_json=as_json)
    return 0


@toolchain.command("install")
@click.argument("name")
@common.dry_run_option
@common.output_options
def install_tool(name: str, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Install the tool NAME at its pinned version into an environment of its own."""
    from edgeship.toolchain.environments import folder_of, install
    from edgeship.toolchain.tools import TOOLS

    tool = TOOLS[name]
    if dry_run:
        steps = [
            f"make a virtual environment in {folder_of(tool)}",
            f"pip install {'--no-deps ' if tool.beside else ''}{' '.join(tool.requirements)}",
        ]
        common.show("\n".join(steps), lambda: {"schema": "edgeship.plan/1", "steps": steps}, as_json=as_json)
        return 0
    with common.progress(quiet=quiet) as progress:
        found = install(tool.name, progress=progress)
    document = {"schema": "edgeship.toolchains/1", "tools": [_entry(tool, found)]}
    common.show(f"{tool.name} {found.version} in {found.where}", lambda: document, as_json=as_json)
    return 0


@toolchain.command("doctor")
@common.output_options
def doctor(as_json: bool, quiet: bool) -> int:
    """Say what this machine has of all that edgeship may need. Missing tools are no failure until they are needed."""
    from edgeship.report.table import table
    from edgeship.toolchain.doctor import examine
    from edgeship.values import as_json as plain

    found = examine()
    lines = [
        table(["", "what", "found", "needed for"], [[h.state, h.name, h.found, h.needed_for] for h in found])
    ]
    lines += [f"{h.name}: {h.fix}" for h in found if h.fix]
    document = {"schema": "edgeship.doctor/1", "checks": [plain(h) for h in found]}
    common.show("\n".join(lines), lambda: document, as_json=as_json)
    return 1 if any(h.state == "problem" for h in found) else 0


def _entry(tool: Tool, found: Installed | None) -> dict[str, Any]:
    none = {"unavailable": "not installed"}
    return {
        "name": tool.name,
        "summary": tool.summary,
        "requirements": list(tool.requirements),
        "version": found.version if found else none,
        "where": found.where if found else none,
        "packages": found.packages if found else {},
    }
