"""The pictures that a model takes, as its file tells without being converted: `input_picture(source)`."""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from edgeship.tflite.entry import read_entry
from edgeship.values import ModelSource, Resize

SHAPE = re.compile(r'"batch_(?:input_)?shape": (\[[^\]]*\])')


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Size and channels of the only input; None where they are open or not told."""

    size: Resize | None = None
    channels: int | None = None


def input_picture(source: ModelSource, signature: str | None = None) -> Picture:
    """Return what a model's file, or that signature of it, says of the pictures it takes, channels last; sizes that the
    user closes count."""
    shapes = _shapes(source, signature)
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return Picture()
    said = source.shapes[0][1] if len(source.shapes) == 1 else ()
    sizes = [n or 0 for n in (said if len(said) == 4 else shapes[0])]
    size = Resize(height=sizes[1], width=sizes[2]) if min(sizes[1:3]) > 0 else None
    return Picture(size=size, channels=sizes[3] if sizes[3] > 0 else None)


def _shapes(source: ModelSource, signature: str | None) -> list[Sequence[int | None]]:
    """Return the shapes of the inputs with None or -1 where a size is open; [] where the file does not tell them."""
    if source.kind == "tflite":
        return [spec.shape for spec in read_entry(source.path, signature).signature.inputs]
    with contextlib.suppress(OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        text = _config(source)
        return [json.loads(shape) for shape in dict.fromkeys(SHAPE.findall(text))]
    return []


def _config(source: ModelSource) -> str:
    if source.kind == "keras":
        return zipfile.ZipFile(source.path).read("config.json").decode()
    if source.kind != "h5":
        return ""
    import h5py  # read as data; nothing of Keras is started

    with h5py.File(source.path, "r") as file:
        held = file.attrs["model_config"]
    return held.decode() if isinstance(held, bytes) else str(held)
