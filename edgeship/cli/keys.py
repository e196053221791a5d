"""`edgeship keys`: SSH keys that sign releases, and which of them a device takes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.deploy import deploy_options, host_options
from edgeship.cli.inspect import is_bundle
from edgeship.cli.signing import sign_option
from edgeship.errors import InputError

if TYPE_CHECKING:
    from edgeship.deploy import DeployOptions
    from edgeship.values import Host

FINGERPRINT_BEGINS = "SHA256:"
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


@click.group()
def keys() -> None:
    """Make keys that sign releases, sign with them, and tell devices which keys to take.

    \b
    edgeship keys new                                      make a key (or use any SSH key you have)
    edgeship keys trust KEY.pub --host pi@10.0.0.7         from now on that device takes signed releases only
    edgeship deploy MODEL --target T --host pi@10.0.0.7 --sign-with KEY
    """


def default_key() -> Path:
    """Return where `keys new` puts a key and `keys trust` looks for one: XDG_CONFIG_HOME or ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edgeship" / "signing_key"


def trust_verb(function: Callable[..., int]) -> Callable[..., int]:
    """Add what a verb on devices takes."""
    for option in (
        common.output_options,
        common.config_option,
        host_options,
        click.option("--accept-new-host-key", is_flag=True, default=None, help="Trust a host never seen before."),
        click.option("--host", "hosts", multiple=True, metavar="HOST", help="user@host or local:DIR; repeatable."),
    ):  # fmt: skip
        function = option(function)
    return function


def hosts_and_options(config: Path | None, options: dict[str, Any]) -> tuple[tuple[Host, ...], DeployOptions]:
    """Return the devices meant and how to reach them."""
    from edgeship.cli.deploy import hosts_of

    settings = common.device_settings(config, options, "root", "accept_new_host_key")
    return hosts_of(settings, options["hosts"]), deploy_options(settings, options)


@keys.command("new")
@click.option(
    "--out",
    "-o",
    type=common.PATH,
    metavar="FILE",
    help="Private key.  [default: ~/.config/edgeship/signing_key]",
)
@click.option("--name", metavar="WHO", help="Whose it is, for people.  [default: user@machine]")
@click.option(
    "--no-passphrase", is_flag=True, help="For machines that sign alone; the file is then all it takes."
)
@common.dry_run_option
@common.output_options
def new(
    out: Path | None, name: str | None, no_passphrase: bool, dry_run: bool, as_json: bool, quiet: bool
) -> int:
    """Make an Ed25519 key. ssh-keygen asks for the passphrase; edgeship never sees it.

    Any SSH key does as well: in a file, in the agent (name its .pub file), or on a security key.
    """
    import getpass
    import socket

    from edgeship.bundle.sign import new_key, public_path

    path = out or default_key()
    if dry_run:
        return _plan([f"make an Ed25519 key (writes {path}, {public_path(path)})"], as_json=as_json)
    key = new_key(
        path, comment=name or f"{getpass.getuser()}@{socket.gethostname()}", passphrase=not no_passphrase
    )
    text = (
        f"key: {path}\npublic: {public_path(path)}\nfingerprint: {key.fingerprint}\n"
        f"next: edgeship keys trust {public_path(path)} --host user@host"
    )
    document = {"schema": "edgeship.key/1", "file": str(path), "name": key.name, "public": key.line,
                "fingerprint": key.fingerprint}  # fmt: skip
    common.show(text, lambda: document, as_json=as_json)
    return 0


@keys.command("show")
@click.argument("what", metavar="[KEY|BUNDLE]", type=common.PATH, required=False)
@trust_verb
def show(what: Path | None, config: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Show a key's fingerprint, a bundle's signatures, or (with --host) which keys devices take."""
    if what is None and options.get("hosts"):
        from edgeship.deploy.trust import show_trust

        hosts, choices = hosts_and_options(config, options)
        return _show_devices([show_trust(host, choices) for host in hosts], as_json=as_json)
    if what is not None and is_bundle(what):
        return _show_bundle(what, as_json=as_json)
    from edgeship.bundle.sign import public_key

    path = what or default_key()
    key = public_key(path)
    document = {"schema": "edgeship.key/1", "file": str(path), "name": key.name, "public": key.line,
                "fingerprint": key.fingerprint}  # fmt: skip
    common.show(f"{key.fingerprint}  {key.name}  {path}", lambda: document, as_json=as_json)
    return 0


@keys.command("sign")
@click.argument("bundle", type=common.PATH)
@sign_option
@click.option(
    "--sequence",
    type=click.IntRange(0, (1 << 53) - 1),
    help="A device takes no lower one later.  [default: the time]",
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True, max=36500),
    default=365.0,
    show_default=True,
    help="Time in which devices take the release.",
)
@common.dry_run_option
@common.output_options
def sign(
    bundle: Path,
    with_keys: tuple[Path, ...],
    sequence: int | None,
    days: float,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Sign BUNDLE, beside the signatures it has. Its release id stays the same."""
    from edgeship.bundle.seal import open_bundle, put_signatures
    from edgeship.bundle.sign import sign as sign_once

    if not with_keys:
        raise InputError(
            "no-key", "nothing says which key signs", hint=f"edgeship keys sign {bundle} --sign-with KEY"
        )
    signed = open_bundle(bundle)
    if dry_run:
        steps = [f"sign release {signed.release[:12]} with {key} (writes {bundle})" for key in with_keys]
        return _plan(steps, as_json=as_json)
    for key in with_keys:
        signed = sign_once(signed, key, sequence=sequence, days=days)
    put_signatures(signed, signed.signatures)
    return _show_bundle(bundle, as_json=as_json)


@keys.command("trust")
@click.argument("public", metavar="KEY.pub...", nargs=-1, type=common.PATH)
@click.option("--threshold", type=click.IntRange(1, 16), help="How many different keys must sign a release.")
@click.option(
    "--max-age-days",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="Oldest signature to take.",
)
@common.dry_run_option
@trust_verb
def trust(
    public: tuple[Path, ...], threshold: int | None, max_age_days: float | None, config: Path | None, dry_run: bool,
    as_json: bool, quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Let keys sign for devices, which from then on take signed releases only. Works before the first deployment."""
    from edgeship.bundle.sign import public_key

    found = [public_key(path) for path in public or (default_key(),)]
    changes = _changes("refuse", threshold, max_age_days)
    signers = [{"name": key.name, "key": key.line} for key in found]
    return _change(config, options, dry_run=dry_run, as_json=as_json, signers=signers, changes=changes)


@keys.command("revoke")
@click.argument("which", metavar="KEY.pub|FINGERPRINT...", nargs=-1, required=True)
@common.dry_run_option
@trust_verb
def revoke(
    which: tuple[str, ...], config: Path | None, dry_run: bool, as_json: bool, quiet: bool, **options: Any
) -> int:
    """Have devices count nothing that keys ever signed. For good: a revoked key cannot come back.

    What only they signed is refused, also where unsigned releases are taken.
    """
    prints = [_fingerprint(text) for text in which]
    return _change(config, options, dry_run=dry_run, as_json=as_json, revoke=prints)


def _fingerprint(text: str) -> str:
    """Return the fingerprint that was typed, or that of a public key's file. Raises InputError `bad-fingerprint`."""
    from edgeship.bundle.sign import public_key

    if not text.startswith(FINGERPRINT_BEGINS):
        return public_key(Path(text)).fingerprint
    if not FINGERPRINT.match(text):
        raise InputError(
            "bad-fingerprint",
            f"'{text}' is not the fingerprint of a key",
            context={"wanted": "SHA256: and 43 letters, digits, + or /, or the key's .pub file"},
            hint="edgeship keys show KEY.pub, or edgeship keys show --host HOST, prints fingerprints",
        )
    return text


@keys.command("policy")
@click.option(
    "--unsigned", type=click.Choice(["allow", "refuse"]), help="What to do with releases that nobody signed."
)
@click.option("--threshold", type=click.IntRange(1, 16), help="How many different keys must sign a release.")
@click.option(
    "--max-age-days",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="Oldest signature to take.",
)
@common.dry_run_option
@trust_verb
def policy(
    unsigned: str | None, threshold: int | None, max_age_days: float | None, config: Path | None, dry_run: bool,
    as_json: bool, quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Change what devices ask of a release's signatures."""
    changes = _changes(unsigned, threshold, max_age_days)
    if not changes:
        raise InputError(
            "nothing-to-change",
            "nothing says what to change",
            context={"wanted": "--unsigned, --threshold or --max-age-days"},
            hint="edgeship keys show --host HOST shows what is",
        )
    return _change(config, options, dry_run=dry_run, as_json=as_json, changes=changes)


def _changes(unsigned: str | None, threshold: int | None, max_age_days: float | None) -> dict[str, Any]:
    given = {"unsigned": unsigned, "threshold": threshold, "max_age_days": max_age_days}
    return {key: value for key, value in given.items() if value is not None}


def _change(
    config: Path | None, options: dict[str, Any], *, dry_run: bool, as_json: bool, **what: Any
) -> int:
    """Tell each device, and show what each takes from now on."""
    from edgeship.deploy.trust import change_trust

    hosts, choices = hosts_and_options(config, options)
    if dry_run:
        words = "; ".join(f"{key}: {json.dumps(value)}" for key, value in what.items() if value)
        files = ("allowed_signers", "policy.json") if what.get("signers") else ("policy.json",)
        return _plan(
            [
                f"{host.text}: {words} (writes {', '.join(f'{choices.root_on(host)}/trust/{n}' for n in files)})"
                for host in hosts
            ],
            as_json=as_json,
        )
    done = common.on_each(
        hosts,
        lambda host: change_trust(host, choices, **what),
        lambda _: "was told",
        missed="was not told",
        keys=("told", "not told"),
    )
    return _show_devices(done, as_json=as_json)


def _plan(steps: list[str], *, as_json: bool) -> int:
    """Show what would be done."""
    common.show("\n".join(steps), lambda: {"schema": "edgeship.plan/1", "steps": steps}, as_json=as_json)
    return 0


def _show_devices(found: list[dict[str, Any]], *, as_json: bool) -> int:
    from edgeship.report.trust import trust_document, trust_text

    text = "\n".join(trust_text(device) for device in found)
    common.show(text, lambda: trust_document(found), as_json=as_json)
    return 0


def _show_bundle(path: Path, *, as_json: bool) -> int:
    """Show who signed a bundle. Exits 1 where a signature does not hold."""
    from edgeship.bundle.seal import open_bundle
    from edgeship.bundle.sign import holds
    from edgeship.report.trust import signatures_document, signatures_text

    bundle = open_bundle(path)
    good = [holds(signed) for signed in bundle.signatures]
    document = signatures_document(bundle, good)
    common.show(signatures_text(document), lambda: document, as_json=as_json)
    return 0 if all(good) else 1
