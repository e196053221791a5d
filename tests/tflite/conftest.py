"""What tests of the file format ask about a `.tflite`: what it computes, and with which operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.tflite.flat import parse

Array = np.ndarray[Any, Any]


@pytest.fixture
def operations() -> Callable[[bytes], list[str]]:
    """Return a function: the names of a file's operations, in order."""
    return lambda content: [op.op for op in parse(Path("m.tflite"), content, "").main.operators]


@pytest.fixture
def run() -> Callable[[bytes, Array], Array]:
    """Return a function: the first output of LiteRT for an input."""

    def call(content: bytes, x: Array) -> Array:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))

    return call
