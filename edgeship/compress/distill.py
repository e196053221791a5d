"""Knowledge distillation: a model learns the answers of the float model (`distill`), compressed or not (`finetune`).

The same loop with the same teacher: `distill` after a step that made the model smaller (a student, fewer channels),
`finetune` of the model as it is, the control beside every trained candidate.
"""

from __future__ import annotations

from dataclasses import replace

from edgeship.compress.came import told_of
from edgeship.compress.constraints import Constraints
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import counted, held, written
from edgeship.compress.training import Plan, best_rate, train
from edgeship.compress.work import Outcome, Work

RATES = (3e-4, 1e-3, 3e-3)
"""Of Adam, that are tried where none is set: what was made of a trained model bears small ones only (of ResNet-8 with
half of its weights 1e-3 loses three points that 3e-4 keeps), a small network needs more."""


def apply(work: Work) -> Outcome:
    """Train the float model, held to what earlier steps made, towards the original's answers."""
    teacher, plan = TrainableGraph(work.original), Plan.of(work.step)

    def begun() -> tuple[TrainableGraph, Constraints]:
        graph = TrainableGraph(work.content)
        return graph, Constraints(*held(work, graph))

    if not plan.rate:
        plan = replace(plan, rate=best_rate(begun, teacher, work, plan, RATES))
    graph, constraints = begun()
    trained = train(graph, constraints, teacher, work, plan)
    return Outcome(
        content=written(work, constraints, trained, graph),
        figures=dict(trained.figures) | counted(graph, trained.values),
        notes=told_of(work, graph.file),
    )
