"""What quantizing a model costs, layer by layer, and why."""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.values.figures import Figure
from edgeship.values.results import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason why a layer loses, with the figure that shows it and what to type."""

    kind: str
    """`range-outlier`, `unequal-channels`, `unlike-parts`, `saturation`, `dead-channels`, `unlike-calibration`."""
    figure: float
    words: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """What one operation costs and gives back. Figures that were not looked at are Unavailable."""

    index: int
    """Of the operation in the float model."""
    op: str
    layer: str
    """What people call it."""
    alone_drop: Figure
    """What the metric loses with this operation alone quantized, in its own unit."""
    alone_snr_db: Figure
    """Signal over noise of the model's outputs then, decibels; more is better."""
    back_drop: Figure
    """What the metric gains when it alone is left in float."""
    back_snr_db: Figure
    """Decibels gained then."""
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCosts:
    """What quantizing a model by one recipe costs as a whole and in every operation."""

    recipe: str
    metric: Metric
    """Of the whole model quantized."""
    snr_db: Figure
    loses: bool
    """Whether it loses enough to look for causes."""
    layers: tuple[LayerCost, ...]
    """In the order of the graph."""
    looked_at: int
    """How many of them there was time for."""
    samples: int
    """What each file was run on."""
    allowed: float = 0.0
    """Seconds that it might take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was seen of one operation: on the calibration samples, on evaluation data, and in its weights."""

    index: int
    outlier: float = 1.0
    """Largest magnitude of its output over the 99.9th percentile of magnitudes."""
    channels: float = 1.0
    """Largest range of an output channel of its weights over the median one."""
    per_tensor: bool = False
    """Whether its weights have one scale in all on the target."""
    dead: int = 0
    """Output channels whose weights are all (nearly) zero."""
    of_channels: int = 0
    parts: float = 1.0
    """Largest range of what it joins over the smallest, of a CONCATENATION."""
    clipped: float = 0.0
    """Share (0..1) of its output values on evaluation data that lie outside of the calibrated range."""
    beyond: float = 1.0
    """Range on evaluation data over that on calibration data."""
