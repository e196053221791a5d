"""YAML read strictly, with the line of every key; pydantic's complaints turned into errors one can act on.

Two kinds of file are written by hand: target profiles and `edgeship.yaml`. Both are read here, so both refuse
the same things in the same words: a key twice, an unknown key, a wrong type, a syntax error, all with file,
key path and line, and all problems of a file at once.
"""

from typing import TYPE_CHECKING

from edgeship import lazy
from edgeship.strictyaml.document import Document, KeyPath, Mark, dotted

if TYPE_CHECKING:
    from edgeship.strictyaml.problems import Problem, Strict, problems_in, refuse, validate
    from edgeship.strictyaml.reader import load, parse

__all__ = [
    "Document",
    "KeyPath",
    "Mark",
    "Problem",
    "Strict",
    "dotted",
    "load",
    "parse",
    "problems_in",
    "refuse",
    "validate",
]

__getattr__ = lazy.names(
    __name__,
    {
        **dict.fromkeys(("load", "parse"), "edgeship.strictyaml.reader"),
        # pydantic comes with these
        **dict.fromkeys(
            ("Problem", "Strict", "problems_in", "refuse", "validate"), "edgeship.strictyaml.problems"
        ),
    },
)
