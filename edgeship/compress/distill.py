"""Knowledge distillation: a model learns the answers of the float model (`distill`), compressed or not (`finetune`).

The same loop with the same teacher: `distill` after a step that made the model smaller (a student, fewer channels),
`finetune` of the model as it is, the control beside every trained candidate.
"""

from __future__ import annotations

from edgeship.compress.came import told_of
from edgeship.compress.constraints import Constraints
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import counted, held, written
from edgeship.compress.training import Plan, train
from edgeship.compress.work import Outcome, Work


def apply(work: Work) -> Outcome:
    """Train the float model, held to what earlier steps made, towards the original's answers."""
    graph, teacher = TrainableGraph(work.content), TrainableGraph(work.original)
    constraints = Constraints(*held(work, graph))
    trained = train(graph, constraints, teacher, work, Plan.of(work.step))
    return Outcome(
        content=written(work, constraints, trained, graph),
        figures=dict(trained.figures) | counted(graph, trained.values),
        notes=told_of(work, graph.file),
    )
