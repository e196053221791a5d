"""Where results go: stdout, which may be full or gone."""

from __future__ import annotations

import click


class OutputLost(Exception):
    """A result was made and could not be written to stdout."""


def emit(text: str) -> None:
    """Print a result. Raises OutputLost where stdout cannot take it; a reader who left (`| head`) is no error."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(f"the result could not be written to stdout: {error.strerror}") from None
