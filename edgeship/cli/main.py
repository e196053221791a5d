"""The command group: verbs are found lazily, errors become text (or JSON) and an exit status, never a traceback."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

import click

from edgeship import __version__
from edgeship.cli.output import OutputLost
from edgeship.errors import EdgeshipError, InputError
from edgeship.registry import did_you_mean

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("edgeship.cli.demo:demo", "The whole job on this machine, no board needed."),
    "init": ("edgeship.cli.init:init", "Write a commented edgeship.yaml."),
    "target": ("edgeship.cli.target:target", "List, show, check and probe target profiles."),
    "inspect": ("edgeship.cli.inspect:inspect", "Say what a model file or a bundle really holds."),
    "check": ("edgeship.cli.check:check", "Say where each operation will run and why, before compiling."),
    "build": ("edgeship.cli.build:build", "Convert, quantize, score and bundle a model for targets."),
    "compress": (
        "edgeship.cli.compress:compress",
        "Find the smallest model that keeps its accuracy, under a budget.",
    ),
    "explain": (
        "edgeship.cli.explain:explain",
        "Say what quantizing costs, layer by layer, and why; or what an error means.",
    ),
    "simulate": (
        "edgeship.cli.simulate:simulate",
        "Say how a bundle would do under a load on a board, before there is one.",
    ),
    "deploy": ("edgeship.cli.deploy:deploy", "Bring a model or a bundle to devices, prove it and start it."),
    "status": ("edgeship.cli.operate:status", "Say what a device runs."),
    "tune": ("edgeship.cli.tune:tune", "Change settings of a running service, without a restart."),
    "watch": ("edgeship.cli.watch:watch", "Show live which variant serves on devices, and why."),
    "replay": ("edgeship.cli.replay:replay", "Decide what a service decided once more, bit for bit."),
    "rollback": ("edgeship.cli.operate:rollback", "Return a device to the release before."),
    "pin": ("edgeship.cli.operate:pin", "Keep a release on a device, whatever comes after it."),
    "logs": ("edgeship.cli.operate:logs", "Show a service's log from a device."),
    "bench": ("edgeship.cli.bench:bench", "Measure a release's latency and energy on a device."),
    "verify": ("edgeship.cli.operate:verify", "Hash what is on a device again and report drift."),
    "remove": ("edgeship.cli.operate:remove", "Stop a service and delete it from a device."),
    "keys": ("edgeship.cli.keys:keys", "Make keys that sign releases, and tell devices which to take."),
    "toolchain": ("edgeship.cli.toolchain:toolchain", "List, install and examine compilers and tools."),
    "history": ("edgeship.cli.operate:history", "Show what was done on a device, from its audit log."),
}
"""verb -> (module:object, one line of help). The module is imported only when its verb is used."""


class Interrupted(EdgeshipError):
    """Ctrl-C before anything was started on a device, or an unanswered question."""

    exit_code = 130


class LazyGroup(click.Group):
    """A click group that imports a verb's module only when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            near = did_you_mean(args[0], VERBS)
            raise InputError(
                "unknown-command",
                f"there is no command '{args[0]}'",
                context={"known": ", ".join(VERBS)},
                hint=f"edgeship {near} --help" if near else "edgeship --help",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="edgeship")
def group() -> None:
    """From a trained TensorFlow model to a small, checked, low-power service on a device, or on a fleet of them.

    \b
    Try it without a board:   edgeship demo
    On a board over SSH:      edgeship deploy model.keras --target raspberry-pi-5 --host pi@10.0.0.7
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: sys.argv) and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome: Any = group.main(args=words, prog_name="edgeship", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except EdgeshipError as error:
        return _fail(error, words)
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message())
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "edgeship"
        return _fail(InputError("bad-usage", error.format_message(), hint=f"{command} --help"), words)
    except click.ClickException as error:
        return _fail(InputError("bad-usage", error.format_message()), words)
    except (click.Abort, KeyboardInterrupt):
        return _fail(Interrupted("interrupted", "interrupted: nothing more was started"), words)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OutputLost as error:
        _tell(InputError("output-lost", str(error), hint="free some space, or write elsewhere"))
        return 1
    except Exception:
        if os.environ.get("EDGESHIP_DEBUG"):
            raise
        return _fail(_bug(), words)


def _bug() -> EdgeshipError:
    """Keep the trace of an error that nobody foresaw in a file, and return what to tell the user."""
    descriptor, name = tempfile.mkstemp(prefix="edgeship-", suffix=".trace.txt")
    with os.fdopen(descriptor, "w") as stream:
        traceback.print_exc(file=stream)
    last = traceback.format_exc().strip().splitlines()[-1]
    return EdgeshipError(
        "internal-error",
        f"this is a bug in edgeship, not in what you typed: {last}",
        context={"trace": name, "version": __version__},
        hint="report it with the trace file and the command you typed",
    )


def _fail(error: EdgeshipError, words: Sequence[str]) -> int:
    """Show an error: text on stderr, and with --json one JSON document on stdout."""
    _tell(error)
    if "--json" in words:
        with contextlib.suppress(OSError):
            click.echo(json.dumps(error.as_json(), indent=2))
    return error.exit_code


def _tell(error: EdgeshipError) -> None:
    """Show an error to a person, and where to read more of it."""
    from edgeship.references import where_to_read  # only who fails reads pages

    click.echo(error.render(), err=True)
    if more := where_to_read(error.reference):
        click.echo(more, err=True)
