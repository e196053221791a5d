"""`edgeship check`: what a target will make of a model, before anything is built, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeship.cli import common

if TYPE_CHECKING:
    from edgeship.compile.report import CheckReport
    from edgeship.profile import TargetProfile
    from edgeship.progress import Progress


@click.command()
@click.argument("model", type=common.PATH, required=False)
@click.option("--target", "-t", "targets", multiple=True, metavar="T", help="Target; repeatable.")
@common.config_option
@common.output_options
def check(
    model: Path | None, targets: tuple[str, ...], config: Path | None, as_json: bool, quiet: bool
) -> int:
    """Say which operations of MODEL run where on a target, why, and the smallest change that helps.

    A quantized .tflite is looked at as it is, in under a second and without TensorFlow. Any other model is converted
    to a float .tflite first, and judged as if it were quantized to int8. For an Edge TPU the answer is a prediction:
    only edgetpu_compiler knows for certain; for an Ethos-U Vela itself answers. Exit status: 0, or 3 where a target
    cannot use the model as it is.
    """
    from edgeship.compile.picture import picture
    from edgeship.compile.report import check_document

    project = common.project_from(config, {"targets": targets or None}, "targets")
    profiles = common.profiles_of(project)
    path = common.model_of(model, project)
    with common.progress(quiet=quiet) as progress:
        reports = [_report(path, profile, progress) for profile in profiles]
    text = "\n\n".join(picture(report) for report in reports)
    common.show(text, lambda: check_document(reports), as_json=as_json)
    return max(report.exit_code for report in reports)


def _report(path: Path, profile: TargetProfile, progress: Progress) -> CheckReport:
    """Return one target's report; a model that is no .tflite is converted first."""
    from edgeship.compile.check import check_model
    from edgeship.model.source import open_model

    source = open_model(path)
    if source.kind == "tflite":
        return check_model(path, profile)
    from edgeship.model.convert import to_float_tflite

    work = common.cache_folder() / "models"
    converted = to_float_tflite(source, work, batch=profile.batch.fixed, progress=progress)
    if profile.compiler.backend != "vela":
        return check_model(converted.path, profile, shown_as=path)
    from edgeship.pipeline.twin import int8_twin

    with int8_twin(converted, profile, progress) as twin:
        return check_model(twin, profile, shown_as=path)
