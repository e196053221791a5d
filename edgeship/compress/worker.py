"""The worker that does one step to a float model. TensorFlow is loaded by the methods that train, and only there."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.compress.methods import rows_by_name
from edgeship.compress.rows import parted
from edgeship.compress.samples import Samples
from edgeship.compress.work import Report, Resolved, Work
from edgeship.values import ModelSource, Step


def apply(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """Do `payload["step"]` and write the changed model to `payload["out"]`; return `{"figures", "notes", "seconds"}`.

    `payload`: `model` (path), `original` (path), `step` and `before` (steps as their JSON says), `recipe`, `train` and
    `calibration` (`{"inputs": [paths], "labels": path or null}` or null), `ranges` (name -> [low, high]), `one_scale`
    (operations with one scale a weight), `resolved` (fields of a
    Resolved, or null), `source` (what the user trained, or null), `folder`. Without training data
    calibration samples are trained on.
    """
    started = time.monotonic()
    step = step_from(payload["step"])
    given = payload["calibration"]
    train, held_out = _training(payload["train"] or (given and {**given, "labels": None}))
    work = Work(
        content=Path(payload["model"]).read_bytes(),
        step=step,
        before=tuple(step_from(told) for told in payload["before"]),
        original=Path(payload["original"]).read_bytes(),
        recipe=payload["recipe"],
        train=train,
        held_out=held_out,
        calibration=Samples.opened(given["inputs"]) if given else None,
        ranges={name: (low, high) for name, (low, high) in (payload.get("ranges") or {}).items()},
        one_scale=frozenset(payload.get("one_scale") or ()),
        resolved=Resolved(**told) if (told := payload.get("resolved")) else None,
        source=_source(payload.get("source")),
        folder=payload.get("folder"),
        report=report,
    )
    np.random.seed(step.seed)
    module, name = rows_by_name()[step.method].function.split(":")
    outcome = getattr(importlib.import_module(module), name)(work)
    Path(payload["out"]).write_bytes(outcome.content)
    return {
        "figures": {key: float(value) for key, value in outcome.figures.items()},
        "notes": list(outcome.notes),
        "seconds": time.monotonic() - started,
    }


def _source(told: dict[str, Any] | None) -> ModelSource | None:
    if told is None:
        return None
    shapes = tuple((name, tuple(sizes)) for name, sizes in told["shapes"])
    return ModelSource(path=Path(told["path"]), kind=told["kind"], sha256=told["sha256"], shapes=shapes)


def step_from(told: dict[str, Any]) -> Step:
    """Return the step that `Step.to_json` wrote."""
    return Step(
        label=told["label"],
        method=told["method"],
        settings=tuple(sorted(told["settings"].items())),
        seed=told["seed"],
    )


def _training(given: dict[str, Any] | None) -> tuple[Samples | None, Samples | None]:
    if given is None:
        return None, None
    everything = Samples.opened(given["inputs"], given["labels"])
    rows, held = parted(len(everything))
    return (
        Samples(everything.inputs, everything.labels, rows),
        Samples(everything.inputs, everything.labels, held),
    )
