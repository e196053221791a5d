"""Every reference that code raises has its page, every page is of one that is raised, and what pages say holds."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
import pytest

from edgeship.assets import targets_folder
from edgeship.cli.main import group
from edgeship.compress.plan import chain_of
from edgeship.profile.names import find_profile
from edgeship.quantize.recipes import RECIPES
from edgeship.references import WORD, Page, nearest, page_of, pages

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgeship"

Raised = dict[str, set[str]]
"""reference -> rooms that raise it"""


# What code raises


def families() -> set[str]:
    """Return the names of the classes of errors that have a reference, of every room that is no island."""
    found = {"EdgeshipError"}
    classes = [n for _, tree in sources() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    while more := {c.name for c in classes if {named(base) for base in c.bases} & found} - found:
        found |= more
    return found


@functools.cache
def sources() -> tuple[tuple[Path, ast.Module], ...]:
    return tuple((path, ast.parse(path.read_text())) for path in sorted(PACKAGE.rglob("*.py")))


def island_of(path: Path) -> str:
    """Return the island a file belongs to, or nothing: names on one mean nothing to another."""
    inside = path.relative_to(PACKAGE).parts
    return inside[0] if inside[0] == "runtime" else "helper" if inside[:2] == ("device", "helper") else ""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def named(node: ast.expr) -> str:
    """Return the last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def registry_kinds() -> set[str]:
    """Return what registries call the things they hold, where they are asked for what somebody typed."""
    kinds: set[str] = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and named(node.func) == "Registry":
                kinds.add(str(ast.literal_eval(node.args[0])).replace(" ", "-"))
    return kinds - {"compiler-backend"}  # a profile's schema takes no other


def yaml_kinds() -> set[str]:
    """Return the kinds of YAML files: what `KIND` is in the modules that read one."""
    return {
        str(ast.literal_eval(node.value))
        for _, tree in sources()
        for node in tree.body
        if isinstance(node, ast.Assign) and any(named(target) == "KIND" for target in node.targets)
    }


def gates_of_preflight() -> set[str]:
    """Return the first words of the gates that the checks of a device can fail."""
    found = set()
    for path, tree in sources():
        for _, call in calls(tree) if room_of(path) == "deploy" else ():
            if named(call.func) != "finding" or ast.unparse(call.args[1]) in ("'pass'", "'inconclusive'"):
                continue
            name = call.args[0].values[0] if isinstance(call.args[0], ast.JoinedStr) else call.args[0]
            found.add(str(ast.literal_eval(name)).split()[0])
    return found


def keyword_in(file: str, call: str, keyword: str) -> set[str]:
    """Return the literals that calls of one name in a file give for a keyword, or for their first argument."""
    tree = dict(sources())[PACKAGE / file]
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and named(n.func) == call]
    given = [
        next((k.value for k in c.keywords if k.arg == keyword), c.args[0] if c.args else None) for c in calls
    ]
    return {str(ast.literal_eval(value)) for value in given if value is not None}


def managers_that_can_be_missing() -> set[str]:
    """Return the kinds of the service managers that say why a device, or a release, cannot have them."""
    kinds = set()
    for path, tree in sources():
        for node in tree.body if island_of(path) == "helper" else ():
            parts = node.body if isinstance(node, ast.ClassDef) else []
            asked = [n for n in parts if isinstance(n, ast.FunctionDef) and n.name in ("missing", "lacks")]
            says = [
                r for n in asked for r in ast.walk(n) if isinstance(r, ast.Return) and r.value is not None
            ]
            if any(ast.unparse(said.value or said) != "None" for said in says):
                kinds |= {
                    str(ast.literal_eval(n.value))
                    for n in parts
                    if isinstance(n, ast.Assign) and named(n.targets[0]) == "kind"
                }
    return kinds


def replies() -> set[str]:
    """Return the codes that the helper answers with where nothing in it said no."""
    tree = dict(sources())[PACKAGE / "device/helper/main.py"]
    table = next(n.value for n in tree.body if isinstance(n, ast.Assign) and named(n.targets[0]) == "CODES")
    assert isinstance(table, ast.Dict)
    functions = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "reply_to")
    words = {str(n.value) for n in ast.walk(next(functions)) if isinstance(n, ast.Constant)}
    assert {"system", "helper-bug"} <= words
    return {str(ast.literal_eval(value)) for value in table.values} | {"system", "helper-bug"}


COMPUTED: dict[tuple[str, str], Callable[[], set[str]]] = {
    ("registry.py", "f\"unknown-{self.kind.replace(' ', '-')}\""): lambda: {f"unknown-{k}" for k in registry_kinds()},
    ("strictyaml/problems.py", "f'invalid-{kind}'"): lambda: {f"invalid-{k}" for k in yaml_kinds()},
    ("strictyaml/reader.py", "f'{kind}-not-readable'"): lambda: {f"{k}-not-readable" for k in yaml_kinds()},
    ("strictyaml/reader.py", "f'{kind}-syntax'"): lambda: {f"{k}-syntax" for k in yaml_kinds()},
    ("compile/edgetpu/driver.py", "failure.reference"): lambda: keyword_in(
        "compile/edgetpu/failures.py", "Failure", "reference"
    ),
    ("model/conversion_error.py", "numbers.reference"): lambda: keyword_in(
        "model/conversion_error.py", "Unsuited", "reference"
    ),
    ("deploy/preflight.py", "f'preflight-{bad[0].gate.name.split()[0]}'"): lambda: {
        f"preflight-{gate}" for gate in gates_of_preflight()
    },
    ("device/helper/health.py", "'no-' + wanted"): lambda: {f"no-{kind}" for kind in managers_that_can_be_missing()},
}  # fmt: skip
"""(file, expression) -> the references it can be, where it is neither a literal nor an argument."""
PASSED_ON = {
    ("model/convert.py", "own.reference"),  # of an error that was raised before
    ("deploy/refusals.py", "str(reply['code'])"),  # what the helper refused with
    ("pipeline/simulating.py", "document['error']"),  # what the bundle's own runtime said
    ("device/helper/signatures.py", "refusal.code"),  # once more, with more words
    ("device/helper/trust.py", "bad[0].code"),  # of the first signature that does not hold
}
"""Expressions that repeat a reference which is found elsewhere."""


class Finder:
    """Follows the first argument of every error of one island to the literals it can be."""

    def __init__(self, island: str, errors: set[str]) -> None:
        self.calls = {p: list(calls(tree)) for p, tree in sources() if island_of(p) == island}
        self.errors = errors
        self.met: set[tuple[str, str]] = set()
        self.unknown: list[str] = []
        self.found: Raised = defaultdict(set)
        self._asked: set[tuple[str, str, str]] = set()

    def search(self) -> Raised:
        for path, found in self.calls.items():
            for function, call in found:
                if named(call.func) in self.errors and (call.args or call.keywords):
                    self.take(path, function, argument(call, 0, ("reference", "code", "error")))
        return self.found

    def take(self, path: Path, function: Any, node: ast.expr | None) -> None:
        """Note what an expression in a function can be."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.found[node.value].add(room_of(path))
        elif isinstance(node, ast.IfExp):
            self.take(path, function, node.body)
            self.take(path, function, node.orelse)
        elif isinstance(node, ast.Name) and function and node.id in arguments(function):
            self.follow(path, function, node.id)
        elif isinstance(node, ast.Name) and (known := in_a_loop(function, node.id)):
            for value in known:
                self.found[value].add(room_of(path))
        elif isinstance(node, ast.Name) and (given := assigned(function, node.id)):
            for value in given:
                self.take(path, function, value)
        else:
            self.look_up(path, node)

    def look_up(self, path: Path, node: ast.expr | None) -> None:
        key = (str(path.relative_to(PACKAGE)), ast.unparse(node) if node else "")
        self.met.add(key)
        if key in COMPUTED:
            for value in COMPUTED[key]():
                self.found[value].add(room_of(path))
        elif key not in PASSED_ON:
            self.unknown.append(f"{key[0]}: {key[1]}")

    def follow(self, path: Path, function: Any, name: str) -> None:
        """Note what calls of a function give for an argument; a private one is called in its own file."""
        key = (str(path), function.name, name)
        if key in self._asked:
            return
        self._asked.add(key)
        before = len(self._asked), sum(map(len, self.found.values()))
        place = arguments(function).index(name)
        for other, found in self.calls.items():
            if function.name.startswith("_") and other != path:
                continue
            for caller, call in found:
                if named(call.func) == function.name:
                    self.take(other, caller, argument(call, place, (name,)))
        assert (
            len(self._asked),
            sum(map(len, self.found.values())),
        ) != before or function.name == "__init__", key


def calls(tree: ast.AST, function: Any = None) -> Iterator[tuple[Any, ast.Call]]:
    """Yield every call below a node with the function it stands in."""
    for node in ast.iter_child_nodes(tree):
        inside = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Call):
            yield inside, node
        yield from calls(node, inside)


def arguments(function: Any) -> list[str]:
    """Return the names of a function's arguments as a call gives them: without `self` and `cls`."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def argument(call: ast.Call, place: int, names: tuple[str, ...]) -> ast.expr | None:
    by_name = next((k.value for k in call.keywords if k.arg in names), None)
    return by_name if by_name is not None else call.args[place] if place < len(call.args) else None


def in_a_loop(function: Any, name: str) -> set[str]:
    """Return the literals that a name takes in a loop over rows that stand there."""
    for node in ast.walk(function) if function else ():
        if (
            isinstance(node, ast.For)
            and isinstance(node.target, ast.Tuple)
            and isinstance(node.iter, ast.Tuple)
        ):
            names = [named(target) for target in node.target.elts]
            if name in names:
                return {str(row[names.index(name)]) for row in ast.literal_eval(node.iter)}
    return set()


def assigned(function: Any, name: str) -> list[ast.expr]:
    """Return what a function assigns to a name."""
    found = (n for n in ast.walk(function) if isinstance(n, ast.Assign)) if function else ()
    return [n.value for n in found if [named(target) for target in n.targets] == [name]]


ERRORS = {"": families(), "runtime": {"CannotRun"}, "helper": {"Refusal"}}
"""island -> the classes of its errors that have a reference"""


@functools.cache
def finders() -> tuple[Finder, ...]:
    found = tuple(Finder(island, errors) for island, errors in ERRORS.items())
    for finder in found:
        finder.search()
    return found


@functools.cache
def raised() -> Raised:
    whole: Raised = defaultdict(set)
    for finder in finders():
        for reference, rooms in finder.found.items():
            whole[reference] |= rooms
    for reference in replies():
        whole[reference].add("device")
    for rooms in whole.values():  # what others raise for them, and who shows what the helper refused with
        rooms |= {"quantize", "score", "toolchain"} if "registry" in rooms else set()
        rooms |= {"deploy"} if "device" in rooms else set()
    return whole


def test_every_reference_that_code_raises_can_be_told() -> None:
    assert not [said for finder in finders() for said in finder.unknown]
    assert all(WORD.fullmatch(reference) for reference in raised())
    assert len(raised()) > 300


def test_what_is_computed_is_still_there() -> None:
    met = set().union(*(finder.met for finder in finders()))
    assert set(COMPUTED) | PASSED_ON <= met
    assert all(references() for references in COMPUTED.values())


def test_every_reference_has_a_page() -> None:
    missing = {
        reference: sorted(rooms) for reference, rooms in raised().items() if page_of(reference) is None
    }
    assert not missing, f"{len(missing)} references without a page: {missing}"


def test_every_page_is_of_a_reference_of_its_room() -> None:
    """The file is that of a room that raises it; a pattern stands for what no page of its own does."""
    for page in pages().values():
        rooms = [raised()[r] for r in raised() if fnmatchcase(r, page.reference) and page_of(r) is page]
        assert rooms, f"{page.room}.md: nothing raises {page.reference}"
        assert any(page.room in r for r in rooms), f"{page.reference} of {page.room}.md is raised by {rooms}"


def test_no_reference_has_two_pages() -> None:
    headings = [h for path in files() for h in re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)]
    assert sorted(headings) == sorted(pages()) and len(headings) == len(set(headings))


def files() -> list[Path]:
    return sorted((PACKAGE / "references").glob("*.md"))


# What pages say

FORM = re.compile(
    r"## (?P<reference>[a-z0-9*-]+)\n\n(?P<meaning>(?:[^\n]+\n)+(?:\n(?:[^\n]+\n)+)*?)\n"
    r"It happens when\n(?P<when>- .*?\n)\nWhat to do\n(?P<what>- .*?\n)(?:\nSee also (?P<also>[^\n].*?)\.\n)?",
    re.DOTALL,
)
EVERY = pytest.mark.parametrize("page", pages().values(), ids=lambda page: page.reference)


@EVERY
def test_page_has_the_form(page: Page) -> None:
    form = FORM.fullmatch(page.text)
    assert form, page.text
    lines = page.text.splitlines()
    assert max(map(len, lines)) <= 100 and 6 <= len(lines) <= 60
    assert not [line for line in lines if line != line.rstrip() or "\t" in line]
    assert re.match(r"[A-Z`'*0-9]|edgeship", page.summary) and 20 <= len(page.summary) <= 260


@EVERY
def test_what_a_page_refers_to_is_there(page: Page) -> None:
    form = FORM.fullmatch(page.text)
    assert form
    for word in re.findall(r"`([^`]+)`", form["also"] or ""):
        assert page_of(word) or word in raised(), word
    for name in re.findall(r"(?<![\w./~-])((?:docs|examples|edgeship|targets)/[\w./-]*\w)", page.text):
        assert (ROOT / name).exists(), name


def commands(text: str) -> list[str]:
    """Return the command lines of a page: lines of code, and words of code that are more than the name of a verb."""
    code = [block.replace("\\\n", " ") for block in re.findall(r"(?:^ {4,}\S.*\n)+", text, re.MULTILINE)]
    lines = [line.strip() for block in code for line in block.splitlines()]
    inline = [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", re.sub(r"^ {4,}.*$", "", text))]
    whole = [words for words in inline if not re.fullmatch(r"edgeship( [a-z]+){0,2}", words)]
    return [line for line in (*lines, *whole) if re.match(r"(\$ |sudo |[A-Z_]+=\S+ )*edgeship( |$)", line)]


def words_of(line: str) -> list[str]:
    """Return the words behind `edgeship` up to where the shell does something else."""
    reader = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    reader.whitespace_split = True
    reader.commenters = "#"
    words = list(reader)
    words = words[words.index("edgeship") + 1 :]
    end = next((k for k, word in enumerate(words) if set(word) <= set("|&;<>()")), len(words))
    return words[:end]


def parse(words: list[str]) -> None:
    """Have the verb's own parser read a command line. Raises click.UsageError, or EdgeshipError of an unknown verb."""
    command: click.Command = group
    context = click.Context(group, info_name="edgeship")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(context, list(words))
        assert found
        command, context = found, click.Context(found, info_name=found.name, parent=context)
    if "--help" in words or "--version" in words:
        return
    read = command.make_context(command.name, filled(command, words), parent=context.parent)
    for name in read.params.get("recipes") or ():
        RECIPES.resolve(name)
    for name in read.params.get("targets") or ():
        assert name.isupper() or find_profile(name, folders=(targets_folder(),)), name
    for text in read.params.get("methods") or ():
        assert text.isupper() or chain_of(text, seed=0), text


def filled(command: click.Command, words: list[str]) -> list[str]:
    """Return the words with something in place of `N` where an option takes a number, and a file where it reads one."""
    numbers, read = set(), set()
    for option in command.params:
        names = {*option.opts, *option.secondary_opts}
        if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
            numbers |= names
        elif isinstance(option.type, click.Path) and option.type.exists:
            read |= names
    return [
        "9" if before in numbers and re.fullmatch(r"[A-Z]+", word) else __file__ if before in read else word
        for before, word in zip(["", *words], words, strict=False)
    ]


@EVERY
def test_commands_of_a_page_are_read_by_their_verbs(page: Page) -> None:
    for line in commands(page.text):
        try:
            parse(words_of(line))
        except Exception as error:
            pytest.fail(f"{line}: {error}")


@pytest.mark.parametrize(
    "line",
    ["edgeship biuld model.keras", "edgeship build model.keras --no-such-option", "edgeship deploy a b --host h",
     "edgeship target probe", "edgeship keys policy --host pi@board --unsigned maybe",
     "edgeship build m --max-kb much", "edgeship build m --recipe int9", "edgeship build m -t raspbery-pi-5",
     "edgeship compress m -t host --method prun-50"],
)  # fmt: skip
def test_a_command_that_no_verb_takes_would_be_found(line: str) -> None:
    assert commands(f"text\n\n      {line}\n") == [line]
    with pytest.raises(
        Exception, match=r"no command|such option|unexpected|Missing|maybe|much|int9|raspbery|prun-50"
    ):
        parse(words_of(line))


def test_command_lines_are_found_whole() -> None:
    assert commands("x\n\n      edgeship build a \\\n        --target host\n") == [
        "edgeship build a          --target host"
    ]
    assert words_of("edgeship status --host pi@b  # now") == ["status", "--host", "pi@b"]
    assert words_of("edgeship keys new && edgeship keys show") == ["keys", "new"]
    parse(words_of("edgeship build model.keras --target T --max-kb K --recipe int8"))


def test_nearest_are_spelled_alike() -> None:
    assert nearest("bad-usge")[0] == "bad-usage" and nearest("BAD-USAGE")[0] == "bad-usage"
    assert nearest("zzzzzz") == [] and page_of("bad-usage ") is None and page_of("../cli") is None


def test_a_summary_is_the_first_sentence() -> None:
    for text, summary in [
        ("A. B\nc.", "A."),
        ("The file x.npz has two\nlines. edgeship reads one.", "The file x.npz has two lines."),
        ("It takes these:\n\n- a", "It takes these."),
    ]:
        assert Page(reference="a", room="b", text=f"## a\n\n{text}\n\nIt happens when\n").summary == summary
