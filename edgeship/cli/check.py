"""`edgeship check`: what a target will make of a model, before anything is built, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeship.cli import common


@click.command()
@click.argument("model", type=common.PATH, required=False)
@click.option("--target", "-t", "targets", multiple=True, metavar="T", help="Target; repeatable.")
@common.signature_option
@click.option(
    "--calibration", metavar="D", help="Samples, to warn of outputs that join values of unlike range."
)
@common.input_shape_option
@common.accept_option
@common.config_option
@common.output_options
def check(model: Path | None, config: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Say which operations of MODEL run where on a target, why, and the smallest change that helps.

    A quantized .tflite is looked at as it is, in under a second and without TensorFlow. Any other model is converted
    to a float .tflite first, and judged as if it were quantized to int8. For an Edge TPU the answer is a prediction:
    only edgetpu_compiler knows for certain; for an Ethos-U Vela itself answers. With --calibration the samples are run,
    and outputs whose parts cannot share an 8-bit scale are told. Exit status: 0, or 3 where a target
    cannot use the model as it is.
    """
    from edgeship.compile.picture import picture
    from edgeship.compile.report import check_document
    from edgeship.model.source import open_model
    from edgeship.pipeline.checking import check_target

    project = common.project_from(config, options, *options)
    profiles = common.profiles_of(project)
    path = common.model_of(model, project)
    with common.progress(quiet=quiet) as progress:
        work = common.cache_folder() / "models"
        source = open_model(path, project.input_shapes)
        reports = [
            check_target(
                source, profile, work, progress, accepted=project.accept, signature=project.signature
            )
            for profile in profiles
        ]
        if options["calibration"]:
            from edgeship.pipeline.unlike_ranges import with_ranges

            cache = common.cache_folder()
            reports = with_ranges(reports, project, path, profiles, cache, progress)
    text = "\n\n".join(picture(report) for report in reports)
    common.show(text, lambda: check_document(reports), as_json=as_json)
    return max(report.exit_code for report in reports)
