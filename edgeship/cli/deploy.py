"""`edgeship deploy`: a model or a bundle goes to devices, is proved there and started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.inspect import is_bundle
from edgeship.cli.output import tell
from edgeship.cli.signing import allow_unsigned_option, refuse_unsigned, sign_option, signed
from edgeship.errors import GateError, InputError

if TYPE_CHECKING:
    from edgeship.deploy import DeployOptions
    from edgeship.profile import TargetProfile
    from edgeship.progress import Progress
    from edgeship.project import DeviceSettings, Project
    from edgeship.values import Bundle, DeployReport, Host


def host_options(command: common.F) -> common.F:
    """Add what every verb that reaches a device takes, besides `--host`."""
    options = [
        click.option("--identity", "-i", type=common.PATH, metavar="FILE", help="Private key for SSH."),
        click.option("--ssh-config", type=common.PATH, metavar="FILE", help="SSH settings.  [default: ~/.ssh/config]"),
        click.option("--root", metavar="DIR", help="Folder on the device.  [default: device.root in edgeship.yaml]"),
        click.option("--no-sudo", is_flag=True, help="Do everything as the SSH user; no system service."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="MODEL|BUNDLE", type=common.PATH, required=False)
@click.option(
    "--host", "hosts", multiple=True, metavar="HOST", help="user@host[:port] or local:DIR; repeatable."
)
@click.option(
    "--goal", type=click.Choice(["stage", "test", "activate"]), help="How far to go.  [default: activate]"
)
@common.build_options
@click.option(
    "--device-max-ms",
    type=float,
    metavar="T",
    help="Gate: p50 latency on the device itself, ms; slower: nothing is switched.",
)
@host_options
@click.option(
    "--accept-new-host-key",
    is_flag=True,
    default=None,
    help="Trust the key of a host never seen before, and record it.",
)
@sign_option
@allow_unsigned_option
@click.option(
    "--manager",
    type=click.Choice(["auto", "systemd", "openrc", "supervised"]),
    help="What keeps the service running.  [default: what the target says]",
)
@click.option(
    "--allow-volatile-root", is_flag=True, default=None, help="Accept a device root that a restart may lose."
)
@click.option(
    "--allow-no-boot-hook",
    is_flag=True,
    default=None,
    help="Accept a device that cannot start the service again after a restart.",
)
@click.option("--force", is_flag=True, help="Prove and switch again even where this release already serves.")
@common.config_option
@common.dry_run_option
@common.output_options
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="Show every step; with --dry-run every command and file.",
)
def deploy(
    source: Path | None,
    config: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Bring a model (built first) or a ready bundle to one or more devices.

    On each device: check, upload what is missing, stage, run golden vectors, switch, start the service, run golden
    vectors through it, confirm over a fresh connection. Whatever fails, the device goes back to what ran before.
    Exit status: 0 done, 1 failed with nothing changed, 3 reverted, 4 unknown, 5 degraded; the worst host decides.
    """
    settings = common.device_settings(
        config,
        options,
        *common.BUILD_NAMES,
        "hosts",
        "goal",
        "root",
        "accept_new_host_key",
        "allow_unsigned",
        "device_max_ms",
        "manager",
        "allow_volatile_root",
        "allow_no_boot_hook",
    )
    if not (source and is_bundle(source)):  # a bundle needs nothing of the rest
        settings.whole()
    hosts = hosts_of(settings)
    choices = deploy_options(settings, options)
    path = common.model_of(source, settings)
    keys = options["with_keys"]
    if not is_bundle(path):  # before it is built
        refuse_unsigned(path, signed=bool(keys), allow_unsigned=choices.allow_unsigned)
    if dry_run:
        return _dry_run(settings, path, hosts, choices, signs=bool(keys), as_json=as_json, brief=quiet)
    from edgeship.deploy import deploy_many
    from edgeship.report.deploys import deploy_text, deploys_document, deploys_exit_code, deploys_table

    with common.progress(quiet=quiet) as progress:
        bundle = obtain(settings, path, progress)
    bundle = signed(bundle, keys)
    refuse_unsigned(path, signed=bool(bundle.signatures), allow_unsigned=choices.allow_unsigned)
    with common.progress(quiet=quiet) as progress:
        reports = [marked(report, bundle) for report in deploy_many(bundle, hosts, choices, progress)]
    text = "\n\n".join(deploy_text(report, verbose=verbose) for report in reports)
    if len(reports) > 1:
        text = deploys_table(reports) + ("\n\n" + text if verbose else "")
    common.show(text, lambda: deploys_document(reports), as_json=as_json)
    return deploys_exit_code(reports)


def marked(report: DeployReport, bundle: Bundle) -> DeployReport:
    """Return the report with a word on a model that was not compiled for the accelerator of its target."""
    from edgeship.bundle.form import variant_name

    chosen = (v for v in bundle.manifest["variants"] if variant_name(v) == bundle.manifest["chosen"])
    entry: dict[str, Any] = next(chosen, {})
    said = entry.get("compile", {"compiled": True})
    return report if said["compiled"] else replace(report, reason=f"{report.reason}; {said['reason']}")


def hosts_of(settings: DeviceSettings) -> tuple[Host, ...]:
    """Return the devices to deploy to. Raises InputError `no-host` where none is named."""
    from edgeship.remote import parse_host

    if not settings.hosts:
        raise InputError(
            "no-host",
            "nothing says which device to deploy to",
            context={"wanted": "--host user@host[:port] or --host local:DIR, or hosts: in edgeship.yaml"},
            hint="edgeship deploy MODEL --target T --host user@host",
        )
    return tuple(parse_host(text) for text in dict.fromkeys(settings.hosts))


def deploy_options(settings: DeviceSettings, options: dict[str, Any]) -> DeployOptions:
    """Return how to deploy: the settings file's `deploy:` and `device:`, with the command line laid over them."""
    from edgeship.deploy import DeployOptions
    from edgeship.deploy.options import unheard
    from edgeship.values import Goal

    deploying = settings.deploy
    return DeployOptions(
        goal=Goal(deploying.goal),
        root=settings.device.root,
        listen=options.get("listen"),
        sudo=not options.get("no_sudo"),
        service=settings.service.manager,
        allow_volatile_root=settings.device.allow_volatile_root,
        allow_no_boot_hook=settings.device.allow_no_boot_hook,
        ssh_config=options.get("ssh_config"),
        identity=options.get("identity"),
        accept_new_host_key=deploying.accept_new_host_key,
        allow_unsigned=deploying.allow_unsigned,
        connect_seconds=deploying.connect_seconds,
        trial_seconds=deploying.confirm_seconds,
        ready_seconds=deploying.health_seconds,
        bake_seconds=deploying.bake_seconds,
        bake_restarts=deploying.bake_restarts,
        device_max_ms=deploying.device_max_ms,
        keep=deploying.keep_releases,
        jobs=deploying.parallel,
        force=bool(options.get("force")),
        tell=unheard if is_quiet() else _note,
    )


def is_quiet() -> bool:
    """Return whether the command at work was told to be quiet."""
    context = click.get_current_context(silent=True)
    return bool(context and context.params.get("quiet"))


def _note(text: str) -> None:
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


def _dry_run(
    settings: DeviceSettings,
    path: Path,
    hosts: tuple[Host, ...],
    choices: DeployOptions,
    *,
    signs: bool,
    as_json: bool,
    brief: bool,
) -> int:
    """Print what would be done. A bundle is verified; of a model, only the file is opened."""
    if is_bundle(path):
        from edgeship.deploy import plan
        from edgeship.report.plan import plan_document, plan_text

        bundle = opened(settings, path)
        has = bool(bundle.signatures) or signs
        refuse_unsigned(path, signed=has, allow_unsigned=choices.allow_unsigned)
        plans = {host.text: plan(bundle, host, choices) for host in hosts}
        common.show(plan_text(plans, brief=brief), lambda: plan_document(plans), as_json=as_json)
        return 0
    from edgeship.pipeline.plan import plan_build

    project = settings.whole()
    profile = target_of(project, path)
    lines = list(plan_build(project, path, (profile,), common.cache_folder() / "bundles"))
    lines += [f"{host.text}: deploy the bundle, goal {choices.goal.value}" for host in hosts]
    text = "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
    common.show(text, lambda: {"schema": "edgeship.plan/1", "steps": lines}, as_json=as_json)
    return 0
