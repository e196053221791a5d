"""What the user names in a setting, a file or `module:callable`: where it is, what it says, and a digest of it."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeship.digest import sha256_json, sha256_tree
from edgeship.errors import InputError

CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def place_of(reference: str, folder: str | None) -> Path:
    """Return the path that a reference names: from `folder` (of edgeship.yaml) where it is there, else from the current
    one."""
    first = Path(folder or ".") / reference
    here = Path(reference)
    return here if not first.exists() and here.exists() else first


def is_callable(reference: str, folder: str | None) -> bool:
    """Return whether a reference is `module:callable`, and no file called so."""
    return bool(CALLABLE.fullmatch(reference)) and not place_of(reference, folder).exists()


def imported(reference: str, folder: str | None) -> Any:
    """Return what `module:callable` names; modules in `folder` come before others. Raises whatever the module does."""
    module, _, name = reference.partition(":")
    for place in (".", folder or "."):
        if (path := str(Path(place).resolve())) not in sys.path[:2]:
            sys.path.insert(0, path)
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def callable_of(reference: str, folder: str | None, failing: str, hint: str) -> Callable[..., Any]:
    """Return the function that `module:callable` names. Raises InputError `failing` with `hint`."""
    if not CALLABLE.fullmatch(reference):
        raise InputError(failing, f"'{reference}' is no module:callable", hint=hint)
    try:
        found = imported(reference, folder)
    except Exception as error:  # whatever a module of the user's own raises
        raise InputError(failing, f"{reference} cannot be had: {words_of(error)}", hint=hint) from error
    if not callable(found):
        raise InputError(failing, f"{reference} is a {type(found).__name__}, no function", hint=hint)
    return found  # type: ignore[no-any-return]


def words_of(error: BaseException) -> str:
    """Return an error of the user's own code in a line: its type, where it was raised, what it says."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    # TensorFlow puts a trace of its own in front of what was said, and a list of calls behind it
    said = said[: next((i for i, line in enumerate(said) if line.startswith("Call arguments")), None)]
    frames = [(f.filename, str(f.lineno)) for f in traceback.extract_tb(error.__traceback__)]
    frames += [
        (str(m[1]), str(m[2])) for line in said if (m := re.match(r'File "(.+)", line (\d+), in', line))
    ]
    places = [f"{Path(name).name}, line {line}" for name, line in frames if _is_theirs(name)]
    told = said[-1] if said else "(no message)"
    if not re.match(r"[\w.]*(Error|Exception)\b", told):  # TensorFlow says it once more
        told = f"{type(error).__name__}: {told}"
    return told[:400] + (f" ({places[-1]})" if places else "")


def _is_theirs(file: str) -> bool:
    ours = str(Path(__file__).resolve().parents[1])
    return "site-packages" not in file and not file.startswith((ours, "<"))


def digest_of(reference: str, folder: str | None) -> str:
    """Return a digest of a file, or of the source of a module and of what it imports from beside it; "" of what is not
    there, or is installed."""
    if not is_callable(reference, folder):
        path = place_of(reference, folder)
        return sha256_tree(path) if path.exists() else ""
    for place in dict.fromkeys((Path(folder or "."), Path())):
        sources = sorted(_sources(place, reference.partition(":")[0], set()))
        if sources:
            return sha256_json({str(path.relative_to(place)): sha256_tree(path) for path in sources})
    return ""


def _sources(place: Path, module: str, seen: set[Path]) -> set[Path]:
    """Return the source files in `place` that importing a module reads."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        stem = place.joinpath(*parts[:depth])
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if path.is_file() and path not in seen:
                seen.add(path)
                for name in _imports(path, ".".join(path.relative_to(place).parent.parts)):
                    _sources(place, name, seen)
    return seen


def _imports(path: Path, package: str) -> Iterator[str]:
    """Yield the names of modules that a source imports; none of one that is no Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*filter(None, above), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)
