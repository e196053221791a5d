"""Weights that make good for channels that went: `repaired(...)`, layer by layer, without labels or gradients.

Each layer's remaining weights are fitted so that, fed by the smaller model, it computes what it did in the whole one:
least squares over real inputs (He, Zhang and Sun, "Channel pruning for accelerating very deep neural networks", ICCV
2017), with what the layers before have become by then as its input, and held back towards the weights it had.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeship.compress.coupling import Coupling
from edgeship.compress.fitting import Fit, can_be_fitted, fit_of, solved
from edgeship.compress.samples import Samples
from edgeship.compress.surgery import Stays, masks_of, without
from edgeship.compress.work import Report
from edgeship.tflite.cost import macs
from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import with_weights

SAMPLES = (32, 256)
"""Samples that are run at least and at most."""
BUDGET = 2e12
"""Multiply-accumulates of all runs together: about a minute and a half of one core."""
Values = dict[tuple[int, int], NDArray[Any]]
"""(operation of the whole model, position among its inputs) -> value, in the whole model's shape."""


def repaired(
    coupling: Coupling, stays: Stays, samples: Samples, *, seed: int = 0, report: Report = lambda *_: None
) -> tuple[bytes, int]:
    """Return (the file without the channels that do not stay, how many layers were fitted)."""
    masks, fits = masks_of(coupling, stays), []
    cuts = {(c.operator, c.role): c for c in coupling.cuts if c.position == 1}
    lost = [op for (op, role), cut in cuts.items() if role == "reads" and not masks(cut.atoms).all()]
    for op in _behind(coupling.file, lost, set()):
        reads, makes = cuts.get((op.index, "reads")), cuts.get((op.index, "makes"))
        lane = coupling.lanes.get(op.inputs[0]) if op.op == "DEPTHWISE_CONV_2D" else None
        places = lane.atoms if lane is not None else None if reads is None else reads.atoms
        kept_out = None if makes is None else masks(makes.atoms)
        kept_in = None if places is None else masks(places)
        fits.append(fit_of(coupling.file, op, op.inputs[0], kept_out, kept_in))
    write = functools.partial(without, coupling, stays)
    return _fitted(coupling.file, fits, lambda values: write(values=values), (samples, seed, report))


def repaired_without(
    file: TfliteFile,
    left: tuple[bytes, Mapping[int, int]],
    exits: Iterable[int],
    samples: Samples,
    *,
    seed: int = 0,
    report: Report = lambda *_: None,
) -> tuple[bytes, int]:
    """Return (the file that some blocks were left out of, the layers behind them fitted; how many these are).

    `left`: what `without_blocks` returned of `file`; `exits`: the tensors of `file` that the blocks ended in. A bias
    that layers share stays as it is.
    """
    small, moved = left
    graph = parse(Path("small.tflite"), small, "").main
    uses = Counter(index for op in file.main.operators for index in op.inputs)
    fits = []
    for op in _behind(file, (), set(exits)):
        if op.index in moved:
            fit = fit_of(file, op, graph.operators[moved[op.index]].inputs[0], None, None)
            shared = fit.bias is not None and uses[op.inputs[2]] > 1
            fits.append(replace(fit, bias=None) if shared else fit)

    def write(values: Values) -> bytes:
        return with_weights(
            small, {graph.operators[moved[op]].inputs[n]: value for (op, n), value in values.items()}
        )

    return _fitted(file, fits, write, (samples, seed, report))


def _fitted(
    file: TfliteFile,
    fits: list[Fit],
    write: Callable[[Values], bytes],
    how: tuple[Samples, int, Report],
) -> tuple[bytes, int]:
    """Fit one layer after the other, each behind those before it."""
    (samples, seed, report), values = how, Values()
    small = write(values)
    runs = BUDGET / max(1.0, 2.0 * len(fits) * macs(file))
    some = samples.some(int(min(max(runs, SAMPLES[0]), SAMPLES[1])), seed)
    for done, fit in enumerate(fits):
        report("fitting what is left", done, len(fits))
        weight, bias = solved(fit, (file, parse(Path("small.tflite"), small, "")), some, seed)
        values[fit.operator.index, 1] = weight
        if bias is not None:
            values[fit.operator.index, 2] = bias
        small = write(values)
    return small, len(fits)


def _behind(file: TfliteFile, lost: Iterable[int], changed: set[int]) -> Iterator[Operator]:
    """Yield the layers that can be fitted among those operations, and behind them and some tensors, in the order they
    run."""
    uses = Counter(index for op in file.main.operators for index in op.inputs)
    first = set(lost)
    for op in file.main.operators:
        if op.index in first or changed & set(op.inputs):
            changed |= set(op.outputs)
            if can_be_fitted(file, op) and uses[op.inputs[1]] == 1:
                yield op
