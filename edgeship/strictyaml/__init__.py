"""YAML read strictly, with the line of every key; pydantic's complaints turned into errors one can act on.

Two kinds of file are written by hand: target profiles and `edgeship.yaml`. Both are read here, so both refuse
the same things in the same words: a key twice, an unknown key, a wrong type, a syntax error, all with file,
key path and line, and all problems of a file at once.
"""

from edgeship.strictyaml.problems import Problem, Strict, problems_in, refuse, validate
from edgeship.strictyaml.reader import Document, KeyPath, Mark, dotted, load, parse

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
