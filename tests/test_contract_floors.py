"""The floor contract: a file imports only from floors below its own; rooms on one floor do not import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgeship"

FLOORS: dict[str, float] = {
    "lazy": -1, "values": 0, "printable": 0, "shape": 0, "digest": 0, "pareto": 0, "progress": 0, "whole": 0,
    "errors": 0.05, "registry": 0.1, "references": 0.2, "strictyaml": 0.2,
    "profile": 1, "project": 1, "assets": 1, "toolchain": 1,
    "data": 2, "tflite": 2,
    "model": 2.5,
    "quantize": 3, "score": 3, "compress": 3, "compile": 3,
    "bundle": 4,
    "remote": 5, "device": 5,
    "deploy": 6,
    "fleet": 7,
    "pipeline": 8, "cli": 9, "report": 9, "pages": 9, "demo": 9, "__main__": 9,
}  # fmt: skip
HELD_TOGETHER = {
    ("cli", "report"),
    ("cli", "pages"),
    ("cli", "demo"),
    ("demo", "report"),
    ("__main__", "cli"),
}
"""On the top floor the command line may use the rooms beside it; nothing may use the command line."""

HEAVY = {
    "tensorflow", "tf_keras", "keras", "tflite_support", "ai_edge_litert", "ai_edge_quantizer",
    "tensorflow_model_optimization", "sklearn", "ethosu", "matplotlib",
}  # fmt: skip
HEAVY_HOMES: set[str] = set()
"""Modules (dotted, below edgeship) that only ever run inside a worker process and may import heavy tools at the top."""


def files() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_assets" not in p.parts)


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.AST) -> set[tuple[str, bool]]:
    """Return (dotted name, stands at module level) for every import in a file."""
    found: set[tuple[str, bool]] = set()
    top = {id(n) for n in getattr(tree, "body", [])}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, id(node) in top) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add((node.module, id(node) in top))
            if node.module == "edgeship":
                found |= {(f"edgeship.{alias.name}", id(node) in top) for alias in node.names}
    return found


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_file_keeps_to_its_floor(path: Path) -> None:
    own = room(path)
    island = own == "runtime" or "helper" in path.parts
    broken: list[str] = []
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and node.level and not island), (
            f"{path}: relative import"
        )
    for name, at_top in imports(tree):
        if at_top and name.split(".")[0] in HEAVY:
            dotted = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            if dotted not in HEAVY_HOMES and not island:
                broken.append(f"imports {name} at module level: heavy tools belong in worker functions")
        if not name.startswith("edgeship."):
            continue
        other = name.split(".")[1]
        if island:
            broken.append(f"is on an island and imports {name}")
        elif other == "runtime":
            broken.append(f"imports the island ({name})")
        elif other == own or own == "__init__" or other == "__version__":
            continue
        elif other not in FLOORS:
            broken.append(f"imports {name}, which has no floor")
        elif FLOORS[other] >= FLOORS[own] and (own, other) not in HELD_TOGETHER:
            broken.append(f"is on floor {FLOORS[own]} and imports {name} of floor {FLOORS[other]}")
    assert not broken, f"{path.relative_to(ROOT)}: " + "; ".join(sorted(broken))


def test_no_circle_of_imports_inside_a_room() -> None:
    modules = {module_of(path): path for path in files()}
    uses = {
        name: {m for asked in asked_for(path) if (m := nearest(asked, modules)) and m != name}
        for name, path in modules.items()
    }
    circles = [
        circle for name in sorted(uses) if (circle := way_back(name, uses)) and circle[0] == min(circle)
    ]
    assert not circles, "circles of imports: " + "; ".join(" -> ".join(c) for c in circles)


def module_of(path: Path) -> str:
    """Return the dotted name of a file; a package's own file is named like its folder."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def asked_for(path: Path) -> set[str]:
    """Return every dotted name that a file imports, from modules and the names in them; type hints do not count."""
    tree = ast.parse(path.read_text())
    hints = {id(n) for c in ast.walk(tree) if isinstance(c, ast.If) and "TYPE_CHECKING" in ast.dump(c.test)
             for n in ast.walk(c)}  # fmt: skip
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level and id(node) not in hints:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def nearest(name: str, modules: dict[str, Path]) -> str | None:
    """Return the module that a dotted name is, or stands in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def way_back(start: str, uses: dict[str, set[str]]) -> list[str] | None:
    """Return a way of imports from a module back to itself, or None."""
    ways, seen = [[start]], set()
    while ways:
        way = ways.pop()
        for after in sorted(uses[way[-1]]):
            if after == start:
                return way
            if after not in seen:
                seen.add(after)
                ways.append([*way, after])
    return None


def test_every_room_has_a_floor() -> None:
    rooms = {room(p) for p in files()} - {"__init__", "runtime", "_assets"}
    assert rooms <= set(FLOORS), f"rooms without a floor: {sorted(rooms - set(FLOORS))}"


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_one_noun(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines: there are two nouns in it"
