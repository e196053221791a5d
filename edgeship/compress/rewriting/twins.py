"""Operations that compute the same of the same, done once: `merge_twins`."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeship.digest import sha256_bytes
from edgeship.tflite.draft import Draft
from edgeship.tflite.pure import PURE


def merge_twins(draft: Draft) -> None:
    """Let everyone read the first of several operations of one kind, with equal options, inputs and constants. Since it
    goes from front to back, whole branches that are alike become one."""
    seen: dict[Any, Any] = {}
    digests: dict[int, str] = {}
    for op in draft.operators:
        if draft.name(op) not in PURE or not op.inputs:
            continue
        key = _key(draft, op, digests)
        first = seen.setdefault(key, op)
        if first is op or len(first.outputs) != len(op.outputs):
            continue
        if any(i in draft.shown for i in op.outputs):
            if any(i in draft.shown for i in first.outputs):
                continue  # each output of a model is a tensor of its own
            if draft.may(op):
                old, new = first.outputs, op.outputs
                draft.drop(op)
                draft.make(first, new)
                for was, now in zip(old, new, strict=True):
                    draft.redirect(was, now)
        elif draft.may(op):
            draft.drop(op)
            for was, now in zip(op.outputs, first.outputs, strict=True):
                draft.redirect(was, now)


def _key(draft: Draft, op: Any, digests: dict[int, str]) -> Any:
    options = (_plain(op.builtinOptions), _plain(getattr(op, "builtinOptions2", None)))
    shapes = tuple(draft.shape(i) for i in op.outputs)
    types = tuple(int(draft.graph.tensors[i].type) for i in op.outputs)
    read = tuple(_told(draft, i, digests) for i in op.inputs)
    return draft.name(op), draft.version(op), options, shapes, types, read


def _told(draft: Draft, index: int, digests: dict[int, str]) -> Any:
    """Return what makes two inputs the same: the tensor, or all that a constant holds."""
    if not draft.is_constant(index):
        return index
    if index not in digests:
        tensor = draft.graph.tensors[index]
        raw = np.asarray(draft.model.buffers[tensor.buffer].data, np.uint8)
        digests[index] = sha256_bytes(raw.tobytes())
    tensor = draft.graph.tensors[index]
    return digests[index], int(tensor.type), draft.shape(index), _plain(tensor.quantization)


def _plain(value: Any) -> Any:
    """Return a table of the schema as something that can be compared."""
    if value is None or isinstance(value, int | float | str | bytes | bool):
        return value
    if isinstance(value, list | tuple):
        return tuple(_plain(one) for one in value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return type(value).__name__, tuple((name, _plain(held)) for name, held in sorted(vars(value).items()))
