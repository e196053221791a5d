"""`edgeship tune`: settings of a service that runs, changed without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.deploy import deploy_options, host_options, hosts_of
from edgeship.cli.settings import change_from
from edgeship.cli.signing import sign_option

if TYPE_CHECKING:
    from edgeship.deploy import DeployOptions
    from edgeship.deploy.change import Change
    from edgeship.values import Host


@click.command()
@click.argument("typed", metavar="[governor.KEY=VALUE]...", nargs=-1)
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="user@host or local:DIR; repeatable.")
@click.option("--app", metavar="A", help="Which service.  [default: the only one there]")
@click.option("--reset", is_flag=True, help="First take back all that was tuned on the device.")
@sign_option
@host_options
@common.config_option
@common.dry_run_option
@common.output_options
def tune(
    typed: tuple[str, ...],
    config: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Change settings of a running service's governor, without a restart; alone, show what holds and who says so.

    Settings are the device's own: they outlast deployments and going back, and go with `edgeship remove`. KEY=null
    takes one back to what the release says, KEY=none has none of it, whatever the release says.

    \b
    edgeship tune --host pi@10.0.0.7                                   every setting: default, release's, this device's
    edgeship tune --host pi@10.0.0.7 governor.watts=3                  a budget for the whole board, W
    edgeship tune --host pi@10.0.0.7 governor.variant=static_wi8_ai8   one variant, whatever the load
    edgeship tune --host pi@10.0.0.7 governor.watts=null governor.deadline_ms=50
    edgeship tune --host pi@10.0.0.7 --reset                           as the release says again
    edgeship tune --host pi@10.0.0.7 governor.watts=3 --sign-with KEY  devices that take signed releases only
    """
    change = change_from(typed, reset=options["reset"])
    settings = common.device_settings(config, {**options, "hosts": None}, "root")
    hosts, choices = hosts_of(settings, options["hosts"], "tune"), deploy_options(settings, options)
    app = options["app"] or settings.app
    acts = bool(typed) or options["reset"]
    if dry_run and acts:
        return _plan(hosts, app, choices, change, as_json=as_json)

    def each(host: Host) -> dict[str, Any]:
        from edgeship.deploy.tuning import tune as change_settings
        from edgeship.deploy.tuning import tuned

        if not acts:
            return tuned(host, app, choices)
        return change_settings(host, app, choices, change, signers=options["with_keys"])

    return _go(hosts, each, as_json=as_json)


def _plan(
    hosts: tuple[Host, ...], app: str | None, choices: DeployOptions, change: Change, *, as_json: bool
) -> int:
    """Show what would be changed; the device is asked what it has."""
    from edgeship.deploy.change import described
    from edgeship.deploy.tuning import tuned
    from edgeship.device.layout import settings_file

    steps = []
    for host in hosts:
        found = tuned(host, app, choices)
        path = settings_file(choices.root_on(host), found["app"])
        steps.append(f"{host.text}: {found['app']}: {described(change)} (writes {path})")
    common.show("\n".join(steps), lambda: {"schema": "edgeship.plan/1", "steps": steps}, as_json=as_json)
    return 0


def _go(hosts: tuple[Host, ...], each: Any, *, as_json: bool) -> int:
    """Ask or tell each device; one that cannot be had keeps no other from being told."""
    from edgeship.report.tuning import tune_document, tune_text

    done = common.on_each(
        hosts,
        each,
        lambda found: "was changed" if found.get("changed") else "was asked",
        missed="was not",
        keys=("done", "not done"),
    )
    text = "\n\n".join(tune_text(found) for found in done)
    common.show(text, lambda: tune_document(done), as_json=as_json)
    return 0
