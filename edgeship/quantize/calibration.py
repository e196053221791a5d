"""Checks a calibration set before anything is derived from it: bad samples make a bad model without a word.

All figures are of raw samples, streamed in blocks; the preprocessing is applied to their range only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeship.data.batches import sample_shape
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
    inputs: Sequence[TensorSpec],
    evaluation: Dataset | None = None,
    preprocess: Sequence[Preprocess] = (),
) -> tuple[str, ...]:
    """Return notes about a calibration set that is good enough to use; each is a sentence worth showing.

    `inputs` are the model's, with one array of the dataset and (where given) one `preprocess` each. Raises InputError
    `calibration-empty`, `calibration-too-few`, `calibration-not-finite`, `calibration-shape`, `calibration-constant`,
    `calibration-range`.
    """
    info = dataset.info
    if info.count < FEWEST:
        reference = "calibration-empty" if info.count == 0 else "calibration-too-few"
        raise _refuse(
            dataset, reference, f"{info.count} calibration samples say nothing about ranges", FEWEST
        )
    parts = [dataset.part(k) for k in range(len(inputs))]
    for k, (part, spec) in enumerate(zip(parts, inputs, strict=True)):
        _check_shape(part, spec, preprocess[k] if preprocess else Preprocess())
    seen = [_pass_over(part) for part in parts]
    for part, one in zip(parts, seen, strict=True):
        if one.bad is not None:
            raise _refuse(
                part, "calibration-not-finite", f"sample {one.bad} holds NaN or infinity", "finite numbers"
            )
    fixed = [part for part, one in zip(parts, seen, strict=True) if _is_constant(part, one)]
    if len(fixed) == len(parts):
        raise _refuse(
            dataset,
            "calibration-constant",
            f"all {info.count} samples {_said_of_constants(parts[0], seen[0])}",
            "different ones" if len(set(seen[0].digests)) == 1 else "real samples",
        )
    notes = [
        f"all samples of {part.info.reference} are the same: its range is only that of this one"
        for part, one in zip(parts, seen, strict=True)
        if len(set(one.digests)) == 1
    ]
    notes += _quality(parts, seen)
    if evaluation is not None and evaluation.info.count:
        others = [_pass_over(evaluation.part(k)) for k in range(len(inputs))]
        for k, (one, other) in enumerate(zip(seen, others, strict=True)):
            _check_unit(parts[k], one, evaluation.part(k), other)
        notes += _shared(info.count, seen, others)
    return tuple(notes)


def _is_constant(dataset: Dataset, seen: _Seen) -> bool:
    """Return whether the samples of one array cannot tell a range: all the same one, or one value throughout each."""
    one_each = seen.constant == dataset.info.count and math.prod(dataset.info.shape) > 1
    return one_each or len(set(seen.digests)) == 1


def _said_of_constants(dataset: Dataset, seen: _Seen) -> str:
    if seen.constant == dataset.info.count and math.prod(dataset.info.shape) > 1:
        return f"hold {'zeros' if seen.low == seen.high == 0 else 'one value each'}"
    return "are the same one"


def _check_shape(dataset: Dataset, wanted: TensorSpec, preprocess: Preprocess) -> None:
    """Refuse samples that are not of the model's shape once they have been resized."""
    shape = list(dataset.info.shape)
    if preprocess.resize is not None and len(shape) >= 2:
        shape[0], shape[1] = preprocess.resize.height, preprocess.resize.width
    model = list(sample_shape(wanted.shape, shape))
    have, want = ([n for n in sizes if n != 1] for sizes in (shape, model))
    if len(have) != len(want) or any(w not in (-1, s) for s, w in zip(have, want, strict=True)):
        same_size = math.prod(shape) == math.prod(model)
        raise InputError(
            "calibration-shape",
            f"samples are {list(dataset.info.shape)}, the model's input '{wanted.name}' takes {model}",
            context={"dataset": dataset.info.reference, "sample": shape, "model input": list(wanted.shape)},
            hint=f"numpy: x = x.reshape(-1, {', '.join(map(str, model))})"
            if same_size
            else "preprocess.resize in edgeship.yaml brings images to the model's size",
        )


def _quality(parts: Sequence[Dataset], seen: Sequence[_Seen]) -> Iterator[str]:
    """Yield notes about the samples themselves."""
    count = parts[0].info.count
    if count < ENOUGH:
        yield f"only {count} calibration samples: ranges are a guess below {ENOUGH}"
    for part, one in zip(parts, seen, strict=True):
        if one.constant and math.prod(part.info.shape) > 1 and not _is_constant(part, one):
            where = f" of {part.info.reference}" if len(parts) > 1 else ""
            yield (
                f"{one.constant} of {count} calibration samples{where} hold one value throughout (black images?)"
            )
    doubles = count - len(set(_whole(seen)))
    if doubles:
        yield f"{doubles} of {count} calibration samples are copies of others"
    for part, one in zip(parts, seen, strict=True):
        if one.pairs and abs(one.correlation / one.pairs) < NOISE_CORRELATION:
            where = f" of {part.info.reference}" if len(parts) > 1 else ""
            yield f"the calibration samples{where} look like random noise: neighbouring values do not correlate"


def _whole(seen: Sequence[_Seen]) -> list[tuple[bytes, ...]]:
    """Return what tells whole samples apart: the digests of all their inputs."""
    return list(zip(*(one.digests for one in seen), strict=True))


def _check_unit(dataset: Dataset, seen: _Seen, evaluation: Dataset, other: _Seen) -> None:
    """Refuse samples in another unit than the evaluation set's."""
    if other.bad is not None or not other.high > other.low or not seen.high > seen.low:
        return
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


def _shared(total: int, seen: Sequence[_Seen], others: Sequence[_Seen]) -> list[str]:
    """Return a note where calibration samples are evaluation samples too."""
    if any(other.bad is not None for other in others):
        return []
    known = set(_whole(others))
    shared = sum(digests in known for digests in _whole(seen))
    if not shared:
        return []
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
