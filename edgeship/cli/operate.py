"""What is asked of a device that has a release: status, rollback, pin, logs, verify, history, remove."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.deploy import deploy_options, host_options
from edgeship.cli.output import tell
from edgeship.errors import InputError

if TYPE_CHECKING:
    from edgeship.deploy import DeployOptions
    from edgeship.values import Host


def device_verb(function: Callable[..., int]) -> click.Command:
    """Make a verb of a function: adds --host, --app, the connection's options and the output's."""
    command = common.output_options(function)
    command = common.config_option(command)
    command = host_options(command)
    command = click.option("--app", metavar="A", help="Which service.  [default: the only one there]")(
        command
    )
    command = click.option(
        "--host", "hosts", multiple=True, metavar="HOST", help="user@host[:port] or local:DIR."
    )(command)
    return click.command(name=function.__name__)(command)


def device_of(config: Path | None, options: dict[str, Any]) -> tuple[Host, str | None, DeployOptions]:
    """Return the one device meant, the app (None: the only one there) and how to reach it."""
    from edgeship.remote import parse_host

    settings = common.device_settings(config, {**options, "hosts": None}, "root")
    named = tuple(dict.fromkeys(options["hosts"] or settings.hosts))
    if len(named) != 1:
        raise InputError(
            "no-host" if not named else "several-hosts",
            "nothing says which device"
            if not named
            else f"{len(named)} devices are named, and this asks one: say which",
            context={"wanted": "--host user@host[:port] or --host local:DIR"},
            hint=f"add --host {named[0] if named else 'user@host'}",
        )
    return parse_host(named[0]), options.get("app") or settings.app, deploy_options(settings, options)


@device_verb
def status(config: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Say what a device runs: the release, since when, whether it answers, and what is kept to go back to.

    Exit status: 0 what was confirmed last runs, 3 it does not (it does not run, a trial is overdue, or the device went
    back by itself after that), 5 degraded.
    """
    from edgeship.deploy import status as ask
    from edgeship.report.operate import status_document, status_exit_code, status_text

    host, _, choices = device_of(config, options)
    found = ask(host, options.get("app"), choices)
    common.show(status_text(found), lambda: status_document(found), as_json=as_json)
    return status_exit_code(found)


@click.option(
    "--to",
    "release",
    metavar="RELEASE",
    help="A kept release, by the start of its id.  [default: the one before]",
)
@common.dry_run_option
def _rollback(
    config: Path | None, as_json: bool, quiet: bool, dry_run: bool, release: str | None, **options: Any
) -> int:
    """Return a device to the release before, or to a kept one: proved, on trial, confirmed, as any deployment."""
    from edgeship.deploy import rollback as go_back
    from edgeship.deploy import rollback_plan
    from edgeship.report.deploys import deploy_text, deploys_document, deploys_exit_code
    from edgeship.report.plan import plan_document, plan_text

    host, app, choices = device_of(config, options)
    if dry_run:
        plans = {host.text: rollback_plan(host, app, choices, release=release)}
        common.show(plan_text(plans, brief=quiet), lambda: plan_document(plans), as_json=as_json)
        return 0
    with common.progress(quiet=quiet) as progress:
        report = go_back(host, app, choices, progress, release=release)
    common.show(deploy_text(report), lambda: deploys_document([report]), as_json=as_json)
    return deploys_exit_code([report])


_rollback.__name__ = "rollback"
rollback = device_verb(_rollback)


@click.argument("release", metavar="RELEASE")
@click.option("--remove", is_flag=True, help="Let it go again: the next deployment may delete it.")
@common.dry_run_option
def _pin(
    config: Path | None,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
    release: str,
    remove: bool,
    **options: Any,
) -> int:
    """Keep a release on a device, whatever is deployed after it. RELEASE: the start of its id, as `status` shows it."""
    from edgeship.deploy import pin as set_pin
    from edgeship.deploy import rollback_target
    from edgeship.deploy.reach import at
    from edgeship.report.operate import pin_document, pin_text

    host, app, choices = device_of(config, options)
    if dry_run:
        name, _, chosen = rollback_target(host, app, choices, release=release)
        path = f"{choices.root_on(host)}/apps/{name}/pins/{chosen}"
        does = f"let go of release {chosen} (deletes" if remove else f"pin release {chosen} (writes"
        steps = [f"{host.text}: {name}: {does} {path})"]
        common.show("\n".join(steps), lambda: {"schema": "edgeship.plan/1", "steps": steps}, as_json=as_json)
        return 0
    done = set_pin(host, app, choices, release=release, remove=remove)
    common.show(
        pin_text(host.text, at(host, choices), done, remove=remove),
        lambda: pin_document(host.text, done, remove=remove),
        as_json=as_json,
    )
    return 0


_pin.__name__ = "pin"
pin = device_verb(_pin)


@click.option(
    "--lines", "-n", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many."
)
def _logs(config: Path | None, as_json: bool, quiet: bool, lines: int, **options: Any) -> int:
    """Show the last lines a service wrote on a device."""
    from edgeship.deploy import logs as ask

    host, app, choices = device_of(config, options)
    found = ask(host, app, choices, lines=lines)
    common.show(
        "\n".join(found),
        lambda: {"schema": "edgeship.logs/1", "host": host.text, "lines": found},
        as_json=as_json,
    )
    return 0


_logs.__name__ = "logs"
logs = device_verb(_logs)


@device_verb
def verify(config: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Hash every file kept on a device again and report what is not as it was deployed. Drift exits 3."""
    from edgeship.deploy import verify as ask
    from edgeship.deploy.reach import at
    from edgeship.report.operate import verify_document, verify_text

    host, app, choices = device_of(config, options)
    found = ask(host, app, choices)
    common.show(
        verify_text(host.text, at(host, choices), found),
        lambda: verify_document(host.text, found),
        as_json=as_json,
    )
    return 3 if found["drift"] else 0


@device_verb
def history(config: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Show what was done on a device, from its hash-chained audit log. A broken chain exits 3."""
    from edgeship.deploy import history as ask
    from edgeship.report.operate import history_document, history_text

    host, app, choices = device_of(config, options)
    found = ask(host, app, choices)
    common.show(history_text(host.text, found), lambda: history_document(host.text, found), as_json=as_json)
    return 3 if found["broken_at"] is not None else 0


@common.dry_run_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def _remove(config: Path | None, as_json: bool, quiet: bool, dry_run: bool, yes: bool, **options: Any) -> int:
    """Stop a service and delete all its releases from a device. There is no way back but to deploy again."""
    from edgeship.deploy import remove as take_away
    from edgeship.deploy import status as ask
    from edgeship.deploy.reach import at
    from edgeship.report.operate import status_text

    host, app, choices = device_of(config, options)
    found = ask(host, app, choices)
    if dry_run:
        text = f"would stop and delete:\n{status_text(found)}"
        common.show(text, lambda: {"schema": "edgeship.plan/1", "steps": text.splitlines()}, as_json=as_json)
        return 0
    if not yes and not sys.stdin.isatty():
        raise InputError(
            "not-confirmed",
            "nobody is here to be asked whether to delete this",
            context={"host": host.text, "apps": ", ".join(found["apps"])},
            hint=f"edgeship remove {at(host, choices)} --yes",
        )
    if not yes:
        tell(status_text(found))
        click.confirm("Stop and delete this from the device?", abort=True, err=True)
    gone = take_away(host, app, choices)
    common.show(
        f"{host.text}: {gone['app']} is gone, {len(gone['removed'])} releases deleted",
        lambda: {"schema": "edgeship.remove/1", "host": host.text, **gone},
        as_json=as_json,
    )
    return 0


_remove.__name__ = "remove"
remove = device_verb(_remove)
