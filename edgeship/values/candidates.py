"""Candidates: chains of named steps from the float model to a recipe."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Setting = str | int | float | bool

NAME_LENGTH = 100
"""Characters of a candidate's name at most. It names files, and some file systems allow 143 bytes of one."""
PIECE = 8
"""Hexadecimal digits of a digest that tell two candidates apart: among 10,000 of one name, two agree 1 time in 80."""
UNSAFE = re.compile(r"[^A-Za-z0-9._=,@-]")
"""What a label may hold and a file's name on a device may not; `+` joins labels, `~` begins a piece of a digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done to a float model, with every setting that decides what comes of it."""

    label: str
    """What people type and read: `prune-80`, `cluster-16`, `qat-int8`."""
    method: str
    """The row of `edgeship.compress.methods` that does it: `prune`."""
    settings: tuple[tuple[str, Setting], ...] = ()
    """Every setting by name, defaults filled in, sorted by name."""
    seed: int = 0
    """Of everything random in it."""

    def setting(self, name: str) -> Any:
        """Return a setting. Raises KeyError for one that the method does not have."""
        return dict(self.settings)[name]

    def to_json(self) -> dict[str, Any]:
        """Return the step as it stands in documents and digests."""
        return {
            "label": self.label,
            "method": self.method,
            "settings": dict(self.settings),
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step that was done: on what data, in what time, and what it tells of itself."""

    step: Step
    data: tuple[tuple[str, str], ...] = ()
    """(role, SHA-256) of every dataset it looked at: train, calibration, ..."""
    seconds: float = field(default=0.0, compare=False)
    figures: tuple[tuple[str, float], ...] = ()
    """What was counted, by name: epochs, held-out loss, zeros, ..."""
    notes: tuple[str, ...] = ()
    """What people should know of it, a sentence each."""
    layers: tuple[tuple[str, str], ...] = ()
    """(name of an operation's first output, precision) of what it gave another precision than the recipe has."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as it stands in a bundle's provenance; without the time, which differs every time."""
        return self.step.to_json() | {"data": dict(self.data), "figures": dict(self.figures)}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A chain of steps that ends in a recipe. Its name says it, its digest is its identity."""

    steps: tuple[Step, ...] = ()
    recipe: str
    """Name of the recipe at its end, e.g. static_wi8_ai8."""

    @cached_property
    def name(self) -> str:
        """The labels of the steps and the recipe's name, joined by `+`; of a plain recipe its name alone.

        It names files wherever a bundle is read: settings in labels are parted by `,` (`qat-int4,epochs=6`). A name
        that would be longer than NAME_LENGTH, or labels that hold what no such name may, make it end as `name_apart`.
        """
        labels = [step.label.replace(":", ",") for step in self.steps]
        joined = "+".join([*labels, self.recipe])
        if len(joined) <= NAME_LENGTH and not any(UNSAFE.search(label) for label in labels):
            return joined
        return self.name_apart

    @cached_property
    def name_apart(self) -> str:
        """The name with the first digits of the digest: `cluster-16+static_wi8_ai8~1a2b3c4d`.

        For where two candidates have one name: the same steps with other defaults or another seed. Of a long chain the
        first labels stay, and `...` is for the others.
        """
        if not self.steps:
            return self.recipe
        labels = [UNSAFE.sub("_", step.label.replace(":", ",")) for step in self.steps]
        end = f"+{self.recipe}~{self.digest[:PIECE]}"
        joined = "+".join(labels)
        if len(joined) + len(end) <= NAME_LENGTH:
            return joined + end
        room = NAME_LENGTH - len(end) - len("+...")
        kept = labels[:1]
        for label in labels[1:]:
            if len("+".join([*kept, label])) > room:
                break
            kept.append(label)
        return "+".join(kept)[:room] + "+..." + end

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every setting and seed of every step, and the recipe."""
        told = {"steps": [step.to_json() for step in self.steps], "recipe": self.recipe}
        return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def ambiguous(candidates: Sequence[Candidate]) -> frozenset[str]:
    """Return the digests of candidates whose name another one has, too; names that differ in case only are one name."""
    named = {candidate.digest: candidate.name.casefold() for candidate in candidates}
    counts = Counter(named.values())
    return frozenset(digest for digest, name in named.items() if counts[name] > 1)
