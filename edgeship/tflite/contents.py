"""What the weights of a file hold, counted in the file itself: zeros, distinct values, and what it packs to."""

from __future__ import annotations

import gzip

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.file import Tensor, TfliteFile
from edgeship.tflite.weights import PLACES, int4_values
from edgeship.values import Contents

LEVEL = 6
"""Of gzip, as bundles are packed."""


def download_size(content: bytes) -> int:
    """Return the bytes of a file packed as in a bundle."""
    return len(gzip.compress(content, LEVEL, mtime=0))


def contents_of(file: TfliteFile) -> Contents:
    """Return what the weights of a file's layers hold, as stored: of integers the integers, behind DEQUANTIZE too."""
    graph = file.main
    sources = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.op == "DEQUANTIZE"}
    indices = []
    for op in graph.operators:
        place = PLACES.get(op.op)
        if place is not None and not op.custom and len(op.inputs) > place.weight:
            index = op.inputs[place.weight]
            indices.append(sources.get(index, index))
    held = [_stored(file, graph.tensors[i]) for i in dict.fromkeys(indices)]
    values = [v for v in held if v is not None and v.size]
    total = sum(v.size for v in values)
    largest = max(values, key=lambda v: v.size, default=np.zeros(0))
    return Contents(
        download=download_size(file.content),
        sparsity=sum(int((v == 0).sum()) for v in values) / max(total, 1),
        unique_weights=int(np.unique(largest).size),
        parameters=total,
    )


def _stored(file: TfliteFile, tensor: Tensor) -> NDArray[np.generic] | None:
    if not tensor.has_data or tensor.is_sparse:
        return None
    data = file.tensor_bytes(tensor.index)
    if tensor.dtype == "int4":
        return int4_values(data, tensor.elements)
    try:
        return np.frombuffer(data, np.dtype(tensor.dtype), count=tensor.elements)
    except TypeError:
        return None
