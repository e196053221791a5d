"""`edgeship explain`: what quantizing a model costs, layer by layer, why, and what helps; or what an error means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeship.cli import common
from edgeship.cli.references import page_asked_for, show_list, show_page


@click.command()
@click.argument("model", metavar="[MODEL|REFERENCE]", required=False)
@click.option("--list", "list_all", is_flag=True, help="List the references of all errors.")
@common.judging_options
@click.option(
    "--train", metavar="D", help="Training dataset, to calibrate with where no --calibration is given."
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="N",
    help="Time; the most suspicious layers are looked at first.",
)
@common.config_option
@common.output_options
def explain(
    model: str | None, config: Path | None, minutes: float, as_json: bool, quiet: bool, **options: Any
) -> int:
    """Say what quantizing each layer of MODEL for a target costs, what leaving it in float gives back, and why.

    Needs samples to calibrate with (--calibration or --train) and, for the metric, labelled evaluation data (--eval).

    Of a REFERENCE, the word behind `error:`, say what it means, when it comes and what to do. A word that is the name
    of a file is that file; ./NAME always is one.
    """
    if options.pop("list_all"):
        return show_list(model, as_json=as_json)
    if model and (page := page_asked_for(model)):
        return show_page(page, as_json=as_json)
    from edgeship.pipeline.explaining import explain_model
    from edgeship.report.explaining import explain_document, explain_text

    project = common.project_from(config, options, *options)
    profile = common.only_profile(project, "an explanation")
    path = common.model_of(Path(model) if model else None, project)
    with common.progress(quiet=quiet) as progress:
        told = explain_model(project, path, profile, common.cache_folder(), progress, minutes=minutes)
    common.show(explain_text(told), lambda: explain_document(told), as_json=as_json)
    return 0
