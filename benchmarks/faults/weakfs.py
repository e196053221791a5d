"""A weak model of a file system: what may be on disk after a power cut, given the system calls that were made.

Un-fsynced contents may be old, new, torn or zero; every un-fsynced change of a folder may be there or not, alone. A
rename within one folder happens whole or not at all; between two folders each half may be lost. Stronger file systems
show fewer states than this one.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LINE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)(?:<.*>)?(?: .*)?$", re.S)
MOST = 96
"""Crash states looked at for one point; where there would be more, the extremes and a seeded draw of the others."""


@dataclass(eq=False)
class File:
    """A file's content now, and the one that is certain to be on disk."""

    data: bytes = b""
    durable: bytes = b""

    def faces(self) -> list[bytes]:
        """Return what a crash may leave of it."""
        if self.data == self.durable:
            return [self.data]
        half = len(self.data) // 2
        torn = self.data[:half] + self.durable[half:]
        return list(dict.fromkeys([self.durable, self.data, torn, b"\0" * len(self.data)]))


@dataclass(eq=False)
class Link:
    """A symbolic link."""

    target: str


@dataclass(eq=False)
class Folder:
    """A folder's names now, the certain ones, and the changes in between: each a tuple of (name, node or None)."""

    names: dict[str, Any] = field(default_factory=dict)
    durable: dict[str, Any] = field(default_factory=dict)
    pending: list[tuple[tuple[str, Any], ...]] = field(default_factory=list)

    def change(self, *changes: tuple[str, Any]) -> None:
        """Change names now; a crash may lose all of this together."""
        _apply(self.names, changes)
        self.pending.append(changes)

    def sync(self) -> None:
        """Make every name certain."""
        self.durable = dict(self.names)
        self.pending = []


def _apply(names: dict[str, Any], changes: tuple[tuple[str, Any], ...]) -> None:
    for name, node in changes:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def load(path: Path) -> Folder:
    """Return a folder of this machine as a durable one; hard links stay one file."""
    seen: dict[int, File] = {}

    def read(at: Path) -> Any:
        if at.is_symlink():
            return Link(str(at.readlink()))
        if at.is_dir():
            names = {entry.name: read(entry) for entry in at.iterdir()}
            return Folder(names, dict(names))
        number = at.stat().st_ino
        if number not in seen:
            content = at.read_bytes()
            seen[number] = File(content, content)
        return seen[number]

    found = read(path)
    assert isinstance(found, Folder)
    return found


class Replay:
    """Carries recorded calls out on the model."""

    def __init__(self, root: Path, top: Folder) -> None:
        self.root, self.top = str(root), top
        self.open: dict[int, tuple[Any, int]] = {}
        self.unknown: set[str] = set()

    def walk(self, path: str) -> tuple[Folder, str] | None:
        """Return (folder, last name) of a path below the root, or None for any other."""
        path = os.path.normpath(path)
        if not path.startswith(self.root + "/"):
            return None
        *folders, last = path[len(self.root) + 1 :].split("/")
        at: Any = self.top
        for name in folders:
            at = at.names.get(name)
            if isinstance(at, Link):
                return None
            assert isinstance(at, Folder), path
        return at, last

    def node(self, path: str) -> Any:
        """Return what a path below the root names, or None."""
        if os.path.normpath(path) == self.root:
            return self.top
        found = self.walk(path)
        return found[0].names.get(found[1]) if found else None

    def step(self, line: str) -> bool:
        """Carry one recorded call out; return whether it changed anything on the model."""
        match = LINE.match(line)
        if not match or int(match[3]) < 0:
            return False
        name, arguments, result = match[1], _split(match[2]), int(match[3])
        carry = getattr(self, "do_" + name, None)
        if carry is None:
            return False
        return bool(carry(arguments, result))

    def do_openat(self, arguments: list[str], result: int) -> bool:
        path = _path(arguments[0], arguments[1])
        self.open.pop(result, None)
        node, changed = self.node(path), False
        if node is None and "O_CREAT" in arguments[2] and (at := self.walk(path)):
            node = File()
            at[0].change((at[1], node))
            changed = True
        if isinstance(node, File) and "O_TRUNC" in arguments[2] and node.data:
            node.data = b""
            changed = True
        if node is not None:
            self.open[result] = (node, len(node.data) if "O_APPEND" in arguments[2] else 0)
        return changed

    def do_close(self, arguments: list[str], _result: int) -> bool:
        self.open.pop(_descriptor(arguments[0]), None)
        return False

    def do_write(self, arguments: list[str], result: int) -> bool:
        return self._put(_descriptor(arguments[0]), _text(arguments[1])[:result], None)

    def do_pwrite64(self, arguments: list[str], result: int) -> bool:
        return self._put(_descriptor(arguments[0]), _text(arguments[1])[:result], int(arguments[3]))

    def _put(self, number: int, data: bytes, at: int | None) -> bool:
        if number not in self.open:
            return False
        node, position = self.open[number]
        start = position if at is None else at
        node.data = node.data[:start].ljust(start, b"\0") + data + node.data[start + len(data) :]
        if at is None:
            self.open[number] = (node, start + len(data))
        return True

    def do_ftruncate(self, arguments: list[str], _result: int) -> bool:
        if (found := self.open.get(_descriptor(arguments[0]))) is None:
            return False
        size, before = int(arguments[1]), found[0].data
        found[0].data = before[:size].ljust(size, b"\0")
        return bool(found[0].data != before)

    def do_fsync(self, arguments: list[str], _result: int) -> bool:
        if (found := self.open.get(_descriptor(arguments[0]))) is None:
            return False
        node = found[0]
        if isinstance(node, Folder):
            node.sync()
        else:
            node.durable = node.data
        return True

    def do_mkdir(self, arguments: list[str], _result: int) -> bool:
        return self._name(_path("AT_FDCWD", arguments[0]), Folder())

    def do_symlink(self, arguments: list[str], _result: int) -> bool:
        return self._name(_path("AT_FDCWD", arguments[1]), Link(_text(arguments[0]).decode()))

    def do_link(self, arguments: list[str], _result: int) -> bool:
        return self._name(_path("AT_FDCWD", arguments[1]), self.node(_path("AT_FDCWD", arguments[0])))

    def do_linkat(self, arguments: list[str], _result: int) -> bool:
        source = self.node(_path(arguments[0], arguments[1]))
        return self._name(_path(arguments[2], arguments[3]), source)

    def do_unlink(self, arguments: list[str], _result: int) -> bool:
        return self._name(_path("AT_FDCWD", arguments[0]), None)

    do_rmdir = do_unlink

    def do_unlinkat(self, arguments: list[str], _result: int) -> bool:
        return self._name(_path(arguments[0], arguments[1]), None)

    def _name(self, path: str, node: Any) -> bool:
        if (at := self.walk(path)) is None:
            return False
        at[0].change((at[1], node))
        return True

    def do_rename(self, arguments: list[str], _result: int) -> bool:
        source, target = (self.walk(_path("AT_FDCWD", word)) for word in arguments[:2])
        if source is None or target is None:
            return False
        node = source[0].names[source[1]]
        if source[0] is target[0]:
            source[0].change((source[1], None), (target[1], node))
        else:
            target[0].change((target[1], node))
            source[0].change((source[1], None))
        return True


def _split(text: str) -> list[str]:
    """Return a call's arguments; commas inside strings do not part them."""
    parts, part, quoted, escaped = [], "", False, False
    for char in text:
        if char == "," and not quoted:
            parts.append(part.strip())
            part = ""
            continue
        part += char
        quoted ^= char == '"' and not escaped
        escaped = char == "\\" and not escaped
    return [*parts, part.strip()]


def _text(argument: str) -> bytes:
    """Return the bytes of a quoted argument."""
    if not argument.endswith('"'):
        raise ValueError(f"a string was cut off in the recording: {argument[-40:]}")
    found = ast.literal_eval("b" + argument)
    assert isinstance(found, bytes)
    return found


def _descriptor(argument: str) -> int:
    return int(argument.partition("<")[0])


def _path(folder: str, name: str) -> str:
    """Return a path argument; one that is relative to a folder's descriptor is put behind that folder's path."""
    text = _text(name).decode()
    if not text.startswith("/") and "<" in folder:
        text = folder.partition("<")[2].removesuffix(">").removesuffix(" (deleted)") + "/" + text
    return text


# --- crash states ---

Tree = dict[str, Any]


def crash_states(top: Folder, seed: int) -> Iterator[Tree]:
    """Yield what may be on disk if the power went now: path -> File content with identity, link target, or None."""
    folders = list(_folders(top))
    groups = [(folder, index) for folder in folders for index in range(len(folder.pending))]
    files = [node for node in _files(folders) if len(node.faces()) > 1]
    options = [2] * len(groups) + [len(node.faces()) for node in files]
    for choice in _choices(options, seed):
        lost = {group for group, pick in zip(groups, choice, strict=False) if pick == 0}
        faces = {
            id(node): node.faces()[pick] for node, pick in zip(files, choice[len(groups) :], strict=True)
        }
        yield dict(_tree(top, "", lost, faces))


def _choices(options: list[int], seed: int) -> Iterator[tuple[int, ...]]:
    """Yield picks, one an option list; all of them where they are few."""
    count = 1
    for number in options:
        count *= number
        if count > MOST:
            break
    if count <= MOST:
        yield from itertools.product(*(range(number) for number in options))
        return
    least, most = tuple(0 for _ in options), tuple(min(number - 1, 1) for number in options)
    seen = {least, most}
    yield from (least, most)
    draw = random.Random(seed)
    singles = [(*base[:index], pick, *base[index + 1 :]) for base in (least, most)
               for index, number in enumerate(options) for pick in range(number)]  # fmt: skip
    draw.shuffle(singles)
    randoms = (tuple(draw.randrange(number) for number in options) for _ in range(MOST))
    for choice in itertools.chain(singles[: MOST // 2], randoms):
        if choice not in seen and len(seen) < MOST:
            seen.add(choice)
            yield choice


def _folders(top: Folder) -> Iterator[Folder]:
    """Yield every folder that is, or may again be, below `top`."""
    todo, seen = [top], {id(top)}
    while todo:
        folder = todo.pop()
        yield folder
        nodes = [*folder.durable.values(), *folder.names.values()]
        nodes += [node for group in folder.pending for _, node in group]
        for node in nodes:
            if isinstance(node, Folder) and id(node) not in seen:
                seen.add(id(node))
                todo.append(node)


def _files(folders: list[Folder]) -> list[File]:
    """Return every file in these folders, once."""
    found: dict[int, File] = {}
    for folder in folders:
        nodes = [*folder.durable.values(), *(node for group in folder.pending for _, node in group)]
        found.update({id(node): node for node in nodes if isinstance(node, File)})
    return list(found.values())


def _tree(folder: Folder, path: str, lost: set[Any], faces: dict[int, bytes]) -> Iterator[tuple[str, Any]]:
    names = dict(folder.durable)
    for index, group in enumerate(folder.pending):
        if (folder, index) not in lost:
            _apply(names, group)
    for name, node in sorted(names.items()):
        at = f"{path}/{name}" if path else name
        if isinstance(node, Folder):
            yield at, None
            yield from _tree(node, at, lost, faces)
        elif isinstance(node, Link):
            yield at, node.target
        else:
            yield at, (id(node), faces.get(id(node), node.data))


def digest(tree: Tree) -> str:
    """Return what names a tree: two with the same are the same on disk."""
    numbers: dict[int, int] = {}
    whole = hashlib.sha256()
    for path, node in tree.items():
        if isinstance(node, tuple):
            number = numbers.setdefault(node[0], len(numbers))
            whole.update(f"{path}\0f{number}\0".encode() + hashlib.sha256(node[1]).digest())
        else:
            whole.update(f"{path}\0{node}\0".encode())
    return whole.hexdigest()


def write(tree: Tree, root: Path) -> None:
    """Make a tree real below `root`, hard links included."""
    root.mkdir(parents=True)
    first: dict[int, Path] = {}
    for path, node in tree.items():
        at = root / path
        if node is None:
            at.mkdir()
        elif isinstance(node, str):
            at.symlink_to(node)
        elif node[0] in first:
            at.hardlink_to(first[node[0]])
        else:
            at.write_bytes(node[1])
            first[node[0]] = at
