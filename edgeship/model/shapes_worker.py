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


def resized_shapes(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Return `{"shapes": {tensor: shape}}` of the main graph once the inputs have `payload["sizes"]` {tensor: sizes}.

    The model is run once on zeros: only then are the tensors known whose sizes are computed inside.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    report("asking the runtime which sizes follow from those of the inputs")
    interpreter = Interpreter(
        model_path=payload["model"],
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    for index, sizes in payload["sizes"].items():
        interpreter.resize_tensor_input(int(index), sizes, strict=True)
    interpreter.allocate_tensors()
    for entry in interpreter.get_input_details():
        interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
    interpreter.invoke()
    return {
        "shapes": {str(t["index"]): [int(n) for n in t["shape"]] for t in interpreter.get_tensor_details()}
    }
