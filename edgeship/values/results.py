"""What a build makes and measures: recipes, artifacts, scorecards, gates, variants and the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgeship.values.candidates import Candidate, StepRecord, ambiguous
from edgeship.values.figures import Figure
from edgeship.values.inputs import Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What tensors hold: numpy dtype names, or `int4`; `mixed` where they differ."""

    weights: str
    activations: str
    io: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named quantization rule: one data row of `edgeship.quantize.recipes`."""

    name: str
    """Says what the file holds, e.g. static_wi8_ai8."""
    alias: str
    """What people say: int8."""
    precision: Precision
    needs_calibration: bool
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One model file on the host, with what it was made from."""

    path: Path
    recipe: str
    """The recipe that it ends with: what contracts, gates and the choice by precision go by. It is known by `name`."""
    bytes: int
    sha256: str
    signature: Signature
    precision: Precision
    model_sha256: str
    calibration_sha256: str | None
    tools: dict[str, str] = field(default_factory=dict)
    """Version of each tool that had a hand in it."""
    notes: tuple[str, ...] = ()
    """What was done to the model for it to fit, and what is not as one would expect of the recipe; a sentence each."""
    warnings: tuple[str, ...] = ()
    """What that may have cost, a sentence each."""
    joined: Path | None = None
    """Where outputs of the float model are several outputs here: the same model with these joined, for comparing."""
    steps: tuple[StepRecord, ...] = ()
    """What was done to the float model before the recipe, first to last; nothing of a plain recipe."""
    apart: bool = False
    """Whether another candidate has the same name, so that this one's ends with a piece of its digest: `told_apart`."""

    @property
    def candidate(self) -> Candidate:
        """The chain that it is the end of."""
        return Candidate(steps=tuple(record.step for record in self.steps), recipe=self.recipe)

    @property
    def name(self) -> str:
        """What it is called, everywhere: the candidate's name; of a plain recipe the recipe's."""
        return self.candidate.name_apart if self.apart else self.candidate.name

    @property
    def digest(self) -> str:
        """The candidate's digest: which it is, whatever its name."""
        return self.candidate.digest

    @property
    def layers(self) -> dict[str, str]:
        """Name of an operation's first output -> its precision, of those that have another than the recipe's."""
        return {name: other for record in self.steps for name, other in record.layers}


DropUnit = Literal["points", "%"]
"""What a drop is counted in: points of a percentage, or percent of the float model's own value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A task metric of an artifact beside the same metric of the float model.

    `drop` is positive where the artifact is worse. Metrics that are percentages (0..100) drop in points. Others have
    scales of their own, on which one number as a limit would mean nothing: they drop in percent of the float model's
    value, an error that grows by half by 50.
    """

    name: str
    value: Figure
    float_value: Figure
    drop: Figure
    drop_unit: DropUnit = "points"
    higher_is_better: bool | None = True
    """None: a metric of the user's own that does not say."""
    about: str = ""
    """Of which output it is, and why this metric, where edgeship chose them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """Columns of one output whose values are of one size in the float model, and how near a variant's are to them."""

    output: str
    axis: int
    """Of the output, its batch axis counted."""
    columns: str
    """`0-3`, `4, 6-8` or `all`, along `axis`."""
    low: float
    high: float
    """Least and largest value of the float model."""
    correlation: Figure
    """Pearson's, each column around its own mean, over all samples and places."""
    dead: str = ""
    """Why the variant gives nothing there; empty: it does."""

    @property
    def words(self) -> str:
        """What and where it is, for people."""
        where = "" if self.columns == "all" else f"columns {self.columns} of "
        return f"{where}output '{self.output}' (float {self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near an artifact's outputs are to the float model's on the same samples."""

    argmax: Figure
    """Share (0..1) of samples with the same largest output; of two classes told by one number: on the same side."""
    cosine: Figure
    """Smallest cosine similarity over samples, of outputs that are more than one number."""
    max_abs: Figure
    """Largest absolute difference of a dequantized output."""
    parts: tuple[OutputPart, ...] = ()
    """The parts of all outputs; none where nothing could be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of one inference at batch 1 on the machine that measured."""

    cold: Figure
    p50: Figure
    p95: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """What was measured about an artifact."""

    artifact_sha256: str
    evaluation_sha256: str | None
    metric: Metric
    agreement: Agreement
    latency_ms: Latency
    peak_rss_mb: Figure
    near_ties: float = 0.0
    """Share (0..1) of samples with another largest output than the float model's that the float model rates (nearly)
    as high as its own: `agreement.argmax` counts them as unlike, and they tell nothing of what was lost."""


Verdict = Literal["pass", "fail", "inconclusive", "no-data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The outcome of a pure check on measurements."""

    name: str
    verdict: Verdict
    limit: Figure
    value: Figure
    reason: str

    @property
    def stops(self) -> bool:
        """Whether this keeps a variant from being used: it failed, or what the user wants held cannot be told."""
        return self.verdict in ("fail", "no-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An artifact a device may run, with its scorecard and what the gates say of it."""

    artifact: Artifact
    scorecard: Scorecard
    gates: tuple[GateResult, ...]

    @property
    def admitted(self) -> bool:
        """Whether no gate stops it."""
        return not any(gate.stops for gate in self.gates)


def told_apart(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return the variants, those marked whose name more than one of their candidates has: no two are called alike."""
    alike = ambiguous([variant.artifact.candidate for variant in variants])
    return tuple(
        replace(variant, artifact=replace(variant.artifact, apart=True))
        if variant.artifact.digest in alike and not variant.artifact.apart
        else variant
        for variant in variants
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenTolerance:
    """How far a device's output may be from the expected one.

    `exact` holds inside the same (runtime, version, delegate); elsewhere `max_lsb` (quantized outputs, in steps),
    `max_abs` (float outputs), `min_cosine` and, for classifiers, an equal argmax.
    """

    max_lsb: int
    max_abs: float
    min_cosine: float
    argmax: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """One key's word for a release: the exact text of the statement, and the armoured SSH signature over it."""

    statement: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A sealed archive on the host. `release` is the digest of its manifest: the release id on every device."""

    path: Path
    sha256: str
    bytes: int
    release: str
    app: str
    target: str
    manifest: dict[str, Any]
    signatures: tuple[SignedStatement, ...] = ()
    """What travels beside the manifest; it does not change `release`."""
