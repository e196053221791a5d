"""Which reference `edgeship explain` is asked for, and how its page, or the list of all, is shown."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource

from edgeship.cli import common
from edgeship.errors import InputError
from edgeship.references import WORD, Page, nearest, page_of, pages

TAKEN = ("model", "list_all", "as_json", "quiet")
"""Parameters that a reference goes with."""


def page_asked_for(word: str) -> Page | None:
    """Return the page of a word that is a reference and no file; None where a model is meant.

    Raises InputError `bad-usage` for options that are for models, `model-not-found` where the word is neither.
    """
    if not WORD.fullmatch(word) or os.path.lexists(word):
        return None
    page = page_of(word)
    if page is None:
        raise _neither(word)
    _refuse_options(f"'{word}' is the reference of an error, and no file", f"edgeship explain {word}")
    return page


def _neither(word: str) -> InputError:
    """Return the error for a word that is no file and has no page, with what is spelled like it."""
    near, beside = nearest(word), sorted(path.name for path in Path().glob("[!.]*"))
    return InputError(
        "model-not-found",
        f"'{word}' is neither a model nor the reference of an error",
        context={
            "file": word,
            **({"beside it": ", ".join(beside[:8])} if beside else {}),
            **({"references": ", ".join(near)} if near else {}),
        },
        hint=f"edgeship explain {near[0]}" if near else "edgeship explain --list",
    )


def show_page(page: Page, *, as_json: bool) -> int:
    """Show one page; return the exit status."""
    common.show(
        page.text.rstrip("\n"),
        lambda: {
            "schema": "edgeship.reference/1",
            "reference": page.reference,
            "room": page.room,
            "summary": page.summary,
            "text": page.text,
        },
        as_json=as_json,
    )
    return 0


def show_list(word: str | None, *, as_json: bool) -> int:
    """Show every reference with the first sentence of its page; return the exit status."""
    if word:
        raise InputError("bad-usage", "--list lists all references", hint=f"edgeship explain {word}")
    _refuse_options("--list lists the references of errors", "edgeship explain --list")
    known = pages()
    width = max(map(len, known), default=0)
    common.show(
        "\n".join(f"{name:<{width}}  {page.summary}" for name, page in known.items()),
        lambda: {
            "schema": "edgeship.references/1",
            "references": [{"reference": name, "summary": page.summary} for name, page in known.items()],
        },
        as_json=as_json,
    )
    return 0


def _refuse_options(why: str, hint: str) -> None:
    """Raise InputError `bad-usage` where options were typed that say how a model is explained."""
    context = click.get_current_context()
    typed = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in TAKEN
        and parameter.name
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if typed:
        raise InputError("bad-usage", f"{why}: {', '.join(typed)} is for models", hint=hint)
