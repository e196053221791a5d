"""The status texts of edgetpu_compiler, exactly as it prints them."""

from __future__ import annotations

MAPPED = "Mapped to Edge TPU"
DATA_TYPE = "Operation is working on an unsupported data type"
UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
NOT_SUPPORTED = "Operation not supported"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
VERSION = "Operation version not supported"
ROWS = "For example, a fully-connected or softmax layer with 2D output"
"""Only of compilers 1 and 2: the second half of a longer sentence, printed alone (edgetpu#27)."""
MORE_SUBGRAPHS = "More than one subgraph is not supported"

KNOWN = (MAPPED, DATA_TYPE, UNSPECIFIED, NOT_SUPPORTED, RANK, NOT_CONSTANT, VERSION, ROWS, MORE_SUBGRAPHS)
