"""One candidate, from the float model to a measured and judged file: `Workshop.make`. What was made before is kept.

Every step and every result stands under a name made of all that decides it, and appears there only when it is whole:
an interrupted search loses what was under way and nothing else.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeship.compress.accelerator import training_environment
from edgeship.compress.methods import rows_by_name
from edgeship.compress.own import digest_of
from edgeship.compress.plan import Planned
from edgeship.digest import sha256_file, sha256_json
from edgeship.errors import EdgeshipError
from edgeship.pipeline import sensitivity
from edgeship.pipeline.inputs import Inputs
from edgeship.pipeline.keeping import keep, kept
from edgeship.pipeline.site import BuildSite, Earlier
from edgeship.pipeline.training_data import HeldOut
from edgeship.pipeline.variants import describe, judged
from edgeship.pipeline.weighing import weighed
from edgeship.profile import TargetProfile
from edgeship.quantize.derive import derive_all, one_scale_operations, order_of
from edgeship.quantize.ranges import ranges_of
from edgeship.quantize.recipes import RECIPES
from edgeship.score.measure import score
from edgeship.tflite.contents import contents_of
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.toolchain.environments import require
from edgeship.values import (
    Artifact,
    Candidate,
    Dataset,
    ModelSource,
    PreparedSamples,
    Scorecard,
    Step,
    StepRecord,
    Tried,
    Variant,
)
from edgeship.whole import whole

FORMAT = 1
"""Part of every key: raise it when a method makes something else of the same settings."""
OWN = ("model", "loss")
"""Settings that name a file or a module of the user's own."""
LEAST_SECONDS = 60.0
"""What a step may take in any case: the last one that was begun in time."""


@dataclass(slots=True, kw_only=True)
class Workshop:
    """Where candidates of one model for one target are made, and what they are made with."""

    site: BuildSite
    profile: TargetProfile
    inputs: Inputs
    held_out: HeldOut | None
    until: float
    """Time (of the monotonic clock) after which no step goes on."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set where the search was interrupted: workers of other threads end."""
    locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    @property
    def store(self) -> Path:
        """The folder of what is kept."""
        return self.site.work / "compress"

    def known(self, planned: Planned) -> bool:
        """Return whether a candidate was made before."""
        return self._result(planned).exists()

    def make(self, planned: Planned) -> Tried:
        """Return a candidate made and measured, or why it could not be. Raises nothing but what ends the whole search:
        InputError of something the user said."""
        path = self._result(planned)
        if (before := _kept(path)) is not None:
            return self._judged(before, planned)
        begun = time.monotonic()
        scratch = self.site.scratch / planned.candidate.digest[:12]
        try:
            tried = self._made(planned, scratch)
        except EdgeshipError as error:
            if error.exit_code == 2 and planned.named and error.reference not in FAILINGS:
                raise
            words = error.context.get("operations")
            why = f"{error.message}: {words}" if words else error.message
            return Tried(candidate=planned.candidate, failed=why, seconds=time.monotonic() - begun)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        tried = replace(tried, seconds=time.monotonic() - begun, control=planned.control)
        keep(path, tried)
        return self._judged(tried, planned)

    def _made(self, planned: Planned, scratch: Path) -> Tried:
        candidate = planned.candidate
        path, records = self.float_of(candidate)
        recipe = RECIPES[candidate.recipe]
        model = self.inputs.float_model
        source = replace(model, path=path, sha256=sha256_file(path)) if records else model
        made = derive_all(
            source,
            (recipe,),
            self.inputs.calibration_prepared,
            scratch,
            profile=self.profile,
            progress=self.site.progress,
        )
        if made.failed:
            return Tried(candidate=candidate, steps=records, failed=made.failed[0][1])
        site = replace(self.site, scratch=scratch, earlier=Earlier())
        (artifact,) = describe(site, self.inputs, made.artifacts)
        artifact = replace(artifact, path=self._file(artifact), steps=records)
        card = self.measured(artifact)
        file = read_tflite(artifact.path)
        return Tried(
            candidate=candidate,
            steps=records,
            variant=Variant(artifact=artifact, scorecard=card, gates=()),
            contents=contents_of(file),
        )

    def float_of(self, candidate: Candidate) -> tuple[Path, tuple[StepRecord, ...]]:
        """Return the float model after a candidate's steps, and what was done. Raises what a step raises."""
        path, records = self.inputs.float_model.path, []
        for place, step in enumerate(candidate.steps):
            path, record = self._step(path, step, candidate.steps[:place], candidate.recipe)
            records.append(record)
        return path, tuple(records)

    def _step(self, path: Path, step: Step, before: Sequence[Step], recipe: str) -> tuple[Path, StepRecord]:
        """Return what a step makes of a float model, from the store where it was made before."""
        one_scale = one_scale_operations(RECIPES[recipe], self.profile)
        data, row = self.data(), rows_by_name()[step.method]
        key = sha256_json(
            {
                "format": FORMAT,
                "model": sha256_file(path),
                "original": self.inputs.float_model.sha256,
                "step": step.to_json(),
                "before": [one.to_json() for one in before],
                "recipe": recipe,
                "one_scale": list(one_scale),
                "data": data,
                **self._named(step),
                **({"source": self.inputs.source.sha256} if row.tool else {}),
                **({"order": order_of((RECIPES[recipe],), self.profile)} if row.measured else {}),
            }
        )
        folder = self.store / "steps" / key[:32]
        with self.locks[key]:
            if not folder.exists():
                with whole(folder) as part:
                    self._do(path, step, before, recipe, part)
        told = json.loads((folder / "told.json").read_text())
        record = StepRecord(
            step=step,
            data=tuple(sorted(data.items())),
            seconds=told["seconds"],
            figures=tuple(sorted(told["figures"].items())),
            notes=tuple(told["notes"]),
            layers=tuple(sorted((told.get("layers") or {}).items())),
        )
        return folder / "model.tflite", record

    def _named(self, *steps: Step) -> dict[str, Any]:
        """Return the digests of the files and modules of the user's own that steps name."""
        names = sorted({str(v) for step in steps for key, v in step.settings if key in OWN and v != "auto"})
        folder = str(self.site.project.base)
        return {"named": {name: digest_of(name, folder) for name in names}} if names else {}

    def _do(self, path: Path, step: Step, before: Sequence[Step], recipe: str, folder: Path) -> None:
        """Do a step in a worker: `folder` then holds the model and what is told of it."""
        row, inputs = rows_by_name()[step.method], self.inputs
        folder.mkdir()
        ranges = {}
        if row.ranges and inputs.calibration_prepared is not None:
            ranges = ranges_of(path, inputs.calibration_prepared, recipe, self.site.progress)
        train, calibration = inputs.train_prepared, inputs.calibration_prepared
        labels = inputs.train.y_path if inputs.train else None
        payload: dict[str, Any] = {
            "model": str(path),
            "original": str(inputs.float_model.path),
            "step": step.to_json(),
            "before": [one.to_json() for one in before],
            "recipe": recipe,
            "train": train and {"inputs": [str(p) for p in train.paths], "labels": labels and str(labels)},
            "calibration": calibration and {"inputs": [str(p) for p in calibration.paths], "labels": None},
            "ranges": ranges,
            "one_scale": list(one_scale_operations(RECIPES[recipe], self.profile)),
            "source": _told(inputs.source) if row.tool else None,
            "folder": str(self.site.project.base),
            "out": str(folder / "model.tflite"),
        }
        begun = time.monotonic()
        payload["resolved"] = self._resolved(path, step, recipe, folder) if row.measured else None
        told = run_worker(
            "edgeship.compress.worker:apply",
            payload,
            python_path=require(row.tool).python_path if row.tool else (),
            environment=training_environment() | ({"TF_USE_LEGACY_KERAS": "1"} if row.tool else {}),
            limits=WorkerLimits(seconds=max(LEAST_SECONDS, self.until - time.monotonic())),
            progress=self.site.progress,
            stop=self.stopped.is_set,
        ).value
        told |= {"layers": (payload["resolved"] or {}).get("layers")}
        told["seconds"] = time.monotonic() - begun
        (folder / "told.json").write_text(json.dumps(told, sort_keys=True))

    def _resolved(self, path: Path, step: Step, recipe: str, part: Path) -> dict[str, Any]:
        """Return what `sensitivity.resolved` finds, as a worker reads it."""
        assert self.inputs.calibration_prepared is not None
        place = sensitivity.Place(
            model=replace(self.inputs.float_model, path=path, sha256=sha256_file(path)),
            recipe=RECIPES[recipe],
            profile=self.profile,
            calibration=self.inputs.calibration_prepared,
            folder=part / "looked-at",
            progress=self.site.progress,
        )
        found = sensitivity.resolved(place, step)
        shutil.rmtree(part / "looked-at", ignore_errors=True)
        return asdict(found)

    def data(self) -> dict[str, str]:
        """Return the digests of what a step may look at, by role."""
        held = {"train": self.inputs.train, "calibration": self.inputs.calibration}
        return {role: dataset.info.sha256 for role, dataset in held.items() if dataset is not None}

    def evaluated(self, artifact: Artifact) -> Scorecard | None:
        """Return an artifact's scorecard on evaluation data, None where there is none."""
        data, prepared = self.inputs.evaluation, self.inputs.evaluation_prepared
        if data is None or prepared is None:
            return None
        goals = self.site.project.goals
        told = [artifact.sha256, self.inputs.float_model.sha256, data.info.sha256, goals.metric, goals.output]
        path = self.store / "evaluated" / f"{sha256_json(told)[:32]}.json"
        if (before := kept(path, Scorecard)) is not None:
            return before
        card = self._as_quick(artifact, self._scored(artifact, data, prepared))
        keep(path, card)
        return card

    def measured(self, artifact: Artifact) -> Scorecard:
        """Return an artifact's scorecard on held-out data."""
        held = self.held_out
        data = held.dataset if held and held.labelled else None
        return self._as_quick(artifact, self._scored(artifact, data, held.prepared if held else None))

    def _scored(
        self, artifact: Artifact, data: Dataset | None, prepared: PreparedSamples | None
    ) -> Scorecard:
        (card,) = score(
            (artifact,), self.inputs.float_model, data, prepared, self.site.project.goals,
            progress=self.site.progress,
        )  # fmt: skip
        return card

    def _as_quick(self, artifact: Artifact, card: Scorecard) -> Scorecard:
        """Return a scorecard with the latency of the first file that differed in nothing but the values of constants:
        they are equally quick."""
        path = self.store / "latency" / f"{structure_of(read_tflite(artifact.path))[:32]}.json"
        with self.locks[str(path)]:
            if (first := kept(path, Scorecard)) is not None:
                return replace(card, latency_ms=first.latency_ms, peak_rss_mb=first.peak_rss_mb)
            keep(path, card)
        return card

    def _judged(self, tried: Tried, planned: Planned) -> Tried:
        """Return what was kept with the gates of today's goals."""
        tried = replace(tried, control=planned.control)
        if tried.variant is None:
            return tried
        artifact, card = tried.variant.artifact, tried.variant.scorecard
        recipe = RECIPES[tried.candidate.recipe]
        variant = judged(self.site, self.profile, self.inputs, artifact, card, recipe)
        count = self.held_out.dataset.info.count if self.held_out else 0
        return weighed(replace(tried, variant=variant), count, self.site.project.goals)

    def _file(self, artifact: Artifact) -> Path:
        """Return where an artifact is kept."""
        path = self.store / "files" / f"{artifact.sha256[:32]}.tflite"
        with whole(path) as part:
            shutil.copyfile(artifact.path, part)
        return path

    def _result(self, planned: Planned) -> Path:
        """Return where the result of a candidate is kept: named by everything that decides it."""
        inputs, project, held = self.inputs, self.site.project, self.held_out
        recipe = RECIPES[planned.candidate.recipe]
        key = sha256_json(
            {
                "format": FORMAT,
                "model": inputs.float_model.sha256,
                "candidate": planned.candidate.digest,
                "order": order_of((recipe,), self.profile),
                "data": self.data(),
                "held_out": held.dataset.info.sha256 if held else None,
                "metric": [project.goals.metric, project.goals.output],
                **self._named(*planned.candidate.steps),
                "described": repr((project.metadata_for(inputs.source.path), inputs.labels, inputs.rules)),
            }
        )
        return self.store / "results" / f"{key[:32]}.json"


def _told(source: ModelSource) -> dict[str, Any]:
    """Return a source as a worker reads it."""
    path = str(source.path.resolve())
    return {"path": path, "kind": source.kind, "sha256": source.sha256, "shapes": list(source.shapes)}


FAILINGS = (
    "not-trainable",
    "no-channels-to-prune",
    "no-blocks-to-drop",
    "tflite-cannot-be-moved",
    "nothing-to-mix",
    "calibration-missing",
    "training-diverged",
)
"""References of bad input that is no more than what one candidate cannot do, though a person named it."""


def structure_of(file: TfliteFile) -> str:
    """Return a digest of everything in a file but the values of its constants, names and scales."""
    graphs = [
        [
            [(t.dtype, t.shape, t.has_data) for t in graph.tensors],
            [(op.op, op.version, op.inputs, op.outputs, repr(op.options)) for op in graph.operators],
        ]
        for graph in file.subgraphs
    ]
    return sha256_json(graphs)


def _kept(path: Path) -> Tried | None:
    """Return a result that was kept, None where it, or its file, is not there any more."""
    tried = kept(path, Tried)
    return None if tried and tried.variant and not tried.variant.artifact.path.exists() else tried
