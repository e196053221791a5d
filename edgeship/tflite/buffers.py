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


def drop_unused(model: Any) -> None:
    """Drop the buffers that nothing refers to any more; the first one is everybody's empty one. Where metadata names
    buffers by number in the old list of its own, numbers stay, and only the data goes."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors or ()]
    holders = [*tensors, *(model.metadata or ())]
    old = [] if model.metadataBuffer is None else [int(number) for number in model.metadataBuffer]
    used = sorted({0, *old, *(int(holder.buffer) for holder in holders)})
    if old:
        for number in set(range(len(model.buffers))) - set(used):
            model.buffers[number].data = None
        return
    place = {before: after for after, before in enumerate(used)}
    model.buffers = [model.buffers[number] for number in used]
    for holder in holders:
        holder.buffer = place[int(holder.buffer)]
