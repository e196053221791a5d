"""Why a layer loses by being quantized, in words with the figure and the command that helps: `causes_of`. Pure.

Limits are where the loss begins to show in an 8-bit grid: a factor of 16 leaves 4 bits for the usual values.
"""

from __future__ import annotations

from edgeship.values import Cause, Evidence

OUTLIER = 8.0
"""Largest value over the 99.9th percentile: three bits that are for one value in a thousand."""
UNEQUAL = {True: 16.0, False: 1e3}
"""Largest over median channel of a weight, by whether it has one scale in all; with a scale a channel only a bias
feels it."""
UNLIKE = 16.0
"""Largest over smallest range of what is joined."""
CLIPPED = 0.001
"""Share of values outside of the range: one in a thousand is what narrowing a range may cut off."""
BEYOND = 1.2
"""Range on evaluation data over that on calibration data."""


def causes_of(evidence: Evidence, model: str, target: str) -> tuple[Cause, ...]:
    """Return the causes that the evidence of one operation shows, worst first. `model` and `target` are as they are
    typed."""
    compress = f"edgeship compress {model} --target {target}"
    found = []
    limit = UNEQUAL[evidence.per_tensor]
    if evidence.channels > limit:
        scale = "one scale for all" if evidence.per_tensor else "a bias on every scale"
        found.append(
            Cause(
                kind="unequal-channels",
                figure=evidence.channels,
                words=f"its largest channel is {evidence.channels:.0f} times the median one, and there is {scale}",
                command=f"{compress} --method equalise",
            )
        )
    if evidence.parts > UNLIKE:
        found.append(
            Cause(
                kind="unlike-parts",
                figure=evidence.parts,
                words=f"it joins values of which the largest are {evidence.parts:.0f} times the smallest, on one scale",
                command=f"edgeship build {model} --target {target} --recipe int8",
            )
        )
    if evidence.outlier > OUTLIER:
        found.append(
            Cause(
                kind="range-outlier",
                figure=evidence.outlier,
                words=f"its largest value is {evidence.outlier:.0f} times the 99.9th percentile: most of the 256 steps "
                "are for one value in a thousand",
                command=f"{compress} --method qat-int8",
            )
        )
    if evidence.clipped > CLIPPED or evidence.beyond > BEYOND:
        found.append(_unlike(evidence, model, target))
    if evidence.dead:
        found.append(
            Cause(
                kind="dead-channels",
                figure=float(evidence.dead),
                words=f"{evidence.dead} of its {evidence.of_channels} channels have no weights: they cost time and "
                "give a constant",
                command=f"{compress} --method channels-{_percent(evidence)}+distill",
            )
        )
    return tuple(found)


def _unlike(evidence: Evidence, model: str, target: str) -> Cause:
    """Return the cause that calibration samples did not show what evaluation samples do."""
    build = f"edgeship build {model} --target {target} --calibration DATA.npz"
    if evidence.beyond > BEYOND:
        return Cause(
            kind="unlike-calibration",
            figure=evidence.beyond,
            words=f"on the evaluation data its values reach {evidence.beyond:.2f} times as far as on the calibration "
            "samples: these are unlike what it meets",
            command=f"{build}   (samples drawn like the evaluation data)",
        )
    return Cause(
        kind="saturation",
        figure=evidence.clipped,
        words=f"{evidence.clipped:.2%} of its values on the evaluation data lie outside of the calibrated range and "
        "are cut off",
        command=f"{build}   (more samples)",
    )


def _percent(evidence: Evidence) -> int:
    return max(5, min(90, round(100 * evidence.dead / max(evidence.of_channels, 1))))
