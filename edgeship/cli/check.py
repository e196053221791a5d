"""`edgeship check`: what a target will make of a model, before anything is built, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeship.cli import common


@click.command()
@click.argument("model", type=common.PATH, required=False)
@common.judging_options
@common.config_option
@common.output_options
def check(model: Path | None, config: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Say which operations of MODEL run where on a target, why, and the smallest change that helps.

    A quantized .tflite is looked at as it is, in under a second and without TensorFlow. Any other model is converted
    to a float .tflite first, and judged as if it were quantized to int8. For an Edge TPU the answer is a prediction:
    only edgetpu_compiler knows for certain; for an Ethos-U Vela itself answers. What int8 computes only samples tell:
    with --calibration, goals or recipes, here or in edgeship.yaml, variants are made and judged as build does it, and
    without, int8 is called not proven. Exit status: 0, or 3 where a target cannot use the model as it is.
    """
    from edgeship.compile.picture import picture
    from edgeship.compile.report import check_document
    from edgeship.pipeline.checking import check_targets

    project = common.project_from(config, options, *options)
    profiles = common.profiles_of(project)
    path = common.model_of(model, project)
    with common.progress(quiet=quiet) as progress:
        reports = check_targets(project, path, profiles, common.cache_folder(), progress)
    text = "\n\n".join(picture(report) for report in reports)
    common.show(text, lambda: check_document(reports), as_json=as_json)
    return max(report.exit_code for report in reports)
