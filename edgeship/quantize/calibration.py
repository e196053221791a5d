"""Checks a calibration set before anything is derived from it: bad samples make a bad model without a word.

All figures are of raw samples, streamed in blocks; the preprocessing is applied to their range only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeship.errors import InputError
from edgeship.values import Dataset, Preprocess, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 2
"""One sample says nothing about a range."""
ENOUGH = 100
"""Below this the ranges are a guess; the number MLPerf Tiny calibrates with."""
UNLIKE = 8.0
"""How many times wider or narrower than the evaluation set's range is a different unit: 255 for images
divided twice, 100 and more for a missing normalisation, below 2 for honest samples of one source.
"""
BLOCK_BYTES = 32 << 20
NOISE_CORRELATION = 0.05
"""Neighbouring values of a picture or a spectrogram correlate far above this; independent noise stays below.
"""
HINT = "give samples as the device will see them: edgeship build ... --calibration samples.npz"


@dataclass(slots=True)
class _Seen:
    """What one pass over the samples found."""

    low: float = math.inf
    high: float = -math.inf
    constant: int = 0
    bad: int | None = None
    """Index of the first sample with NaN or infinity."""
    digests: tuple[bytes, ...] = ()
    pairs: float = 0.0
    correlation: float = 0.0


def check(
    dataset: Dataset,
    signature_input: TensorSpec,
    evaluation: Dataset | None = None,
    preprocess: Preprocess | None = None,
) -> tuple[str, ...]:
    """Return notes about a calibration set that is good enough to use; each is a sentence worth showing.

    Raises InputError `calibration-empty`, `calibration-too-few`, `calibration-not-finite`,
    `calibration-shape`, `calibration-constant`, `calibration-range`.
    """
    info = dataset.info
    if info.count < FEWEST:
        reference = "calibration-empty" if info.count == 0 else "calibration-too-few"
        raise _refuse(
            dataset, reference, f"{info.count} calibration samples say nothing about ranges", FEWEST
        )
    _check_shape(dataset, signature_input, preprocess or Preprocess())
    seen = _pass_over(dataset)
    if seen.bad is not None:
        raise _refuse(
            dataset, "calibration-not-finite", f"sample {seen.bad} holds NaN or infinity", "finite numbers"
        )
    if seen.constant == info.count:
        what = "zeros" if seen.low == seen.high == 0 else "one value each"
        raise _refuse(
            dataset, "calibration-constant", f"all {info.count} samples hold {what}", "real samples"
        )
    if len(set(seen.digests)) == 1:
        raise _refuse(
            dataset, "calibration-constant", f"all {info.count} samples are the same one", "different ones"
        )
    notes = [*_quality(dataset, seen)]
    if evaluation is not None and evaluation.info.count:
        notes += _compare(dataset, seen, evaluation)
    return tuple(notes)


def _check_shape(dataset: Dataset, wanted: TensorSpec, preprocess: Preprocess) -> None:
    """Refuse samples that are not of the model's shape once they have been resized."""
    shape = list(dataset.info.shape)
    if preprocess.resize is not None and len(shape) >= 2:
        shape[0], shape[1] = preprocess.resize.height, preprocess.resize.width
    model = list(wanted.shape[1:])
    if len(shape) != len(model) or any(w not in (-1, s) for s, w in zip(shape, model, strict=True)):
        same_size = math.prod(shape) == math.prod(model)
        raise InputError(
            "calibration-shape",
            f"samples are {list(dataset.info.shape)}, the model's input '{wanted.name}' takes {model}",
            context={"dataset": dataset.info.reference, "sample": shape, "model input": list(wanted.shape)},
            hint=f"numpy: x = x.reshape(-1, {', '.join(map(str, model))})"
            if same_size
            else "preprocess.resize in edgeship.yaml brings images to the model's size",
        )


def _quality(dataset: Dataset, seen: _Seen) -> Iterator[str]:
    """Yield notes about the samples themselves."""
    count = dataset.info.count
    if count < ENOUGH:
        yield f"only {count} calibration samples: ranges are a guess below {ENOUGH}"
    if seen.constant:
        yield f"{seen.constant} of {count} calibration samples hold one value throughout (black images?)"
    doubles = count - len(set(seen.digests))
    if doubles:
        yield f"{doubles} of {count} calibration samples are copies of others"
    if seen.pairs and abs(seen.correlation / seen.pairs) < NOISE_CORRELATION:
        yield "the calibration samples look like random noise: neighbouring values do not correlate"


def _compare(dataset: Dataset, seen: _Seen, evaluation: Dataset) -> list[str]:
    """Return notes from comparing with the evaluation set; refuse samples in another unit."""
    other = _pass_over(evaluation)
    if other.bad is None and other.high > other.low:
        factor = (seen.high - seen.low) / (other.high - other.low)
        if factor > UNLIKE or factor < 1 / UNLIKE:
            guess = "normalised twice, or the evaluation set not at all" if factor < 1 else "not normalised"
            raise InputError(
                "calibration-range",
                f"calibration samples span {seen.low:g} to {seen.high:g}, "
                f"evaluation samples {other.low:g} to {other.high:g}: they look {guess}",
                context={"calibration": dataset.info.reference, "evaluation": evaluation.info.reference},
                hint="hand over both in the same raw units; preprocess is applied once to each",
            )
    known = set(other.digests)
    shared = sum(digest in known for digest in seen.digests)
    if not shared:
        return []
    total = dataset.info.count
    return [
        f"{shared} of {total} calibration samples are evaluation samples too: scores will flatter a little"
    ]


def _pass_over(dataset: Dataset) -> _Seen:
    """Return what one pass over the raw samples finds."""
    samples = np.load(dataset.x_path, mmap_mode="r")
    seen = _Seen()
    digests: list[bytes] = []
    step = max(1, BLOCK_BYTES // max(1, samples[:1].nbytes))
    for start in range(0, len(samples), step):
        for offset, sample in enumerate(np.asarray(samples[start : start + step])):
            low, high = float(sample.min()), float(sample.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                seen.bad = start + offset if seen.bad is None else seen.bad
                continue
            seen.low, seen.high = min(seen.low, low), max(seen.high, high)
            seen.constant += low == high
            digests.append(hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest())
            if start + offset < ENOUGH:
                _correlate(sample, seen)
    seen.digests = tuple(digests)
    return seen


def _correlate(sample: NDArray[Any], seen: _Seen) -> None:
    """Add how much values correlate with the next along the first axis, for samples with two axes or more."""
    if sample.ndim < 2 or sample.shape[0] < 8 or sample.size < 64:
        return
    values = sample.astype(np.float64)
    centred = values - values.mean(axis=tuple(range(sample.ndim - 1)), keepdims=True)
    power = float((centred * centred).sum())
    if power > 0:
        seen.correlation += float((centred[:-1] * centred[1:]).sum()) / power
        seen.pairs += 1


def _refuse(dataset: Dataset, reference: str, message: str, wanted: object) -> InputError:
    return InputError(
        reference,
        message,
        context={"dataset": dataset.info.reference, "samples": dataset.info.count, "wanted": wanted},
        hint=HINT,
    )
