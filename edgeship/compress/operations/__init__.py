"""The operations that the trainable graph computes: one module a family, one row an operation.

A row is a function of a `Call`; adding an operation is adding its row to the TABLE of its family. A fused activation
is applied behind it by the graph.
"""

from __future__ import annotations

from edgeship.compress.operations import (
    activations,
    arithmetic,
    layers,
    pools,
    recurrent,
    reductions,
    resizing,
    shapes,
)
from edgeship.compress.operations.call import Function
from edgeship.compress.operations.recurrent import OWN_ACTIVATION
from edgeship.compress.operations.shapes import OF_SHAPES

__all__ = ["OF_SHAPES", "OPERATIONS", "OWN_ACTIVATION"]

FAMILIES = (layers, arithmetic, activations, pools, reductions, resizing, shapes, recurrent)

OPERATIONS: dict[str, Function] = {name: row for family in FAMILIES for name, row in family.TABLE.items()}
