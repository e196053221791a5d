"""What a search under a budget tried, measured and chose."""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.values.candidates import Candidate, StepRecord
from edgeship.values.results import Scorecard, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file holds, counted in the file itself."""

    download: int
    """Bytes of the file compressed as bundles are."""
    sparsity: float
    """Share (0..1) of zeros among its weights."""
    unique_weights: int
    """Distinct values of the weight tensor that holds most of them."""
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One candidate that was made, or why it could not be."""

    candidate: Candidate
    steps: tuple[StepRecord, ...] = ()
    variant: Variant | None = None
    """The file, measured on held-out data, and judged; None: it could not be made."""
    contents: Contents | None = None
    loss: float | None = None
    """What it is expected to lose by held-out data, by which it is compared: points of the metric, percent of another
    metric's float value, or where there are no labels what agreement with the float model lets expect. None: not
    known."""
    failed: str = ""
    """Why it could not be made."""
    seconds: float = 0.0
    """What making and measuring it took, steps shared with others counted once, at the first."""
    evaluated: Scorecard | None = None
    """The same file on evaluation data, which nothing was chosen by; None: there is none, or it is no rung."""
    control: bool = False
    """Whether it is there to compare with: fine-tuned as long, and not compressed."""

    @property
    def admitted(self) -> bool:
        """Whether it was made and no gate stops it."""
        return self.variant is not None and self.variant.admitted
