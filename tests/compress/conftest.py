"""What tests of compression share: small models of every kind, and what LiteRT makes of them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def nets() -> ModuleType:
    """The module that builds small float models of the kinds that people have."""
    spec = importlib.util.spec_from_file_location("compress_nets", Path(__file__).with_name("nets.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compress_nets"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def steps() -> ModuleType:
    """The module that makes the work of one step that needs no training."""
    spec = importlib.util.spec_from_file_location(
        "rounding_work", Path(__file__).with_name("rounding_work.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def answers() -> Callable[..., list[Array]]:
    """Return a function: all outputs of a model for random inputs of a seed, by LiteRT."""

    def call(content: bytes, seed: int = 1) -> list[Array]:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        random = np.random.default_rng(seed)
        for told in interpreter.get_input_details():
            value = random.random(told["shape"]) * (1 if told["dtype"] == np.float32 else 8)
            interpreter.set_tensor(told["index"], value.astype(told["dtype"]))
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(told["index"])) for told in interpreter.get_output_details()]

    return call
