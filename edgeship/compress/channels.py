"""Channel pruning: whole channels leave the file, and with them parameters, multiply-adds and time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edgeship.compress.choice import Choice, Scores, Wanted, chosen, evenly
from edgeship.compress.coupling import Coupling, couple
from edgeship.compress.importance import Moments, by_outputs, by_weights, moments_of
from edgeship.compress.surgery import counted, without
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.layer_names import layer_of

NAMED = 5
"""Layers that a note names."""


def apply(work: Work) -> Outcome:
    """Leave out a share of the channels. Settings: `percent`, `of`, `layers`, `by`, `least`, `multiple`.

    Raises InputError `no-channels-to-prune` where none can go, with the operations that keep them.
    """
    step = work.step
    coupling = coupled(parse(Path("model.tflite"), work.content, ""), step.label)
    scores, _ = importance(work, coupling, step.setting("by"))
    wanted = Wanted(
        share=step.setting("percent") / 100.0,
        of=step.setting("of"),
        least=step.setting("least") / 100.0,
        multiple=step.setting("multiple"),
    )
    choice = chosen(
        coupling, evenly(coupling, scores) if step.setting("layers") == "even" else scores, wanted
    )
    return told(coupling, without(coupling, choice.stays), choice, wanted)


def coupled(file: TfliteFile, label: str) -> Coupling:
    """Return the coupling of a model of which channels can go. Raises InputError `no-channels-to-prune`."""
    coupling = couple(file)
    if coupling.groups:
        return coupling
    reasons = "; ".join(f"{why} keeps {count}" for why, count in list(coupling.pinned.items())[:NAMED])
    raise InputError(
        "no-channels-to-prune",
        "no channel of this model can be left out",
        context={"--method": label, "why": reasons or "it has no layers with constant float32 weights"},
        hint="edgeship compress --method prune-50 makes weights zero and changes no shape",
    )


def importance(work: Work, coupling: Coupling, by: str) -> tuple[Scores, dict[int, Moments]]:
    """Return how much each group matters, and what the layers were seen to read (nothing without samples).

    `by`: `outputs` (by real inputs where there are some, else by weights) or `weights`.
    """
    samples = work.train or work.calibration
    if samples is None or not len(samples):
        return by_weights(coupling), {}
    moments = moments_of(coupling, samples, work.step.seed)
    return (by_outputs(coupling, moments) if by == "outputs" else by_weights(coupling)), moments


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
            f"{100 * wanted.least:g} % of its channels{_pins(coupling)}"
        )
    elif coupling.pinned:
        notes.append(f"kept whole{_pins(coupling)}")
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


def _pins(coupling: Coupling) -> str:
    """Return what keeps channels whole, as the rest of a sentence."""
    if not coupling.pinned:
        return ""
    parts = [f"{count} by {why}" for why, count in list(coupling.pinned.items())[:3]]
    return ": " + ", ".join(parts)
