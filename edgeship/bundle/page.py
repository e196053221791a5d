"""The page that a service shows to people: its files, and page.json, what it tells of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgeship
from edgeship.assets import runtime_folder
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.service import note_of
from edgeship.digest import canonical_json
from edgeship.tflite.metadata import read_metadata
from edgeship.values import DatasetInfo, InputRule, Preprocess, Unavailable, Variant, as_json

SCHEMA = "edgeship.page/1"
STATIC = ("index.html", "page.css", "page.js")
LEAST_SIDE = 8
"""Pixels; what is narrower is no picture that a person would choose."""
SPANS: tuple[tuple[float, float, str], ...] = (
    (0.0, 255.0, "0 to 255"),
    (0.0, 1.0, "0 to 1"),
    (-1.0, 1.0, "-1 to 1"),
)
"""Ranges that bytes of pixels are brought to where a model takes real numbers."""
NEAR = 0.02
"""Share of a range that samples may miss it by."""
FIRST = 12
"""Classes that are named before anything was asked; answers name the others."""


def page_files(parts: BundleParts, values: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the page's files by their names in the release; none where `service.page` is false.

    `values` is what service.json is made from.
    """
    if not parts.project.service.page:
        return {}
    folder = runtime_folder() / "page"
    static = {f"page/{name}": (folder / name).read_bytes() for name in STATIC}
    return static | {"page/page.json": canonical_json(page_document(parts, values))}


def page_document(parts: BundleParts, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `edgeship.page/1` document: what the release says of itself to people, known things only."""
    said = _said(parts)
    evaluation = parts.evaluation.info if parts.evaluation else None
    boxes = boxes_of([o["shape"] for o in values["variants"][0]["outputs"]], len(parts.labels))
    return {
        "schema": SCHEMA,
        "app": parts.app,
        "version": parts.version,
        "edgeship": edgeship.__version__,
        "target": parts.profile.title or parts.profile.name,
        "model": parts.source.path.name,
        **{key: text for key, text in said.items() if text},
        **({"measured_on": _measured_on(evaluation)} if evaluation else {}),
        "variants": {
            entry["name"]: _variant(parts, variant, entry)
            for variant, entry in zip(parts.carried, values["variants"], strict=True)
        },
        **(
            {"classes": {"count": len(parts.labels), "first": list(parts.labels[:FIRST])}}
            if parts.labels
            else {}
        ),
        **({"governor": True} if values.get("governor") else {}),
        **({"boxes": boxes, "labels": list(parts.labels)} if boxes else {}),
    }


def picture_of(
    entry: Mapping[str, Any], samples: DatasetInfo | None, rule: InputRule
) -> dict[str, Any] | None:
    """Return how a picture becomes the tensor that a client sends for input `entry` of service.json; None where that
    is not known, or the input takes no pictures.

    A value is byte * scale + offset, `basis` says how that is known. `resize` is the declared method, or `smooth`
    (each pixel the mean of what it covers) where the build was given arrays whose making it did not see.
    """
    shape, declared = entry["shape"], rule.preprocess.resize
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3, 4) or min(shape[1:3]) < LEAST_SIDE:
        return None
    bytes_of_pixels = entry["datatype"] == "UINT8"
    # spectrograms have one channel, too: seldom as bytes and as wide as high
    if shape[3] != 3 and declared is None and not (bytes_of_pixels and shape[1] == shape[2]):
        return None
    taken = (1.0, 0.0, "pixels as they are, 0 to 255") if bytes_of_pixels else _span(entry, samples, rule)
    if taken is None:
        return None
    return {
        "input": entry["name"],
        "datatype": "UINT8" if bytes_of_pixels else "FP32",
        "height": shape[1],
        "width": shape[2],
        "channels": shape[3],
        "scale": taken[0],
        "offset": taken[1],
        "basis": taken[2],
        "resize": declared.method if declared else "smooth",
    }


def boxes_of(shapes: Sequence[Sequence[int]], classes: int) -> dict[str, Any] | None:
    """Return which form of `edgeship.score.detections` outputs of these shapes have; None where shapes and the number
    of classes do not say.

    Finished detections: which outputs are `boxes`, `lists` (classes and scores) and `count`. YOLO's one output: whether
    its rows are `turned` into columns, and 1 for `sure` where how sure it is stands before the classes.
    """
    if len(shapes) in (3, 4):
        boxes = [k for k, s in enumerate(shapes) if len(s) == 3 and s[2] == 4]
        lists = [k for k, s in enumerate(shapes) if boxes and list(s) == list(shapes[boxes[0]][:2])]
        if len(boxes) == 1 and len(lists) == 2:
            rest = [k for k in range(len(shapes)) if k not in (*boxes, *lists)]
            return {"boxes": boxes[0], "lists": lists, "count": rest[0] if rest else None}
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] != 1:
        return None
    for turned in (False, True):
        rows, columns = shapes[0][1:][::-1] if turned else shapes[0][1:]
        for sure in (0, 1):
            if classes and columns == 4 + sure + classes and rows > columns:
                return {"turned": turned, "sure": sure}
    return None


def _span(
    entry: Mapping[str, Any], samples: DatasetInfo | None, rule: InputRule
) -> tuple[float, float, str] | None:
    """Return (scale, offset, how that is known) from bytes to the real numbers that clients send."""
    if not rule.preprocess.is_identity() and _takes_bytes(rule.preprocess):
        return 1.0, 0.0, "pixels 0 to 255; the service normalises them as the model's build said"
    if samples is not None and entry["datatype"].startswith("FP"):
        return _as_pixels(samples.minimum, samples.maximum, "as the samples of the build lie")
    tensor = entry["tensor"]
    limits = {"int8": (-128, 127), "uint8": (0, 255)}.get(tensor["dtype"])
    if not entry.get("stored") or limits is None or tensor["scale"] is None:
        return None
    low, high = (tensor["scale"] * (q - tensor["zero_point"]) for q in limits)
    return _as_pixels(low, high, "all that the model's input can hold")


def _as_pixels(low: float, high: float, basis: str) -> tuple[float, float, str] | None:
    for bottom, top, words in SPANS:
        room = NEAR * (top - bottom)
        if abs(low - bottom) <= room and abs(high - top) <= room:
            return (top - bottom) / 255, bottom, f"{words}, {basis}"
    return None


def _takes_bytes(preprocess: Preprocess) -> bool:
    """Return whether bytes of pixels become a model's own units by it: a few units wide."""
    wide = [255 * preprocess.scale / std for std in preprocess.std]
    return min(wide) >= 0.5 and max(wide) <= 8


def _said(parts: BundleParts) -> dict[str, str]:
    """Return what the author says of the model: in edgeship.yaml, else in the file that it came in."""
    own = parts.project.metadata
    path = parts.source.path
    found = read_metadata(path) if path.suffix == ".tflite" and path.is_file() else None
    return {
        key: text or str((found or {}).get(key) or "")
        for key, text in {
            "name": own.name or "",
            "description": own.description,
            "author": own.author,
            "licence": own.licence,
        }.items()
    }


def _measured_on(evaluation: DatasetInfo) -> dict[str, Any]:
    return {"samples": evaluation.count, "data": Path(evaluation.reference).name}


def _variant(parts: BundleParts, variant: Variant, entry: Mapping[str, Any]) -> dict[str, Any]:
    metric, agreement = variant.scorecard.metric, variant.scorecard.agreement.argmax
    shipped = parts.shipped_as(variant)
    info = parts.samples.info if parts.samples else None
    picture = picture_of(entry["inputs"][0], info, parts.rules[0]) if len(entry["inputs"]) == 1 else None
    note = note_of(shipped)
    return {
        "recipe": variant.artifact.recipe,
        "bytes": variant.artifact.bytes,
        "metric": {
            "name": metric.name,
            "value": as_json(metric.value),
            "float": as_json(metric.float_value),
        },
        **({} if isinstance(agreement, Unavailable) else {"agreement": agreement}),
        **({"compiled": True} if shipped and shipped.result and shipped.result.compiled else {}),
        **({"note": note} if note else {}),
        **({"picture": picture} if picture else {}),
    }
