"""What a deployment would do, as values to print: --dry-run contacts nobody and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeship.deploy import requests
from edgeship.deploy.change import change_of, described
from edgeship.deploy.options import DeployOptions
from edgeship.deploy.preflight import service_wanted
from edgeship.deploy.spool import contents
from edgeship.deploy.upload import have_fields
from edgeship.device.layout import current_link, helper_path, release_folder, settings_file
from edgeship.device.ship import helper_sha256, helper_source
from edgeship.digest import canonical_json
from edgeship.remote import Command
from edgeship.values import Bundle, Goal, Host

FENCE, TX, RESTARTS = "<fence that lease answered>", "<random>", "<restarts that activate answered>"


UNITS: dict[str, tuple[str, ...]] = {
    "systemd": ("/etc/systemd/system/edgeship-{}.service",),
    "openrc": ("/etc/init.d/edgeship-{}",),
    "supervised": (),
}
"""Service manager -> what it has written outside of edgeship's folder; {}: the application."""
HOOKS: dict[str, tuple[str, ...]] = {
    "systemd": ("/etc/systemd/system/edgeship-recover-{}.service",),
    "openrc": ("/etc/init.d/edgeship-recover-{}",),
    "supervised": ("/etc/cron.d/edgeship-{}",),
}
"""Service manager -> what brings the service back after a restart; where all stand, the device has one of them."""


WATCHES: dict[str, tuple[str, ...]] = {
    "systemd": (
        "/etc/systemd/system/edgeship-bake-{}.service",
        "/etc/systemd/system/edgeship-{}.service.d/bake.conf",
    ),
    "openrc": (),
    "supervised": (),
}
"""Service manager -> what watches a confirmed release for a crash loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCommand:
    """One command on the device: the line its login shell gets, and what is written to its stdin."""

    line: str
    stdin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file of the release as it will lie on the device."""

    path: str
    bytes: int | None
    """None: the manifest, which names every size but its own."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step: its name as in reports, what it does, the files on the device it writes, the commands it runs there."""

    name: str
    text: str
    writes: tuple[str, ...] = ()
    commands: tuple[PlannedCommand, ...] = ()
    files: tuple[PlannedFile, ...] = ()


def _written(paths: dict[str, tuple[str, ...]], manager: str, app: str) -> tuple[str, ...]:
    """Return the files of a service manager; for `auto` those of all of them."""
    found = [path for name, group in paths.items() if manager in (name, "auto") for path in group]
    return tuple(path.format(app) for path in found)


class _Asker:
    """Makes the commands of one host's plan for one application."""

    def __init__(self, app: str, host: Host, options: DeployOptions) -> None:
        self.app, self.host, self.options = app, host, options

    def ask(self, verb: str, note: str = "", **fields: Any) -> PlannedCommand:
        """Return a question to the helper; `note` says what follows the request on stdin."""
        request = requests.request_of(self.host, self.options, self.app, verb, **fields)
        command = requests.helper_command(self.host, self.options, request)
        return self.command(command, canonical_json(request).decode().strip() + note)

    def command(self, command: Command, stdin: str) -> PlannedCommand:
        """Return a command with words for what it reads."""
        return PlannedCommand(line=command.shell_line(), stdin=stdin)


def plan(bundle: Bundle, host: Host, options: DeployOptions) -> tuple[PlannedStep, ...]:
    """Return the steps that `deploy` would take on a device that has nothing of this bundle yet."""
    asker = _Asker(bundle.app, host, options)
    steps = _bringing(asker, bundle)
    if options.goal is not Goal.STAGE:
        steps.append(_proving(asker, bundle.release))
    if options.goal is Goal.ACTIVATE:
        steps += _switching(asker, bundle.release, wanted=service_wanted(bundle))
    return tuple(steps)


def plan_kept(
    app: str, release: str, current: str | None, host: Host, options: DeployOptions
) -> tuple[PlannedStep, ...]:
    """Return the steps of going from release `current` to another one that is kept on the device."""
    asker = _Asker(app, host, options)
    serves = f"release {current[:12]} serves" if current else "nothing serves"
    hello = PlannedStep(
        name="hello",
        text=f"connect to {host.text}, where {serves}; go to release {release[:12]}",
        commands=(asker.ask("hello", **requests.hello_fields(release, options)),),
    )
    lease = PlannedStep(
        name="lease",
        text="take the application over",
        writes=(f"{options.root_on(host)}/trust/floor.0",),
        commands=(asker.ask("lease", **requests.lease_fields(None, options)),),
    )
    steps = [hello, lease, _proving(asker, release), *_switching(asker, release, wanted="auto", kept=True)]
    return tuple(steps)


def _proving(asker: _Asker, release: str) -> PlannedStep:
    """Return the step that proves a release on the device."""
    limit = asker.options.device_max_ms
    within = f"; slower than {limit:g} ms at p50: stop" if limit is not None else ""
    return PlannedStep(
        name="prove",
        text=f"golden vectors on the staged release{within}; the old one goes on serving",
        commands=(asker.ask("prove", fence=FENCE, **requests.prove_fields(release, asker.options)),),
    )


def _bringing(asker: _Asker, bundle: Bundle) -> list[PlannedStep]:
    """Return the steps that leave a verified release on the device."""
    host, options = asker.host, asker.options
    root, app, release = options.root_on(host), bundle.app, bundle.release
    hello = asker.ask("hello", **requests.hello_fields(release, options))
    folder, files = release_folder(root, app, release), bundle.manifest["files"]
    sizes = {name: int(info["bytes"]) for name, info in files.items()}
    there = tuple(
        PlannedFile(path=f"{folder}/{name}", bytes=sizes.get(name), sha256=digest)
        for name, digest in contents(bundle).items()
    )
    kib, interpreter = len(helper_source()), requests.interpreter_of(bundle)
    return [
        PlannedStep(
            name="hello",
            text=f"connect to {host.text}; stop here if release {release[:12]} already serves",
            commands=(hello,),
        ),
        PlannedStep(
            name="preflight",
            text="compare the device's facts with what the bundle requires",
            commands=(
                asker.command(
                    requests.probe_command(host, options, app, interpreter), "edgeship/device/probe.sh"
                ),
            ),
        ),
        PlannedStep(
            name="helper",
            text=f"ship the helper, {kib} bytes",
            writes=(helper_path(root, helper_sha256()),),
            commands=(
                asker.command(requests.ship_command(host, options, interpreter), f"the helper, {kib} bytes"),
                hello,
            ),
        ),
        PlannedStep(
            name="lease",
            text=f"show the device {len(bundle.signatures) or 'no'} signatures; take the application over",
            writes=(
                f"{root}/trust/floor.0",
                *((f"{root}/trust/policy.json",) if options.allow_unsigned else ()),
            ),
            commands=(asker.ask("lease", **requests.lease_fields(bundle, options)),),
        ),
        PlannedStep(
            name="upload",
            text=f"send what is missing of {len(files) + 1} files, {sum(sizes.values())} bytes",
            writes=(f"{root}/cas/",),
            commands=(
                asker.ask("have", fence=FENCE, **have_fields(bundle)),
                asker.ask(
                    "put",
                    " and the bytes that are nowhere on the device",
                    blobs="<what have lacks, and what of it is made from what is there>",
                    bases="<blobs on the device to make others from>",
                    fence=FENCE,
                ),
            ),
        ),
        PlannedStep(
            name="stage",
            text="verify the signatures again; build the release from verified files",
            writes=(folder, f"{root}/apps/{app}/signatures/{release}.json"),
            commands=(asker.ask("stage", fence=FENCE, tx=TX, **requests.stage_fields(bundle)),),
            files=there,
        ),
    ]


def _switching(asker: _Asker, release: str, *, wanted: str, kept: bool = False) -> list[PlannedStep]:
    """Return the steps that make the staged release serve. `wanted`: the service manager that its bundle asks for."""
    host, options = asker.host, asker.options
    root, app = options.root_on(host), asker.app
    manager = options.service_on(host, wanted)
    watched = options.bake_seconds > 0
    change = change_of(options)
    arm = requests.arm_fields(release, host, options, wanted=wanted, kept=kept)
    arm |= {"change": change.fields()} if change else {}
    return [
        PlannedStep(
            name="arm",
            text=f"arm what goes back by itself after {options.trial_seconds:g} s",
            writes=(
                f"{root}/apps/{app}/state.0",
                *(_written(HOOKS, manager, app) if options.sudo_on(host) else ()),
                *(_written(WATCHES, manager, app) if watched else ()),
            ),
            commands=(asker.ask("arm", fence=FENCE, tx=TX, **arm),),
        ),
        PlannedStep(
            name="activate",
            text="switch, start the service, golden vectors through the live endpoint; go back where they fail"
            + (f"; with {described(change)}" if change else ""),
            writes=(
                current_link(root, app),
                *_written(UNITS, manager, app),
                *((settings_file(root, app),) if change else ()),
            ),
            commands=(asker.ask("activate", fence=FENCE, tx=TX, **requests.activate_fields(options)),),
        ),
        PlannedStep(
            name="confirm",
            text="look again over a fresh connection and make it final"
            + (
                f"; the device watches it for {options.bake_seconds:g} s more, and for more than "
                f"{options.bake_restarts} crashes goes back"
                if watched
                else ""
            ),
            commands=(asker.ask("status"), asker.ask("confirm", fence=FENCE, tx=TX, restarts=RESTARTS)),
        ),
        PlannedStep(
            name="collect",
            text=f"keep the current, the previous, pinned and {options.keep} newest releases",
            commands=(asker.ask("collect", keep=options.keep, fence=FENCE),),
        ),
    ]
