"""What a deployment would do, as values to print: --dry-run contacts nobody and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.preflight import service_wanted
from edgeship.device.layout import current_link, helper_path, release_folder
from edgeship.device.ship import helper_sha256, helper_source
from edgeship.values import Bundle, Goal, Host

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


def _written(paths: dict[str, tuple[str, ...]], manager: str, app: str) -> tuple[str, ...]:
    """Return the files of a service manager; for `auto` those of all of them."""
    found = [path for name, group in paths.items() if manager in (name, "auto") for path in group]
    return tuple(path.format(app) for path in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step: its name as in reports, what it does, and the files on the device it writes."""

    name: str
    text: str
    writes: tuple[str, ...] = ()


def plan(bundle: Bundle, host: Host, options: DeployOptions) -> tuple[PlannedStep, ...]:
    """Return the steps that `deploy` would take on a device that has nothing of this bundle yet."""
    root, app, release = options.root_on(host), bundle.app, bundle.release
    files = bundle.manifest["files"]
    size = sum(int(info["bytes"]) for info in files.values())
    helper = helper_path(root, helper_sha256())
    wanted = service_wanted(bundle)
    manager = options.service_on(host, wanted)
    hooked = host.kind == "ssh" and options.sudo
    steps = [
        PlannedStep(
            name="hello", text=f"connect to {host.text}; stop here if release {release[:12]} already serves"
        ),
        PlannedStep(name="preflight", text="compare the device's facts with what the bundle requires"),
        PlannedStep(name="helper", text=f"ship the helper, {len(helper_source())} bytes", writes=(helper,)),
        PlannedStep(
            name="lease",
            text=f"show the device {len(bundle.signatures) or 'no'} signatures; take the application over",
            writes=(
                f"{root}/trust/floor.0",
                *((f"{root}/trust/policy.json",) if options.unsigned_on(host) else ()),
            ),
        ),
        PlannedStep(
            name="upload",
            text=f"send what is missing of {len(files) + 1} files, {size} bytes",
            writes=(f"{root}/cas/",),
        ),
        PlannedStep(
            name="stage",
            text="verify the signatures again; build the release from verified files",
            writes=(release_folder(root, app, release), f"{root}/apps/{app}/signatures/{release}.json"),
        ),
    ]
    if options.goal is not Goal.STAGE:
        steps.append(
            PlannedStep(
                name="prove", text="golden vectors on the staged release; the old one goes on serving"
            )
        )
    if options.goal is Goal.ACTIVATE:
        steps += [
            PlannedStep(
                name="arm",
                text=f"arm what goes back by itself after {options.trial_seconds:g} s",
                writes=(f"{root}/apps/{app}/state.0", *(_written(HOOKS, manager, app) if hooked else ())),
            ),
            PlannedStep(
                name="activate",
                text="switch, start the service, golden vectors through the live endpoint; go back where they fail",
                writes=(current_link(root, app), *_written(UNITS, manager, app)),
            ),
            PlannedStep(name="confirm", text="look again over a fresh connection and make it final"),
            PlannedStep(
                name="collect", text=f"keep the current, the previous and {options.keep} newest releases"
            ),
        ]
    return tuple(steps)
