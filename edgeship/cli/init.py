"""`edgeship init`: a commented edgeship.yaml to start from."""

from __future__ import annotations

from pathlib import Path

import click

from edgeship.cli import common


@click.command()
@click.argument("model", type=common.PATH, required=False)
@click.option("--target", "-t", "targets", multiple=True, metavar="T", help="Target; repeatable.")
@click.option(
    "--out", "-o", type=common.PATH, default=Path("edgeship.yaml"), show_default=True, help="File to write."
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@common.dry_run_option
@common.output_options
def init(
    model: Path | None,
    targets: tuple[str, ...],
    out: Path,
    force: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Write a commented edgeship.yaml, filled in for MODEL where one is given."""
    from edgeship.profile import load_profile
    from edgeship.project import init_text

    if model is not None:
        from edgeship.model.source import open_model

        open_model(model)
    for name in targets:
        load_profile(name, folders=common.profile_folders())
    text = init_text(model, targets=targets)
    said = text.removesuffix("\n")
    if not dry_run:
        hint = "edgeship init --force overwrites it; edgeship init -o other.yaml keeps it"
        common.refuse_existing(out, force, hint)
        common.write_file(out, text)
        said = f"wrote {out}; next: fill in datasets, then edgeship build"
    common.show(
        said,
        lambda: {
            "schema": "edgeship.init/1",
            "file": {"unavailable": "--dry-run writes nothing"} if dry_run else str(out),
            "settings": text,
        },
        as_json=as_json,
    )
    return 0
