"""Students that are made of the model itself: narrower or shallower, and then trained by distillation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeship.compress.blocks import Block, blocks_of, without_blocks
from edgeship.compress.channels import coupled, held_by, samples_of, shrunk
from edgeship.compress.choice import Wanted
from edgeship.compress.importance import values_seen
from edgeship.compress.repair import repaired_without
from edgeship.compress.surgery import counted
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse

SEEN = 32
"""Samples by which blocks are compared."""


def width(work: Work) -> Outcome:
    """Make every layer narrower by the same share, its most important channels kept.

    Settings: `percent` that stays, `of` the channels of every layer or of the parameters of the model, `by`,
    `multiple`, `repair`. Raises InputError `no-channels-to-prune`.
    """
    step = work.step
    of = {"width": "channels"}.get(step.setting("of"), step.setting("of"))
    wanted = Wanted(
        share=1.0 - step.setting("percent") / 100.0, of=of, least=0.0, multiple=step.setting("multiple")
    )
    return shrunk(work, coupled(work), wanted, even=True)


def depth(work: Work) -> Outcome:
    """Leave out blocks whose result has the shape of what goes in: residual blocks, and repeated layers.

    Settings: `blocks`, how many, and `repair`. Those go first that change least of what goes in, seen on real inputs;
    without any, the last ones. Raises InputError `no-blocks-to-drop`.
    """
    step, file = work.step, parse(Path("model.tflite"), work.content, "")
    blocks = blocks_of(file)
    if not blocks:
        raise InputError(
            "no-blocks-to-drop",
            "no part of this model gives a tensor of the shape that it takes",
            context={
                "method": work.step.label,
                "layers": ", ".join(op.op for op in file.main.operators[:12]),
            },
            hint="--method student-width-50   (makes every layer narrower instead)",
        )
    count = step.setting("blocks")
    changes = _changes(work, file, blocks)
    going = [blocks[n] for n in np.argsort(changes, kind="stable")[:count]]
    content, moved = without_blocks(file, going)
    samples, fitted = samples_of(work), 0
    notes = [f"left out what ends in {', '.join(f'{block.name} ({block.kind})' for block in going)}"]
    if samples is not None and step.setting("repair") and not held_by(work):
        exits = [block.exit for block in going]
        content, fitted = repaired_without(
            file, (content, moved), exits, samples, seed=step.seed, report=work.report
        )
    before, after = counted(file.content), counted(content)
    figures = {
        "blocks_before": len(blocks),
        "blocks_after": len(blocks) - len(going),
        "parameters_before": before[0],
        "parameters_after": after[0],
        "macs_before": before[1],
        "macs_after": after[1],
        "layers_fitted": fitted,
    }
    if len(going) < count:
        notes.append(f"only {len(blocks)} blocks have a result of the shape of what goes in")
    return Outcome(content=content, figures=figures, notes=tuple(notes))


def _changes(
    work: Work, file: TfliteFile, blocks: tuple[Block, ...]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return of every block how much it changes: sum of (out - in)^2 over that of out^2; lower goes first."""
    samples = samples_of(work)
    if samples is None:
        return -np.arange(len(blocks), dtype=np.float64)
    sums = np.zeros((2, len(blocks)))
    for tensors in values_seen(file, samples.some(SEEN, work.step.seed)):
        for n, block in enumerate(blocks):
            before, after = (tensors(i).astype(np.float64) for i in (block.entry, block.exit))
            sums[:, n] += ((after - before) ** 2).sum(), (after**2).sum()
    return np.asarray(sums[0] / np.maximum(sums[1], 1e-30))
