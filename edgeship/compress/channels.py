"""Channel pruning: whole channels leave the file, and with them parameters, multiply-adds and time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeship.compress.choice import Choice, Wanted, chosen, evenly
from edgeship.compress.coupling import Coupling, couple
from edgeship.compress.importance import by_outputs, by_weights, moments_of
from edgeship.compress.repair import repaired
from edgeship.compress.samples import Samples
from edgeship.compress.surgery import counted, without
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.tflite.flat import parse
from edgeship.tflite.layer_names import layer_of

NAMED = 5
"""Layers that a note names."""


def apply(work: Work) -> Outcome:
    """Leave out a share of the channels. Settings: `percent`, `of`, `layers`, `by`, `least`, `multiple`, `repair`.

    Raises InputError `no-channels-to-prune` where none can go, with the operations that keep them.
    """
    step = work.step
    coupling = coupled(work)
    wanted = Wanted(
        share=step.setting("percent") / 100.0,
        of=step.setting("of"),
        least=step.setting("least") / 100.0,
        multiple=step.setting("multiple"),
    )
    return shrunk(work, coupling, wanted, even=step.setting("layers") == "even")


def shrunk(work: Work, coupling: Coupling, wanted: Wanted, *, even: bool) -> Outcome:
    """Return the model without its least important channels, what is left fitted to real inputs where there are some.

    `even`: every layer loses the same share.
    """
    samples = samples_of(work)
    if work.step.setting("by") == "outputs" and samples is not None:
        scores = by_outputs(coupling, moments_of(coupling, samples, work.step.seed))
    else:
        scores = by_weights(coupling)
    choice = chosen(coupling, evenly(coupling, scores) if even else scores, wanted)
    fitted, held = 0, held_by(work)
    if samples is None or held or not work.step.setting("repair"):
        content = without(coupling, choice.stays)
    else:
        content, fitted = repaired(coupling, choice.stays, samples, seed=work.step.seed, report=work.report)
    outcome = told(coupling, content, choice, wanted)
    notes = outcome.notes
    if samples is None:
        notes += ("no samples: channels were judged by their weights, and nothing was fitted",)
    elif held and work.step.setting("repair"):
        notes += (f"what is left was not fitted: that would undo {held}",)
    return replace(outcome, figures={**outcome.figures, "layers_fitted": fitted}, notes=notes)


def samples_of(work: Work) -> Samples | None:
    """Return real inputs, to train on or to calibrate with; None: there are none."""
    samples = work.train or work.calibration
    return samples if samples is not None and len(samples) else None


def held_by(work: Work) -> str:
    """Return the label of an earlier step whose zeros or shared values other weights would take apart."""
    return next((s.label for s in work.before if s.method.startswith(("prune", "cluster", "tfmot"))), "")


def coupled(work: Work) -> Coupling:
    """Return the coupling of a model of which channels can go. Raises InputError `no-channels-to-prune`."""
    coupling = couple(parse(Path("model.tflite"), work.content, ""))
    if coupling.groups:
        return coupling
    reasons = "; ".join(f"{why} keeps {count}" for why, count in list(coupling.pinned.items())[:NAMED])
    raise InputError(
        "no-channels-to-prune",
        "no channel of this model can be left out",
        context={
            "method": work.step.label,
            "why": reasons or "it has no layers with constant float32 weights",
        },
        hint="--method prune-50   (makes weights zero and changes no shape)",
    )


def told(coupling: Coupling, content: bytes, choice: Choice, wanted: Wanted) -> Outcome:
    """Return the outcome of a choice: counts before and after, and which layers lost most."""
    before, after = counted(coupling.file.content), counted(content)
    lost = lost_by_layer(coupling, choice)
    figures = {
        "channels_before": sum(full for _, full, _ in lost),
        "channels_after": sum(full - gone for _, full, gone in lost),
        "parameters_before": before[0],
        "parameters_after": after[0],
        "macs_before": before[1],
        "macs_after": after[1],
    }
    notes = [_most(lost)] if any(gone for _, _, gone in lost) else ["no channel was left out"]
    if not choice.reached:
        notes.append(
            f"less than {100 * wanted.share:g} % of the {_WORDS[wanted.of]} could go: every tensor keeps "
            f"{100 * wanted.least:g} % of its channels"
        )
    if coupling.pinned:
        parts = [f"{count} by {why}" for why, count in list(coupling.pinned.items())[:3]]
        notes.append(f"kept whole: {', '.join(parts)}")
    return Outcome(content=content, figures=figures, notes=tuple(notes))


_WORDS = {"channels": "channels", "macs": "multiply-adds", "parameters": "parameters"}


def lost_by_layer(coupling: Coupling, choice: Choice) -> list[tuple[str, int, int]]:
    """Return (name, channels, channels that went) of every layer that makes channels, in the order of the graph."""
    stays = np.append(choice.stays, True)
    graph = coupling.file.main
    return [
        (
            layer_of(graph, graph.operators[cut.operator]),
            len(cut.atoms),
            int((~stays[coupling.of(cut.atoms)]).sum()),
        )
        for cut in coupling.cuts
        if cut.role == "makes"
    ]


def _most(lost: Iterable[tuple[str, int, int]]) -> str:
    """Return which layers lost most, as text."""
    order = sorted(lost, key=lambda layer: -layer[2] / max(1, layer[1]))
    parts = [f"{name} {gone} of {full}" for name, full, gone in order[:NAMED] if gone]
    return "channels left out, the layers that lost most first: " + ", ".join(parts)
