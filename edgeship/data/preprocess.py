"""Raw samples to model units, in the arithmetic the device repeats: IEEE doubles, rounded once to float32.

The formulas and their order are the contract of docs/formats.md; the runtime computes the same in plain
Python, so a change here changes what devices must compute.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from edgeship.data.batches import sample_shape
from edgeship.digest import sha256_json
from edgeship.errors import InputError
from edgeship.progress import Progress, Silent
from edgeship.values import Dataset, DatasetInfo, Preprocess, Resize, TensorSpec

BLOCK_BYTES = 16 << 20
"""Doubles held at a time while a dataset is prepared."""


def apply(preprocess: Preprocess, x: NDArray[Any]) -> NDArray[np.float32]:
    """Return `[n, ...]` raw samples in model units, float32: resize, then (x * scale - mean) / std per
    channel.

    Raises InputError `preprocess-channels` where `mean` or `std` does not fit the last axis,
    `preprocess-resize` where there are no image axes.
    """
    values = np.asarray(x)
    if preprocess.resize is not None:
        values = resize(values, preprocess.resize)
    mean = _per_channel(preprocess.mean, values, "mean")
    std = _per_channel(preprocess.std, values, "std")
    if not np.all(std != 0.0):
        raise InputError(
            "preprocess-std-zero",
            "a std of 0 would divide by zero",
            context={"key": "preprocess.std", "value": list(preprocess.std)},
            hint="leave std out (it is then 1) or give the training data's standard deviation",
        )
    doubles = values.astype(np.float64)
    result: NDArray[np.float32] = ((doubles * preprocess.scale - mean) / std).astype(np.float32)
    return result


def resize(x: NDArray[Any], to: Resize) -> NDArray[np.float64]:
    """Return `[n, height, width, c]` (or `[n, height, width]`) images at another size, as doubles.

    Half-pixel centres: the source of output pixel i is (i + 0.5) * in / out - 0.5, clamped to the image;
    bilinear mixes its two neighbours along the width first, then along the height. An image that has the size
    already comes back unchanged to the bit, so resizing twice to one size equals resizing once.
    """
    if x.ndim not in (3, 4):
        raise InputError(
            "preprocess-resize",
            f"resize wants images of [height, width, channels], the samples are {list(x.shape[1:])}",
            context={"key": "preprocess.resize"},
            hint="remove resize from preprocess",
        )
    values = x.astype(np.float64)
    height, width = x.shape[1], x.shape[2]
    if to.method == "nearest":
        return values[:, _nearest(height, to.height)][:, :, _nearest(width, to.width)]
    y0, y1, wy = _neighbours(height, to.height)
    x0, x1, wx = _neighbours(width, to.width)
    tail = (1,) * (x.ndim - 3)
    wx = wx.reshape(1, 1, -1, *tail)
    wy = wy.reshape(1, -1, 1, *tail)
    upper = values[:, y0][:, :, x0] * (1.0 - wx) + values[:, y0][:, :, x1] * wx
    lower = values[:, y1][:, :, x0] * (1.0 - wx) + values[:, y1][:, :, x1] * wx
    mixed: NDArray[np.float64] = upper * (1.0 - wy) + lower * wy
    return mixed


def _nearest(size: int, wanted: int) -> NDArray[np.int64]:
    centres = (np.arange(wanted, dtype=np.float64) + 0.5) * size / wanted
    positions: NDArray[np.int64] = np.clip(np.floor(centres), 0, size - 1).astype(np.int64)
    return positions


def _neighbours(size: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the two source positions of each output position, and the weight of the second."""
    centres = (np.arange(wanted, dtype=np.float64) + 0.5) * size / wanted - 0.5
    source: NDArray[np.float64] = np.clip(centres, 0.0, float(size - 1))
    first: NDArray[np.int64] = np.floor(source).astype(np.int64)
    second: NDArray[np.int64] = np.minimum(first + 1, size - 1)
    return first, second, source - first


def _per_channel(values: tuple[float, ...], x: NDArray[Any], key: str) -> NDArray[np.float64]:
    """Return one value, or one per entry of the last axis, as doubles."""
    channels = x.shape[-1] if x.ndim > 1 else 1
    if len(values) not in (1, channels):
        raise InputError(
            "preprocess-channels",
            f"preprocess.{key} has {len(values)} values, the samples have {channels} channels",
            context={"key": f"preprocess.{key}", "value": list(values), "sample shape": list(x.shape[1:])},
            hint=f"give one value, or {channels}",
        )
    return np.asarray(values, dtype=np.float64)


def prepare(
    dataset: Dataset,
    preprocess: Preprocess,
    signature_input: TensorSpec,
    work: Path,
    *,
    progress: Progress | None = None,
    rescaling: float = 1.0,
) -> Path:
    """Return the `.npy` of a dataset in model units: `[n, ...]` float32 of the input's shape without its
    batch axis (`sample_shape`).

    Inputs of int32 or int64 (indices into tables) keep their own dtype where nothing is to be preprocessed.
    Axes of size 1 are added or dropped where only they differ. Notes go to `progress` where values look
    normalised twice or not at all; `rescaling` is what the model itself multiplies its input by
    first, which counts too. The file is named by its content's origin and made once. Raises InputError
    `dataset-wrong-shape` naming both shapes and the fix, and what `apply` raises.
    """
    show = progress or Silent()
    raw = np.load(dataset.x_path, mmap_mode="r")
    first = apply(preprocess, raw[:1])
    wanted = sample_shape(signature_input.shape, first.shape[1:])
    _check_shape(first.shape[1:], wanted, dataset.info, preprocess, signature_input)
    for note in _doubts(dataset.info, preprocess, rescaling):
        show.note(note)
    exact = preprocess.is_identity() and signature_input.dtype in ("int32", "int64")
    dtype = np.dtype(signature_input.dtype if exact else "float32")
    key = sha256_json([dataset.info.sha256, dataclasses.asdict(preprocess), list(wanted), dtype.str])
    path = work / f"{dataset.x_path.name.removesuffix('.x.npy')}-{key[:8]}.prepared.npy"
    if path.exists():
        return path
    work.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    out = open_memmap(part, mode="w+", dtype=dtype, shape=(len(raw), *wanted))  # type: ignore[no-untyped-call]
    step = max(1, BLOCK_BYTES // (8 * max(first.size, int(raw[0].size), 1)))
    for start in range(0, len(raw), step):
        block = raw[start : start + step]
        values = block if exact else apply(preprocess, block)
        out[start : start + step] = values.reshape(len(block), *wanted)
        show.advance(min(start + step, len(raw)), len(raw), "samples")
    out.flush()
    del out
    part.replace(path)
    return path


def share_outside(prepared: Path, spec: TensorSpec) -> float:
    """Return the share (0..1) of prepared values that a quantized input cannot hold: they are cut off to its range.

    A value within one step of the range is inside. 0.0 for inputs that are not quantized.
    """
    if spec.quantization is None or len(spec.quantization.scales) != 1:
        return 0.0
    scale, zero_point = spec.quantization.scales[0], spec.quantization.zero_points[0]
    limits = np.iinfo(np.dtype(spec.dtype))
    low, high = ((q - zero_point) * scale for q in (limits.min - 1, limits.max + 1))
    held = np.load(prepared, mmap_mode="r")
    step = max(1, BLOCK_BYTES // (8 * max(int(held[0].size), 1)))
    outside = sum(
        int(((block < low) | (block > high)).sum())
        for block in (np.asarray(held[i : i + step]) for i in range(0, len(held), step))
    )
    return float(outside / max(held.size, 1))


def _check_shape(
    have: tuple[int, ...],
    wanted: tuple[int, ...],
    info: DatasetInfo,
    preprocess: Preprocess,
    spec: TensorSpec,
) -> None:
    """Raise `dataset-wrong-shape` where samples cannot be the model's input even with axes of size 1
    moved."""
    if [n for n in have if n != 1] == [n for n in wanted if n != 1]:
        return
    hint = "give samples of the model's input shape"
    if len(have) == len(wanted) == 3:
        if (have[1], have[2], have[0]) == wanted:
            hint = "the samples have channels first: x = x.transpose(0, 2, 3, 1)"
        elif (have[2], have[0], have[1]) == wanted:
            hint = "the model wants channels first: x = x.transpose(0, 3, 1, 2), or better export it channels last"
        elif have[2] == wanted[2]:
            size = f"{{height: {wanted[0]}, width: {wanted[1]}}}"
            hint = f"have them resized: put  preprocess: {{resize: {size}}}  into edgeship.yaml"
        elif have[:2] == wanted[:2]:
            hint = f"the samples have {have[2]} channel(s), the model wants {wanted[2]}: convert the images"
    elif int(np.prod(have)) == int(np.prod(wanted)):
        hint = f"reshape them: x = x.reshape(len(x), {', '.join(map(str, wanted))})"
    elif len(have) == 2 and len(wanted) == 3 and wanted[2] == 3:
        hint = "the model wants colour images: x = numpy.repeat(x[..., None], 3, axis=-1)"
    elif len(have) == len(wanted) + 1 and have[1:] == wanted:
        hint = (
            f"these are batches of {have[0]}: yield one sample at a time (dataset.unbatch() of a tf.data.Dataset); of "
            f"an array x = x.reshape(-1, {', '.join(map(str, wanted))})"
        )
    resized = " after resizing" if preprocess.resize else ""
    raise InputError(
        "dataset-wrong-shape",
        f"a sample has the shape {list(have)}{resized}, the model's input '{spec.name}' wants {list(wanted)}",
        context={"dataset": info.reference, "sample": list(have), "model input": list(spec.shape)},
        hint=hint,
    )


def _doubts(info: DatasetInfo, preprocess: Preprocess, inside: float) -> list[str]:
    """Return what looks like normalising twice, or not at all; `inside` is the scale of the model's own first
    step."""
    bytes_like = info.maximum > 16 and info.minimum >= 0 and info.maximum <= 255
    shrinks = abs(preprocess.scale) / max(map(abs, preprocess.std)) < 0.1
    notes = []
    if shrinks and info.maximum - info.minimum <= 2.0:
        notes.append(
            f"{info.reference} already lies in {info.minimum:g}..{info.maximum:g}, and preprocess would scale it by "
            f"{preprocess.scale:g} again: normalised twice? If so, leave preprocess out"
        )
    if shrinks and abs(inside) < 0.1:
        notes.append(
            f"the model itself begins with a scaling by {inside:g}, and preprocess scales by {preprocess.scale:g}: "
            "normalised twice? If so, leave preprocess out"
        )
    if preprocess.is_identity() and info.dtype == "uint8" and bytes_like and inside == 1.0:
        notes.append(
            f"{info.reference} goes in as it is, {info.minimum:g}..{info.maximum:g}: right only if the model was "
            "trained on such values (else declare preprocess.scale, mean and std)"
        )
    return notes
