"""What verbs share: options with one meaning everywhere, where things are kept, and how a result is shown."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeship.cli.output import emit, tell
from edgeship.errors import EdgeshipError, InputError
from edgeship.printable import json_text

if TYPE_CHECKING:
    from edgeship.compile.backend import CompileOptions
    from edgeship.profile import TargetProfile
    from edgeship.progress import Progress
    from edgeship.project import DeviceSettings, Project
    from edgeship.values import Host

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


def output_options(command: F) -> F:
    """Add `--json` and `--quiet`."""
    command = click.option("--quiet", "-q", is_flag=True, help="No progress, no notes; errors only.")(command)
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(command)


def config_option(command: F) -> F:
    """Add `--config`."""
    return click.option(
        "--config", "-c", type=PATH, default=None, help="Settings file.  [default: ./edgeship.yaml if there]"
    )(command)


def dry_run_option(command: F) -> F:
    """Add `--dry-run`."""
    return click.option("--dry-run", is_flag=True, help="Print what would be done; do nothing.")(command)


def signature_option(command: F) -> F:
    """Add `--signature`."""
    return click.option(
        "--signature",
        metavar="NAME",
        help="Signature of a SavedModel or a .tflite to take.  [default: serving_default, or what fits; the first]",
    )(command)


def input_shape_option(command: F) -> F:
    """Add `--input-shape`."""
    return click.option(
        "--input-shape",
        multiple=True,
        metavar="[NAME=]N,...",
        help="Sizes of an input that the model leaves open, batch first: 1,224,224,3; repeatable with names.",
    )(command)


def accept_option(command: F) -> F:
    """Add `--accept`."""
    return click.option(
        "--accept",
        multiple=True,
        metavar="FLAW",
        help="Ship a model with this flaw all the same: scale, zero-point, bias-overflow, bias-scale or agreement.",
    )(command)


def judging_options(command: F) -> F:
    """Add everything that decides which variant of a model a target gets, or that it gets none."""
    options = [
        input_shape_option,
        click.option("--target", "-t", "targets", multiple=True, metavar="T", help="Target; repeatable."),
        signature_option,
        accept_option,
        click.option("--calibration", metavar="D", help="Representative dataset for quantization."),
        click.option("--eval", "evaluation", metavar="D", help="Labelled dataset for scores."),
        click.option("--recipe", "recipes", multiple=True, metavar="R", help="Recipe, not the target's; repeatable."),
        click.option(
            "--metric",
            help="top1, top5, mse, mae, auc, map, map50 or module:callable.  [default: what fits the labels]",
        ),
        click.option(
            "--max-drop", type=float, metavar="POINTS",
            help="Gate: points that top1, top5, auc, map may lose; of any other metric, percent of the float model's.",
        ),
        click.option("--max-kb", type=float, metavar="K", help="Gate: size of the model file, kB."),
        click.option("--max-ms", type=float, metavar="T", help="Gate: p50 latency on this machine, ms."),
        click.option("--labels", help="File with one label a line."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def build_options(command: F) -> F:
    """Add everything that says how a model is built."""
    options = [
        judging_options,
        click.option("--app", help="Name of the service.  [default: from the model's name]"),
        click.option("--listen", metavar="ADDR", help="Where the service listens: ADDRESS:PORT or unix:PATH."),
        click.option(
            "--ladder/--no-ladder", default=None,
            help="Bundle every variant that no other beats in accuracy, file and latency.  [default: the chosen one]",
        ),
        click.option("--compiler", metavar="PLACE", help="edgetpu_compiler: local, ssh:user@host or container:IMAGE."),
        click.option(
            "--allow-uncompiled/--no-allow-uncompiled", default=None,
            help="Without a compiler, ship the int8 model for the CPU.  [default: refuse]",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


BUILD_NAMES = (
    "targets", "calibration", "evaluation", "recipes", "metric", "max_drop", "max_kb", "max_ms", "app",
    "labels", "listen", "compiler", "allow_uncompiled", "signature", "input_shape", "accept", "ladder",
)  # fmt: skip


def compile_options(project: Project) -> CompileOptions:
    """Return how to compile, as the settings say."""
    from edgeship.compile.backend import CompileOptions

    said = project.compiler
    return CompileOptions(
        place=said.place,
        allow_uncompiled=said.allow_uncompiled,
        segments=said.segments,
        together=tuple(project.base / other for other in said.co_compile),
        accepted=project.accept,
    )


def project_from(config: Path | None, options: dict[str, Any], *names: str) -> Project:
    """Return the settings of the file with the named command-line options laid over them."""
    from edgeship.project import load_project

    return load_project(config).merge(**{name: options.get(name) for name in names})


def device_settings(config: Path | None, options: dict[str, Any], *names: str) -> DeviceSettings:
    """Return what a verb that touches devices needs of the same settings, without what it takes to check the rest."""
    from edgeship.project import load_device_settings

    return load_device_settings(config, {name: options.get(name) for name in names})


def profile_folders(project: Project | DeviceSettings | None = None) -> tuple[Path, ...]:
    """Return where target profiles are looked for."""
    from edgeship.assets import target_folders

    return target_folders(environment=os.environ, project=project.base if project else Path.cwd())


def profiles_of(project: Project | DeviceSettings) -> tuple[TargetProfile, ...]:
    """Return the profiles of the project's targets. Raises InputError `no-target` where none is named."""
    from edgeship.profile import load_profile

    if not project.targets:
        raise InputError(
            "no-target",
            "nothing says which kind of device to build for",
            context={"wanted": "--target NAME, or targets: in edgeship.yaml"},
            hint="edgeship target list",
        )
    profiles = [load_profile(name, folders=profile_folders(project)) for name in project.targets]
    return tuple({profile.name: profile for profile in profiles}.values())


def only_profile(project: Project, what: str) -> TargetProfile:
    """Return the profile of the project's one target. Raises InputError `one-target` for several, `no-target`."""
    profiles = profiles_of(project)
    if len(profiles) != 1:
        raise InputError(
            "one-target",
            f"{what} is for one target, and there are {len(profiles)}",
            context={"targets": ", ".join(profile.name for profile in profiles)},
            hint=f"--target {profiles[0].name}",
        )
    return profiles[0]


def target_names(settings: DeviceSettings) -> set[str]:
    """Return the names of the targets that the settings name; none of their profiles is read to the end.

    Raises InputError `unknown-target`.
    """
    if not settings.targets:
        return set()
    from edgeship.profile.names import find_profile

    folders = profile_folders(settings)
    return {find_profile(name, folders=folders).stem for name in settings.targets}


def shapes_of(typed: tuple[str, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return what `--input-shape` says, for a verb without settings. Raises InputError `input-shape`."""
    from edgeship.project.shapes import closed_shapes

    try:
        return closed_shapes(typed)
    except ValueError as error:
        raise InputError("input-shape", f"--input-shape: {error}", hint="--input-shape 1,224,224,3") from None


def model_of(argument: Path | None, project: Project | DeviceSettings) -> Path:
    """Return the model from the command line or the settings. Raises InputError `no-model`."""
    model = argument or project.model
    if model is None:
        raise InputError(
            "no-model",
            "nothing says which model",
            context={"wanted": "MODEL on the command line, or model: in edgeship.yaml"},
            hint="edgeship build --help",
        )
    return model


def cache_folder() -> Path:
    """Return the folder for what may be used again: EDGESHIP_CACHE, XDG_CACHE_HOME/edgeship or ~/.cache/edgeship."""
    from edgeship.toolchain import environments

    return environments.cache_folder(os.environ)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Yield the progress display that fits the terminal."""
    from edgeship.report.progress import shown

    with shown(quiet=quiet) as display:
        yield display


def show(text: str, document: Callable[[], dict[str, Any]], *, as_json: bool) -> None:
    """Print a result: the text for people, or the one JSON document."""
    emit(json_text(document()) if as_json else text)


def refuse_existing(out: Path, force: bool, hint: str) -> None:
    """Raise InputError `file-exists` where a file stands that nobody said may be overwritten."""
    if os.access(out, os.F_OK) and not force:
        raise InputError("file-exists", f"{out} is there already", hint=hint)


def write_file(out: Path, text: str) -> None:
    """Write a file the user named. Raises InputError `cannot-write`."""
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            "cannot-write",
            f"cannot write {out}: {error.strerror}",
            hint=f"mkdir -p {shlex.quote(str(out.parent))}",
        ) from None


def on_each(
    hosts: Sequence[Host],
    do: Callable[[Host], dict[str, Any]],
    became: Callable[[dict[str, Any]], str],
    *,
    missed: str,
    keys: tuple[str, str],
) -> list[dict[str, Any]]:
    """Return what `do` gives for each device; one that cannot be had keeps no other from its turn.

    Raises the first device's error in the end. Of several devices each is told what it `became` or that it was
    `missed`, and the error names both under `keys` of its context.
    """
    done: list[dict[str, Any]] = []
    failed: list[tuple[Host, EdgeshipError]] = []
    for host in hosts:
        try:
            done.append(do(host))
        except EdgeshipError as error:
            failed.append((host, error))
    if not failed:
        return done
    first = failed[0][1]
    if len(hosts) > 1:
        for found in done:
            tell(f"{found['host']}: {became(found)}")
        for host, each in failed:
            tell(f"{host.text}: {missed}: {each.message}")
        first.context[keys[0]] = ", ".join(found["host"] for found in done) or "none"
        first.context[keys[1]] = ", ".join(host.text for host, _ in failed)
    raise first
