"""Raw samples to model units, in the arithmetic the device repeats: IEEE doubles, rounded once to float32.

The formulas and their order are the contract of docs/formats.md; the runtime computes the same in plain
Python, so a change here changes what devices must compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.errors import InputError
from edgeship.values import Preprocess, Resize


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
