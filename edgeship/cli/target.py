"""`edgeship target`: list, show, check and probe target profiles."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgeship.cli import common
from edgeship.cli.deploy import deploy_options, host_options


@click.group()
def target() -> None:
    """List, show, check and probe target profiles: what edgeship knows of each kind of device."""


@target.command(name="list")
@common.output_options
def list_targets(as_json: bool, quiet: bool) -> int:
    """List every target, with what runs the model there and what it wants."""
    from edgeship.assets import targets_folder
    from edgeship.profile.listing import list_targets as listed
    from edgeship.report.table import table

    found = listed(folders=common.profile_folders(), proved=targets_folder())
    rows = [[t.name, ", ".join(t.aliases), f"{t.engine} {t.delegate}", t.wants[0], t.summary] for t in found]
    document = {"schema": "edgeship.targets/1", "targets": [asdict(t) for t in found]}
    text = table(["target", "also", "runs on", "wants", "what"], rows)
    common.show(text, lambda: document, as_json=as_json)
    return 0


@target.command()
@click.argument("name")
@common.output_options
def show(name: str, as_json: bool, quiet: bool) -> int:
    """Show everything the profile of NAME says, and where each value was written."""
    from edgeship.profile import load_with_origins
    from edgeship.profile.text import as_text

    loaded = load_with_origins(name, folders=common.profile_folders())
    common.show(
        as_text(loaded),
        lambda: {
            "schema": "edgeship.target/1",
            "digest": loaded.profile.digest(),
            "profile": loaded.profile.model_dump(mode="json"),
        },
        as_json=as_json,
    )
    return 0


@target.command()
@click.argument("file", type=common.PATH)
@common.output_options
def check(file: Path, as_json: bool, quiet: bool) -> int:
    """Check a profile FILE and everything it extends; every problem is named with its line."""
    from edgeship.profile import check_profile

    merged = check_profile(file, folders=common.profile_folders())
    name = str(merged.value.get("name", file.stem))
    common.show(
        f"{file}: {name} has no problem",
        lambda: {"schema": "edgeship.target-check/1", "file": str(file), "name": name, "problems": []},
        as_json=as_json,
    )
    return 0


@target.command()
@click.argument("host")
@click.option("--out", "-o", type=common.PATH, help="File to write.  [default: print it]")
@click.option("--name", help="Name of the new target.  [default: from the file, or from the device's name]")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option(
    "--accept-new-host-key",
    is_flag=True,
    default=None,
    help="Trust the key of a host never seen before, and record it.",
)
@host_options
@common.config_option
@common.output_options
def probe(
    host: str,
    out: Path | None,
    name: str | None,
    force: bool,
    config: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Ask the device at HOST what it is, and write a target profile from its own facts."""
    from edgeship.deploy import probe as ask
    from edgeship.profile.facts import from_facts
    from edgeship.remote import parse_host
    from edgeship.values import as_json as jsonable

    if out:
        common.refuse_existing(out, force, f"edgeship target probe {host} -o {out} --force")
    settings = common.device_settings(config, options, "root", "accept_new_host_key")
    with common.progress(quiet=quiet) as progress:
        progress.step(f"asking {host} what it is")
        facts = ask(parse_host(host), deploy_options(settings, options))
    wanted = name or (out.stem if out else facts.hostname)
    slug = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-") or "my-device"
    text = said = from_facts(facts, slug, folders=common.profile_folders())
    if out:
        common.write_file(out, text)
        shown = out if out.parent != Path() else f"./{out}"
        said = f"wrote {out}; use it with: edgeship build MODEL --target {shown}"
    common.show(
        said,
        lambda: {"schema": "edgeship.probe/1", "facts": jsonable(facts), "profile": text},
        as_json=as_json,
    )
    return 0
