"""What people bring, on targets that compute in integers only: check and build give one answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
KINDS = re.findall(r"^@kind\ndef (\w+)", (Path(__file__).parent / "make_kinds.py").read_text(), re.M)[::-1]
"""Backwards: where two workers have this file and test_kinds.py, they do not convert the same model at once."""
INTEGERS = ("coral", "ethos-u55-128")
NOT_INTEGER = {"dynamic_range", "state", "lstm", "gru"}
"""Kinds that no integer-only target takes; each says why."""


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("kind", KINDS)
def test_check_and_build_agree_on_integer_targets(
    edgeship: Any, model_of: Any, build_kind: Any, kind: str, target: str
) -> None:
    checked = edgeship("check", model_of(kind), "-t", target, "--json")
    said = build_kind(kind, target)
    assert (checked.status == 0) == (said.status == 0), (checked.out[-3000:], said.err)
    if kind in NOT_INTEGER:
        assert said.status in (2, 3) and "Traceback" not in said.err
    if kind in ("plain", "dead_channels", "uint8_boundary", "int8_boundary", "float_boundary", "detector", "two_inputs",
                "four_outputs", "nested", "separable", "saved_model"):  # fmt: skip
        assert said.status == 0, said.err
