"""One candidate, from the float model to a measured and judged file: `Workshop.make`. What was made before is kept.

Every step and every result stands under a name made of all that decides it, and appears there only when it is whole:
an interrupted search loses what was under way and nothing else.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from edgeship.compress.plan import Planned
from edgeship.digest import sha256_file, sha256_json
from edgeship.errors import EdgeshipError
from edgeship.pipeline.chains import float_of
from edgeship.pipeline.keeping import keep, kept
from edgeship.pipeline.shop import Shop
from edgeship.pipeline.site import Earlier
from edgeship.pipeline.variants import describe, judged
from edgeship.pipeline.weighing import weighed
from edgeship.quantize.derive import derive_all, order_of
from edgeship.quantize.recipes import RECIPES
from edgeship.score.measure import score
from edgeship.tflite.contents import contents_of
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.values import (
    Artifact,
    Dataset,
    PreparedSamples,
    Scorecard,
    Tried,
    Variant,
)
from edgeship.whole import whole


class Workshop(Shop):
    """Where candidates of one model for one target are made and measured."""

    def known(self, planned: Planned) -> bool:
        """Return whether a candidate was made before."""
        return self._result(planned).exists()

    def make(self, planned: Planned) -> Tried | None:
        """Return a candidate made and measured, or why it could not be; None where the time was up before that. Raises
        nothing but what ends the whole search: InputError of something the user said."""
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
            if error.reference == "worker-timeout" and time.monotonic() >= self.until:
                self.site.progress.note(f"{planned.candidate.name}: the time is up, and it was not done")
                return None
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
        path, records = float_of(self, candidate)
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

    def evaluated(self, artifact: Artifact) -> Scorecard | None:
        """Return an artifact's scorecard on evaluation data, None where there is none."""
        data, prepared = self.inputs.evaluation, self.inputs.evaluation_prepared
        if data is None or prepared is None:
            return None
        told = [artifact.sha256, self.inputs.float_model.sha256, data.info.sha256, self.metric(), self.by()]
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
        told = [structure_of(read_tflite(artifact.path)), self.by()]
        path = self.store / "latency" / f"{sha256_json(told)[:32]}.json"
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
                **self.by(),
                "model": inputs.float_model.sha256,
                "candidate": planned.candidate.digest,
                "order": order_of((recipe,), self.profile),
                "data": self.data(),
                "held_out": held.dataset.info.sha256 if held else None,
                "metric": self.metric(),
                **self.named(*planned.candidate.steps),
                "described": repr((project.metadata_for(inputs.source.path), inputs.labels, inputs.rules)),
            }
        )
        return self.store / "results" / f"{key[:32]}.json"


FAILINGS = (
    "not-trainable",
    "no-channels-to-prune",
    "no-blocks-to-drop",
    "no-layers-to-split",
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
