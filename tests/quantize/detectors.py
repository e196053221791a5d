"""Small float detectors made without TensorFlow: boxes and scores of eight places, joined as exports join them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

PLACES, BOX, CLASSES = 8, 4, 3
FORMS = ("joined", "transposed", "nested", "levels", "scaled after", "two joins", "stacked")
ALIKE = ("shares", "inside")


def detector(
    tiny: ModuleType, path: Path, form: str, *, pixels: float = 640.0, pictures: bool = False
) -> Path:
    """Write dense layers over four numbers that end as `form` says; return `path`.

    Boxes are 0..`pixels` (in "shares" and before "scaled after" 0..1), scores 0..1; `[1, 8, 7]` unless said
    otherwise. `pictures`: in place of the four numbers pictures of 8 x 8 are its input.
    """
    random = np.random.default_rng(3)
    build = tiny.Builder()
    entry = x = build.tensor("x", [1, 8, 8, 3] if pictures else [1, 4])

    def constant(name: str, values: Any, kind: str = "FLOAT32") -> int:
        held = np.asarray(values, np.float32 if kind == "FLOAT32" else np.int32)
        return int(build.tensor(name, list(held.shape), held, kind=kind))

    def shape(name: str, source: int, sizes: list[int]) -> int:
        made = int(build.tensor(name, sizes))
        options = schema.ReshapeOptionsT()
        options.newShape = sizes
        build.operation("RESHAPE", [source, constant(f"{name}_shape", sizes, "INT32")], [made], options)
        return made

    if pictures:
        flat_x, x = shape("flat_x", entry, [1, 192]), int(build.tensor("four", [1, 4]))
        mixed = constant("four_w", random.normal(size=(4, 192)) / 1800)
        build.operation("FULLY_CONNECTED", [flat_x, mixed, -1], [x], schema.FullyConnectedOptionsT())

    def shares(name: str, columns: int, places: int = PLACES) -> int:
        weights = constant(f"{name}_w", random.normal(size=(places * columns, 4)))
        dense, share = (int(build.tensor(f"{name}_{n}", [1, places * columns])) for n in ("dense", "share"))
        build.operation("FULLY_CONNECTED", [x, weights, -1], [dense], schema.FullyConnectedOptionsT())
        build.operation("LOGISTIC", [dense], [share])
        return shape(name, share, [1, places, columns])

    def times(name: str, source: int, by: Any) -> int:
        made = int(build.tensor(name, build.graph.tensors[source].shape))
        build.operation("MUL", [source, constant(f"{name}_by", by)], [made], schema.MulOptionsT())
        return made

    def joined(name: str, parts: list[int], axis: int) -> int:
        sizes = list(build.graph.tensors[parts[0]].shape)
        sizes[axis] = sum(build.graph.tensors[p].shape[axis] for p in parts)
        made = int(build.tensor(name, sizes))
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        build.operation("CONCATENATION", parts, [made], options)
        return made

    def boxes(name: str, columns: int = BOX, places: int = PLACES) -> int:
        return times(f"{name}_px", shares(name, columns, places), [pixels])

    if form == "joined":
        y = joined("y", [boxes("boxes"), shares("scores", CLASSES)], 2)
    elif form == "transposed":
        inner = joined("inner", [boxes("boxes"), shares("scores", CLASSES)], 2)
        y = int(build.tensor("y", [1, BOX + CLASSES, PLACES]))
        order = constant("order", [0, 2, 1], "INT32")
        build.operation("TRANSPOSE", [inner, order], [y], schema.TransposeOptionsT())
    elif form == "nested":
        inner = joined("inner", [boxes("boxes"), shares("sure", 1)], 2)
        y = joined("y", [inner, shares("scores", CLASSES - 1)], 2)
    elif form == "levels":
        levels = [joined(f"l{k}", [boxes(f"b{k}", places=4), shares(f"s{k}", CLASSES, 4)], 2) for k in (1, 2)]
        y = shape("y", joined("both", levels, 1), [1, PLACES, BOX + CLASSES])
    elif form == "scaled after":
        inner = joined("inner", [shares("boxes", BOX), shares("scores", CLASSES)], 2)
        y = times("y", inner, [pixels] * BOX + [1.0] * CLASSES)
    elif form == "two joins":
        corners = joined("corners", [boxes("xy", 2), boxes("wh", 2)], 2)
        y = joined("y", [corners, shares("scores", CLASSES)], 2)
    elif form == "stacked":
        parts = [boxes("boxes", 1), shares("scores", 1)]
        flat = [shape(f"flat{k}", part, [1, PLACES]) for k, part in enumerate(parts)]
        y = int(build.tensor("y", [1, PLACES, 2]))
        options = schema.PackOptionsT()
        options.valuesCount, options.axis = 2, 2
        build.operation("PACK", flat, [y], options)
    elif form == "shares":
        y = joined("y", [shares("boxes", BOX), shares("scores", CLASSES)], 2)
    else:
        assert form == "inside"
        inner = joined("inner", [boxes("boxes"), shares("scores", CLASSES)], 2)
        flat = shape("flat", inner, [1, PLACES * (BOX + CLASSES)])
        weights = constant("last_w", random.normal(size=(3, PLACES * (BOX + CLASSES))))
        y = int(build.tensor("y", [1, 3]))
        build.operation("FULLY_CONNECTED", [flat, weights, -1], [y], schema.FullyConnectedOptionsT())
    return Path(build.write(path, [entry], [y]))
