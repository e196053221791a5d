"""Worker side of `sizes.py`: the runtime says what sizes tensors have."""

from __future__ import annotations

from typing import Any

import numpy as np


def sizes(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Return `{"sizes": [...]}`: of each tensor of the main graph its shape after a run with a batch as stored, None
    where two samples disagree or it cannot be told. `payload`: `model` (path),
    `tensors` (how many the file has; kernels add their own behind)."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        payload["model"], experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    entries = interpreter.get_input_details()
    for entry in entries:
        interpreter.resize_tensor_input(entry["index"], entry["shape"])
    interpreter.allocate_tensors()
    seen = []
    for value in (0, 1):
        for entry in entries:
            interpreter.set_tensor(entry["index"], np.full(entry["shape"], value, entry["dtype"]))
        interpreter.invoke()
        details = {d["index"]: d for d in interpreter.get_tensor_details()}
        seen.append(
            [
                [int(n) for n in details[i]["shape"]] if i in details else None
                for i in range(payload["tensors"])
            ]
        )
    return {"sizes": [a if a == b else None for a, b in zip(*seen, strict=True)]}
