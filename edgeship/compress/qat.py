"""Quantization-aware training: rounding where the integer kernels round, towards the float model's answers.

`qat-int8`, `qat-int4` (weights of 4 bits, activations of 8), `qat-int16x8` (weights of 8, activations of 16). The
ranges and limits that were trained go to the quantizer as they are.
"""

from __future__ import annotations

from edgeship.compress.came import limits_in, told_of
from edgeship.compress.codebook import Codebook
from edgeship.compress.constraints import Constraint, Constraints
from edgeship.compress.fake_quant import ActivationGrid, WeightGrid, axis_of, best_limits
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import counted, held, own_layers, ranges_by_index, written
from edgeship.compress.training import Plan, train
from edgeship.compress.work import Outcome, Work

BITS = {"int8": (8, 8), "int4": (4, 8), "int16x8": (8, 16)}
"""Setting -> (bits of weights, bits of activations)."""


def apply(work: Work) -> Outcome:
    """Train with weights and activations rounded as `precision` says."""
    weight_bits, activation_bits = BITS[work.step.setting("precision")]
    graph, teacher = TrainableGraph(work.content), TrainableGraph(work.original)
    layers, values = own_layers(graph), graph.values()
    constraints: list[Constraint] = held(work, graph)
    on_grid = {index for one in constraints if isinstance(one, Codebook) for index in one.limits}
    layers = [layer for layer in layers if layer.weight not in on_grid]
    if layers:
        limits = None
        if weight_bits < 8:
            told = limits_in(graph.file, layers)
            limits = {
                layer.weight: told.get(
                    layer.weight,
                    best_limits(values[layer.weight], axis_of(layer, work.one_scale), weight_bits),
                )
                for layer in layers
            }
        constraints.append(WeightGrid(layers, weight_bits, one_scale=work.one_scale, limits=limits))
    constraints.append(ActivationGrid(graph.file.main, ranges_by_index(work, graph), activation_bits))
    everything = Constraints(*constraints)
    plan = Plan.of(work.step)
    trained = train(graph, everything, teacher, work, plan)
    return Outcome(
        content=written(work, everything, trained, graph),
        figures=dict(trained.figures) | counted(graph, trained.values),
        notes=told_of(work, graph.file),
    )
