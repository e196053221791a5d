"""`--sign-with` and `--allow-unsigned`, and what they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeship.cli import common
from edgeship.errors import InputError

if TYPE_CHECKING:
    from edgeship.pipeline.build import BuildReport
    from edgeship.values import Bundle


def sign_option(command: common.F) -> common.F:
    """Add `--sign-with`."""
    return click.option(
        "--sign-with",
        "with_keys",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="KEY",
        help="Sign: private key file, or .pub file of a key in the agent; repeatable.",
    )(command)


def allow_unsigned_option(command: common.F) -> common.F:
    """Add `--allow-unsigned`. (Not given, the settings file decides.)"""
    return click.option(
        "--allow-unsigned/--signed-only",
        default=None,
        help="Whether to deploy what nobody signed, and have a device never told otherwise take it.  [default: yes]",
    )(command)


def refuse_unsigned(source: Path, *, signed: bool, allow_unsigned: bool) -> None:
    """Raise InputError `unsigned` for what nobody signs, where only signed releases are to be deployed."""
    if not signed and not allow_unsigned:
        raise InputError(
            "unsigned",
            f"{source} is not signed, and only signed releases are to be deployed",
            context={"because": "--signed-only, or deploy.allow_unsigned: false in edgeship.yaml"},
            hint="run it again with --sign-with KEY; edgeship keys new makes a key",
        )


def signed(bundle: Bundle, with_keys: Sequence[Path], *, write: bool = False) -> Bundle:
    """Return the bundle signed by each key; with `write`, in its file too. ssh-keygen may ask for a passphrase."""
    if not with_keys:
        return bundle
    from edgeship.bundle.seal import put_signatures
    from edgeship.bundle.sign import sign_all

    result = sign_all(bundle, with_keys)
    return put_signatures(result, result.signatures) if write else result


def with_signatures(report: BuildReport, with_keys: Sequence[Path]) -> BuildReport:
    """Return the report with each bundle signed, in its file too."""
    targets = tuple(
        replace(built, bundle=signed(built.bundle, with_keys, write=True)) if built.bundle else built
        for built in report.targets
    )
    return replace(report, targets=targets)
