"""The command line: parse, call the pipeline, show. `docs/cli.md` is its contract."""

import signal


def main() -> None:
    """Run the command line and exit with its status (docs/cli.md).

    SIGTERM (a service manager, a job that is cancelled) and SIGHUP (a terminal that is closed) end it as Ctrl-C
    does: devices are left safe, workers and temporary files do not outlive it. What was told to be ignored, as by
    nohup, stays ignored.
    """
    from edgeship.cli.main import run

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    raise SystemExit(run())
