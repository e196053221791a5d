"""`edgeship watch`: what services do on their devices, live."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.deploy import deploy_options, host_options, hosts_of
from edgeship.cli.output import emit, tell

if TYPE_CHECKING:
    from edgeship.deploy.watching import Seen, Watcher
    from edgeship.report.watching import Shown

LOOK_SECONDS = 0.2


@click.command()
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="user@host or local:DIR; repeatable.")
@click.option("--app", metavar="A", help="Which service.  [default: the only one there]")
@click.option(
    "--period",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 30 * 86_400),
    help="End so long after every host was heard of.  [default: at Ctrl-C]",
)
@host_options
@common.config_option
@common.output_options
def watch(
    config: Path | None, as_json: bool, quiet: bool, period: float, seconds: float | None, **options: Any
) -> int:
    """Show live what services decide on their devices: which variant serves and why, load, misses, heat, power.

    On a terminal the view is drawn again each period; elsewhere it is a line a period, with --json a JSON document a
    line. A device that goes away, or restarts, is asked again until it is back. Ctrl-C ends it; nothing is changed.

    \b
    edgeship watch --host pi@10.0.0.7
    edgeship watch --host pi@10.0.0.7 --host pi@10.0.0.8 --period 5
    edgeship watch --host pi@10.0.0.7 --seconds 60 --json > minute.jsonl
    """
    from edgeship.deploy.watching import Watcher

    settings = common.device_settings(config, {**options, "hosts": None}, "root")
    choices = deploy_options(settings, options)
    heard: queue.SimpleQueue[Seen] = queue.SimpleQueue()
    app = options["app"] or settings.app
    watchers = [
        Watcher(host, app, choices, period, heard.put) for host in hosts_of(settings, options["hosts"])
    ]
    show = _json if as_json else _Screen(watchers) if sys.stdout.isatty() else _line
    return _watch(watchers, heard, show, seconds)


def _watch(watchers: Sequence[Watcher], heard: Any, show: Any, seconds: float | None) -> int:
    """Show what is heard until the time is over, all have failed, or Ctrl-C. Raises what ended all of them."""
    from edgeship.deploy.watching import failure_of

    until, silent = None, {each.host.text for each in watchers}
    threads = [threading.Thread(target=each.go, daemon=True) for each in watchers]
    for thread in threads:
        thread.start()
    try:
        while until is None or time.monotonic() < until:
            try:
                seen = heard.get(timeout=LOOK_SECONDS)
                show(seen)
                silent.discard(seen.host)
                if seconds is not None and until is None and not silent:
                    until = time.monotonic() + seconds  # to connect may take as long
            except queue.Empty:
                if failed := failure_of(list(watchers)):
                    raise failed from None
    except KeyboardInterrupt:
        tell("")
    finally:
        for each in watchers:
            each.stop()
        for thread in threads:
            thread.join(2.0)
    return 0


def _json(seen: Seen) -> None:
    """Print a document on a line."""
    from edgeship.report.watching import watch_document

    emit(json.dumps(watch_document(seen)))
    sys.stdout.flush()


def _line(seen: Seen) -> None:
    """Print a line."""
    from edgeship.report.watching import watch_line

    emit(watch_line(seen))
    sys.stdout.flush()


class _Screen:
    """A view that is drawn over itself: no more of the terminal is used than it has lines."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        from edgeship.report.watching import Shown

        self.shown: dict[str, Shown] = {each.host.text: Shown(each.host.text) for each in watchers}
        self.drawn = 0
        self.draw()

    def __call__(self, seen: Seen) -> None:
        self.shown[seen.host].take(seen)
        self.draw()

    def draw(self) -> None:
        """Draw what is known over what was drawn before."""
        import shutil

        from edgeship.report.watching import watch_block

        columns, rows = shutil.get_terminal_size()
        lines = [line[: columns - 1] for line in watch_block(list(self.shown.values()))[: rows - 1]]
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        sys.stdout.write(up + "\x1b[J" + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self.drawn = len(lines)
