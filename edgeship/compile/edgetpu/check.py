"""The Edge TPU's part of a check: predicted mapping, blockers, advice, and where the graph is cut."""

from __future__ import annotations

from edgeship.compile import costs
from edgeship.compile.edgetpu import status
from edgeship.compile.edgetpu.advice import advice
from edgeship.compile.edgetpu.blockers import blockers
from edgeship.compile.edgetpu.lower import lowerings
from edgeship.compile.edgetpu.predict import Prediction
from edgeship.compile.edgetpu.view import Settings
from edgeship.compile.report import Cut, Finding, Placed
from edgeship.tflite.file import TfliteFile

WIDE = 14_400
"""Inputs of a fully connected layer from which its weights were seen streamed although there was room (public logs)."""
LARGE_ACTIVATION = 4 << 20
"""Bytes of one operation's input and output from which 'large activation tensors' failures are reported; there is no
sharp limit (one model fails at 352 pixels and compiles at 384 and 512)."""


def settings_of(runtime: int | None, options: tuple[str, ...]) -> Settings:
    """Return what a target's compiler section means for the prediction."""
    every = any(o in ("-a", "--enable_multiple_subgraphs") for o in options)
    return Settings(runtime=runtime or Settings().runtime, all_subgraphs=every)


def findings(model: TfliteFile, prediction: Prediction, accelerator_bytes: int | None) -> tuple[Finding, ...]:
    """Return what stops the compiler, keeps operations off, or makes them slow."""
    changes = frozenset(i for change in lowerings(model) for i in change.operations)
    return (
        *blockers(model, lowered=changes),
        *advice(model, prediction),
        *_memory(model, prediction, accelerator_bytes),
        *_wide_layers(model, prediction),
        *_large_activations(model, prediction),
    )


def _memory(model: TfliteFile, prediction: Prediction, room: int | None) -> tuple[Finding, ...]:
    needed = costs.constant_bytes(model.main, prediction.mapped)
    if room is None or needed <= room:
        return ()
    text = f"about {needed / 2**20:.2f} MiB of parameters, {room / 2**20:.2f} MiB fit on the accelerator"
    return (
        Finding(
            code="parameter-memory",
            severity="warning",
            message=f"{text}: the rest is sent again with every inference",
            fix="use a narrower variant of the network, or several accelerators (edgeship build --segments N)",
        ),
    )


def _wide_layers(model: TfliteFile, prediction: Prediction) -> tuple[Finding, ...]:
    graph = model.main
    wide = [
        o
        for o in graph.operators
        if o.op == "FULLY_CONNECTED"
        and o.index in prediction.mapped
        and len(o.inputs) > 1
        and max(graph.tensors[o.inputs[1]].shape[-1:], default=0) >= WIDE
    ]
    if not wide:
        return ()
    inputs = graph.tensors[wide[0].inputs[1]].shape[-1]
    return (
        Finding(
            code="wide-fully-connected",
            severity="warning",
            message=f"a fully connected layer reads {inputs:,} values: its weights are streamed with every inference",
            fix="put GlobalAveragePooling2D in place of Flatten before the Dense layer",
            operations=tuple(o.index for o in wide),
        ),
    )


def _large_activations(model: TfliteFile, prediction: Prediction) -> tuple[Finding, ...]:
    graph = model.main

    def size(index: int) -> int:
        o = graph.operators[index]
        tensors = (graph.tensors[i] for i in (*o.inputs, *o.outputs) if i >= 0)
        return sum(costs.bytes_of(t) for t in tensors if not t.has_data)

    worst = max(prediction.mapped, key=size, default=None)
    if worst is None or size(worst) < LARGE_ACTIVATION:
        return ()
    placed = prediction.operations[worst]
    return (
        Finding(
            code="large-activations",
            severity="note",
            message=f"{placed.op} {placed.layer} handles {size(worst) / 2**20:.1f} MiB at once: the compiler may "
            "give up with 'large activation tensors' (nobody can tell before it runs)",
            fix="use a smaller input if it does; sometimes a larger one compiles too",
            operations=(worst,),
        ),
    )


def cuts(model: TfliteFile, prediction: Prediction) -> tuple[Cut, ...]:
    """Return where the accelerator's part ends: what ends it, what is stranded behind, and what crosses over."""
    graph = model.main
    stranded = tuple(o.index for o in prediction.operations if o.status == status.MORE_SUBGRAPHS)
    mapped = prediction.mapped
    own = tuple(o.index for o in prediction.operations if o.placement == "cpu" and o.index not in stranded)
    if not own and not stranded:
        return ()
    makers = {t: o.index for o in graph.operators for t in o.outputs if t >= 0}
    crossing: dict[int, None] = {}
    for index in (*own, *stranded):
        for i in graph.operators[index].inputs:
            if makers.get(i) in mapped:
                crossing[i] = None
    culprits = tuple(
        i for i in own if _blocks(graph.operators[i].outputs, prediction.operations[i], stranded, model)
    )
    return (
        Cut(
            operations=culprits or own,
            stranded=stranded,
            tensors=tuple(f"{graph.tensors[i].dtype} {list(graph.tensors[i].shape)}" for i in crossing),
            tensor_bytes=sum(costs.bytes_of(graph.tensors[i]) for i in crossing),
            stranded_macs=sum(costs.macs(graph, graph.operators[i]) for i in stranded),
        ),
    )


def _blocks(outputs: tuple[int, ...], placed: Placed, stranded: tuple[int, ...], model: TfliteFile) -> bool:
    """Return whether a stranded operation reads what this one makes."""
    return placed.placement == "cpu" and any(
        set(model.main.operators[i].inputs) & set(outputs) for i in stranded
    )
