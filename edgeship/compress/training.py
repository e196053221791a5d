"""The training loop: a graph, what its weights are held to, and a teacher (`train`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.augment import augmenter
from edgeship.compress.constraints import Constraints
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.in_parts import InParts, rows_for
from edgeship.compress.objective import Objective, check_own, kinds_of, own_loss, unfit_labels
from edgeship.compress.samples import Samples
from edgeship.compress.work import Work
from edgeship.errors import InputError
from edgeship.values import Step

Floats = NDArray[np.float32]
WARM_UP = 0.05
"""Share of the training in which the learning rate rises."""
LONGEST = 10.0
"""Norm of all gradients together, to which longer ones are cut: the first steps after a change are rough."""
HOOKS = 3
"""Times the activations of the teacher that a step keeps: the student's, and those that fake quantization makes."""
RATES = (5e-4, 2e-3, 5e-3)
"""Of Adam, that are tried where a method leaves the rate open."""
TRIES = 6
"""A try is this many times shorter than the training."""
TRIED_FROM = 300
"""Steps of a training that is worth tries."""
LABELS = 0.3
"""Share of the loss that is of labels where there are some: enough to make up for what compression takes."""
SURE = 500
"""Labelled held-out samples from which on epochs are compared by labels alone. Fewer cannot tell epochs apart: the
last one is kept, at which the falling rate has settled."""
CAME_APART = 1.5
"""Times the least held-out loss of an epoch: where the last one's is above, the training came apart at its end."""
LOOKED_AT = 512
"""Samples from which the kinds and sizes of outputs are read."""
TRIED_WITH = 8
"""Samples that a loss of the user's own is tried with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast."""

    epochs: int
    steps: int
    """Steps at least: few samples are gone through several times an epoch."""
    batch: int
    rate: float
    """Of Adam, after the warm-up; falls to nothing along a cosine. 0: to be found (`best_rate`)."""
    augment: str = "auto"
    seed: int = 0
    settled: float = 0.0
    """Share of the training before which an epoch is none to keep: what is still being pruned looks too good."""

    @classmethod
    def of(cls, step: Step, settled: float = 0.0) -> Plan:
        """Return what the settings of a step say."""
        names = ("epochs", "steps", "batch", "rate", "augment")
        return cls(**{name: step.setting(name) for name in names}, seed=step.seed, settled=settled)

    def rate_at(self, share: float) -> float:
        """Return the learning rate at `share` (0..1) of the training: it falls once constraints are settled."""
        if share < WARM_UP:
            return self.rate * max(share, 1e-3) / WARM_UP
        begun = max(WARM_UP, self.settled)
        if share < begun:
            return self.rate
        return self.rate * 0.5 * (1 + math.cos(math.pi * (share - begun) / (1 - begun)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The best moment of a training."""

    values: Mapping[int, Floats]
    """What the graph reads, by tensor index: constraints applied."""
    figures: Mapping[str, float] = field(default_factory=dict)


def best_rate(
    begun: Callable[[], tuple[Student, Constraints]],
    teacher: TrainableGraph,
    work: Work,
    plan: Plan,
    rates: Sequence[float] = RATES,
) -> float:
    """Return the one of `rates` (rising) with the least held-out loss after a training a sixth as long, each of what
    `begun` makes anew.

    How far weights must move depends on the model: a small one that loses most of its weights learns nothing at a rate
    that a deep one needs. Where the training is shorter than TRIED_FROM steps the middle one is returned untried.
    """
    per_epoch = math.ceil(len(work.samples) / plan.batch)
    if max(plan.steps, per_epoch * plan.epochs) < TRIED_FROM:
        return rates[len(rates) // 2]
    short = replace(plan, epochs=max(1, plan.epochs // TRIES), steps=max(1, plan.steps // TRIES))
    losses = {}
    for rate in rates:
        graph, constraints = begun()
        try:
            tried = train(graph, constraints, teacher, work, replace(short, rate=rate))
        except InputError as error:
            if error.reference != "training-diverged":
                raise
            continue
        losses[rate] = tried.figures["held_out_loss"]
        work.report(f"{work.step.label}: rate {rate:g}, held-out loss {losses[rate]:.4g}")
    return min(losses, key=lambda rate: losses[rate]) if losses else rates[0]


def objective_of(work: Work, teacher: TrainableGraph) -> Objective:
    """Return the loss of a step, by how the model ends, and its settings `labels`, `temperature` and `loss`."""
    settings = dict(work.step.settings)
    some = work.samples.some(LOOKED_AT)
    answers = [np.concatenate(parts) for parts in zip(*answered(teacher, some, 64), strict=True)]
    labels = None if some.labels is None else some.block(some.rows)[1]
    outputs = kinds_of(teacher.file.main, teacher.outputs, answers, labels)
    reference, wanted = str(settings.get("loss", "auto")), settings.get("labels", "auto")
    usable = any(output.labelled for output in outputs)
    share = (LABELS if usable else 0.0) if wanted == "auto" else float(wanted)
    own = None if reference == "auto" else own_loss(reference, work.folder)
    if own is not None:
        few = None if labels is None else labels[:TRIED_WITH]
        check_own(own, reference, [held[:TRIED_WITH] for held in answers], few)
    elif share > 0 and not usable:
        raise unfit_labels(answers, labels)
    temperature = float(settings.get("temperature", 4.0))
    return Objective(outputs=outputs, temperature=temperature, labels=share, own=own)


def answered(graph: TrainableGraph, samples: Samples, batch: int) -> list[tuple[Any, ...]]:
    """Return the graph's outputs as arrays, a tuple a block."""
    import tensorflow as tf

    run = tf.function(lambda *inputs: graph(inputs), reduce_retracing=True)
    return [
        tuple(np.asarray(o) for o in run(*map(tf.constant, inputs))) for inputs, _ in samples.batches(batch)
    ]


class Student(Protocol):
    """What is trained: a trainable graph, or a Keras model as one."""

    variables: dict[int, Any]

    def __call__(self, inputs: Any, *, weight: Any = None, activation: Any = None) -> Any:
        """Return the outputs for samples, in the order of the teacher's."""

    def values(self) -> dict[int, Floats]:
        """Return what the variables hold."""


@runtime_checkable
class Learner(Protocol):
    """A student that computes otherwise while it learns, as batch normalisation and dropout do."""

    def learning(self, inputs: Sequence[Any], *, weight: Any = None, activation: Any = None) -> Any:
        """Return the outputs for samples while learning."""


class Trainer:
    """One training: graph, constraints, teacher and loss, compiled once."""

    def __init__(
        self,
        graph: Student,
        constraints: Constraints,
        teacher: TrainableGraph,
        objective: Objective,
        batch: int,
        judge: Objective,
    ) -> None:
        """`judge` is by what epochs are compared."""
        import tensorflow as tf

        self.graph, self.constraints = graph, constraints
        self.trained = [*graph.variables.values(), *constraints.variables()]
        self.optimizer = tf.keras.optimizers.Adam(1e-3)
        self.optimizer.build(self.trained)

        def loss_of(inputs: Sequence[Any], labels: Any, learning: bool = False) -> Any:
            run = graph.learning if learning and isinstance(graph, Learner) else graph
            outputs = run(inputs, weight=constraints.weight, activation=constraints.activation)
            by = objective if learning else judge
            return by.loss(outputs, [tf.stop_gradient(o) for o in teacher(inputs)], labels)

        def changed(gradients: Sequence[Any]) -> None:
            held, _ = tf.clip_by_global_norm(list(gradients), LONGEST)
            self.optimizer.apply_gradients(zip(held, self.trained, strict=True))

        def step(inputs: Sequence[Any], labels: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = loss_of(inputs, labels, learning=True)
            none = tf.UnconnectedGradients.ZERO
            found = tape.gradient(loss, self.trained, unconnected_gradients=none)
            changed([tf.convert_to_tensor(gradient) for gradient in found])
            return loss

        rows = rows_for(HOOKS * teacher.sample_bytes(), batch)
        self.step = tf.function(step, reduce_retracing=True)
        if rows < batch:  # the activations of a whole batch would take too much memory at once
            gradients = InParts(lambda i, told: loss_of(i, told, learning=True), self.trained, rows)
            change = tf.function(changed)

            def in_parts(inputs: Sequence[Any], labels: Any) -> Any:
                loss, found = gradients(inputs, labels)
                change(found)
                return loss

            self.step = in_parts
        self.loss_of = tf.function(lambda inputs, labels: loss_of(inputs, labels), reduce_retracing=True)

    def loss(self, samples: Samples, batch: int) -> float:
        """Return the mean loss over samples."""
        total, count = 0.0, 0
        for inputs, labels in samples.batches(batch):
            total += float(self.loss_of(*tensors(inputs, labels))) * len(inputs[0])
            count += len(inputs[0])
        return total / max(count, 1)


def tensors(inputs: Sequence[Any], labels: Any) -> tuple[tuple[Any, ...], Any]:
    import tensorflow as tf

    return tuple(tf.constant(i) for i in inputs), None if labels is None else tf.constant(labels)


def train(
    graph: Student,
    constraints: Constraints,
    teacher: TrainableGraph,
    work: Work,
    plan: Plan,
) -> Trained:
    """Train `graph` towards the answers of `teacher` and return its best epoch by the held-out loss; the last one where
    there are labels, but too few held out to compare by (SURE).

    With few samples an epoch is repeated until it has a fair number of steps. Deterministic for the same work on the
    same machine. The epoch before any training counts as one, unless a constraint is still under way then.
    """
    import tensorflow as tf

    tf.keras.utils.set_random_seed(plan.seed)
    objective = objective_of(work, teacher)
    samples, held_out = work.samples, work.held_out or work.samples
    by_labels = objective.labels > 0 and len(held_out) >= SURE
    by_age = objective.labels > 0 and not by_labels
    judge = replace(objective, labels=1.0) if by_labels else objective
    trainer = Trainer(graph, constraints, teacher, objective, plan.batch, judge)
    rng = np.random.default_rng(plan.seed)
    change = augmenter(plan.augment, samples.inputs, labelled=objective.labels > 0)
    per_epoch = math.ceil(len(samples) / plan.batch)
    passes = max(1, math.ceil(plan.steps / (per_epoch * plan.epochs))) if plan.epochs else 1
    steps, done = per_epoch * passes * plan.epochs, 0
    best: tuple[float, Any, Any] | None = None
    constraints.at(0.0, graph.values)
    least = math.inf
    if plan.settled == 0.0:
        best = (trainer.loss(held_out, plan.batch), graph.values(), constraints.kept())
    first = best[0] if best else math.nan
    for epoch in range(plan.epochs):
        running = 0.0
        for _ in range(passes):
            for inputs, labels in samples.batches(plan.batch, rng=rng):
                trainer.optimizer.learning_rate.assign(plan.rate_at(done / steps))
                block = tuple(np.asarray(i, np.float32) if i.dtype.kind == "f" else i for i in inputs)
                if change is not None:
                    block = (change(block[0], rng).astype(block[0].dtype, copy=False),)
                running = 0.98 * running + 0.02 * float(trainer.step(*tensors(block, labels)))
                done += 1
                if done % 10 == 0:
                    constraints.at(done / steps, graph.values)
                if done % 20 == 0:
                    work.report(f"{work.step.label}: epoch {epoch + 1} of {plan.epochs}", done, steps)
        constraints.at(done / steps, graph.values)
        if done / steps < plan.settled and epoch + 1 < plan.epochs:
            continue
        loss = trainer.loss(held_out, plan.batch)
        work.report(
            f"{work.step.label}: epoch {epoch + 1} of {plan.epochs}, held-out loss {loss:.4g}", done, steps
        )
        least = min(least, loss)
        better = loss <= CAME_APART * least if by_age else best is None or loss < best[0]
        if best is None or better or math.isnan(best[0]):
            best = (loss, graph.values(), constraints.kept())
    assert best is not None
    loss, values, kept = best
    if not math.isfinite(loss):
        raise InputError(
            "training-diverged",
            f"{work.step.label}: the loss of held-out samples is {loss:g}",
            hint="rate=0.0001 learns slower; or look for numbers that are not finite in the samples",
        )
    constraints.restore(kept)
    figures = {"epochs": float(plan.epochs), "steps": float(steps), "rate": plan.rate, "held_out_loss": loss}
    if not math.isnan(first):
        figures["held_out_loss_before"] = first
    return Trained(values=constraints.weights(values), figures=figures)
