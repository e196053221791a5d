"""Where results go: stdout, which may be full or gone."""

from __future__ import annotations

import click

from edgeship.printable import printable


class OutputLost(Exception):
    """A result was made and could not be written to stdout."""


def emit(text: str) -> None:
    """Print a result, control characters written out. Raises OutputLost where stdout cannot take it; a reader who left
    (`| head`) is no error."""
    try:
        click.echo(printable(text))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(f"the result could not be written to stdout: {error.strerror}") from None


def tell(text: str) -> None:
    """Print what is no result, to stderr, control characters written out."""
    click.echo(printable(text), err=True)
