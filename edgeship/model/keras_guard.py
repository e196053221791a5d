"""What keeps tf_keras from running what a model file brings along. Worker side.

Keras 3 has a safe mode for every format. tf_keras has none for `.h5` and SavedModels, and imports whatever
module a config names. Refusing there, at the few places where a config becomes code, holds for every format
and however deep a layer is nested; reading the configs ourselves would have to follow each of them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

PACKAGES = ("keras", "tf_keras", "builtins")
"""Packages of which a config may name a class or function; beside them TensorFlow's operations."""
OPERATIONS = "tensorflow.python.ops."
REACHES_OUT = re.compile(
    r"(^|\.)(io|gfile|saved_model|data|train|summary|profiler|raw_ops|models|saving|utils|callbacks|datasets|"
    r"preprocessing|py_function|py_func|numpy_function|load_library|load_op_library|__internal__)(\.|$)"
)
"""Names of TensorFlow's interface that read, write or load; arithmetic is not among them."""


class CodeInModel(ValueError):
    """A config asks for code that is not Keras's own arithmetic."""


@contextmanager
def no_code_of_the_file(ours: Container[str] = ()) -> Iterator[list[str]]:
    """Refuse, within the block, what would run code out of a model file or reach beyond the model.

    `ours` are names that stand for classes of edgeship's own, whatever module a config says they are of.
    Yields a list that takes one line for each refusal: tf_keras catches and rewords errors as it likes. Where
    tf_keras is not built as known here this raises AttributeError or ImportError: better no model than an
    unguarded one.
    """
    from tf_keras.src.layers.core import tf_op_layer
    from tf_keras.src.saving import serialization_lib
    from tf_keras.src.utils import generic_utils

    refused: list[str] = []
    find, symbol = serialization_lib._retrieve_class_or_fn, tf_op_layer.get_symbol_from_name

    def refuse(why: str) -> None:
        refused.append(why)
        raise CodeInModel(why)

    def load_code(*_: Any, **__: Any) -> None:
        refuse("a Lambda layer: Python code inside the file")

    def find_known(name: str, registered_name: Any, module: Any, *rest: Any, **more: Any) -> Any:
        where = str(module or "builtins")
        foreign = where.partition(".")[0] not in PACKAGES and not where.startswith(OPERATIONS)
        if foreign and registered_name not in ours:
            raise CodeInModel(f"Could not locate class '{name}'. Its module is {where}")
        return find(name, registered_name, module, *rest, **more)

    def pure_symbol(name: str) -> Any:
        if REACHES_OUT.search(name):
            refuse(f"a call of tf.{name}, which reaches beyond the model")
        return symbol(name)

    with ExitStack() as stack:
        for owner, attribute, guard in (
            (generic_utils, "func_load", load_code),
            (serialization_lib, "_retrieve_class_or_fn", find_known),
            (tf_op_layer, "get_symbol_from_name", pure_symbol),
        ):
            stack.callback(setattr, owner, attribute, getattr(owner, attribute))
            setattr(owner, attribute, guard)
        yield refused
