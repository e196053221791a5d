"""A smaller file: `without(coupling, stays)` leaves channels out of every tensor, constant and option they are in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.coupling import Coupling
from edgeship.compress.lanes import Masks, Places
from edgeship.errors import InputError
from edgeship.tflite.buffers import drop_unused
from edgeship.tflite.cost import macs, operator_macs, parameters
from edgeship.tflite.flat import parse
from edgeship.tflite.precision import NUMERIC
from edgeship.tflite.refit import cannot_be_moved, packed, unpacked

Stays = NDArray[np.bool_]
"""Of every group, whether it stays."""


Values = Mapping[tuple[int, int], NDArray[Any]]
"""(operation, position among its inputs) -> another value of that constant, in the shape that it has at first."""


def masks_of(coupling: Coupling, stays: Stays) -> Masks:
    """Return what tells of atoms whether they stay."""
    told = np.append(stays, True)  # group -1, which always stays, is the last
    return lambda atoms: told[coupling.group[atoms]]


def without(coupling: Coupling, stays: Stays, *, values: Values | None = None) -> bytes:
    """Return the file without the groups that do not stay; the very same bytes where all do.

    Names, signatures and metadata stay; so does the order of operations. `values` are other ones of constants,
    before anything is left out of them. Ranges of activations that training left in
    the file are taken out, as they are those of the whole model; limits of weights are cut with their channels. Raises
    InputError `tflite-cannot-be-moved`.
    """
    if bool(stays.all()) and not values:
        return coupling.file.content
    return _cut(coupling, stays, values or {})


def _cut(coupling: Coupling, stays: Stays, values: Values) -> bytes:
    file = coupling.file
    if cannot_be_moved(file):
        raise InputError(
            "tflite-cannot-be-moved",
            "constants stand behind the end of the .tflite, or metadata numbers its operations: it stays in one piece",
            context={"model": file.path},
            hint="convert it again from the model that it was made of: edgeship inspect MODEL says what is read",
        )
    masks = masks_of(coupling, stays)
    model, schema = unpacked(file.content)
    graph = model.subgraphs[0]
    for index, lane in coupling.lanes.items():
        tensor, size = graph.tensors[index], int(masks(lane.atoms).sum())
        tensor.shape = _resized(tensor.shape, lane.axis, size)
        if tensor.shapeSignature is not None and len(tensor.shapeSignature):
            tensor.shapeSignature = _resized(tensor.shapeSignature, lane.axis, size)
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.quantization is not None and (data is None or not len(data)):
            tensor.quantization = None
    for change in coupling.changes:
        setattr(graph.operators[change.operator].builtinOptions, change.field, change.value(masks))
    _write_constants(coupling, masks, values, model, schema)
    drop_unused(model)
    return packed(model, schema, file.content)


def _resized(shape: Any, axis: int, size: int) -> list[int]:
    return [size if a == axis and held >= 0 else int(held) for a, held in enumerate(shape)]


def _write_constants(coupling: Coupling, masks: Masks, values: Values, model: Any, schema: Any) -> None:
    """Give every constant what is left of it; where users of one constant need different parts, each a copy."""
    file, graph = coupling.file, model.subgraphs[0]
    wanted: dict[tuple[int, int], NDArray[Any]] = {}
    taken: dict[tuple[int, int], dict[int, NDArray[np.bool_]]] = {}
    for cut in coupling.cuts:
        taken.setdefault((cut.operator, cut.position), {})[cut.axis] = masks(cut.atoms)
    for rewrite in coupling.rewrites:
        wanted[rewrite.operator, rewrite.position] = rewrite.value(masks)
    made: dict[int, list[tuple[bytes, int]]] = {}
    for op in file.main.operators:
        inputs = list(op.inputs)
        for position, index in enumerate(op.inputs):
            tensor = file.main.tensors[index] if index >= 0 else None
            if tensor is None or not tensor.has_data:
                continue
            place, parts = (op.index, position), taken.get((op.index, position), {})
            key = b"".join(
                bytes([axis]) + mask.tobytes() for axis, mask in sorted(parts.items()) if not mask.all()
            )
            if place in wanted:
                key = wanted[place].tobytes()
            elif place in values:
                key += values[place].tobytes()
            known = made.setdefault(index, [])
            same = next((new for held, new in known if held == key), None)
            if same is None:
                same = index if not known else _twin(graph, index, len(known))
                known.append((key, same))
                value = wanted.get(place)
                if value is None and key:
                    value = _left(values.get(place, _constant(file, index)), parts)
                if value is not None:
                    _store(model, schema, same, value, parts)
            inputs[position] = same
        graph.operators[op.index].inputs = inputs


def _constant(file: Any, index: int) -> NDArray[Any]:
    tensor = file.main.tensors[index]
    return np.frombuffer(file.tensor_bytes(index), tensor.dtype).reshape(tensor.shape)


def _left(value: NDArray[Any], parts: Mapping[int, NDArray[np.bool_]]) -> NDArray[Any]:
    for axis, mask in parts.items():
        value = np.compress(mask, value, axis)
    return value


def _twin(graph: Any, index: int, number: int) -> int:
    """Add a tensor beside one that operations share, of which they now need different parts."""
    twin = copy.deepcopy(graph.tensors[index])
    name = twin.name if isinstance(twin.name, bytes) else (twin.name or "").encode()
    twin.name = name + b"/part_%d" % number
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _store(
    model: Any, schema: Any, index: int, value: NDArray[Any], parts: Mapping[int, NDArray[np.bool_]]
) -> None:
    """Make `value` a tensor's constant, in a buffer that nobody else uses; limits of its channels are cut with them."""
    tensor = model.subgraphs[0].tensors[index]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    tensor.shape, tensor.shapeSignature = list(value.shape), None
    told = tensor.quantization
    mask = None if told is None else parts.get(int(told.quantizedDimension))
    if told is not None and mask is not None:
        for field in ("min", "max", "scale", "zeroPoint"):
            held = getattr(told, field)
            if held is not None and len(held) == len(mask):
                setattr(told, field, np.asarray(held)[mask])


class Cost:
    """What is left of parameters and multiply-adds while groups go, counted without writing a file."""

    def __init__(self, coupling: Coupling) -> None:
        file = coupling.file
        self._coupling = coupling
        self._whole = float(parameters(file).count)
        graph = file.main
        self._macs: list[tuple[float, list[Places]]] = []
        for op in graph.operators:
            full = float(operator_macs(graph, op))
            if full:
                parts = [c.atoms for c in coupling.cuts if c.operator == op.index and c.role != "beside"]
                if (
                    not parts and op.op == "BATCH_MATMUL"
                ):  # of two tensors: what comes out, or what is summed over
                    lane = coupling.lanes.get(op.outputs[0]) or coupling.lanes.get(op.inputs[0])
                    parts = [lane.atoms] if lane else []
                self._macs.append((full, parts))
        self._sizes: list[tuple[float, list[Places]]] = []
        cuts: dict[int, dict[int, Places]] = {}
        for cut in coupling.cuts:
            if graph.tensors[cut.tensor].dtype in NUMERIC:
                cuts.setdefault(cut.tensor, {})[cut.axis] = cut.atoms
        for index, axes in cuts.items():
            self._sizes.append((float(graph.tensors[index].elements), list(axes.values())))

    def macs(self, stays: Stays) -> float:
        """Return the multiply-accumulates of one run that are left, as `edgeship.tflite.cost` counts them."""
        return self._left(self._macs, masks_of(self._coupling, stays))

    def parameters(self, stays: Stays) -> float:
        """Return the parameters that are left; a constant that comes to be several counts as one."""
        full = sum(size for size, _ in self._sizes)
        return self._whole - full + self._left(self._sizes, masks_of(self._coupling, stays))

    @staticmethod
    def _left(parts: list[tuple[float, list[Places]]], masks: Masks) -> float:
        total = 0.0
        for full, axes in parts:
            for atoms in axes:
                full *= float(masks(atoms).sum()) / len(atoms)
            total += round(full)  # a count, whatever the shares are rounded to
        return total


def counted(content: bytes) -> tuple[int, int]:
    """Return (parameters, multiply-accumulates) of a file."""
    file = parse(Path("model.tflite"), content, "")
    return parameters(file).count, macs(file)
