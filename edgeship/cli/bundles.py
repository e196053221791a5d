"""What `edgeship deploy` deploys: the bundle that was handed over, the one in a folder of results, or one built now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeship.cli import common
from edgeship.cli.inspect import is_bundle
from edgeship.cli.output import tell
from edgeship.errors import GateError, InputError

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile
    from edgeship.progress import Progress
    from edgeship.project import DeviceSettings, Project
    from edgeship.values import Bundle


def is_quiet() -> bool:
    """Return whether the command at work was told to be quiet."""
    context = click.get_current_context(silent=True)
    return bool(context and context.params.get("quiet"))


def note(text: str) -> None:
    tell(f"note: {text}")


def obtain(settings: DeviceSettings, path: Path, progress: Progress) -> Bundle:
    """Return the bundle to deploy: the one handed over, verified, or one built now from the model.

    Raises GateError `gate-failed` where a gate stopped the build, InputError `several-targets` where more than one
    target was named.
    """
    if is_bundle(path):
        return opened(settings, path)
    project = settings.whole()
    profile = target_of(project, path)
    from edgeship.pipeline.build import build as build_all
    from edgeship.report.beside import save_beside
    from edgeship.report.text import target_text
    from edgeship.score.warn import warnings

    work = common.cache_folder()
    report = build_all(
        project, path, (profile,), work / "bundles", work, progress, common.compile_options(project)
    )
    built = report.targets[0]
    if built.bundle is None:
        raise GateError(
            "gate-failed",
            f"nothing was deployed: {built.reason}",
            context={"target": built.target, "model": path},
            hint=f"{'relax the goal, or ' if project.goals.limited else ''}look at every variant with: "
            f"edgeship build {path} --target {built.target} ...",
        )
    save_beside(report)
    progress.note(target_text(built).replace("\n", "\n  "))
    if is_quiet():  # the note was not shown, and what was lost must be
        for words in warnings(built.chosen, built.variants):
            tell(f"warning: {words}")
    return built.bundle


def result_of(source: Path | None, settings: DeviceSettings) -> Path | None:
    """Return the bundle in a folder of results for the target that is asked for; anything else as it came."""
    # os.access is silent where the system does not tell (a closed folder); what opens the path then says why
    if source is None or not (os.access(source, os.F_OK) and source.is_dir()):
        return source
    from edgeship.bundle.results import bundle_in

    return bundle_in(source, common.target_names(settings)) or source


def served(bundle: Bundle, variant: str | None) -> Bundle:
    """Return the bundle that serves a variant; none named: as it is. What was signed was the release as it was."""
    if variant is None:
        return bundle
    from edgeship.bundle.choosing import serving

    other = serving(bundle, variant, out=common.cache_folder() / "bundles")
    if bundle.signatures and not other.signatures:
        note(
            f"nobody signed {bundle.app} with {variant}: it is a release of its own; --sign-with KEY signs it"
        )
    return other


def opened(settings: DeviceSettings, path: Path) -> Bundle:
    """Return a bundle that was handed over, verified. Raises InputError `bundle-for-another-target`."""
    from edgeship.bundle.seal import open_bundle

    bundle = open_bundle(path)
    wanted = common.target_names(settings) or {bundle.target}
    if bundle.target not in wanted:
        raise InputError(
            "bundle-for-another-target",
            f"the bundle is for {bundle.target}, not for {', '.join(sorted(wanted))}",
            context={"bundle": path},
            hint=f"edgeship deploy {path} --target {bundle.target} --host ...",
        )
    return bundle


def target_of(project: Project, path: Path) -> TargetProfile:
    """Return the one target that a model is built for. Raises InputError `several-targets`, and as `deployable`."""
    profiles = common.profiles_of(project)
    if len(profiles) > 1:
        raise InputError(
            "several-targets",
            "a deployment has one target; build for several with edgeship build",
            context={"targets": ", ".join(profile.name for profile in profiles)},
            hint=f"edgeship deploy {path} --target {profiles[0].name} --host ...",
        )
    deployable(profiles[0], path, project.compiler.segments)
    return profiles[0]


def deployable(profile: TargetProfile, path: Path, segments: int) -> None:
    """Raise InputError `target-not-deployable` for a target that no service can be brought to.

    And `pipeline-not-servable` where the settings ask for several segments.
    """
    if segments > 1:
        raise InputError(
            "pipeline-not-servable",
            f"{segments} segments were asked for; a service runs one model on one accelerator",
            context={"target": profile.name, "key": "compiler.segments in edgeship.yaml"},
            hint="leave segments out to deploy; edgeship build --segments N makes the files alone",
        )
    if not profile.deployable:
        raise InputError(
            "target-not-deployable",
            f"{profile.title} runs no Linux: there is no service to start on it",
            context={"target": profile.name, "architecture": profile.architecture},
            hint=f"edgeship build {path} --target {profile.name} ... writes the compiled .tflite, to be linked with "
            "TensorFlow Lite Micro into a firmware",
        )
