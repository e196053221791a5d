"""`edgeship build`: a model becomes one bundle a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.signing import sign_option, with_signatures

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile
    from edgeship.project import Project


@click.command()
@click.argument("model", type=common.PATH, required=False)
@common.build_options
@click.option(
    "--out",
    "-o",
    type=common.PATH,
    default=Path("edgeship-out"),
    show_default=True,
    help="Folder for bundles.",
)
@click.option(
    "--segments",
    type=click.IntRange(min=1),
    metavar="N",
    help="Edge TPU: cut the model into N files, and make no bundle.",
)
@click.option(
    "--co-compile",
    multiple=True,
    metavar="FILE",
    help="Edge TPU: int8 .tflite that shares the chip; repeatable.",
)
@sign_option
@common.config_option
@common.dry_run_option
@common.output_options
def build(
    model: Path | None,
    out: Path,
    config: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Convert, quantize, score, compile and bundle MODEL for one or more targets.

    Writes one sealed bundle a target (for a microcontroller, which no service can be brought to: the model file).
    Targets with an accelerator need its compiler; `edgeship toolchain doctor` says what is there. A gate that is not
    met (--max-drop, --max-kb, --max-ms) exits 3, shows the best that was found, and makes no bundle for that target.
    """
    project = common.project_from(config, options, *common.BUILD_NAMES, "segments", "co_compile")
    profiles = common.profiles_of(project)
    path = common.model_of(model, project)
    from edgeship.compile.ship import require_possible

    compiling = common.compile_options(project)
    for profile in profiles:
        require_possible(profile, compiling)
    if dry_run:
        return _plan(project, path, profiles, out, as_json=as_json)
    from edgeship.pipeline.build import build as build_all
    from edgeship.report.beside import save_beside
    from edgeship.report.documents import build_document
    from edgeship.report.text import build_text

    with common.progress(quiet=quiet) as progress:
        report = build_all(project, path, profiles, out, common.cache_folder(), progress, compiling)
    report = with_signatures(report, options["with_keys"])
    save_beside(report)
    common.show(build_text(report), lambda: build_document(report), as_json=as_json)
    return report.exit_code


def _plan(
    project: Project, model: Path, profiles: tuple[TargetProfile, ...], out: Path, *, as_json: bool
) -> int:
    """Show what a build would do, without starting a converter."""
    from edgeship.pipeline.plan import plan_build

    plan = plan_build(project, model, profiles, out)
    text = "\n".join(f"{i}. {line}" for i, line in enumerate(plan, 1))
    common.show(text, lambda: {"schema": "edgeship.plan/1", "steps": list(plan)}, as_json=as_json)
    return 0
