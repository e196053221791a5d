"""What a bundle is made of, gathered by the pipeline: `BundleParts`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeship.compile.ship import Shipped
from edgeship.profile import TargetProfile
from edgeship.project import Project
from edgeship.score.cascade import Answers
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.state import states_of
from edgeship.values import Dataset, InputRule, ModelSource, Variant, told_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleParts:
    """Everything that decides what a bundle holds, and nothing of where it is made."""

    profile: TargetProfile
    project: Project
    app: str
    version: str
    variants: tuple[Variant, ...]
    """All that were built, for `chosen` and `also` to be among."""
    chosen: Variant
    also: tuple[Variant, ...] = ()
    """Other variants that travel with the chosen one, for a governor to choose from."""
    source: ModelSource
    evaluation: Dataset | None
    calibration: Dataset | None
    rules: tuple[InputRule, ...]
    """What samples and requests of each input mean, in the order of the signature."""
    labels: tuple[str, ...]
    shipped: Shipped | None = None
    """How `chosen` was compiled; golden vectors are then recorded from its uncompiled twin."""
    beside: tuple[Shipped, ...] = ()
    """How those of `also` were compiled, where the target has a compiler."""

    answers: Answers | None = None
    """What the variants carried answer to the same samples; None: no cascade can come of it."""

    engine_reason: str | None = None
    """Why the profile's engine is not the one that the target prefers; None: it is."""

    @property
    def samples(self) -> Dataset | None:
        """The data that says what clients send."""
        return self.evaluation or self.calibration

    @property
    def carried(self) -> tuple[Variant, ...]:
        """The variants that go in, the chosen one first, one a candidate."""
        others = {v.artifact.digest: v for v in self.also if v.artifact.digest != self.chosen.artifact.digest}
        return (self.chosen, *others.values())

    @property
    def keeps_state(self) -> bool:
        """Whether the model keeps something from one run to the next: a session must then stay with one variant."""
        return any(states_of(read_tflite(variant.artifact.path)) for variant in self.carried)

    def told_apart(self) -> BundleParts:
        """Return the parts with no two of the variants carried called alike."""
        chosen, *also = told_apart(self.carried)
        return replace(self, chosen=chosen, also=tuple(also))

    def without(self, name: str) -> BundleParts:
        """Return the parts without the variant of `also` that is called so; these very parts where there is none."""
        _, *also = zip(self.carried, self.told_apart().carried, strict=True)
        gone = next((v.artifact.digest for v, named in also if named.artifact.name == name), None)
        if gone is None:
            return self
        return replace(
            self,
            also=tuple(v for v in self.also if v.artifact.digest != gone),
            beside=tuple(s for s in self.beside if s.variant.artifact.digest != gone),
        )

    def shipped_as(self, variant: Variant) -> Shipped | None:
        """Return how a variant carried was compiled; None where the target has no compiler."""
        every = (*((self.shipped,) if self.shipped else ()), *self.beside)
        return next((s for s in every if s.variant.artifact.digest == variant.artifact.digest), None)
