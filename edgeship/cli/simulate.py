"""`edgeship simulate`: how a bundle would do under a load on a board, by which policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.errors import InputError

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile
    from edgeship.values import Bundle

KEYS = {
    "power": {"idle": "idle_watts", "busy": "busy_watts"},
    "thermal": {
        "ambient": "ambient_c", "c_per_watt": "c_per_watt", "seconds": "seconds", "die": "die_c_per_watt",
        "die_seconds": "die_seconds",
    },
}  # fmt: skip
"""What `--power` and `--thermal` take -> what profiles call it."""
EXAMPLES = {"power": "idle=2.7,busy=3.6", "thermal": "ambient=25,c_per_watt=12,seconds=150"}


@click.command()
@click.argument("bundle", type=common.PATH)
@click.option(
    "--trace", "traces", multiple=True, type=common.PATH, metavar="FILE", help="Recorded trace; repeatable."
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    metavar="P[,P]",
    help="steady, diurnal, burst, ramp, square, contention, heat-wave.  [default: all, where no --trace is given]",
)
@click.option("--speed", type=float, metavar="X", help="Recorded traces, X times as fast as they were.")
@click.option(
    "--board", metavar="T", help="Target whose power, heat and sensors count.  [default: the bundle's]"
)
@click.option(
    "--rate", type=float, metavar="R", help="Requests a second, mean.  [default: the best rung 60 % busy]"
)
@click.option(
    "--seconds", type=float, metavar="S", help="Length of the patterns.  [default: 600, or 20,000 requests]"
)
@click.option(
    "--deadline-ms", type=float, metavar="T", help="Of each request.  [default: the governor's setting]"
)
@click.option("--watts", type=float, metavar="W", help="Budget; --set governor.watts=W.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of the governor; repeatable."
)
@click.option("--ambient", type=float, metavar="C", help="Degrees Celsius around the board.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="P",
    help="governor, fixed[:RUNG], refusing[:RUNG], load-ladder, batch-rule, aimd-batch, oracle.  [default: all]",
)
@click.option(
    "--figures", type=common.PATH, metavar="FILE", help="edgeship.figures/1 as a device measured them."
)
@click.option("--scale", type=float, metavar="X", help="The board takes X times as long as the bundle says.")
@click.option(
    "--overhead-ms", type=float, metavar="T", help="Of a request beside the model's run.  [default: 0]"
)
@click.option("--power", metavar="K=V,...", help=f"Over the profile's: {EXAMPLES['power']} (watts).")
@click.option("--thermal", metavar="K=V,...", help=f"Over the profile's: {EXAMPLES['thermal']}.")
@click.option("--out", "-o", type=common.PATH, metavar="FILE", help="Write a page with plots, HTML.")
@click.option("--force", is_flag=True, help="Overwrite the page.")
@common.output_options
def simulate(bundle: Path, out: Path | None, force: bool, as_json: bool, quiet: bool, **options: Any) -> int:
    """Say how BUNDLE would do on a board: deadlines, right answers, energy and heat, by the governor and by others.

    The bundle's own runtime decides, on a virtual clock, against a model of the board's power and heat. A trace holds
    one request a line: seconds, JSON with a time, CSV with a head, a web server's access log, a log that begins with
    times, or the governor's own log. BUNDLE is a bundle or a folder of results.
    """
    from edgeship.pipeline.simulating import simulation
    from edgeship.report.simulation import simulation_text

    if out is not None:
        common.refuse_existing(out, force, f"add --force to overwrite {out}")
    opened = _opened(bundle, options["board"])
    request = _request(opened, options)
    with common.progress(quiet=quiet) as progress:
        count = len(request["traces"])
        progress.note(f"simulating {count} trace{'s' if count != 1 else ''}")
        document = simulation(opened, request, progress)
    if out is not None:
        from edgeship.pages.simulation import simulation_page

        common.write_file(out, simulation_page(document))
    common.show(simulation_text(document, out), lambda: document, as_json=as_json)
    return 0


def _opened(path: Path, board: str | None) -> Bundle:
    """Return the bundle, verified; of a folder of results the one in it. Raises InputError `no-bundle`."""
    from edgeship.bundle.results import bundle_in
    from edgeship.bundle.seal import open_bundle
    from edgeship.cli.inspect import is_bundle
    from edgeship.profile.names import find_profile

    found: Path | None = path
    if path.is_dir():
        names = set()
        if board is not None:
            names = {find_profile(board, folders=common.profile_folders()).stem}
        try:
            found = bundle_in(path, names)
        except InputError as error:
            if error.reference != "no-bundle-for-target":
                raise
            found = bundle_in(path)
    if found is None or (found.exists() and not is_bundle(found)):
        raise InputError(
            "no-bundle",
            f"{path} is no bundle: a model says nothing about rungs and what they cost",
            hint=f"edgeship build {path} --target T --ladder -o DIR   and then: edgeship simulate DIR",
        )
    return open_bundle(found)


def _request(bundle: Bundle, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that the bundle's runtime takes: see runtime/es_simulated.py."""
    from edgeship.pipeline.simulating import board_of
    from edgeship.profile import load_profile
    from edgeship.project.governing import one_setting

    profile: TargetProfile = load_profile(options["board"] or bundle.target, folders=common.profile_folders())
    given = {name: _pairs(name, options[name]) for name in KEYS}
    request: dict[str, Any] = {
        "board": board_of(profile, given, bundle.path),
        "traces": _traces(options),
        "seed": options["seed"],
    }
    for name in ("rate", "seconds", "deadline_ms", "overhead_ms", "scale"):
        if options[name] is not None:
            request[name] = options[name]
    if options["ambient"] is not None:
        request["ambient_c"] = options["ambient"]
    settings = dict(one_setting(text) for text in options["settings"])
    if options["watts"] is not None:
        settings |= dict([one_setting(f"governor.watts={options['watts']:g}")])
    request["settings"] = settings
    if options["policies"]:
        request["policies"] = list(options["policies"])
    if options["figures"] is not None:
        request["figures"] = _figures(options["figures"])
    return request


def _traces(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    speed = {} if options["speed"] is None else {"speed": options["speed"]}
    traces: list[dict[str, Any]] = [
        {"file": str(path.absolute()), "name": path.name, **speed} for path in options["traces"]
    ]
    names = [name.strip() for text in options["patterns"] for name in text.split(",") if name.strip()]
    if not traces and not names:
        names = ["steady", "diurnal", "burst", "ramp", "square", "contention", "heat-wave"]
    return traces + [{"pattern": name} for name in dict.fromkeys(names)]


def _pairs(option: str, text: str | None) -> dict[str, float] | None:
    """Return what `--power` or `--thermal` says. Raises InputError `bad-board-figure`."""
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, equals, written = (word.strip() for word in part.partition("="))
        try:
            number = float(written)
        except ValueError:
            number = float("nan")
        if name not in KEYS[option] or not equals or not abs(number) < 1e6:
            raise InputError(
                "bad-board-figure",
                f"--{option}: '{part}' is none of {', '.join(f'{key}=NUMBER' for key in KEYS[option])}",
                hint=f"edgeship simulate BUNDLE --{option} {EXAMPLES[option]}",
            )
        found[KEYS[option][name]] = number
    return found


def _figures(path: Path) -> dict[str, Any]:
    """Return what a device measured. Raises InputError `bad-figures`."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            "bad-figures", f"cannot read {path}: {error.strerror}", hint="edgeship bench --help"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            "bad-figures", f"{path} is not JSON: {error}", hint="edgeship bench --help"
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("rungs"), dict):
        raise InputError(
            "bad-figures",
            f"{path} is no edgeship.figures/1: it has no `rungs`",
            hint="edgeship explain bad-figures   says where a device keeps them",
        )
    return document
