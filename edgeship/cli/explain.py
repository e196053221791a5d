"""`edgeship explain`: what quantizing costs, layer by layer, why, and what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeship.cli import common


@click.command()
@click.argument("model", type=common.PATH, required=False)
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
    model: Path | None, config: Path | None, minutes: float, as_json: bool, quiet: bool, **options: Any
) -> int:
    """Say what quantizing each layer of MODEL for a target costs, what leaving it in float gives back, and why.

    Needs samples to calibrate with (--calibration or --train) and, for the metric, labelled evaluation data (--eval).
    """
    from edgeship.pipeline.explaining import explain_model
    from edgeship.report.explaining import explain_document, explain_text

    project = common.project_from(config, options, *options)
    profile = common.only_profile(project, "an explanation")
    path = common.model_of(model, project)
    with common.progress(quiet=quiet) as progress:
        told = explain_model(project, path, profile, common.cache_folder(), progress, minutes=minutes)
    common.show(explain_text(told), lambda: explain_document(told), as_json=as_json)
    return 0
