"""`edgeship init`: a commented edgeship.yaml to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from edgeship.cli import common
from edgeship.errors import InputError


@click.command()
@click.argument("model", type=common.PATH, required=False)
@click.option("--target", "-t", "targets", multiple=True, metavar="T", help="Target; repeatable.")
@click.option(
    "--out", "-o", type=common.PATH, default=Path("edgeship.yaml"), show_default=True, help="File to write."
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@common.dry_run_option
def init(model: Path | None, targets: tuple[str, ...], out: Path, force: bool, dry_run: bool) -> int:
    """Write a commented edgeship.yaml, filled in for MODEL where one is given."""
    from edgeship.profile import load_profile
    from edgeship.project import init_text

    if model is not None:
        from edgeship.model.source import open_model

        open_model(model)
    for name in targets:
        load_profile(name, folders=common.profile_folders())
    text = init_text(model, targets=targets)
    if dry_run:
        click.echo(text, nl=False)
        return 0
    if out.exists() and not force:
        raise InputError(
            "file-exists",
            f"{out} is there already",
            hint="edgeship init --force overwrites it; edgeship init -o other.yaml keeps it",
        )
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            "cannot-write",
            f"cannot write {out}: {error.strerror}",
            hint=f"mkdir -p {shlex.quote(str(out.parent))}",
        ) from None
    click.echo(f"wrote {out}; next: fill in datasets, then edgeship build")
    return 0
