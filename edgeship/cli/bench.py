"""`edgeship bench`: latency and energy of a release on the device that runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from edgeship.cli import common
from edgeship.cli.operate import device_of, device_verb

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
LONGEST = 7 * 86400.0


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | str | None:
    """Return the seconds that 90, 90s, 10m or 1h say; `last` and nothing as they are."""
    if value is None or value == "last":
        return value
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|m|h|)", value)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 1 <= seconds <= LONGEST:
        raise click.BadParameter(
            f"'{value}' is no duration from 1s to 168h, such as 90s, 10m or 1h; or: last", context, parameter
        )
    return seconds


@click.option("--seconds", type=click.FloatRange(0.1, 600), help="At least this long.  [default: 1]")
@click.option("--runs", type=click.IntRange(1, 1_000_000), help="At least this often.  [default: 50]")
@click.option("--variant", metavar="NAME", help="Which variant.  [default: the one that serves]")
@click.option(
    "--idle", type=click.FloatRange(0.1, 600), metavar="SECONDS",
    help="Measure what the board takes idle for so long first, and take it off.",
)  # fmt: skip
@click.option("--rungs", is_flag=True, help="Measure every variant of the release, by number of threads.")
@click.option(
    "--soak", callback=_duration, metavar="DURATION",
    help="Run for so long (1h, 10m), a line a minute; it goes on if this end is lost. last: show the last one.",
)  # fmt: skip
def _bench(config: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Measure the latency and the energy of the current release on the device itself: cold, p50, p95, joules a run.

    Ctrl-C ends a soak on the device and shows what there is.
    """
    from edgeship.deploy import bench as ask
    from edgeship.report.bench import bench_text

    chosen = {name: options.pop(name) for name in ("seconds", "runs", "variant", "idle", "rungs", "soak")}
    host, app, choices = device_of(config, options)
    if chosen["soak"] is not None:
        return _soak((host, app, choices), chosen, as_json, quiet)
    del chosen["soak"]
    with common.progress(quiet=quiet) as progress:
        progress.step(f"measuring on {host.text}")
        found = ask(host, app, choices, **chosen)
    common.show(bench_text(found), lambda: {**found, "host": host.text}, as_json=as_json)
    return 0


def _soak(device: tuple[Any, str | None, Any], chosen: dict[str, Any], as_json: bool, quiet: bool) -> int:
    from edgeship.deploy.soaking import Soak
    from edgeship.report.bench import line_text, soak_text

    host, app, choices = device
    beside = [f"--{name}" for name in ("seconds", "runs", "idle", "rungs") if chosen[name]]
    if beside:
        raise click.UsageError(f"--soak measures in its own way: leave {' and '.join(beside)} out")
    seconds = None if chosen["soak"] == "last" else chosen["soak"]
    with common.progress(quiet=quiet) as progress:
        progress.step(f"soaking {host.text}")

        def line(new: dict[str, Any], wanted: float) -> None:
            progress.note(line_text(new, wanted))

        found = Soak(host, app, choices, progress).run(seconds, variant=chosen["variant"], line=line)
    common.show(soak_text(found), lambda: {**found, "host": host.text}, as_json=as_json)
    return 0


_bench.__name__ = "bench"
bench = device_verb(_bench)
