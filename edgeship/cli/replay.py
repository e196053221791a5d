"""`edgeship replay`: what a service decided, decided once more on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeship.cli import common
from edgeship.cli.deploy import host_options
from edgeship.cli.operate import device_of
from edgeship.cli.output import tell
from edgeship.errors import InputError
from edgeship.printable import one_line

if TYPE_CHECKING:
    from edgeship.values import Bundle


@click.command()
@click.argument("log", metavar="[FILE]", type=common.PATH, required=False)
@click.option(
    "--host", "hosts", multiple=True, metavar="HOST", help="Fetch the log of user@host or local:DIR."
)
@click.option("--app", metavar="A", help="Which service.  [default: the only one there]")
@click.option(
    "--bundle",
    "source",
    type=common.PATH,
    metavar="BUNDLE",
    help="Whose runtime decides.  [default: this edgeship's, where it is the same]",
)
@click.option("--out", "-o", type=common.PATH, metavar="FILE", help="Keep the log that was fetched.")
@host_options
@common.config_option
@common.output_options
def replay(
    log: Path | None,
    source: Path | None,
    out: Path | None,
    config: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Run the log of a governor's decisions again: each must come out as it did on the device, bit for bit.

    A service writes one while governor.log is true. Exit status: 0 all came out the same, 3 one did not.

    \b
    edgeship tune --host pi@10.0.0.7 governor.log=true
    edgeship replay --host pi@10.0.0.7 -o decisions.jsonl
    edgeship replay decisions.jsonl
    """
    from edgeship.bundle.replay import replay as run_again

    if log is not None and options["hosts"]:
        raise InputError(
            "bad-usage", "a file and a host are two logs: name one", hint="edgeship replay --help"
        )
    bundle = _opened(source)
    if log is not None:
        document = run_again(_there(log), bundle)
        return _show(document, str(log), "not known: a log says nothing of it", as_json=as_json)
    from edgeship.deploy.tuning import decisions

    host, app, choices = device_of(config, options)
    found = decisions(host, app, choices)
    if out is not None:
        common.write_file(out, found["log"])
        tell(f"{host.text}: {len(found['log'])} bytes written to {out}")
    _same_runtime(found, bundle)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as stream:
        stream.write(found["log"])
        stream.flush()
        document = run_again(Path(stream.name), bundle)
    return _show(document, f"{host.text}: {found['app']}", found["release"], as_json=as_json)


def _opened(source: Path | None) -> Bundle | None:
    if source is None:
        return None
    from edgeship.bundle.seal import open_bundle

    return open_bundle(source)


def _there(log: Path) -> Path:
    """Return a file that was named. Raises InputError `not-a-decision-log`."""
    if not log.is_file():
        raise InputError(
            "not-a-decision-log",
            f"there is no file {log}",
            hint="edgeship replay --host HOST -o FILE fetches one",
        )
    return log


def _same_runtime(found: Mapping[str, Any], bundle: Bundle | None) -> None:
    """Raise InputError `other-runtime` where what would decide here is not what decided there."""
    from edgeship.bundle.replay import DECIDES, deciding_files

    if bundle is None:
        ours = deciding_files()
    else:
        files = {name.rpartition("/")[2]: info for name, info in bundle.manifest["files"].items()}
        ours = {name: files[name]["sha256"] for name in files if DECIDES.match(name)}
    if ours != found["deciding"]:
        raise InputError(
            "other-runtime",
            f"release {found['release'][:12]} on {found['host']} decides by another runtime than this one",
            context={"differ": ", ".join(sorted(dict(ours.items() ^ found["deciding"].items())))},
            hint="name the bundle that was deployed: edgeship replay --bundle BUNDLE --host HOST",
        )


def _show(document: dict[str, Any], what: str, release: str, *, as_json: bool) -> int:
    """Show how a replay came out."""
    wrong, first = document["mismatches"], document["first"]
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(document["reasons"].items()))
    lines = [
        f"{what}: {document['decisions']} decisions, {wrong or 'none'} came out otherwise ({reasons or 'none'})"
    ]
    if first:
        lines.append(f"  line {first['line']}: logged {first['logged']}, now {first['replayed']}")
    if document["gaps"]:
        lines.append(f"  {document['gaps']} times not all was written: many requests came at once")
    if document["cut"]:
        lines.append("  the last line is not whole")
    said = {
        **document,
        "first": first or {"unavailable": "every decision came out the same"},
        "log": what,
        "release": release if len(release) == 64 else {"unavailable": release},
    }
    common.show("\n".join(one_line(line) for line in lines), lambda: said, as_json=as_json)
    return 3 if wrong else 0
