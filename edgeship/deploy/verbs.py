"""What can be asked of a device, and going back by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from edgeship.deploy.options import DeployOptions, ServiceManager
from edgeship.deploy.reach import at
from edgeship.deploy.session import HelperMissing, Session
from edgeship.errors import DeviceError, InputError
from edgeship.progress import Progress
from edgeship.registry import did_you_mean
from edgeship.remote import Command
from edgeship.values import DeployReport, Host, HostFacts

if TYPE_CHECKING:
    from edgeship.deploy.planned import PlannedStep

T = TypeVar("T")


def probe(host: Host, options: DeployOptions) -> HostFacts:
    """Return what a device says of itself. Needs nothing there but a POSIX sh."""
    with closing(Session(host, options, None)) as session:
        return session.probe().host


APP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
"""What an application can be called, as the device's helper wants it."""


def status(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Return {"host", "at", "apps": {name: the helper's status}}: the state record, what serves, the releases kept.

    `at` is how the device is reached, in words to type.
    """

    def look(session: Session) -> dict[str, Any]:
        if app and not APP.match(app):
            raise _not_deployed(host, app, session)
        names = [app] if app else with_helper(session, lambda: session.ask("apps"))["apps"]
        found = {}
        for name in names:
            session.app = name
            found[name] = with_helper(session, lambda: session.ask("status", governor=True))
            if app and found[name]["record"]["state"] == "NONE" and not found[name]["releases"]:
                raise _not_deployed(host, app, session)
        return {"host": host.text, "at": at(host, options), "apps": found}

    with closing(Session(host, options, app)) as session:
        return look(session)


def logs(host: Host, app: str | None, options: DeployOptions, *, lines: int = 100) -> list[str]:
    """Return the last lines that the service wrote: from the journal, or from its own log file."""
    return list(_one(host, app, options, "logs", lines=lines, service=options.service_on(host))["lines"])


def bench(
    host: Host,
    app: str | None,
    options: DeployOptions,
    *,
    variant: str | None = None,
    seconds: float | None = None,
    runs: int | None = None,
    idle: float | None = None,
    rungs: bool = False,
) -> dict[str, Any]:
    """Return the `edgeship.bench/1` document of the current release, measured on the device; `rungs`: with the figures
    of all its variants. Raises DeviceError `bench-failed`."""
    limit = 120 + (seconds or 0) + (idle or 0) + (1800 if rungs else 0)
    reply = _one(
        host,
        app,
        options,
        "bench",
        timeout=limit + 30,
        limit_seconds=limit,
        variant=variant,
        seconds=seconds,
        runs=runs,
        idle=idle,
        rungs="yes" if rungs else None,
    )
    if "error" in reply["bench"]:
        raise DeviceError(
            "bench-failed",
            f"{host.text} could not measure: {reply['bench']['error']}: {reply['bench'].get('reason', '')}",
            hint=f"edgeship logs {at(host, options)}",
        )
    return dict(reply["bench"], release=reply["release"])


def verify(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Return {"record", "drift", ...}: everything kept is hashed again; `drift` lists what is not as it should be."""
    return _one(host, app, options, "verify", timeout=600)


def history(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Return {"entries", "broken_at"}: the audit log, and the first line that does not follow from the one before."""
    return _one(host, app, options, "history")


def remove(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Stop a service, delete its releases from the device; return {"app", "removed": release ids, "blobs": count}."""

    def take(session: Session) -> dict[str, Any]:
        lease = session.ask("lease", timeout=options.settle_limit(), ready_seconds=options.ready_seconds)
        return session.ask("remove", timeout=120, fence=lease["fence"])

    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        reply = with_helper(session, lambda: take(session))
    return {"app": name, "removed": reply["removed"], "blobs": reply["blobs"]}


def pin(
    host: Host, app: str | None, options: DeployOptions, *, release: str, remove: bool = False
) -> dict[str, Any]:
    """Pin a kept release (an id or the beginning of one), or let it go; return {"app", "release", "changed", "pins"}.

    A pinned release is never collected. Raises InputError `no-such-release`.
    """
    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        chosen = _kept(with_helper(session, lambda: session.ask("status")), host, options, release)
        reply = session.ask("pin", release=chosen, remove=remove)
    return {"app": name, "release": chosen, "changed": reply["changed"], "pins": reply["pins"]}


def rollback(
    host: Host, app: str | None, options: DeployOptions, progress: Progress, *, release: str | None = None
) -> DeployReport:
    """Go back to the previous release, or to a kept one (an id or the beginning of one): proved, on trial, confirmed.

    Raises InputError `no-such-release` or `nothing-to-roll-back-to`; a failure on the device is a report.
    """
    from edgeship.deploy.deployment import Deployment  # who only asks needs nothing of how it is done
    from edgeship.deploy.together import run_all

    app, found, chosen = rollback_target(host, app, options, release=release)
    kept, options = _as_before(found, chosen, options)
    work = Deployment(host, options, progress, app=app, target=str(kept["target"]), release=chosen)
    return run_all((work,), lambda each: each.go(None), 1, progress)[0]


def rollback_plan(
    host: Host, app: str | None, options: DeployOptions, *, release: str | None = None
) -> tuple[PlannedStep, ...]:
    """Return the steps that `rollback` would take; asks the device what it has. Raises what `rollback` raises."""
    app, found, chosen = rollback_target(host, app, options, release=release)
    _, options = _as_before(found, chosen, options)
    from edgeship.deploy.planned import plan_kept

    return plan_kept(app, chosen, found["current"], host, options)


def _as_before(
    found: Mapping[str, Any], release: str, options: DeployOptions
) -> tuple[Mapping[str, Any], DeployOptions]:
    """Return what is said of a kept release, and the options that start it as it was started last."""
    kept = next(entry for entry in found["releases"] if entry["release"] == release)
    listen = options.listen or kept["listen"]
    return kept, replace(options, listen=listen, service=_manager(options, kept))


def _manager(options: DeployOptions, kept: Mapping[str, Any]) -> ServiceManager:
    """Return the service manager a kept release was last started with, unless the user names one."""
    known: tuple[ServiceManager, ...] = get_args(ServiceManager)
    return next(
        (name for name in known if name == kept["manager"] and options.service == "auto"), options.service
    )


def rollback_target(
    host: Host, app: str | None, options: DeployOptions, *, release: str | None = None
) -> tuple[str, dict[str, Any], str]:
    """Return (app, its status, the id of the release a rollback would go to). Raises what `rollback` raises."""
    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        found = with_helper(session, lambda: session.ask("status"))
    return name, found, _choose(found, host, options, release)


def _choose(found: dict[str, Any], host: Host, options: DeployOptions, wanted: str | None) -> str:
    """Return the full id of the release to go back to."""
    record, kept = found["record"], [str(entry["release"]) for entry in found["releases"]]
    listed = ", ".join(name[:12] for name in kept) or "none"
    if wanted is None:
        previous = record.get("previous")
        if not previous or previous not in kept:
            raise InputError(
                "nothing-to-roll-back-to",
                f"{host.text} has no release before the one it runs",
                context={"kept": listed},
                hint=f"edgeship rollback {at(host, options)} --to RELEASE"
                if len(kept) > 1
                else f"edgeship remove {at(host, options)} takes it off the device",
            )
        return str(previous)
    return _kept(found, host, options, wanted)


def _kept(found: Mapping[str, Any], host: Host, options: DeployOptions, wanted: str) -> str:
    """Return the full id of the one kept release whose id begins as `wanted`. Raises InputError `no-such-release`."""
    kept = [str(entry["release"]) for entry in found["releases"]]
    matches = [name for name in kept if name.startswith(wanted.lower())]
    if len(matches) != 1 or len(wanted) < 4:
        raise InputError(
            "no-such-release",
            f"{wanted!r} names {len(matches)} of the releases kept on {host.text}",
            context={
                "kept": ", ".join(name[:12] for name in kept) or "none",
                "wanted": "4 characters or more",
            },
            hint=f"edgeship status {at(host, options)}",
        )
    return matches[0]


def _one(host: Host, app: str | None, options: DeployOptions, verb: str, **fields: Any) -> dict[str, Any]:
    """Return the helper's answer on one application."""
    with closing(Session(host, options, app)) as session:
        only_app(session, host, app)
        return with_helper(session, lambda: session.ask(verb, **fields))


def only_app(session: Session, host: Host, app: str | None) -> str:
    """Set and return the application meant: the one named, or the only one there is."""
    names = list(with_helper(session, lambda: session.ask("apps"))["apps"])
    if app is None and len(names) == 1:
        app = str(names[0])
    if app is None and names:
        raise InputError(
            "which-app",
            f"several applications are deployed on {host.text}",
            context={"known": ", ".join(names)},
            hint=f"add --app {names[0]}",
        )
    if app is None or app not in names:
        raise _not_deployed(host, app, session, names)
    session.app = app
    return app


def _not_deployed(
    host: Host, app: str | None, session: Session, names: list[str] | None = None
) -> InputError:
    """Return the error for an application that is not there."""
    known = names if names is not None else list(with_helper(session, lambda: session.ask("apps"))["apps"])
    near = did_you_mean(app, [name for name in known if name != app]) if app else None
    return InputError(
        "not-deployed",
        f"{app or 'nothing'} is {'not ' if app else ''}deployed on {host.text}",
        context={"known": ", ".join(known) or "none", "root": session.root},
        hint=f"did you mean --app {near}?"
        if near
        else f"edgeship deploy MODEL --target T {at(host, session.options)}",
    )


def with_helper(session: Session, ask: Callable[[], T]) -> T:
    """Return what `ask` gives; a device that has another version's helper gets this one first."""
    try:
        return ask()
    except HelperMissing:
        if not _has_layout(session):
            raise _never_met(session) from None
        session.ship()
        return ask()


def _has_layout(session: Session) -> bool:
    """Return whether edgeship was ever here: asking must not make a folder on a device that never saw it."""
    command = Command(argv=("test", "-e", f"{session.root}/format"), sudo=session.sudo)
    return session.run(command).status == 0


def _never_met(session: Session) -> InputError:
    """Return the error for a device where nothing was ever deployed."""
    return InputError(
        "not-deployed",
        f"nothing was ever deployed on {session.host.text}",
        context={"root": session.root},
        hint=f"edgeship deploy MODEL --target T {at(session.host, session.options)}",
    )
