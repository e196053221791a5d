"""The rewrites as data: one row each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeship.tflite.draft import Draft

ROOM = "edgeship.compress.rewriting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rewrite."""

    name: str
    about: str
    """What it does to so many operations, as the note begins."""
    function: str
    """`module:function` of a Draft; imported when it is run, since the rows are read by every verb."""
    spells: str = ""
    """An operation that it writes as others, for targets that lack it; such a rule is none of `all`."""

    def run(self, draft: Draft) -> None:
        """Change what can be changed."""
        module, name = self.function.split(":")
        getattr(importlib.import_module(f"{ROOM}.{module}"), name)(draft)


RULES: tuple[Rule, ...] = (
    Rule(
        name="constants",
        about="computed once, as it follows from constants",
        function="constants:fold_constants",
    ),
    Rule(name="neutral", about="left out, as it changes nothing", function="idle:drop_neutral"),
    Rule(name="zeros", about="left out, as it multiplies by zero", function="idle:drop_zeros"),
    Rule(name="dead", about="left out, as nothing reads what it computes", function="idle:drop_dead"),
    Rule(
        name="twins",
        about="left out, as another one computes the same of the same",
        function="twins:merge_twins",
    ),
    Rule(
        name="splits",
        about="left out: parts that are joined, or what was joined parted",
        function="moves:cancel_splits",
    ),
    Rule(name="moves", about="merged: reshapes and transposes in a row", function="moves:merge_moves"),
    Rule(
        name="layers",
        about="taken into weights and biases: products and sums",
        function="layers:fold_into_layers",
    ),
    Rule(name="activations", about="fused to what they follow", function="layers:fuse_activations"),
    Rule(name="pads", about="left to a convolution that pads by itself", function="moves:fold_pads"),
    Rule(
        name="loops",
        about="WHILE of a fixed number of turns written as the operations of its turns",
        function="loops:unroll_loops",
        spells="WHILE",
    ),
    Rule(
        name="leaky",
        about="LEAKY_RELU written as MAXIMUM(x, a * x)",
        function="spelled:spell_leaky",
        spells="LEAKY_RELU",
    ),
    Rule(
        name="hard-swish",
        about="HARD_SWISH written as x * RELU6(x + 3) / 6",
        function="spelled:spell_hard_swish",
        spells="HARD_SWISH",
    ),
    Rule(
        name="divisions",
        about="DIV by a constant written as MUL with its inverse",
        function="spelled:spell_divisions",
        spells="DIV",
    ),
)
WORDS = ("all", *(rule.name for rule in RULES))


def rules_of(word: str) -> tuple[Rule, ...]:
    """Return the rules that a setting names: `all` the usual ones, else the one of that name.

    Behind `loops`, what follows from constants: the first turn begins with a state of zeros, whose scale is next to
    none. A layer of it would be quantized by that scale, and the weights, which all turns share, made coarse until its
    bias fits.
    """
    named = tuple(rule for rule in RULES if rule.name == word or (word == "all" and not rule.spells))
    return (*named, *(rule for rule in RULES if word == "loops" and rule.name == "constants"))
