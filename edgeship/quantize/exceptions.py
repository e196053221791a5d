"""A recipe for some operations of a model and float for the others: entries for ai-edge-quantizer."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from edgeship.quantize.settings import EVERYTHING, NO_QUANTIZE
from edgeship.tflite.file import Operator, Subgraph

BOUNDARY = ("INPUT", "OUTPUT")


def scope_of(graph: Subgraph, operator: Operator) -> str:
    """Return the pattern of an operation's scope: the quantizer knows operations by their outputs' names."""
    return "^" + re.escape(graph.tensors[operator.outputs[0]].name) + "(;|$)"


def without(
    settings: Sequence[dict[str, Any]], graph: Subgraph, left: Collection[int]
) -> list[dict[str, Any]]:
    """Return a recipe's entries with the operations `left` (indices) in float."""
    return [
        *settings,
        *(
            {"regex": scope_of(graph, op), "operation": EVERYTHING, "algorithm_key": NO_QUANTIZE}
            for op in graph.operators
            if op.index in left
        ),
    ]


def alone(settings: Sequence[dict[str, Any]], graph: Subgraph, kept: Collection[int]) -> list[dict[str, Any]]:
    """Return a recipe's entries for the operations `kept` (indices) only; what goes in and out stays float."""
    entries = [entry for entry in settings if entry["operation"] not in BOUNDARY]
    return [
        {**entry, "regex": scope_of(graph, op)}
        for op in graph.operators
        if op.index in kept
        for entry in entries
        if entry["operation"] in (EVERYTHING, op.op)
    ]
