"""What all images of one folder have in common once they are read: `survey(...)` decides it, `pixels(...)` reads by it.

A folder means one thing: one number of channels, one number of bits, one way up. Only headers are read to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.errors import InputError

ORIENTATION = 0x0112
"""The EXIF tag; 1 is upright, 5 to 8 swap height and width (CIPA DC-008, Exif 3.0, 4.6.5.1)."""
GRAY = {"1", "L", "LA", "La"}
SIXTEEN = {"I;16", "I;16B", "I;16L", "I;16N"}
WIDE = {"I": "int32", "F": "float32"}
TRANSPARENT = {"RGBA", "RGBa", "LA", "La", "PA"}
OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
WORDS = {"L": "gray", "RGB": "RGB", "RGBA": "RGBA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """How every image of a folder is read."""

    mode: str
    """L, RGB or RGBA."""
    dtype: str
    """uint8; uint16, int32 or float32 where all images are such, whose values stay as they are."""
    sizes: dict[tuple[int, int], Path]
    """(height, width) once upright -> the first file of that size."""
    told: tuple[str, ...]
    """What is changed for it, a sentence each; empty where all images are alike."""


def survey(paths: Sequence[Path], reference: str, channels: int | None = None) -> Common:
    """Return how to read these images; `channels` is what the model's input takes, where it is known.

    Without it images stay gray unless one is coloured. 16 bits stay where all have them; beside 8-bit images they
    become 8 bits, all on one scale. Raises InputError `dataset-image-broken`, and `dataset-image-depths` where images
    of 32 bits, whose values have no scale, stand beside others.
    """
    sizes: dict[tuple[int, int], Path] = {}
    kinds: Counter[str] = Counter()
    first: dict[int, Path] = {}
    turned = transparent = 0
    for path in paths:
        image = opened(path, reference)
        kind = _kind(image)
        kinds[kind] += 1
        first.setdefault(_bits(kind), path)
        transparent += kind in TRANSPARENT or "transparency" in image.info
        way = orientation(image)
        turned += way != 1
        size = (image.width, image.height) if way >= 5 else (image.height, image.width)
        sizes.setdefault(size, path)
        image.close()
    if {"I", "F"} & set(kinds) and len(kinds) > 1:
        raise _no_scale(reference, first)
    gray = set(kinds) <= GRAY | {"16", *WIDE}
    mode = OF_CHANNELS.get(channels or 0, "L" if gray else "RGB")
    raw = {"16": "uint16", **WIDE}
    dtype = raw.get(next(iter(kinds), ""), "uint8") if len(kinds) == 1 else "uint8"
    told = (_said(kinds, mode, dtype, transparent), _upright(turned, len(paths)))
    return Common(mode=mode, dtype=dtype, sizes=sizes, told=tuple(line for line in told if line))


def pixels(path: Path, common: Common, reference: str) -> NDArray[Any]:
    """Return one image as `[height, width, channels]`, upright, in the folder's mode and dtype."""
    image = opened(path, reference)
    try:
        way = orientation(image)  # before the rest is read, as in the survey
        values = np.asarray(image if _bits(_kind(image)) > 8 else image.convert(common.mode))
    except (OSError, ValueError, SyntaxError) as error:
        raise _broken(path, reference, error) from None
    finally:
        image.close()
    if _bits(_kind(image)) == 16 and common.dtype == "uint8":
        values = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    values = _turned(values, way).astype(common.dtype, copy=False)
    wanted = len(common.mode)
    if values.ndim == 2:
        values = np.repeat(values[:, :, np.newaxis], min(wanted, 3), axis=2)
        if wanted == 4:
            opaque = 255 if common.dtype == "uint8" else 65535
            values = np.concatenate([values, np.full_like(values[:, :, :1], opaque)], axis=2)
    return values


def opened(path: Path, reference: str) -> Any:
    """Return the image, of which only the header is read. Raises InputError `dataset-image-broken`."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _broken(path, reference, error) from None


def orientation(image: Any) -> int:
    """Return the EXIF orientation, 1 where there is none that makes sense.

    A PNG that does not name it before its pixels would have to be read whole for it, and is taken as upright.
    """
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        return 1  # damaged EXIF is no damaged picture
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(values: NDArray[Any], way: int) -> NDArray[Any]:
    """Return pixels upright: mirrored, turned, or both, as each orientation is defined."""
    if way in (2, 7):
        values = values[:, ::-1]
    if way in (4, 5):
        values = values[::-1]
    return np.ascontiguousarray(np.rot90(values, {3: 2, 5: -1, 6: -1, 7: -1, 8: 1}.get(way, 0)))


def _kind(image: Any) -> str:
    """Return the image's mode; `16` for gray of 16 bits, which Pillow calls I where PNG or PGM hold it."""
    mode = str(image.mode)
    return "16" if mode in SIXTEEN or (mode == "I" and image.format in ("PNG", "PPM")) else mode


def _bits(kind: str) -> int:
    return 16 if kind == "16" else 32 if kind in WIDE else 8


def _said(kinds: Counter[str], mode: str, dtype: str, transparent: int) -> str:
    """Return one sentence on what is converted, by number; "" where nothing is."""
    colours = sum(count for kind, count in kinds.items() if kind not in GRAY | {"16"} | set(WIDE))
    found = {
        "of 16 bits (divided by 257)": kinds["16"] if dtype == "uint8" else 0,
        "gray": sum(kinds.values()) - colours if mode != "L" else 0,
        "coloured": colours if mode == "L" else 0,
        "with a palette": kinds["P"] + kinds["PA"],
        "CMYK": kinds["CMYK"],
        "with transparency, which is dropped": transparent if mode != "RGBA" else 0,
        "without transparency": sum(kinds.values()) - transparent if mode == "RGBA" else 0,
    }
    parts = [f"{count} {words}" for words, count in found.items() if count]
    if not parts:
        return ""
    bits = {"uint8": "8 bits", "uint16": "16 bits"}.get(dtype, dtype)
    total = sum(kinds.values())
    return (
        f"images are read as {WORDS[mode]} of {bits}; among these {total}: {', '.join(parts)}. "
        "Clients of the service send pixels like that"
    )


def _upright(turned: int, total: int) -> str:
    if not turned:
        return ""
    verb = "is" if turned == 1 else "are"
    return (
        f"{turned} of {total} images {verb} turned as the EXIF orientation says; the service takes pixels as they are "
        "sent, so clients turn theirs first (PIL.ImageOps.exif_transpose)"
    )


def _no_scale(reference: str, first: dict[int, Path]) -> InputError:
    return InputError(
        "dataset-image-depths",
        "images of 32 bits stand beside others: nothing says which of their values is white",
        context={"dataset": reference} | {f"{bits} bits": path for bits, path in sorted(first.items())},
        hint="save all of them with 8 bits, or all with 32:  "
        "PIL.Image.fromarray((values / values.max() * 255).astype('uint8')).save(FILE)",
    )


def _broken(path: Path, reference: str, error: Exception) -> InputError:
    return InputError(
        "dataset-image-broken",
        f"an image cannot be read: {error}",
        context={"dataset": reference, "file": path, "bytes": path.stat().st_size},
        hint=f"remove or replace it: rm {path}",
    )
