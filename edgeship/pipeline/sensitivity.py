"""Which operations of a candidate get another precision: `resolved(...)`. By calibration samples and agreement with the
float model; no labels, no evaluation data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeship.compress import mixed
from edgeship.compress.mixed import Set
from edgeship.compress.work import Resolved
from edgeship.data.subset import prepared_subset
from edgeship.errors import InputError
from edgeship.pipeline.files import artifact_of
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.quantize.by_layer import Asked, derive_variants
from edgeship.quantize.recipes import row_of
from edgeship.quantize.recurrent import needs_tensorflow
from edgeship.registry import did_you_mean
from edgeship.score.closeness import closeness
from edgeship.tflite.file import Operator, Subgraph
from edgeship.tflite.layer_names import called, layer_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import FloatModel, Goals, PreparedSamples, Recipe, Step, Unavailable

SAMPLES = 200
"""Calibration samples that each file is run on."""
MOST = 64
"""Operations that are looked at, of larger models those that cost least to change."""
TOGETHER = 16
"""Files made and run at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A float model on its way to a recipe, and what it is quantized with."""

    model: FloatModel
    recipe: Recipe
    profile: TargetProfile
    calibration: PreparedSamples
    folder: Path
    progress: Progress


def resolved(place: Place, step: Step) -> Resolved:
    """Return which operations a step `mixed` changes. Raises InputError `unknown-layer` for a name that is none's, and
    `nothing-to-mix` where no change is of use."""
    other, wanted = str(step.setting("other")), str(step.setting("layers"))
    graph = read_tflite(place.model.path).main
    if needs_tensorflow(place.model.path) and row_of(place.recipe.name).is_int8:
        raise _nothing(
            "only TensorFlow's quantizer has an int8 form of its recurrent layers, and that knows no mixing"
        )
    found = mixed.priced(place.model.path, other, inner=other != "float" or _typed(place))
    if wanted != "auto" and not wanted.isdigit():
        picked = named(graph, [one.index for one in found], wanted.split(":"), other)
        return _told(graph, picked, other, {}, len(found))
    if not found:
        raise _nothing(f"no operation can be {other} beside {place.recipe.alias}")
    found = tuple(sorted(found, key=lambda one: (one.price, one.index))[:MOST])
    runner = _Runner(place, other)
    whole = runner.run([()]).get(())
    if whole is None:
        why = runner.failed.get("0", "no file came of it")
        raise _nothing(f"the model cannot be made {place.recipe.alias}: {why}")
    measured = runner.run(mixed.sets_of(place.model.path, found, other))
    order = mixed.ordered(found, measured, whole, other)
    if not order:
        raise _nothing(
            f"no operation gives anything back as {other}: plain {place.recipe.alias} loses nothing by them"
        )
    if other == "int8" and len(order) == len(found):  # with all of them it would be another recipe
        order = order[:-1]
        if not order:
            raise _nothing("no more than one operation has 4-bit weights: without it plain int8 is left")
    numbers = [min(int(wanted), len(order))] if wanted.isdigit() else mixed.counts(len(order))
    ran = runner.run([tuple(order[:count]) for count in numbers])
    after = {len(ops): decibels for ops, decibels in ran.items()}
    count = numbers[0]
    if not wanted.isdigit():
        count = mixed.enough(after, whole, float(step.setting("decibels")), other)
    if not count:
        raise _nothing(f"any operation as {other} costs more than {step.setting('decibels'):g} dB")
    figures = {"snr_db_before": whole} | ({"snr_db": after[count]} if count in after else {})
    return _told(graph, order[:count], other, figures, len(found))


def _typed(place: Place) -> bool:
    """Return whether the target says the type of the model's outputs."""
    return place.profile.precision.io not in ("float32", "as_model")


def _nothing(why: str) -> InputError:
    return InputError("nothing-to-mix", why)


def named(graph: Subgraph, possible: Sequence[int], names: Sequence[str], other: str) -> list[int]:
    """Return the operations of layers by name: as `edgeship explain` calls them, or their output tensor.

    Raises InputError `unknown-layer`.
    """
    ops = {op.index: op for op in graph.operators if op.index in set(possible)}
    found = []
    for name in names:
        mine = [index for index, op in ops.items() if name in _names(graph, op)]
        if not mine:
            known = list(dict.fromkeys(layer_of(graph, op) for op in ops.values()))
            likely = did_you_mean(name, known)
            raise InputError(
                "unknown-layer",
                f"no layer '{name}' can be {other}",
                context={"layers": ", ".join(known) or "(none)"},
                hint=f"--method mixed-{other},layers={likely or (known[0] if known else 'auto')}",
            )
        found += mine
    return list(dict.fromkeys(found))


def _names(graph: Subgraph, op: Operator) -> tuple[str, str]:
    return layer_of(graph, op), graph.tensors[op.outputs[0]].name


def _told(
    graph: Subgraph, picked: Sequence[int], other: str, figures: Mapping[str, float], of: int
) -> Resolved:
    ops = {op.index: op for op in graph.operators}
    layers = {graph.tensors[ops[index].outputs[0]].name: other for index in picked}
    names = ", ".join(dict.fromkeys(called(graph, ops[index]) for index in picked))
    words = f"{len(picked)} of {of} operations that can be are {other}: {names}"
    if "snr_db" in figures:
        words += (
            f"; {figures['snr_db_before']:.1f} dB became {figures['snr_db']:.1f} dB on calibration samples"
        )
    return Resolved(
        layers=layers, figures={"mixed": float(len(picked)), "of": float(of), **figures}, notes=(words,)
    )


class _Runner:
    """Makes and runs files with some operations changed."""

    def __init__(self, place: Place, other: str) -> None:
        self.place, self.other, self.failed = place, other, dict[str, str]()
        total = len(np.load(place.calibration.paths[0], mmap_mode="r"))
        rows = mixed.rows_to_run(total, SAMPLES)
        self.samples = (
            place.calibration
            if total <= SAMPLES
            else prepared_subset(place.calibration, rows, place.folder / "samples")
        )

    def run(self, sets: Sequence[Set]) -> dict[Set, float]:
        """Return decibels (outputs of the float model over what differs) of each set of operations that could be
        changed, made and run; the empty one is the plain recipe."""
        found: dict[Set, float] = {}
        for start in range(0, len(sets), TOGETHER):
            if len(sets) > TOGETHER:
                self.place.progress.advance(start, len(sets), "files with operations changed")
            found |= self._some(sets[start : start + TOGETHER])
        return found

    def _some(self, sets: Sequence[Set]) -> dict[Set, float]:
        place = self.place
        asked = [
            Asked(name=str(key), how="with" if ops else "all", operations=ops, precision=self.other)
            for key, ops in enumerate(sets)
        ]
        folder = place.folder / "files"
        made, failed = derive_variants(
            place.model, place.recipe, place.calibration, asked, folder,
            profile=place.profile, progress=place.progress,
        )  # fmt: skip
        self.failed.update(failed)
        files = {
            sets[int(name)]: artifact_of(name, path, place.recipe.name, place.model.source.sha256)
            for name, path in made.items()
        }
        if not files:
            return {}
        figures = closeness(list(files.values()), place.model, None, self.samples, Goals(), place.progress)
        shutil.rmtree(folder, ignore_errors=True)
        told = {ops: figures[artifact.sha256][1] for ops, artifact in files.items()}
        return {ops: value for ops, value in told.items() if not isinstance(value, Unavailable)}
