"""`edgeship deploy`: a model or a bundle goes to devices, is proved there and started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.bundles import is_quiet, note, obtain, opened, result_of, served, target_of
from edgeship.cli.inspect import is_bundle
from edgeship.cli.settings import deployed_settings
from edgeship.cli.signing import allow_unsigned_option, refuse_unsigned, sign_option, signed
from edgeship.errors import InputError

if TYPE_CHECKING:
    from edgeship.deploy import DeployOptions
    from edgeship.project import DeviceSettings
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
@click.argument("source", metavar="MODEL|BUNDLE|FOLDER", type=common.PATH, required=False)
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
@click.option(
    "--variant",
    metavar="NAME",
    help="Which variant of the bundle serves.  [default: the one that was chosen]",
)
@click.option(
    "--set",
    "typed",
    multiple=True,
    metavar="governor.KEY=VALUE",
    help="A setting of the device's own, with the release; repeatable. Taken back with it.",
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
    """Bring a model (built first), a ready bundle, or the one in a folder of results to one or more devices.

    On each device: check, upload what is missing, stage, run golden vectors, switch, start the service, run golden
    vectors through it, confirm over a fresh connection. Whatever fails, the device goes back to what ran before.
    Exit status: 0 done, 1 failed with nothing changed, 3 reverted, 4 unknown, 5 degraded; the worst host decides.
    """
    settings = common.device_settings(
        config,
        options,
        *common.BUILD_NAMES,
        "goal",
        "root",
        "accept_new_host_key",
        "allow_unsigned",
        "device_max_ms",
        "manager",
        "allow_volatile_root",
        "allow_no_boot_hook",
    )
    hosts = hosts_of(settings, options["hosts"])
    source = result_of(source, settings)
    if not (source and is_bundle(source)):  # a bundle needs nothing of the rest
        settings.whole()
    choices = deploy_options(settings, options)
    path = common.model_of(source, settings)
    keys = options["with_keys"]
    if not is_bundle(path):  # before it is built
        refuse_unsigned(path, signed=bool(keys), allow_unsigned=choices.allow_unsigned)
    if dry_run:
        planned = Planned(settings, path, options["variant"], signs=bool(keys))
        return _dry_run(planned, hosts, choices, as_json=as_json, brief=quiet)
    from edgeship.deploy import deploy_many
    from edgeship.report.deploys import deploy_text, deploys_document, deploys_exit_code, deploys_table

    with common.progress(quiet=quiet) as progress:
        bundle = served(obtain(settings, path, progress), options["variant"])
    bundle = signed(bundle, keys)
    refuse_unsigned(path, signed=bool(bundle.signatures), allow_unsigned=choices.allow_unsigned)
    with common.progress(quiet=quiet) as progress:
        reports = [marked(report, bundle) for report in deploy_many(bundle, hosts, choices, progress)]
    pages = pages_of(reports, bundle, hosts, choices)
    text = "\n\n".join(
        deploy_text(report, verbose=verbose, page=pages.get(report.host)) for report in reports
    )
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


def pages_of(
    reports: list[DeployReport], bundle: Bundle, hosts: tuple[Host, ...], choices: DeployOptions
) -> dict[str, str | None]:
    """Return where the page of each host's service is, by the host's text; nothing where the bundle has no page."""
    from edgeship.deploy.viewing import page_line

    if "page/index.html" not in bundle.manifest["files"]:
        return {}
    by_text = {host.text: host for host in hosts}
    return {report.host: page_line(report, by_text[report.host], choices) for report in reports}


def hosts_of(
    settings: DeviceSettings, typed: tuple[str, ...], verb: str = "deploy MODEL --target T"
) -> tuple[Host, ...]:
    """Return the devices meant: those that were typed, else those of the settings. Raises InputError `no-host` where
    none is named, `bad-host`."""
    from edgeship.remote import parse_host

    named = typed or settings.hosts
    if not named:
        raise InputError(
            "no-host",
            "nothing says which device",
            context={"wanted": "--host user@host[:port] or --host local:DIR, or hosts: in edgeship.yaml"},
            hint=f"edgeship {verb} --host user@host",
        )
    return tuple(parse_host(text) for text in dict.fromkeys(named))


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
        signers=tuple(options.get("with_keys") or ()),
        **deployed_settings(options.get("typed") or (), deploying.goal),
        tell=unheard if is_quiet() else note,
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """What a dry run is of."""

    settings: DeviceSettings
    path: Path
    variant: str | None
    signs: bool


def _dry_run(
    planned: Planned, hosts: tuple[Host, ...], choices: DeployOptions, *, as_json: bool, brief: bool
) -> int:
    """Print what would be done. A bundle is verified; of a model, only the file is opened."""
    settings, path = planned.settings, planned.path
    if is_bundle(path):
        from edgeship.deploy import plan
        from edgeship.report.plan import plan_document, plan_text

        bundle = served(opened(settings, path), planned.variant)
        has = bool(bundle.signatures) or planned.signs
        refuse_unsigned(path, signed=has, allow_unsigned=choices.allow_unsigned)
        plans = {host.text: plan(bundle, host, choices) for host in hosts}
        common.show(plan_text(plans, brief=brief), lambda: plan_document(plans), as_json=as_json)
        return 0
    from edgeship.pipeline.plan import plan_build

    project = settings.whole()
    profile = target_of(project, path)
    lines = list(plan_build(project, path, (profile,), common.cache_folder() / "bundles"))
    if planned.variant:
        lines.append(f"{profile.name}: serve {planned.variant} of the bundle")
    lines += [f"{host.text}: deploy the bundle, goal {choices.goal.value}" for host in hosts]
    text = "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
    common.show(text, lambda: {"schema": "edgeship.plan/1", "steps": lines}, as_json=as_json)
    return 0
