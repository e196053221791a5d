"""One YAML file as plain values, with the line of every key.

Scalars follow YAML 1.2's core schema, not 1.1: `no` and `on` are words, `1e-3` is a number, `12:30` is text.
"""

from __future__ import annotations

import functools
import math
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from edgeship.errors import InputError
from edgeship.strictyaml.document import Document, KeyPath, Mark, dotted

NODE_LIMIT = 20_000
"""A hand-written file never has this many values; one that has is made of aliases that multiply."""
NUMBER_LIMIT = 40
"""Characters of a number."""


def read_text(path: Path, *, shown: str, kind: str) -> str:
    """Return a file's text; `shown` names the file in errors, `kind` (kebab-case) what it is.

    Raises InputError `<kind>-not-readable`.
    """
    what = kind.replace("-", " ")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{kind}-not-readable",
            f"{shown}: this is not UTF-8 text (byte {error.start})",
            context={"file": path, "wanted": f"a {what} in YAML"},
            hint=f"file {path}",
        ) from None
    except OSError as error:
        raise InputError(
            f"{kind}-not-readable",
            f"{shown}: cannot read this {what}: {error.strerror or error}",
            context={"file": path},
            hint=f"ls -l {shlex.quote(str(path))}",
        ) from None


@functools.lru_cache(maxsize=256)
def parse(text: str, *, shown: str, kind: str) -> Document:
    """Return the document in `text`, not to be changed. An empty text is an empty mapping.

    The same text is parsed once: a command asks for the same bases again and again.

    Raises InputError `<kind>-syntax` with line and column: not YAML, not one mapping, a key twice, a key
    that is not text, an alias inside itself.
    """
    loader: _Loader | None = None
    try:
        if (document := _at_once(text, shown)) is not None:
            return document
        loader = _Loader(text)
        return _document(loader.get_single_node(), shown)
    except _Refused as refused:
        raise _syntax_error(kind, shown, refused.reason, refused.mark) from None
    except RecursionError:
        raise _syntax_error(kind, shown, "lists and keys are nested too deeply", None) from None
    except yaml.reader.ReaderError as error:
        reason = f"character #x{error.character:04x} at position {error.position} is not allowed in YAML"
        raise _syntax_error(kind, shown, reason, None) from None
    except yaml.MarkedYAMLError as error:
        reason = " ".join(filter(None, [error.problem, f"({error.context})" if error.context else None]))
        raise _syntax_error(kind, shown, reason, error.problem_mark or error.context_mark) from None
    finally:
        if loader is not None:
            loader.dispose()


def _at_once(text: str, shown: str) -> Document | None:
    """Return the document as libyaml reads it, in a tenth of the time; None where it is not there or finds a fault.

    What is wrong, and where, PyYAML's own reader tells.
    """
    if _FastLoader is None:
        return None
    loader = _FastLoader(text)
    try:
        return _document(loader.get_single_node(), shown)
    except (_Refused, RecursionError, yaml.YAMLError, UnicodeError):
        return None
    finally:
        loader.dispose()


def _document(node: yaml.Node | None, shown: str) -> Document:
    if node is None:
        return Document(file=shown, value={})
    if not isinstance(node, yaml.MappingNode):
        raise _Refused("expected keys and values at the top of the file", node.start_mark)
    reader = _Reader(shown)
    return Document(file=shown, value=reader.mapping(node, ()), marks=reader.marks)


def load(path: Path, *, shown: str | None = None, kind: str) -> Document:
    """Return the YAML mapping in a file: `parse` of `read_text`, with the same errors."""
    name = shown or str(path)
    return parse(read_text(path, shown=name, kind=kind), shown=name, kind=kind)


class _Refused(Exception):
    def __init__(self, reason: str, mark: yaml.Mark) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mark = mark


def _syntax_error(kind: str, shown: str, reason: str, mark: yaml.Mark | None) -> InputError:
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    context = {}
    if mark and (snippet := mark.get_snippet(indent=0, max_length=100)):
        context["text"] = snippet.splitlines()[0].strip()
    return InputError(
        f"{kind}-syntax",
        f"{shown}: {reason}{where}",
        context=context,
        hint=f"correct line {mark.line + 1} of {shown}; text with ': ' or ' #' in it needs quotes"
        if mark
        else None,
    )


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, plus merge keys (`<<`)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name


_DIGITS = list("-+.0123456789")
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), _DIGITS)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    _DIGITS,
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"), ["<"])


def _fast_loader() -> Any:
    """Return a loader on libyaml with the same scalars; None where PyYAML was built without."""
    if not yaml.__with_libyaml__:
        return None
    resolvers = {"yaml_implicit_resolvers": _Loader.yaml_implicit_resolvers}
    return type("_FastLoader", (yaml.CSafeLoader,), resolvers)


_FastLoader = _fast_loader()


class _Reader:
    """Builds plain values from YAML nodes and notes where each was written."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.marks: dict[KeyPath, Mark] = {}
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > NODE_LIMIT:
            raise _Refused(f"more than {NODE_LIMIT} values: aliases multiply here", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._tag(node, "seq")
            self._enter(node)
            items = []
            for index, item in enumerate(node.value):
                here = (*path, index)
                self.marks[here] = self._mark(item)
                items.append(self.value(item, here))
            self._open.discard(id(node))
            return tuple(items)
        return self._scalar(node)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._tag(node, "map")
        self._enter(node)
        result: dict[str, Any] = {}
        own: dict[str, yaml.Node] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            key = self._key(key_node)
            if key in own:
                first = own[key].start_mark.line + 1
                raise _Refused(
                    f"{dotted((*path, key))}: this key stands here twice, first in line {first}",
                    key_node.start_mark,
                )
            own[key] = key_node
        for other in merged:
            if not isinstance(other, yaml.MappingNode):
                raise _Refused("'<<' takes a mapping", other.start_mark)
            for key, item in self.mapping(other, path).items():
                result.setdefault(key, item)
        for key_node, value_node in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge":
                here = (*path, self._key(key_node))
                self._forget_below(here)
                self.marks[here] = self._mark(key_node)
                result[self._key(key_node)] = self.value(value_node, here)
        self._open.discard(id(node))
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        tag, text = self._tag(node), str(node.value)
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if tag in ("int", "float") and len(text) > NUMBER_LIMIT:
            raise _Refused(f"a number of {len(text)} characters is too long", node.start_mark)
        try:
            if tag == "int":
                return int(text)
            if tag == "float" and math.isfinite(number := float(text)):
                return number
        except ValueError:
            raise _Refused(f"'{text}' is not a number", node.start_mark) from None
        if tag == "float":
            raise _Refused(f"{text} is too large for a number", node.start_mark)
        wanted = "is not true or false" if tag == "bool" else f"has the tag !!{tag}, which is not used here"
        raise _Refused(f"'{text}' {wanted}", node.start_mark)

    def _tag(self, node: yaml.Node, *wanted: str) -> str:
        """Return the kind of a node: one of YAML's own, and of `wanted` where given."""
        prefix, _, kind = str(node.tag).rpartition(":")
        if prefix != "tag:yaml.org,2002":
            raise _Refused(f"the tag {node.tag} is not used here", node.start_mark)
        if wanted and kind not in wanted:
            raise _Refused(f"the tag !!{kind} is not used here", node.start_mark)
        return kind

    def _key(self, node: yaml.Node) -> str:
        value = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(value, str):
            seen = f"; found {value!r}: put it in quotes" if value is not None else ""
            raise _Refused(f"a key must be text{seen}", node.start_mark)
        return value

    def _enter(self, node: yaml.Node) -> None:
        if id(node) in self._open:
            raise _Refused("an alias may not stand inside what it names", node.start_mark)
        self._open.add(id(node))

    def _forget_below(self, path: KeyPath) -> None:
        """Drop the marks of a merged-in value that is written again here."""
        for known in [p for p in self.marks if p[: len(path)] == path]:
            del self.marks[known]

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(file=self.shown, line=node.start_mark.line + 1)
