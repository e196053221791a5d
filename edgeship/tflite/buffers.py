"""Constants of a model that are to be changed: `own_buffer(...)`. On the object form of either schema."""

from __future__ import annotations

import copy
from typing import Any


def own_buffer(model: Any, tensor: Any) -> None:
    """Give a constant a buffer that no other tensor of any graph and no metadata has, so that it can be changed.

    Converters write equal bytes once, whatever they mean: a bias of 0 and the counter of a loop are one buffer.
    """
    users = sum(t.buffer == tensor.buffer for graph in model.subgraphs for t in graph.tensors)
    users += sum(entry.buffer == tensor.buffer for entry in model.metadata or ())
    if users > 1:
        model.buffers.append(copy.deepcopy(model.buffers[tensor.buffer]))
        tensor.buffer = len(model.buffers) - 1
