"""Why a layer loses by being quantized, in words with the figure and the command that helps: `causes_of`. Pure.

Limits are where the loss begins to show in an 8-bit grid: a factor of 16 leaves 4 bits for the usual values.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.values import Cause, Evidence, Figure, Unavailable

OUTLIER = 8.0
"""Largest value over the 99.9th percentile: three bits that are for one value in a thousand."""
UNEQUAL = {True: 16.0, False: 1e3}
"""Largest over median channel of a weight, by whether it has one scale in all; with a scale a channel only a bias
feels it."""
UNLIKE = 16.0
"""Largest over smallest range of what is joined."""
UNSEEN = 100.0
"""The same, where the small ones have two or three of 256 steps."""
CLIPPED = 0.001
"""Share of values outside of the range: one in a thousand is what narrowing a range may cut off."""
UNLIKE_DATA = 0.01
"""Share of values outside of the range from which on the calibration samples are unlike what the model meets. The
largest value alone says little: that of 200 samples of speech is up to 1.6 times that of 200 others of the same."""
LOST = 0.5
"""Points (or percent) of the metric below which nothing is lost that causes would be of use for."""
NOISY = 20.0
"""Decibels of the outputs below which something is lost whatever the metric says, or where there is none."""
SHARE = 0.25
"""Of the whole model's noise that an operation alone must make, to have a share in the loss."""
BACK = 1.0
"""Decibels that leaving it in float must give back, else."""


def loses(drop: Figure, snr_db: Figure) -> bool:
    """Return whether a quantized model loses enough for causes to matter: by the metric's drop, and by how clean its
    outputs are."""
    lost = not isinstance(drop, Unavailable) and drop > LOST
    return lost or isinstance(snr_db, Unavailable) or snr_db < NOISY


def has_share(alone_db: Figure, back_db: Figure, whole_db: Figure) -> bool:
    """Return whether an operation has a share in the loss: decibels with it alone quantized, decibels given back where
    it alone is not, and those of the whole. One that was not looked at may have."""
    known = [figure for figure in (alone_db, back_db) if not isinstance(figure, Unavailable)]
    if not known or isinstance(whole_db, Unavailable):
        return True
    if not isinstance(back_db, Unavailable) and back_db >= BACK:
        return True
    return not isinstance(alone_db, Unavailable) and 10 ** ((whole_db - alone_db) / 10) >= SHARE


def shown(causes: Sequence[Cause], *, costs: bool) -> tuple[Cause, ...]:
    """Return the causes to tell of an operation: of one that costs nothing only what costs time all the same, and parts
    so unlike that figures of a whole output cannot show what the small ones lose."""
    return tuple(cause for cause in causes if costs or cause.kind == "dead-channels" or _unseen(cause))


def _unseen(cause: Cause) -> bool:
    return cause.kind == "unlike-parts" and cause.figure > UNSEEN


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
    if evidence.clipped > CLIPPED:
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
    if evidence.clipped > UNLIKE_DATA:
        return Cause(
            kind="unlike-calibration",
            figure=evidence.clipped,
            words=f"{evidence.clipped:.1%} of its values on other samples lie outside of the calibrated range "
            f"(they reach {evidence.beyond:.2f} times as far): the calibration samples are unlike what it meets",
            command=f"{build}   (samples drawn like the evaluation data)",
        )
    return Cause(
        kind="saturation",
        figure=evidence.clipped,
        words=f"{evidence.clipped:.2%} of its values on other samples lie outside of the calibrated range and "
        "are cut off",
        command=f"{build}   (more samples)",
    )


def _percent(evidence: Evidence) -> int:
    return max(5, min(90, round(100 * evidence.dead / max(evidence.of_channels, 1))))
