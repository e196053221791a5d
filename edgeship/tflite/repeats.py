"""Pixels that are repeated, as one RESIZE_NEAREST_NEIGHBOR instead of RESHAPE, TILE, RESHAPE, TILE, RESHAPE.

Keras 3 writes its UpSampling layers and `ops.repeat` as tiles of five axes, which no accelerator maps and the
quantizer does not know; the resize is what Keras 2 wrote, and both take it. Every operation here only moves
values, so whether the two are one and the same is found out, not assumed: the chain is run on the numbers
0, 1, 2, ... and compared with the repetition, place by place. Works on the object form of the flatbuffer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.schema import enum_names

REPEATS = frozenset({"TILE", "BROADCAST_TO"})
"""What repeats values; a chain without one of these is left alone."""
MOVES = REPEATS | {"RESHAPE", "EXPAND_DIMS", "SQUEEZE"}
LARGEST = 1 << 24
"""Values of a chain that is still run to find out what it does: some hundred milliseconds and 128 MB."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enlargement:
    """A repetition: `height` x `width` pixels of `depth` values, each pixel `tall` x `wide` times."""

    height: int
    width: int
    depth: int
    tall: int
    wide: int

    @property
    def before(self) -> list[int]:
        return [1, self.height, self.width, self.depth]

    @property
    def after(self) -> list[int]:
        return [1, self.height * self.tall, self.width * self.wide, self.depth]


def resize_repeats(model: Any, schema: Any) -> int:
    """Replace every chain of the main graph that repeats pixels by a resize; return how many were replaced.

    A chain that repeats anything else (channels, one pixel, whole pictures) stays as it is.
    """
    graph = model.subgraphs[0]
    names = enum_names(schema.BuiltinOperator)
    named = {
        id(op): names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
        for op in graph.operators
        for code in (model.operatorCodes[op.opcodeIndex],)
    }
    replaced = 0
    for chain in list(_chains(graph, named)):
        parts = list(_parts(chain, named))
        # First what needs no RESHAPE around it: a picture that becomes a picture.
        tries = [(part, plain) for plain in (True, False) for part in parts]
        for part, plain in tries:
            found = _enlargement(model, graph, part, named, schema, plain=plain)
            if found is not None:
                _replace(model, schema, part, found)
                replaced += 1
                break
    return replaced


def _chains(graph: Any, named: dict[int, str]) -> Iterator[list[Any]]:
    """Yield every longest run of moves in which each result is read by the next operation alone."""
    readers: dict[int, list[Any]] = {}
    makers = {int(i): op for op in graph.operators for i in op.outputs}
    for op in graph.operators:
        for i in op.inputs:
            readers.setdefault(int(i), []).append(op)
    shown = {int(i) for i in graph.outputs}

    def follower(op: Any) -> Any:
        made = int(op.outputs[0])
        behind = readers.get(made, [])
        alone = len(behind) == 1 and made not in shown and int(behind[0].inputs[0]) == made
        return behind[0] if alone and named[id(behind[0])] in MOVES else None

    for op in graph.operators:
        if named[id(op)] not in MOVES:
            continue
        before = makers.get(int(op.inputs[0]))
        if before is not None and named[id(before)] in MOVES and follower(before) is op:
            continue
        chain = [op]
        while (behind := follower(chain[-1])) is not None:
            chain.append(behind)
        yield chain


def _parts(chain: list[Any], named: dict[int, str]) -> Iterator[list[Any]]:
    """Yield the parts of a chain that hold all its repetitions, the longest first."""
    places = [n for n, op in enumerate(chain) if named[id(op)] in REPEATS]
    if places:
        for start in range(places[0] + 1):
            for end in range(len(chain), places[-1], -1):
                yield chain[start:end]


def _enlargement(
    model: Any, graph: Any, part: list[Any], named: dict[int, str], schema: Any, *, plain: bool
) -> Enlargement | None:
    """Return what a chain does where that is the repetition of pixels, found by running it on indices.

    `plain`: of a picture that stays one, in both directions; else of rows of any array.
    """
    source, target = graph.tensors[part[0].inputs[0]], graph.tensors[part[-1].outputs[0]]
    tensors = [graph.tensors[op.outputs[0]] for op in part]
    floats = (schema.TensorType.FLOAT32,)
    if any(_open(t) or t.type not in floats for t in (source, *tensors)):
        return None
    old, new = _shape(source), _shape(target)
    if not 0 < max(math.prod(_shape(t)) for t in (source, *tensors)) <= LARGEST:
        return None
    wanted = [e for e in (_picture if plain else _rows)(old, new) if _kernel_repeats(e)]
    if not wanted:
        return None
    moved: Indices = np.arange(math.prod(old), dtype=np.int64).reshape(old)
    for op, tensor in zip(part, tensors, strict=True):
        done = _moved(moved, op, tensor, named[id(op)], model, graph)
        if done is None or list(done.shape) != _shape(tensor):
            return None
        moved = done
    for found in wanted:
        pixels = np.arange(math.prod(old), dtype=np.int64).reshape(found.before)
        repeated = np.repeat(np.repeat(pixels, found.tall, axis=1), found.wide, axis=2)
        if np.array_equal(repeated.reshape(-1), moved.reshape(-1)):
            return found
    return None


def _picture(old: list[int], new: list[int]) -> Iterator[Enlargement]:
    """Yield what enlarges a picture of shape `old` to one of shape `new`."""
    if not (len(old) == len(new) == 4 and old[0] == new[0] == 1 and old[3] == new[3]):
        return
    (height, width), (tall, wide) = old[1:3], new[1:3]
    # One pixel spread over many is no picture, and accelerators do not take it.
    if old != new and tall % height == 0 and wide % width == 0 and (height, width) != (1, 1):
        yield Enlargement(height=height, width=width, depth=old[3], tall=tall // height, wide=wide // width)


def _rows(old: list[int], new: list[int]) -> Iterator[Enlargement]:
    """Yield what may repeat rows of an array of shape `old` so that it has as many values as `new`."""
    times, rest = divmod(math.prod(new), math.prod(old))
    for axis in range(len(old) - 1):
        height, depth = math.prod(old[: axis + 1]), math.prod(old[axis + 1 :])
        if rest == 0 and times > 1 and height > 1 and depth > 1:
            yield Enlargement(height=height, width=1, depth=depth, tall=times, wide=1)


def _kernel_repeats(found: Enlargement) -> bool:
    """Return whether the kernel's float32 arithmetic finds each pixel: floor(place * (old size / new size))."""
    for size, times in ((found.height, found.tall), (found.width, found.wide)):
        scale = np.float32(size) / np.float32(size * times)
        places = np.arange(size * times)
        seen = np.floor(places.astype(np.float32) * scale).astype(np.int64).clip(0, size - 1)
        if not np.array_equal(seen, places // times):
            return False
    return True


def _moved(values: Indices, op: Any, tensor: Any, name: str, model: Any, graph: Any) -> Indices | None:
    """Return what one operation makes of the indices, None where that is only known when it runs."""
    if name in ("RESHAPE", "EXPAND_DIMS", "SQUEEZE"):
        shape = _shape(tensor)
        return values.reshape(shape) if math.prod(shape) == values.size else None
    times = graph.tensors[op.inputs[1]]
    data = model.buffers[times.buffer].data
    if data is None or len(data) == 0 or times.isVariable:
        return None
    if name == "TILE":
        kinds = {4: np.int32, 8: np.int64}
        kind = kinds.get(len(data) // max(values.ndim, 1))
        counts = None if kind is None else np.frombuffer(bytes(bytearray(data)), kind).tolist()
        if counts is None or len(counts) != values.ndim or values.size * math.prod(counts) > LARGEST:
            return None
        return np.tile(values, counts)
    try:
        return np.broadcast_to(values, _shape(tensor))
    except ValueError:
        return None


def _replace(model: Any, schema: Any, part: list[Any], found: Enlargement) -> None:
    """Put RESHAPE (where the shape differs), RESIZE_NEAREST_NEIGHBOR and RESHAPE in the place of a chain."""
    graph = model.subgraphs[0]
    source, target = int(part[0].inputs[0]), int(part[-1].outputs[0])
    base = bytes(graph.tensors[target].name or b"repeated")
    kind = graph.tensors[target].type
    made: list[Any] = []
    given, result = source, target
    if _shape(graph.tensors[source]) != found.before:
        given = _tensor(model, schema, base + b"/pixels", kind, found.before)
        made.append(_reshape(model, schema, source, given, found.before, base + b"/pixels_shape"))
    if _shape(graph.tensors[target]) != found.after:
        result = _tensor(model, schema, base + b"/resized", kind, found.after)
    size = _constant(model, schema, base + b"/size", found.after[1:3])
    resize, options = schema.OperatorT(), schema.ResizeNearestNeighborOptionsT()
    resize.opcodeIndex = operator_code(model, schema, schema.BuiltinOperator.RESIZE_NEAREST_NEIGHBOR)
    resize.inputs, resize.outputs = [given, size], [result]
    resize.builtinOptionsType = schema.BuiltinOptions.ResizeNearestNeighborOptions
    resize.builtinOptions = options
    made.append(resize)
    if result != target:
        shape = _shape(graph.tensors[target])
        made.append(_reshape(model, schema, result, target, shape, base + b"/shape"))
    place = next(n for n, op in enumerate(graph.operators) if op is part[-1])
    gone = {id(op) for op in part}
    graph.operators = [
        op
        for n, old in enumerate(graph.operators)
        for op in ((made if n == place else []) if id(old) in gone else [old])
    ]


def _reshape(model: Any, schema: Any, source: int, target: int, shape: list[int], name: bytes) -> Any:
    reshape, options = schema.OperatorT(), schema.ReshapeOptionsT()
    options.newShape = shape
    reshape.opcodeIndex = operator_code(model, schema, schema.BuiltinOperator.RESHAPE)
    reshape.inputs, reshape.outputs = [source, _constant(model, schema, name, shape)], [target]
    reshape.builtinOptionsType, reshape.builtinOptions = schema.BuiltinOptions.ReshapeOptions, options
    return reshape


def _tensor(model: Any, schema: Any, name: bytes, kind: int, shape: list[int]) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape = name, kind, shape
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def _constant(model: Any, schema: Any, name: bytes, values: list[int]) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array(values, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    index = _tensor(model, schema, name, schema.TensorType.INT32, [len(values)])
    model.subgraphs[0].tensors[index].buffer = len(model.buffers) - 1
    return index


def operator_code(model: Any, schema: Any, number: int) -> int:
    """Return the operator code of an operation in version 1, added where the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == 1:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _shape(tensor: Any) -> list[int]:
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


def _open(tensor: Any) -> bool:
    return tensor.shapeSignature is not None and any(size < 0 for size in tensor.shapeSignature)
