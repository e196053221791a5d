"""Candidates: chains of named steps from the float model to a recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Setting = str | int | float | bool


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
        """The labels of the steps and the recipe's name, joined by `+`; of a plain recipe its name alone."""
        return "+".join([*(step.label for step in self.steps), self.recipe])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every setting and seed of every step, and the recipe."""
        told = {"steps": [step.to_json() for step in self.steps], "recipe": self.recipe}
        return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
