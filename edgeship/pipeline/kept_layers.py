"""What each layer loses by the plain recipe, for the report of a search: `kept_layers(...)`.

Nothing is chosen by it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeship.compress.mixed import rows_to_run
from edgeship.compress.plan import Planned
from edgeship.data.subset import prepared_subset, subset
from edgeship.digest import sha256_json
from edgeship.errors import EdgeshipError
from edgeship.pipeline.candidates import Workshop
from edgeship.pipeline.keeping import keep, kept
from edgeship.pipeline.layers import Bench, costs_of_layers
from edgeship.quantize.derive import order_of
from edgeship.quantize.recipes import RECIPES, row_of
from edgeship.values import LayerCosts, PreparedSamples, Recipe, Unavailable

SAMPLES = 200
"""That files are calibrated with and run on: figures of layers beside each other need no more."""
SHARE = 0.1
"""Of the minutes of a search, that looking at layers may take."""
FIRST = 3
"""Times what making and measuring the plain recipe took: until the first layers are looked at."""


def kept_layers(shop: Workshop, plan: Sequence[Planned]) -> LayerCosts | Unavailable:
    """Return what each layer costs by the first plain recipe of integers that can be made, on held-out samples,
    the most suspicious layers first, as far as a tenth of the minutes goes; what was found before is told again.

    Why not, where there are no samples, no such recipe, or no time.
    """
    allowed = SHARE * 60 * shop.site.project.file.compress.minutes
    plain = next((t for one in plan if _static(one) if (t := shop.make(one)) and t.variant), None)
    held, calibration = shop.held_out, shop.inputs.calibration_prepared
    if held is None or calibration is None:
        return Unavailable(reason="there are no samples")
    if plain is None:
        return Unavailable(reason="no recipe of integers was made")
    recipe = RECIPES[plain.candidate.recipe]
    path = shop.store / "layers" / f"{_key(shop, recipe)[:32]}.json"
    before = kept(path, LayerCosts)
    if before and (before.looked_at == len(before.layers) or before.allowed >= allowed):
        return before
    if FIRST * plain.seconds > allowed:
        return Unavailable(reason="there was no time for it: --minutes gives more")
    shop.site.progress.step(f"what each layer loses as {recipe.alias}")
    try:
        found = _looked_at(shop, recipe, calibration, allowed)
    except EdgeshipError as error:
        return Unavailable(reason=error.message)
    if isinstance(found, LayerCosts):
        keep(path, found)
    return found


def _static(one: Planned) -> bool:
    return not one.candidate.steps and row_of(one.candidate.recipe).kind == "static"


def _key(shop: Workshop, recipe: Recipe) -> str:
    """Return a digest of all that decides what is found."""
    assert shop.held_out is not None
    return sha256_json(
        {
            **shop.by(),
            "model": shop.inputs.float_model.sha256,
            "order": order_of((recipe,), shop.profile),
            "data": shop.data(),
            "held_out": shop.held_out.dataset.info.sha256,
            "metric": shop.metric(),
            "typed": _typed(shop),
        }
    )


def _typed(shop: Workshop) -> tuple[str, str]:
    """Return model and target as they are typed."""
    target = next(iter(shop.site.project.targets), shop.profile.name)
    return shlex.quote(str(shop.inputs.source.path)), shlex.quote(target)


def _looked_at(
    shop: Workshop, recipe: Recipe, calibration: PreparedSamples, allowed: float
) -> LayerCosts | Unavailable:
    held, work, begun = shop.held_out, shop.site.work / "data", time.monotonic()
    assert held is not None
    rows = rows_to_run(held.dataset.info.count, SAMPLES)
    bench = Bench(
        project=shop.site.project,
        profile=shop.profile,
        inputs=shop.inputs,
        recipe=recipe,
        calibration=prepared_subset(calibration, rows_to_run(_count(calibration), SAMPLES), work),
        data=subset(held.dataset, rows, work, f"{len(rows)} samples of it") if held.labelled else None,
        prepared=prepared_subset(held.prepared, rows, work),
        folder=shop.site.scratch / "layers",
        progress=shop.site.progress,
    )
    found = costs_of_layers(bench, _typed(shop), lambda: time.monotonic() - begun < allowed)
    if found is None:
        return Unavailable(reason=bench.failed.get("all", "no file came of it"))
    return replace(found, allowed=allowed)


def _count(prepared: PreparedSamples) -> int:
    return len(np.load(prepared.paths[0], mmap_mode="r"))
