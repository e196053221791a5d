"""What every layer costs quantized alone, and gives back left in float: `costs_of_layers(...)`. For `explain`, and for
the report of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from edgeship.compress.causes import causes_of, has_share, loses, shown
from edgeship.compress.mixed import PLUMBING
from edgeship.pipeline.files import artifact_of
from edgeship.pipeline.inputs import Inputs
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize.by_layer import Asked, derive_variants
from edgeship.quantize.derive import one_scale_operations
from edgeship.quantize.evidence import evidence_of
from edgeship.score.closeness import closeness
from edgeship.tflite.file import Operator
from edgeship.tflite.layer_names import layer_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import (
    Dataset,
    Evidence,
    Figure,
    LayerCost,
    LayerCosts,
    Metric,
    PreparedSamples,
    Recipe,
    Unavailable,
)

TOGETHER = 6
"""Operations whose files are made and run at a time, between two looks at the clock."""
NOT_LOOKED = "there was no time for it: --minutes gives more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where files with some operations quantized are made and run."""

    project: Project
    profile: TargetProfile
    inputs: Inputs
    recipe: Recipe
    calibration: PreparedSamples
    data: Dataset | None
    prepared: PreparedSamples
    folder: Path
    progress: Progress
    failed: dict[str, str] = field(default_factory=dict)
    """Why a file could not be made, by its name."""

    def run(self, asked: Sequence[Asked]) -> dict[str, tuple[Metric, Figure]]:
        """Return (metric, signal over noise) of every file that could be made, by its name."""
        model = self.inputs.float_model
        made, failed = derive_variants(
            model,
            self.recipe,
            self.calibration,
            asked,
            self.folder,
            profile=self.profile,
            progress=self.progress,
        )
        self.failed.update(failed)
        artifacts = {
            name: artifact_of(name, path, self.recipe.name, model.source.sha256)
            for name, path in made.items()
        }
        if not artifacts:
            return {}
        figures = closeness(
            list(artifacts.values()), model, self.data, self.prepared, self.project.goals, self.progress
        )
        for path in made.values():
            path.unlink(missing_ok=True)
        return {name: figures[artifact.sha256] for name, artifact in artifacts.items()}


def costs_of_layers(bench: Bench, typed: tuple[str, str], goes_on: Callable[[], bool]) -> LayerCosts | None:
    """Return what each operation costs, in the order of the graph; the most suspicious are looked at first, while
    `goes_on`. `typed` is how people type the model and the target. None where no file came of the whole model."""
    model = bench.inputs.float_model
    graph = read_tflite(model.path).main
    order = [op for op in graph.operators if op.op not in PLUMBING and op.outputs]
    evidence = evidence_of(
        model.path,
        bench.calibration,
        bench.prepared,
        one_scale_operations(bench.recipe, bench.profile),
        bench.progress,
    )
    whole = bench.run([Asked(name="all", how="all")]).get("all")
    if whole is None:
        return None
    costs = looked_at(bench, sorted(order, key=lambda op: -suspicion(evidence.get(op.index))), whole, goes_on)
    lost = loses(whole[0].drop, whole[1])
    layers = []
    for op in order:
        figures = costs.get(op.index) or _not_looked()
        found = causes_of(evidence[op.index], *typed) if op.index in evidence else ()
        share = lost and has_share(figures["alone_snr_db"], figures["back_snr_db"], whole[1])
        layers.append(
            LayerCost(
                index=op.index,
                op=op.op,
                layer=layer_of(graph, op),
                causes=shown(found, costs=share),
                **figures,
            )
        )
    return LayerCosts(
        recipe=bench.recipe.name,
        metric=whole[0],
        snr_db=whole[1],
        loses=lost,
        layers=tuple(layers),
        looked_at=len(costs),
        samples=len(np.load(bench.prepared.paths[0], mmap_mode="r")),
    )


def looked_at(
    bench: Bench, operators: Sequence[Operator], whole: tuple[Metric, Figure], goes_on: Callable[[], bool]
) -> dict[int, dict[str, Figure]]:
    """Return the four figures of each operation that there was time for, by its index."""
    costs: dict[int, dict[str, Figure]] = {}
    for start in range(0, len(operators), TOGETHER):
        if start and not goes_on():
            break
        some = operators[start : start + TOGETHER]
        bench.progress.advance(start, len(operators), "operations looked at")
        hows: tuple[Literal["alone", "with"], ...] = ("alone", "with")
        asked = [
            Asked(name=f"{how}-{op.index}", how=how, operations=(op.index,)) for op in some for how in hows
        ]
        found = bench.run(asked)
        for op in some:
            costs[op.index] = _figures(
                found.get(f"alone-{op.index}"),
                found.get(f"with-{op.index}"),
                whole,
                bench.failed,
                op.index,
            )
    return costs


def _figures(
    alone: tuple[Metric, Figure] | None,
    left: tuple[Metric, Figure] | None,
    whole: tuple[Metric, Figure],
    failed: Mapping[str, str],
    index: int,
) -> dict[str, Figure]:
    no_alone = Unavailable(reason=failed.get(f"alone-{index}", "it could not be made"))
    no_left = Unavailable(reason=failed.get(f"with-{index}", "it could not be made"))
    return {
        "alone_drop": alone[0].drop if alone else no_alone,
        "alone_snr_db": alone[1] if alone else no_alone,
        "back_drop": _less(whole[0].drop, left[0].drop) if left else no_left,
        "back_snr_db": _less(left[1], whole[1]) if left else no_left,
    }


def _less(one: Figure, other: Figure) -> Figure:
    if isinstance(one, Unavailable):
        return one
    return other if isinstance(other, Unavailable) else one - other


def _not_looked() -> dict[str, Figure]:
    none = Unavailable(reason=NOT_LOOKED)
    return {"alone_drop": none, "alone_snr_db": none, "back_drop": none, "back_snr_db": none}


def suspicion(evidence: Evidence | None) -> float:
    """Return how likely an operation is to lose, to look at those first."""
    if evidence is None:
        return 0.0
    unequal = evidence.channels if evidence.per_tensor else 1.0
    return max(evidence.outlier, unequal, evidence.parts, evidence.beyond, 1000 * evidence.clipped)
