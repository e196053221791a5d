"""A candidate's steps, one after the other: `float_of(shop, candidate)`. What was done before is kept."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeship.compress.accelerator import training_environment
from edgeship.compress.methods import Row, rows_by_name
from edgeship.digest import sha256_file, sha256_json
from edgeship.pipeline import sensitivity
from edgeship.pipeline.shop import Shop
from edgeship.quantize.derive import one_scale_operations, order_of
from edgeship.quantize.ranges import ranges_of
from edgeship.quantize.recipes import RECIPES
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.toolchain.environments import require
from edgeship.values import Candidate, ModelSource, Step, StepRecord
from edgeship.whole import whole

LEAST_SECONDS = 60.0
"""What a step may take in any case: the last one that was begun in time."""


def float_of(shop: Shop, candidate: Candidate) -> tuple[Path, tuple[StepRecord, ...]]:
    """Return the float model after a candidate's steps, and what was done. Raises what a step raises."""
    path = teacher = shop.inputs.float_model.path
    records: list[StepRecord] = []
    for place, step in enumerate(candidate.steps):
        before, recipe = candidate.steps[:place], candidate.recipe
        doing = _Doing(shop=shop, path=path, teacher=teacher, step=step, before=before, recipe=recipe)
        path, record = doing.done()
        records.append(record)
        if all(done.method == "rewrite" for done in candidate.steps[: place + 1]):
            teacher = path
    return path, tuple(records)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doing:
    """One step on its way to a recipe."""

    shop: Shop
    path: Path
    """The float model that it starts from."""
    teacher: Path
    """The float model that it learns from: the given one, or what the rewrites made of it that the chain begins with,
    which computes the same and may be trained where that could not."""
    step: Step
    before: tuple[Step, ...]
    recipe: str

    @property
    def row(self) -> Row:
        return rows_by_name()[self.step.method]

    @property
    def one_scale(self) -> list[str]:
        return list(one_scale_operations(RECIPES[self.recipe], self.shop.profile))

    def done(self) -> tuple[Path, StepRecord]:
        """Return what the step makes of the float model, from the store where it was made before."""
        shop, data = self.shop, self.shop.data()
        key = self.key(data)
        folder = shop.store / "steps" / key[:32]
        with shop.locks[key]:
            if not folder.exists():
                with whole(folder) as part:
                    self.do(part)
        told = json.loads((folder / "told.json").read_text())
        record = StepRecord(
            step=self.step,
            data=tuple(sorted(data.items())),
            seconds=told["seconds"],
            figures=tuple(sorted(told["figures"].items())),
            notes=tuple(told["notes"]),
            layers=tuple(sorted((told.get("layers") or {}).items())),
        )
        return folder / "model.tflite", record

    def key(self, data: dict[str, str]) -> str:
        """Return a digest of all that decides what comes of the step."""
        shop, row, recipe = self.shop, self.row, RECIPES[self.recipe]
        return sha256_json(
            {
                **shop.by(),
                "model": sha256_file(self.path),
                "original": sha256_file(self.teacher),
                "step": self.step.to_json(),
                "before": [one.to_json() for one in self.before],
                "recipe": self.recipe,
                "one_scale": self.one_scale,
                "data": data,
                **shop.named(self.step),
                **({"source": shop.inputs.source.sha256} if row.tool else {}),
                **({"order": order_of((recipe,), shop.profile)} if row.measured else {}),
            }
        )

    def do(self, folder: Path) -> None:
        """Do the step in a worker: `folder`, made here, then holds the model and what is told of it."""
        shop, row = self.shop, self.row
        folder.mkdir()
        begun, payload = time.monotonic(), self.payload(folder)
        told = run_worker(
            "edgeship.compress.worker:apply",
            payload,
            python_path=require(row.tool).python_path if row.tool else (),
            environment=training_environment() | ({"TF_USE_LEGACY_KERAS": "1"} if row.tool else {}),
            limits=WorkerLimits(seconds=max(LEAST_SECONDS, shop.until - time.monotonic())),
            progress=shop.site.progress,
            stop=shop.stopped.is_set,
        ).value
        told |= {"layers": (payload["resolved"] or {}).get("layers")}
        told["seconds"] = time.monotonic() - begun
        (folder / "told.json").write_text(json.dumps(told, sort_keys=True))

    def payload(self, folder: Path) -> dict[str, Any]:
        """Return what the worker is handed."""
        inputs, row, progress = self.shop.inputs, self.row, self.shop.site.progress
        train, calibration = inputs.train_prepared, inputs.calibration_prepared
        labels = inputs.train.y_path if inputs.train else None
        ranges = {}
        if row.ranges and calibration is not None:
            ranges = ranges_of(self.path, calibration, self.recipe, progress)
        return {
            "model": str(self.path),
            "original": str(self.teacher),
            "step": self.step.to_json(),
            "before": [one.to_json() for one in self.before],
            "recipe": self.recipe,
            "train": train and {"inputs": [str(p) for p in train.paths], "labels": labels and str(labels)},
            "calibration": calibration and {"inputs": [str(p) for p in calibration.paths], "labels": None},
            "ranges": ranges,
            "one_scale": self.one_scale,
            "source": _told(inputs.source) if row.tool else None,
            "folder": str(self.shop.site.project.base),
            "out": str(folder / "model.tflite"),
            "resolved": self.resolved(folder / "looked-at") if row.measured else None,
        }

    def resolved(self, folder: Path) -> dict[str, Any]:
        """Return what `sensitivity.resolved` finds, as a worker reads it."""
        shop = self.shop
        assert shop.inputs.calibration_prepared is not None
        place = sensitivity.Place(
            model=replace(shop.inputs.float_model, path=self.path, sha256=sha256_file(self.path)),
            recipe=RECIPES[self.recipe],
            profile=shop.profile,
            calibration=shop.inputs.calibration_prepared,
            folder=folder,
            progress=shop.site.progress,
        )
        found = sensitivity.resolved(place, self.step)
        shutil.rmtree(folder, ignore_errors=True)
        return asdict(found)


def _told(source: ModelSource) -> dict[str, Any]:
    """Return a source as a worker reads it."""
    path = str(source.path.resolve())
    return {"path": path, "kind": source.kind, "sha256": source.sha256, "shapes": list(source.shapes)}
