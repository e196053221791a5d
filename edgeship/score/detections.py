"""What a detector's outputs mean: boxes, classes and scores of each image, out of the forms that exports have.

Known: YOLO's one output (v5: box, sure, classes; v8: box, classes; either way round; v10: corners, score, class), boxes
and scores as two outputs, and what TFLite_Detection_PostProcess gives. Which it is follows from shapes and the number
of classes; where several fit, the one is taken by which the float model scores best. Pure NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.score.average_precision import MOST, Boxes, Floats, overlaps
from edgeship.score.metrics import Unfit

Array = NDArray[Any]
LEAST_SCORE = 0.001
OVERLAP = 0.6
"""Of two boxes of one class that share more the better one stays; YOLO's own evaluations take 0.6 to 0.7."""
CANDIDATES = 1000
"""Boxes of an image that are looked at, the best ones."""
PIXELS = 2.0
"""Coordinates beyond this are pixels of the model's input, not fractions of it."""
END_TO_END = 1000
"""Rows of an output that holds finished detections, at most."""

Read = Callable[[Sequence[Array], int], Boxes]
"""The outputs of a model and an image -> the boxes found in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to read outputs."""

    name: str
    read: Read


def forms_of(outputs: Sequence[Array], classes: int, size: tuple[int, int]) -> tuple[Form, ...]:
    """Return the ways in which outputs `[n, ...]` of the float model may be meant; `size`: its input, height and width.

    The outputs of its variants are then read the same way. Raises Unfit where none fits, saying why.
    """
    shapes = [o.shape for o in outputs]
    single = [_bare(o) for o in outputs]
    if len(outputs) in (3, 4) and (places := _finished(single)):
        return (Form(name="finished detections", read=_postprocessed(places, size)),)
    if len(outputs) == 2 and all(o.ndim == 3 for o in single):
        found = tuple(_two(single, classes, size))
    elif len(outputs) == 1 and single[0].ndim == 3:
        found = tuple(_one(single[0], classes, size))
    else:
        found = ()
    if not found:
        listed = ", ".join(str(list(s)) for s in shapes)
        raise Unfit(
            f"outputs {listed} are not read as detections of {classes} classes: known are [n, boxes, 4 + classes], "
            "[n, boxes, 5 + classes], these transposed, boxes [n, boxes, 4] beside scores, and "
            "TFLite_Detection_PostProcess; offsets from anchors need the anchors, which no file holds"
        )
    return found


def _bare(output: Array) -> Array:
    """Return an output without axes of one between the images and its last two: `[n, 1, b, 7]` is `[n, b, 7]`."""
    middle = [k for k, size in enumerate(output.shape[1:-2], start=1) if size == 1] if output.ndim > 3 else []
    return np.squeeze(output, axis=tuple(middle)) if middle else output


def _finished(outputs: Sequence[Array]) -> tuple[int, int, int, int | None] | None:
    """Return which outputs are boxes, classes, scores and count of TFLite_Detection_PostProcess, or None."""
    boxes = [k for k, o in enumerate(outputs) if o.ndim == 3 and o.shape[2] == 4]
    lists = [
        k for k, o in enumerate(outputs) if o.ndim == 2 and boxes and o.shape[1] == outputs[boxes[0]].shape[1]
    ]
    count = next((k for k, o in enumerate(outputs) if o.size == len(o) and k not in lists), None)
    if len(boxes) != 1 or len(lists) != 2:
        return None
    whole = [bool((outputs[k] == np.rint(outputs[k])).all()) for k in lists]
    first, second = lists if whole[0] or not whole[1] else reversed(lists)
    return boxes[0], first, second, count


def _postprocessed(places: tuple[int, int, int, int | None], size: tuple[int, int]) -> Read:
    def read(outputs: Sequence[Array], image: int) -> Boxes:
        corners = _bare(outputs[places[0]])[image].astype(np.float64)[:, [1, 0, 3, 2]]
        if np.abs(corners).max(initial=0.0) > PIXELS:
            corners = corners / [size[1], size[0], size[1], size[0]]
        count = (
            len(corners)
            if places[3] is None
            else int(outputs[places[3]].reshape(len(outputs[0]), -1)[image, 0])
        )
        classes = np.rint(outputs[places[1]][image]).astype(np.int64)
        scores = outputs[places[2]][image].astype(np.float64)
        kept = slice(0, max(0, min(count, len(corners))))
        return Boxes(corners=corners[kept], classes=classes[kept], scores=scores[kept])

    return read


def _one(output: Array, classes: int, size: tuple[int, int]) -> Iterator[Form]:
    for turned in (False, True):
        rows, columns = output.shape[1:][::-1] if turned else output.shape[1:]
        held = output.transpose(0, 2, 1) if turned else output
        way = ", channels first" if turned else ""
        if columns == 6 and rows <= END_TO_END and _is_end_to_end(held):
            yield Form(name="corners, score and class" + way, read=_end_to_end(turned, held, size))
        for sure, named in ((0, "box and classes"), (1, "box, sure and classes")):
            if columns == 4 + sure + classes and _are_centres(held[..., :4]):
                yield Form(name=named + way, read=_joined(turned, bool(sure), held, size))


def _two(outputs: Sequence[Array], classes: int, size: tuple[int, int]) -> Iterator[Form]:
    for boxes, scores in ((0, 1), (1, 0)):
        wide = outputs[scores].shape
        turned = wide[1] in (classes, classes + 1) and outputs[boxes].shape[1] == 4
        held = [o.transpose(0, 2, 1) if turned else o for o in outputs]
        first = held[scores].shape[2] - classes
        if held[boxes].shape[2] != 4 or first not in (0, 1) or held[boxes].shape[1] != held[scores].shape[1]:
            continue
        corners = held[boxes]
        if (corners[..., 2:] >= corners[..., :2]).mean() > 0.999:
            yield Form(
                name="corners x, y beside scores", read=_apart(boxes, scores, turned, first, held, size, "xy")
            )
            yield Form(
                name="corners y, x beside scores", read=_apart(boxes, scores, turned, first, held, size, "yx")
            )
        if _are_centres(corners):
            read = _apart(boxes, scores, turned, first, held, size, "centres")
            yield Form(name="centres and sizes beside scores", read=read)


def _are_centres(boxes: Array) -> bool:
    """Return whether boxes can be centre, width and height: sizes are not negative. Offsets from anchors are, often."""
    return bool((boxes[..., 2:] >= -1e-3 * max(1.0, float(np.abs(boxes).max()))).mean() > 0.999)


def _is_end_to_end(output: Array) -> bool:
    classes, scores = output[..., 5], output[..., 4]
    whole = bool((classes == np.rint(classes)).all())
    return whole and bool(scores.min() >= 0.0 and scores.max() <= 1.0)


def _end_to_end(turned: bool, shown: Array, size: tuple[int, int]) -> Read:
    by = _scale(shown[..., :4], size)

    def read(outputs: Sequence[Array], image: int) -> Boxes:
        rows = _rows(outputs[0], image, turned)
        rows = rows[rows[:, 4] > LEAST_SCORE]
        return Boxes(
            corners=rows[:, :4] / by, classes=np.rint(rows[:, 5]).astype(np.int64), scores=rows[:, 4]
        )

    return read


def _joined(turned: bool, sure: bool, shown: Array, size: tuple[int, int]) -> Read:
    by, squash = _scale(shown[..., :4], size), not _are_shares(shown[..., 4:])

    def read(outputs: Sequence[Array], image: int) -> Boxes:
        rows = _rows(outputs[0], image, turned)
        scores = _sigmoid(rows[:, 4:]) if squash else rows[:, 4:]
        scores = scores[:, :1] * scores[:, 1:] if sure else scores
        return suppressed(_corners(rows[:, :4] / by), scores)

    return read


def _apart(
    boxes: int,
    scores: int,
    turned: bool,
    first: int,
    shown: Sequence[Array],
    size: tuple[int, int],
    order: str,
) -> Read:
    by, squash = _scale(shown[boxes], size), not _are_shares(shown[scores])
    by = by[[1, 0, 3, 2]] if order == "yx" else by

    def read(outputs: Sequence[Array], image: int) -> Boxes:
        held = _rows(outputs[boxes], image, turned) / by
        corners = _corners(held) if order == "centres" else held[:, [1, 0, 3, 2]] if order == "yx" else held
        told = _rows(outputs[scores], image, turned)[:, first:]
        return suppressed(corners, _sigmoid(told) if squash else told)

    return read


def suppressed(corners: Floats, scores: Floats) -> Boxes:
    """Return the best boxes of each class without those that overlap a better one; `scores` is `[boxes, classes]`."""
    places, classes = np.nonzero(scores > LEAST_SCORE)
    held = scores[places, classes]
    best = np.argsort(-held, kind="stable")[:CANDIDATES]
    places, classes, held = places[best], classes[best], held[best]
    kept: list[int] = []
    for number in np.unique(classes):
        own = np.flatnonzero(classes == number)
        shared = overlaps(corners[places[own]], corners[places[own]]) > OVERLAP
        free = np.ones(len(own), bool)
        for k in range(len(own)):
            if free[k]:
                free[k + 1 :] &= ~shared[k, k + 1 :]
        kept += own[free].tolist()
    order = np.sort(np.array(kept, np.int64))[:MOST]
    return Boxes(corners=corners[places[order]], classes=classes[order].astype(np.int64), scores=held[order])


def _rows(output: Array, image: int, turned: bool) -> Floats:
    held = np.asarray(_bare(output)[image], np.float64)
    return held.T if turned else held


def _corners(centres: Floats) -> Floats:
    half = centres[:, 2:] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1)


def _scale(boxes: Array, size: tuple[int, int]) -> Floats:
    """Return what x, y, x, y are divided by to be fractions: the size of the input where boxes are in its pixels."""
    pixels = float(np.abs(boxes).max()) > PIXELS
    return np.array([size[1], size[0]] * 2 if pixels else [1.0] * 4, np.float64)


def _are_shares(scores: Array) -> bool:
    return bool(scores.min() >= -1e-3 and scores.max() <= 1.0 + 1e-3)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -60.0, 60.0))))
