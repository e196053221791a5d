"""Strict YAML: what is text, what is a number, what is refused, and that nothing typed ends in a traceback."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeship.errors import InputError
from edgeship.strictyaml import Document, parse


def read(text: str) -> Document:
    return parse(text, shown="f.yaml", kind="project")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        ("0o17", "0o17"),
        ("010", 10),
        ("-3", -3),
        ("1e-3", 0.001),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("1.2.3", "1.2.3"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("'5'", "5"),
        ("[1, [a]]", (1, ("a",))),
        ("{b: 1}", {"b": 1}),
    ],
)
def test_scalars(text: str, value: object) -> None:
    got = read(f"a: {text}\n").value["a"]
    assert got == value and type(got) is type(value)


def test_marks_name_lines() -> None:
    document = read("a:\n  b: 1\n  c:\n    - x\n    - y\n")
    assert str(document.mark(("a", "c", 1))) == "f.yaml:5"
    assert document.mark(("a", "zzz")).line == 1, "the nearest value around it"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 1\nb: 2\na: 3\n", "a: this key stands here twice, first in line 1 (line 3, column 1)"),
        ("a:\n  b: 1\n  b: 2\n", "a.b: this key stands here twice, first in line 2 (line 3, column 3)"),
        ("- 1\n", "expected keys and values at the top of the file (line 1, column 1)"),
        ("just text", "expected keys and values at the top of the file"),
        ("1: a\n", "a key must be text; found 1: put it in quotes"),
        ("[a]: 1\n", "a key must be text"),
        ("a: &x [*x]\n", "an alias may not stand inside what it names"),
        ("a: *nowhere\n", "found undefined alias 'nowhere'"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not used here"),
        ("a: !secret x\n", "the tag !secret is not used here"),
        ("a:\n\t- 1\n", "cannot start any token"),
        ("a: b: c\n", "mapping values are not allowed here (line 1, column 5)"),
        ("a: 'x\n", "found unexpected end of stream"),
        ("a: [1\n", "expected ',' or ']'"),
        ("a: 1\n---\nb: 2\n", "but found another document"),
        ("a: \x00\n", "character #x0000 at position 3 is not allowed in YAML"),
        ("a: {<<: 5}\n", "'<<' takes a mapping"),
        ("a: !!int x\n", "'x' is not a number"),
        ("a: !!float x\n", "'x' is not a number"),
        ("a: 1e999\n", "1e999 is too large for a number"),
        ("a: !!bool x\n", "'x' is not true or false"),
        ("a: " + "9" * 5000, "is too long"),
    ],
)
def test_refused(text: str, wanted: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    rendered = caught.value.render()
    assert rendered.startswith("error: project-syntax\n  f.yaml: ") and wanted in rendered


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{c}: &{c} [{', '.join([f'*{p}'] * 10)}]" for p, c in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(InputError, match="aliases multiply here"):
        read("\n".join(lines))


def test_deep_nesting_is_stopped() -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        read("a: " + "[" * 5000 + "]" * 5000)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!<>|#'\"\n \t01.e~%@`\\\u2028\x85é", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(read(text).value, dict)
    except InputError as error:
        assert error.reference == "project-syntax" and error.render()
