"""A float model looked at as if it were quantized to int8: types changed, scales left open, nothing computed."""

from __future__ import annotations

from dataclasses import replace

from edgeship.model.tflite import Tensor, TfliteFile

BIAS_POSITION = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}


def is_float(model: TfliteFile) -> bool:
    """Return whether no tensor that an operation makes is quantized."""
    made = [model.main.tensors[i] for o in model.main.operators for i in o.outputs if i >= 0]
    return any(t.dtype == "float32" for t in made) and not any(
        t.dtype in ("int8", "uint8", "int16") for t in made
    )


def as_int8(model: TfliteFile) -> TfliteFile:
    """Return the model with int8 in place of float32 and int32 biases; shapes, options and everything else the same."""
    graph = model.main
    biases = {
        o.inputs[position]
        for o in graph.operators
        if (position := BIAS_POSITION.get(o.op)) is not None and position < len(o.inputs)
    }

    def changed(tensor: Tensor) -> Tensor:
        if tensor.dtype != "float32":
            return tensor
        return replace(tensor, dtype="int32" if tensor.index in biases else "int8", quantization=None)

    main = replace(graph, tensors=tuple(changed(t) for t in graph.tensors))
    return replace(model, subgraphs=(main, *model.subgraphs[1:]))
