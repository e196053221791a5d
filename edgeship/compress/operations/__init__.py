"""The operations that the trainable graph computes: one module a family, one row an operation.

A row is a function of a `Call`; adding an operation is adding its row to the TABLE of its family. A fused activation
is applied behind it by the graph.
"""

from __future__ import annotations

from edgeship.compress.operations import activations, arithmetic, layers, pools, reductions, shapes
from edgeship.compress.operations.call import Function

FAMILIES = (layers, arithmetic, activations, pools, reductions, shapes)

OPERATIONS: dict[str, Function] = {name: row for family in FAMILIES for name, row in family.TABLE.items()}
