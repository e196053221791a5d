"""Pixels that tiles repeat become one resize that means the same to the bit; whatever else is tiled stays."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.tflite.flat import parse
from edgeship.tflite.normalise import normalised
from edgeship.tflite.repeats import Enlargement, _kernel_repeats


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def run(content: bytes, x: np.ndarray[Any, Any], output: int = 0) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[output]["index"]))


def chained(
    builder: Any, shape: list[int], steps: list[tuple[str, list[int]]], shown: int | None = None
) -> bytes:
    """Return ABS, the steps and ABS: RESHAPE and BROADCAST_TO by their shape, TILE by its multiples.

    `shown` makes the result of that step an output, too.
    """
    x, current = builder.tensor("x", shape), builder.tensor("before", shape)
    builder.op("ABS", [x], [current])
    outputs = []
    for number, (name, values) in enumerate(steps):
        held = builder.tensor(f"values{number}", [len(values)], "INT32", data=ints(*values))
        after = [a * b for a, b in zip(shape, values, strict=True)] if name == "TILE" else values
        made = builder.tensor(f"step{number}", after)
        builder.op(name, [current, held], [made])
        builder.codes[-1].version = 2 if name == "BROADCAST_TO" else 1
        current, shape = made, after
        if shown == number:
            outputs.append(made)
    y = builder.tensor("y", shape)
    builder.op("ABS", [current], [y])
    return bytes(builder.build([x], [y, *outputs]))


KERAS = [
    ("RESHAPE", [1, 3, 1, 2, 5]), ("TILE", [1, 1, 2, 1, 1]), ("RESHAPE", [1, 6, 2, 1, 5]), ("TILE", [1, 1, 1, 4, 1]),
    ("RESHAPE", [1, 6, 8, 5]),
]  # fmt: skip
"""Keras 3's UpSampling2D((2, 4)) of 3 x 2 pixels."""
BROADCAST = [
    ("RESHAPE", [1, 3, 1, 2, 1, 5]), ("BROADCAST_TO", [1, 3, 2, 2, 2, 5]), ("RESHAPE", [1, 6, 4, 5]),
]  # fmt: skip
"""The same by broadcasting, as PyTorch's exporters write it."""


@pytest.mark.parametrize(
    ("shape", "steps", "operations"),
    [
        ([1, 3, 2, 5], KERAS, ["RESIZE_NEAREST_NEIGHBOR"]),
        ([1, 3, 2, 5], BROADCAST, ["RESIZE_NEAREST_NEIGHBOR"]),
        ([1, 4, 3], [("RESHAPE", [1, 4, 1, 3]), ("TILE", [1, 1, 2, 1]), ("RESHAPE", [1, 8, 3])],
         ["RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "RESHAPE"]),
        ([1, 3, 2, 5], [*KERAS[:2], ("RESHAPE", [1, 6, 2, 5])], ["RESIZE_NEAREST_NEIGHBOR"]),
    ],
    ids=["keras-2d", "broadcast", "1d", "height-alone"],
)  # fmt: skip
def test_repeated_pixels_become_a_resize(
    builder: Any, shape: list[int], steps: list[Any], operations: list[str]
) -> None:
    content = chained(builder, shape, steps)
    after = normalised(content)
    graph = parse(Path("m"), after, "").main
    assert [op.op for op in graph.operators] == ["ABS", *operations, "ABS"]
    resize = next(op for op in graph.operators if op.op == "RESIZE_NEAREST_NEIGHBOR")
    assert resize.version == 1
    assert not resize.options.get("align_corners") and not resize.options.get("half_pixel_centers")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.array_equal(run(after, x), run(content, x))
    assert normalised(after) == after


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        ([1, 3, 2, 5], [("TILE", [1, 2, 2, 1])]),
        ([1, 3, 2, 5], [("RESHAPE", [1, 3, 2, 5, 1]), ("TILE", [1, 1, 1, 1, 2]), ("RESHAPE", [1, 3, 2, 10])]),
        ([1, 8], [("RESHAPE", [1, 1, 8]), ("TILE", [1, 5, 1])]),
        ([1, 1, 1, 5], [("TILE", [1, 4, 4, 1])]),
        ([1, 3, 2, 5], [("TILE", [1, 1, 1, 1])]),
    ],
    ids=["tiled-pictures", "channels", "repeat-vector", "one-pixel", "nothing"],
)
def test_other_tiles_stay_as_they_are(builder: Any, shape: list[int], steps: list[Any]) -> None:
    content = chained(builder, shape, steps)
    assert normalised(content) == content


def test_what_others_read_is_still_made(builder: Any) -> None:
    """The height's repetition is an output: the two are resized one after the other."""
    content = chained(builder, [1, 3, 2, 5], KERAS, shown=1)
    after = normalised(content)
    graph = parse(Path("m"), after, "").main
    assert [op.op for op in graph.operators].count("RESIZE_NEAREST_NEIGHBOR") == 2
    assert [graph.tensors[i].shape for i in graph.outputs] == [(1, 6, 8, 5), (1, 3, 2, 2, 5)]
    x = np.random.default_rng(0).normal(size=(1, 3, 2, 5)).astype(np.float32)
    assert np.array_equal(run(after, x, 0), run(content, x, 0))
    assert np.array_equal(run(after, x, 1), run(content, x, 1))


def test_sizes_that_the_kernels_arithmetic_misses_are_left_alone() -> None:
    """float32: 41 times one of 49 pixels; the kernel would show a neighbour somewhere."""
    missed = [
        (size, times)
        for size in range(2, 60)
        for times in range(2, 60)
        if not _kernel_repeats(Enlargement(height=size, width=1, depth=1, tall=times, wide=1))
    ]
    assert all(times > 8 for _, times in missed), missed
    for size, times in missed[:3]:
        places = np.floor(
            np.arange(size * times, dtype=np.float32) * (np.float32(size) / np.float32(size * times))
        )
        assert not np.array_equal(places.astype(int), np.arange(size * times) // times)
