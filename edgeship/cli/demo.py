"""`edgeship demo`: the whole job on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edgeship.cli import common


@click.command()
@click.option("--keep", is_flag=True, help="Leave the files and the running service, and say where they are.")
@click.option(
    "--folder", type=common.PATH, default=None, help="Where to work.  [default: a new temporary folder]"
)
@common.output_options
def demo(keep: bool, folder: Path | None, as_json: bool, quiet: bool) -> int:
    """Train a small real model, build every recipe for it, deploy the best to a local device and ask it 100 digits.

    Needs no board and no network. Takes about a minute.
    """
    from edgeship.demo.run import demo_text, run_demo

    with common.progress(quiet=quiet) as progress:
        result = run_demo(folder=folder, keep=keep, cache=common.cache_folder(), progress=progress)
    common.show(demo_text(result), result.document, as_json=as_json)
    return result.exit_code
