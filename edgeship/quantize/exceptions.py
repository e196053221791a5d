"""A recipe for some operations of a model, and another precision or float for the others: entries for
ai-edge-quantizer."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edgeship.quantize.recipes import row_of
from edgeship.quantize.settings import EVERYTHING, NO_QUANTIZE, settings
from edgeship.tflite.file import Operator, Subgraph

BOUNDARY = ("INPUT", "OUTPUT")
OTHERS = ("int8", "int4", "int16x8")
"""Recipes of which operations may be beside those of another one (ai-edge-quantizer 0.10 puts QUANTIZE between; LiteRT
2.3 was seen to run all of them)."""
Entries = list[dict[str, Any]]


def others_of(*, per_channel: bool, dense: Mapping[str, bool]) -> dict[str, Entries]:
    """Return the entries of every recipe that operations of a file may have beside its own, by alias; `dense` says by
    alias whether FULLY_CONNECTED may have a scale a channel."""
    return {
        alias: settings(row_of(alias), per_channel=per_channel, per_channel_dense=dense[alias], io="int8")
        for alias in OTHERS
    }


def scope_of(graph: Subgraph, operator: Operator) -> str:
    """Return the pattern of an operation's scope: the quantizer knows operations by their outputs' names."""
    return "^" + re.escape(graph.tensors[operator.outputs[0]].name) + "(;|$)"


def mixed(
    base: Sequence[dict[str, Any]],
    graph: Subgraph,
    precisions: Mapping[int, str],
    others: Mapping[str, Entries],
) -> Entries:
    """Return a recipe's entries with some operations (by index) in float or as one of `others` has them."""
    found = [*base]
    for op in graph.operators:
        precision = precisions.get(op.index)
        if precision == "float":
            found.append(
                {"regex": scope_of(graph, op), "operation": EVERYTHING, "algorithm_key": NO_QUANTIZE}
            )
        elif precision is not None:
            found += _scoped(others[precision], graph, op)
    return found


def by_name(graph: Subgraph, told: Mapping[str, str]) -> dict[int, str]:
    """Return precisions by the index of the operation, of those by the name of its first output."""
    named = {graph.tensors[op.outputs[0]].name: op.index for op in graph.operators if op.outputs}
    return {named[name]: precision for name, precision in told.items() if name in named}


def alone(base: Sequence[dict[str, Any]], graph: Subgraph, kept: Collection[int]) -> Entries:
    """Return a recipe's entries for the operations `kept` (indices) only; what goes in and out stays float."""
    return [entry for op in graph.operators if op.index in kept for entry in _scoped(base, graph, op)]


def _scoped(base: Sequence[dict[str, Any]], graph: Subgraph, op: Operator) -> Entries:
    fitting = [entry for entry in base if entry["operation"] in (EVERYTHING, op.op)]
    return [{**entry, "regex": scope_of(graph, op)} for entry in fitting]
