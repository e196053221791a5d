"""The command line: parse, call the pipeline, show. `docs/cli.md` is its contract."""


def main() -> None:
    """Run the command line and exit with its status (docs/cli.md)."""
    from edgeship.cli.main import run

    raise SystemExit(run())
