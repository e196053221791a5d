"""`edgeship compress`: the smallest or quickest model that keeps its accuracy, found under a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common

if TYPE_CHECKING:
    from edgeship.compress.methods import Row
    from edgeship.compress.options import Option
    from edgeship.values import Setting

NAMES = (
    *common.BUILD_NAMES, "train", "methods", "minutes", "jobs", "seed", "prefer", "max_download_kb", "max_rss_mb",
)  # fmt: skip


def _methods() -> str:
    """Return the methods and their settings, a line each."""
    from edgeship.compress.methods import ROWS

    lines = [
        "Methods, joined by + into chains (prune-50+qat-int8), settings behind commas (prune-50,epochs=12):"
    ]
    lines += [f"  {_written(row)}: {row.about}" for row in ROWS]
    trained = next(row for row in ROWS if row.name == "finetune")
    lines += ["Settings of all that train:"]
    lines += [f"  {option.name}={_said(option.default)}: {option.about}" for option in trained.options]
    own = [
        f"  {row.name}: " + "; ".join(f"{o.name}={_said(o.default)}: {o.about}" for o in _own(row, trained))
        for row in ROWS
        if _own(row, trained)
    ]
    return "\n".join([*lines, "Settings of single methods:", *own])


def _written(row: Row) -> str:
    """Return how a method is typed: with its first setting, where that has a value."""
    first = row.options[0] if row.options else None
    if first is None or first.name == "epochs":
        return row.name
    return f"{row.name}-{_said(first.default)}" if first.default != "" else f"{row.name},{first.name}=..."


def _own(row: Row, trained: Row) -> list[Option]:
    """Return the settings that a method has besides those of all that train, and the one behind its name."""
    known = {option.name for option in trained.options}
    return [o for o in row.options[1:] if o.name not in known]


def _said(value: Setting) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


class WithMethods(click.Command):
    """A command whose help ends with the methods."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write(_methods() + "\n")


@click.command(cls=WithMethods)
@click.argument("model", type=common.PATH, required=False)
@common.build_options
@click.option("--train", metavar="D", help="Training dataset; labels are used where there are some.")
@click.option("--method", "methods", multiple=True, metavar="M", help="Chain of methods to try; repeatable.")
@click.option(
    "--max-download-kb", type=float, metavar="K", help="Gate: compressed size of the model file, kB."
)
@click.option("--max-rss-mb", type=float, metavar="M", help="Gate: peak memory of one process, MiB.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Time.  [default: 30]"
)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Candidates side by side.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of everything random.  [default: 0]")
@click.option(
    "--prefer",
    type=click.Choice(["download", "file", "latency", "accuracy"]),
    help="What the chosen one is best in, among those that meet the goals.  [default: download]",
)
@click.option(
    "--out",
    "-o",
    type=common.PATH,
    default=Path("edgeship-compressed"),
    show_default=True,
    help="Folder for the results; `edgeship deploy` takes it.",
)
@common.config_option
@common.dry_run_option
@common.output_options
def compress(
    model: Path | None,
    out: Path,
    config: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Find the smallest (or quickest) MODEL for a target that meets the goals.

    Tries plain recipes, then chains of compression methods, cheap ones first, and bundles the ladder: what no other
    candidate beats in accuracy, download, file and latency. Candidates are chosen by a held-out part of the training
    data, never by evaluation data. What was made is kept: the same command goes on where it was interrupted, and
    costs nothing when it is repeated. Where nothing meets the goals it exits 3 and shows the nearest.
    """
    project = common.project_from(config, options, *NAMES)
    profile = common.only_profile(project, "a search")
    path = common.model_of(model, project)
    from edgeship.compile.ship import require_possible

    compiling = common.compile_options(project)
    require_possible(profile, compiling)
    if dry_run:
        return _plan(project, path, profile, as_json=as_json)
    from edgeship.pages.compression import page
    from edgeship.pipeline.compressing import compress as search
    from edgeship.report.compression import compress_document, compress_text

    work = common.cache_folder()
    with common.progress(quiet=quiet) as progress:
        report = search(project, path, profile, out, work, progress, compiling)
    document = compress_document(report)
    (out / "report.html").write_text(page(document, work / "compress" / "plots"), encoding="utf-8")
    (out / "compress.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    common.show(compress_text(report), lambda: document, as_json=as_json)
    return report.exit_code


def _plan(project: Any, model: Path, profile: Any, *, as_json: bool) -> int:
    """Show what a search would try."""
    from edgeship.pipeline.search_plan import plan_search

    lines = plan_search(project, model, profile)
    text = "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
    common.show(text, lambda: {"schema": "edgeship.plan/1", "steps": list(lines)}, as_json=as_json)
    return 0
