"""What a reader of a dataset is asked for, and what it found, a block at a time: `Reading` and `Samples`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from edgeship.values import Resize

Role = Literal["calibration", "evaluation", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a dataset is read for, and how much of it."""

    role: Role
    limit: int | None = None
    """Keep the first samples only; of image folders, taken in turn from each class."""
    base: Path | None = None
    """Where relative paths and modules are looked for; None: the working directory."""
    inputs: tuple[str, ...] = ()
    """Names of the model's inputs in its order, where its file tells them without being converted; else nothing."""
    resize: Resize | None = None
    """Used only for images of several sizes, which must become one size to be an array; bilinear values are then
    rounded to the image's own dtype. (Resizing again to the same size changes nothing, so a later `apply` does no
    harm.)"""
    classes: tuple[str, ...] = ()
    """The model's class names in the order of its output: folders of images are numbered as they say, not by the
    alphabet."""
    resizes: Mapping[str, Resize] = field(default_factory=dict)
    """The same, for the inputs of a model that has several, by name."""
    wanted: Resize | None = None
    """The size that the model takes, where it is known, for the words of an error."""
    channels: Mapping[str, int] = field(default_factory=dict)
    """Input (empty: the only one) -> its channels, where they are known: images get as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a reader found: blocks of `x`, blocks of `y` (None: not labelled), and class names where it knows
    them."""

    x: Iterator[NDArray[Any]] | Mapping[str, Iterator[NDArray[Any]]]
    """Of the only array, or of each array by the name of the input that it is for."""
    y: Iterator[NDArray[Any]] | None
    classes: tuple[str, ...] = ()
    untyped: tuple[str | None, ...] = ()
    """The arrays whose numbers come out of a text: they take the type of the input they are for."""

    @property
    def by_name(self) -> dict[str | None, Iterator[NDArray[Any]]]:
        """The blocks of each array; the only one has no name."""
        return {name: self.x[name] for name in self.x} if isinstance(self.x, Mapping) else {None: self.x}
