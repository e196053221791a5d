"""What a method is given and gives: `Work` and `Outcome`. Both live inside a worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeship.compress.samples import Samples
from edgeship.values import ModelSource, Step

Report = Callable[..., None]
"""`report(text)`, `report(text, done, total)`: what becomes of it, `edgeship.toolchain.run_worker` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Which operations get another precision than the recipe has, and what was measured of it."""

    layers: Mapping[str, str]
    """Name of an operation's first output -> float, int8, int4 or int16x8."""
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A float model and what is to be done to it."""

    content: bytes
    """The float `.tflite` as the steps before left it."""
    step: Step
    before: tuple[Step, ...]
    """The steps that made `content` of the original, first to last: what they made holds on (zeros stay zeros)."""
    original: bytes
    """The float model that everything began with, after rewrites that the chain begins with: the teacher."""
    recipe: str
    """Name of the recipe at the chain's end: on whose grid weights are placed."""
    train: Samples | None
    """For training: the part of the training data (of the calibration samples, where there is none) that is trained on.
    """
    held_out: Samples | None
    """The other part of it: by which epochs are compared. Never evaluation data."""
    calibration: Samples | None
    """Representative samples without labels."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """(low, high) of every activation of `content` by tensor name, as the recipe's calibration finds them; for methods
    whose row says so, else empty."""
    one_scale: frozenset[str] = frozenset()
    """Operations whose weights have one scale in all on the target; all others one a channel."""
    resolved: Resolved | None = None
    """Which operations get another precision, for methods whose row says that they are measured."""
    source: ModelSource | None = None
    """What the user trained, of which the original was made; for methods whose row names a tool."""
    folder: str | None = None
    """Where a module of the user's own (`module:callable`) is looked for first."""
    report: Report = lambda *_: None

    @property
    def samples(self) -> Samples:
        """Any real inputs: to train on, else to calibrate with."""
        found = self.train or self.calibration
        assert found is not None
        return found

    def earlier(self, method: str) -> Step | None:
        """Return the last of the earlier steps of a method."""
        return next((step for step in reversed(self.before) if step.method == method), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A changed float model, and what is to be told of it."""

    content: bytes
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was counted, by name."""
    notes: tuple[str, ...] = ()
    """What people should know, a sentence each."""


Method = Callable[[Work], Outcome]
