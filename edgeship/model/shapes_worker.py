"""Worker side of shapes that a `.tflite` leaves out: the runtime says what they are."""

from __future__ import annotations

from typing import Any


def output_shapes(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Return `{"shapes": [...]}`: the shape of each output of `payload["model"]` once its tensors are allocated."""
    from ai_edge_litert.interpreter import Interpreter

    report("asking the runtime for the shapes of the outputs")
    interpreter = Interpreter(model_path=payload["model"], num_threads=1)
    interpreter.allocate_tensors()
    return {"shapes": [[int(n) for n in o["shape"]] for o in interpreter.get_output_details()]}
