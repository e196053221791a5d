"""Large layers split into two small ones (`low-rank-40`), where what they compute of real inputs changes least.

A convolution becomes one along the height and one along the width (Jaderberg, Vedaldi and Zisserman, "Speeding up
convolutional neural networks with low rank expansions", BMVC 2014), a dense layer or a convolution of single places
two of its kind. Both are ordinary layers of the same file: what follows trains, quantizes and prunes them like any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.channels import samples_of
from edgeship.compress.factors import Floats, Spectrum, Splittable, ranks_of, spectrum_of
from edgeship.compress.patches import Form
from edgeship.compress.rewriting.layers import layer_place
from edgeship.compress.samples import Samples
from edgeship.compress.surgery import counted
from edgeship.compress.tap import Tap
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.tflite.cost import operator_macs
from edgeship.tflite.draft import Draft
from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.layer_names import layer_of

SEEN = 256
"""Samples that are looked at."""
POSITIONS = 64
"""Positions of a map that are looked at in each sample."""
WIDEST = 4608
"""Rows of a matrix that is still taken apart: its inputs' moments take 170 MB."""
NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A layer that may be split: its weights as a matrix of what a first layer reads and a second one makes."""

    operator: Operator
    drafted: Any
    """The same operation in the draft."""
    form: Form
    """Of the first layer: a kernel along the height."""
    matrix: Floats
    """[height * in, width * out]; of a dense layer [in, out]."""


def apply(work: Work) -> Outcome:
    """Split layers until so many percent of the model's parameters, or multiply-adds, are gone. Settings: `percent`,
    `of`.

    Raises InputError `no-layers-to-split` where splitting makes none smaller.
    """
    file = parse(Path("model.tflite"), work.content, "")
    draft = Draft(work.content)
    of, samples = work.step.setting("of"), samples_of(work)
    before = counted(work.content)
    found = list(targets(file, draft))
    seen = moments_of(file, found, samples, work.step.seed) if samples is not None else {}
    spectra = [spectrum_of(t.matrix, seen[t.operator.index][1] if seen else None) for t in found]
    layers = [
        Splittable(lost=s.lost, whole=whole, step=step)
        for t, s in zip(found, spectra, strict=True)
        for whole, step in [cost_of(file, t, of)]
    ]
    wanted = work.step.setting("percent") / 100 * before[0 if of == "parameters" else 1]
    ranks = ranks_of(layers, wanted)
    told = []
    for target, spectrum, rank in zip(found, spectra, ranks, strict=True):
        if rank is not None:
            mean = seen[target.operator.index][0] if seen else None
            split(draft, file, target, spectrum, rank, mean)
            told.append(
                (layer_of(file.main, target.operator), rank, len(spectrum.lost) - 1, spectrum.lost[rank])
            )
    if not told:
        raise InputError(
            "no-layers-to-split",
            "no layer of this model becomes smaller by being split in two",
            context={"method": work.step.label},
            hint="--method channels-30+distill   (leaves channels out instead)",
        )
    saved = sum(layer.whole - layer.cost(rank) for layer, rank in zip(layers, ranks, strict=True))
    return outcome_of(draft.packed(), before, told, short=saved < 0.98 * wanted, samples=samples)


def outcome_of(
    content: bytes,
    before: tuple[int, int],
    told: list[tuple[str, int, int, float]],
    *,
    short: bool,
    samples: Samples | None,
) -> Outcome:
    """Return the outcome: counts before and after, and which layers were split, the one that lost most first."""
    after = counted(content)
    order = sorted(told, key=lambda layer: -layer[3])[:NAMED]
    parts = [f"{name} at {rank} of {full} ({100 * lost:.1f} % lost)" for name, rank, full, lost in order]
    notes = [f"layers split, the one that loses most of what it computes first: {', '.join(parts)}"]
    if short:
        notes.append("less than what was asked for could go")
    if samples is None:
        notes.append("no samples: layers were judged by their weights alone")
    return Outcome(
        content=content,
        figures={
            "layers_split": float(len(told)),
            "parameters_before": float(before[0]),
            "parameters_after": float(after[0]),
            "macs_before": float(before[1]),
            "macs_after": float(after[1]),
        },
        notes=tuple(notes),
    )


def targets(file: TfliteFile, draft: Draft) -> Iterator[Target]:
    """Yield the layers whose weights are theirs alone and can be taken apart."""
    objects = {tuple(op.outputs): op for op in draft.operators}
    for op in file.main.operators:
        if op.op not in ("CONV_2D", "FULLY_CONNECTED") or op.custom:
            continue
        held = objects.get(tuple(op.outputs))
        if held is None or layer_place(draft, held) is None or draft.shape(op.outputs[0]) is None:
            continue
        weight = draft.floats(op.inputs[1])
        entry = file.main.tensors[op.inputs[0]].shape
        if weight is None or not weight.size:
            continue
        shape: tuple[int, ...] = (1, weight.shape[1])
        matrix = weight.T
        if op.op == "CONV_2D":
            out, height, width, depth = weight.shape
            if depth != entry[3]:
                continue
            shape = (1, height, 1, depth)
            matrix = weight.transpose(1, 3, 2, 0).reshape(height * depth, width * out)
        if len(matrix) <= WIDEST:
            form = Form(kind=op.op, shape=shape, groups=1)
            yield Target(operator=op, drafted=held, form=form, matrix=matrix.astype(np.float64))


def cost_of(file: TfliteFile, target: Target, of: str) -> tuple[float, float]:
    """Return (cost of a layer as it is, cost for each rank where it is split)."""
    rows, columns = target.matrix.shape
    op, tensors = target.operator, file.main.tensors
    if of == "parameters":
        return float(np.prod(tensors[op.inputs[1]].shape)), float(rows + columns + 1)
    whole = float(operator_macs(file.main, op))
    places = whole / np.prod(tensors[op.inputs[1]].shape)
    wide = tensors[op.inputs[0]].shape[2] / tensors[op.outputs[0]].shape[2] if op.op == "CONV_2D" else 1.0
    return whole, float(places * (rows * wide + columns))


def moments_of(
    file: TfliteFile, found: list[Target], samples: Samples, seed: int
) -> dict[int, tuple[Floats, Floats]]:
    """Return, by operation, (mean [rows], covariance [rows, rows]) of what the first of two layers would read."""
    sums: dict[int, tuple[float, NDArray[Any], NDArray[Any]]] = {}
    random = np.random.default_rng(seed)
    tap = Tap(file.content, [t.operator.inputs[0] for t in found], samples.some(SEEN, seed))
    for values in tap.blocks():
        for target, value in zip(found, values, strict=True):
            op, form = target.operator, target.form
            places = form.places(op, value)
            many = min(places, POSITIONS * max(1, len(value)))
            chosen = np.sort(random.choice(places, many, replace=False))
            rows = form.rows(op, value, chosen)[0].astype(np.float64)
            count, total, square = sums.get(op.index, (0.0, 0.0, 0.0))
            sums[op.index] = (count + len(rows), total + rows.sum(0), square + rows.T @ rows)
    means = {index: total / count for index, (count, total, _) in sums.items()}
    return {
        index: (means[index], square / count - np.outer(means[index], means[index]))
        for index, (count, _, square) in sums.items()
    }


def split(
    draft: Draft, file: TfliteFile, target: Target, spectrum: Spectrum, rank: int, mean: Floats | None
) -> None:
    """Put a layer that makes `rank` channels in front of one, and let that read them. A shift of the mean that this
    brings goes into the bias, where the layer has one of its own."""
    op = target.drafted
    draft.may(op)
    first, second = spectrum.factors(rank)
    source, weight = op.inputs[:2]
    made = draft.made(op.outputs[0], "low_rank")
    tensor = draft.graph.tensors[made]
    zeros = draft.put(weight, "low_rank_bias", np.zeros(rank, np.float32))
    front = draft.before(op)
    out = file.main.tensors[weight].shape[0]
    bias = op.inputs[2] if len(op.inputs) > 2 else -1
    held = draft.floats(bias)
    if mean is not None and held is not None and len(draft.readers(bias)) == 1:
        gap = (mean @ (target.matrix - first @ second)).reshape(-1, out).sum(0)
        draft.store(bias, (held + gap.reshape(held.shape)).astype(np.float32))
    if target.operator.op == "FULLY_CONNECTED":
        tensor.shape = [*tensor.shape[:-1], rank]
        narrow = draft.put(weight, "low_rank", first.T.astype(np.float32))
        keeps = bool(op.builtinOptions.keepNumDims)
        draft.become(
            front, "FULLY_CONNECTED", [source, narrow, zeros], "FullyConnectedOptions", keepNumDims=keeps
        )
        draft.store(weight, second.T.astype(np.float32))
    else:
        kernel = file.main.tensors[weight].shape
        _split_convolution(draft, op, front, (first, second, zeros), kernel)
        tensor.shape = [*tensor.shape[:2], file.main.tensors[source].shape[2], rank]
    draft.make(front, [made])
    draft.read(op, [made, *op.inputs[1:]])


def _split_convolution(
    draft: Draft, op: Any, front: Any, parts: tuple[Floats, Floats, int], kernel: tuple[int, ...]
) -> None:
    """Make `front` the convolution along the height and `op` that along the width; `parts` are their weights and the
    tensor of zeros that is the bias of the first."""
    (first, second, zeros), (source, weight) = parts, op.inputs[:2]
    out, height, width, depth = kernel
    rank, options = first.shape[1], op.builtinOptions
    tall = first.T.reshape(rank, height, 1, depth).astype(np.float32)
    wide = second.reshape(rank, width, 1, out).transpose(3, 2, 1, 0).astype(np.float32)
    along = {"strideH": options.strideH, "dilationHFactor": options.dilationHFactor}
    beside = {"strideW": 1, "dilationWFactor": 1, "padding": options.padding}
    narrow = draft.put(weight, "low_rank", tall)
    draft.become(front, "CONV_2D", [source, narrow, zeros], "Conv2DOptions", **along, **beside)
    options.strideH = options.dilationHFactor = 1
    draft.store(weight, wide)
