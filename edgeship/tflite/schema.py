"""The generated Python classes of the TFLite file format, loaded on their own.

The schema that ships with `ai-edge-litert` is the one the runtime itself is built with, it is released with
every runtime, and it is pinned here already: so no second copy of some 150 operator tables, and no further
dependency. Its package, however, loads protobuf and native libraries when imported; the schema module alone
needs `flatbuffers` only. So the one file is loaded by its path (about 0.2 s the first time, nothing
afterwards).
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

from edgeship.errors import ToolError

FILE_IDENTIFIER = b"TFL3"
"""Bytes 4..7 of every `.tflite` file."""


@functools.cache
def tflite_schema() -> Any:
    """Return the module of generated classes. Raises ToolError `schema-missing` where ai-edge-litert is not
    installed."""
    return load_alone("ai_edge_litert", "schema_py_generated.py")


def load_alone(package: str, file: str) -> Any:
    """Return the module in `file` of an installed `package`, without running the package's own `__init__`."""
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / file
        if path.is_file():
            spec = importlib.util.spec_from_file_location(f"_edgeship_{package}_{path.stem}", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise ToolError(
        "schema-missing",
        f"the Python package {package} with {file} is not installed",
        hint="pip install --upgrade edgeship",
    )


def enum_names(enumeration: Any) -> dict[int, str]:
    """Return value -> name of a generated enumeration class."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
