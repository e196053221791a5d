"""What runs on a device: serve, prove, record or bench one release. Started as `python3 -I -B runtime/main.py
...`.

Prints exactly one JSON document on stdout. Exit code 0: good; 1: a check failed; 2: cannot run, and the
document says why. Python 3.7 and its standard library are enough (docs/formats.md has the contract).
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from es_errors import CannotRun  # noqa: E402
from es_release import load_release  # noqa: E402

USAGE = """usage: main.py serve  --release DIR [--variant NAME] [--listen ADDR] [--announce FILE] [--kept DIR]
       main.py prove  --release DIR [--variant NAME] [--live URL]
       main.py record --release DIR --inputs FILE [--variant NAME]
       main.py bench  --release DIR [--variant NAME] [--seconds S] [--runs N] [--idle S] [--rungs yes]
       main.py bench  --release DIR [--variant NAME] --soak S [--period S] [--log FILE]
       main.py figures --release DIR [--variant NAME] [--seconds S]
       main.py replay --log FILE
       main.py simulate --release DIR --request FILE"""

_OPTIONS = {
    "serve": ("release", "variant", "listen", "announce", "kept"),
    "prove": ("release", "variant", "live"),
    "record": ("release", "inputs", "variant"),
    "bench": ("release", "variant", "seconds", "runs", "idle", "rungs", "soak", "period", "log"),
    "replay": ("log",),
    "simulate": ("release", "request"),
    "figures": ("release", "variant", "seconds"),
    "delegation": ("release", "variant"),  # Asked by the litert engine of itself; see es_litert_probe.
}
_NEEDED = {"record": ("release", "inputs"), "replay": ("log",), "simulate": ("release", "request")}


def parse(arguments):
    """Return (command, {option: text}). By hand: argparse costs 3 ms and half a megabyte on every start."""
    command = arguments[0] if arguments else ""
    if command not in _OPTIONS:
        raise CannotRun("bad-command", "unknown command %r\n%s" % (command, USAGE))
    options = {}
    rest = list(arguments[1:])
    while rest:
        name, mark, value = rest.pop(0).partition("=")
        if name[:2] != "--" or name[2:] not in _OPTIONS[command]:
            raise CannotRun("bad-option", "%s takes no %r\n%s" % (command, name, USAGE))
        if not mark:
            if not rest:
                raise CannotRun("bad-option", "%s needs a value" % name)
            value = rest.pop(0)
        options[name[2:]] = value
    for needed in _NEEDED.get(command, ("release",)):
        if needed not in options:
            raise CannotRun("bad-option", "%s needs --%s\n%s" % (command, needed, USAGE))
    return command, options


def _number(options, name, kind, default):
    try:
        value = kind(options.get(name, default))
    except ValueError:
        value = -1
    if not 0 <= value < 1e9:
        raise CannotRun("bad-option", "--%s %s is not a number that makes sense" % (name, options[name]))
    return value


def _announcer(release, path):
    """Return the function that writes the announcement: atomically, or nothing where no file was asked
    for.
    """

    def announce(url):
        if path is None:
            return
        document = {"url": url, "pid": os.getpid(), "release": release.id, "app": release.app}
        document["variant"] = release.variant()["name"]
        temporary = "%s.%d" % (path, os.getpid())
        with open(temporary, "w") as stream:
            stream.write(json.dumps(document, sort_keys=True) + "\n")
        os.replace(temporary, path)

    return announce


def serve(release, options):
    """Serve until SIGTERM; return (exit code, document)."""
    from es_server import Server

    path = os.path.abspath(options["announce"]) if "announce" in options else None
    address = options.get("listen") or release.service.get("listen")
    if not isinstance(address, str):
        raise CannotRun("bad-listen-address", "neither --listen nor service.json says where to listen")
    directory = os.path.dirname(path) if path else os.getcwd()
    release.kept = os.path.abspath(options["kept"]) if "kept" in options else None
    server = Server(release, address, directory, os.environ, _announcer(release, path))
    code = server.run()
    answered = sum(server.metrics.requests.values())
    reason = "stopped" if code == 0 else "stopped before every answer was out"
    return code, {"schema": "edgeship.serve/1", "release": release.id, "answered": answered, "reason": reason}


def replay_log(path):
    """Return (exit code, document) of deciding everything in a decision log once more."""
    from es_decisions import replay

    try:
        with open(path, encoding="utf-8") as lines:
            document = replay(lines)
    except (OSError, ValueError) as error:
        raise CannotRun("bad-log", "%s: %s" % (path, error))
    return (1 if document["mismatches"] else 0), document


def measure(release, name, options):
    """Return the document of `bench`."""
    seconds = _number(options, "seconds", float, 1.0)
    if "soak" in options:
        from es_soak import soak

        wanted, period = _number(options, "soak", float, 0), _number(options, "period", float, 60.0)
        return soak(release, name, wanted, period, options.get("log"))
    from es_bench import bench, bench_rungs

    runs, idle = _number(options, "runs", int, 50), _number(options, "idle", float, 0.0)
    document = bench(release, name, seconds, runs, idle)
    if "rungs" in options:
        document.update(bench_rungs(release, seconds))
    return document


def run(arguments):
    """Return (exit code, document) of a command line."""
    command, options = parse(arguments)
    if command == "replay":
        return replay_log(options["log"])
    release = load_release(options["release"], sealed=command == "serve" or "live" in options)
    if command == "simulate":
        from es_simulated import simulate

        return 0, simulate(release, options["request"])
    site = release.engine.get("site")
    if site and os.path.isdir(release.path(site)):
        sys.path.insert(1, release.path(site))
    name = options.get("variant")
    if command == "serve":
        release.choose(name)
        return serve(release, options)
    if command == "prove":
        from es_prove import prove, prove_live

        document = prove_live(release, name, options["live"]) if "live" in options else prove(release, name)
        return (1 if document["reason"] else 0), document
    if command == "record":
        from es_prove import record

        return 0, record(release, name, options["inputs"])
    if command == "bench":
        return 0, measure(release, name, options)
    if command == "figures":
        from es_figures import figures

        return 0, figures(release, name, _number(options, "seconds", float, 10.0))
    from es_litert_probe import examine

    answer, text = examine(release, release.variant(name))
    return 0, {"delegated": answer, "text": text}


def main(arguments):
    """Run a command line, print its document, return its exit code."""
    try:
        code, document = run(arguments)
    except CannotRun as error:
        code, document = 2, {"error": error.error, "reason": error.reason}
        sys.stderr.write("%s: %s\n" % (error.error, error.reason))
    except Exception as error:
        import traceback

        traceback.print_exc()
        code, document = 2, {"error": "internal-error", "reason": "%s: %s" % (type(error).__name__, error)}
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    # The worker thread may be inside the engine: leave without waiting for it or tearing modules down under
    # it.
    os._exit(main(sys.argv[1:]))
