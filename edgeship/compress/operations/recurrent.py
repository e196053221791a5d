"""Layers that go over a sequence. Their state begins at zero for every sample."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.activations import fused
from edgeship.compress.operations.call import Call, Function, Unfit

INPUT, RECURRENT, PEEPHOLE, BIAS, PROJECTION, STATE, CELL, NORMS = 1, 5, 9, 12, 16, 18, 19, 20
"""Where the inputs of UNIDIRECTIONAL_SEQUENCE_LSTM begin; gates in the order input, forget, cell, output."""


def _sequence_lstm(call: Call) -> Any:
    tf, options = call.tf, call.options
    if any(call.given(NORMS + gate) for gate in range(4)):
        raise Unfit("normalises its gates")
    if not call.given(INPUT):
        raise Unfit("couples its input gate to the forget gate")
    if any(call.given(PEEPHOLE + gate) for gate in range(3)):
        raise Unfit("has peepholes")
    if options.get("diagonal_recurrent_tensors") or call.given(PROJECTION + 1):
        raise Unfit("has a form that is not known")
    x = call.x()
    first, second, width = call.shape()
    steps, rows = (first, second) if options.get("time_major") else (second, first)
    if options.get("time_major"):
        x = tf.transpose(x, [0, 2, 1, 3])
    inputs = tf.concat([call.weight(INPUT + gate) for gate in range(4)], 0)
    loops = tf.concat([call.weight(RECURRENT + gate) for gate in range(4)], 0)
    bias = tf.concat([call.weight(BIAS + gate) for gate in range(4)], 0)
    projection = call.weight(PROJECTION) if call.given(PROJECTION) else None
    x = tf.reshape(x, [-1, steps, width])
    driven = tf.unstack(tf.tensordot(x, inputs, [[2], [1]]) + bias, axis=1)
    state = tf.zeros([tf.shape(x)[0], int(loops.shape[1])])
    cell = tf.zeros([tf.shape(x)[0], int(inputs.shape[0]) // 4])
    made = []
    for given in driven:
        state, cell = _step(call, given + tf.matmul(state, loops, transpose_b=True), cell, projection)
        made.append(state)
    result = tf.reshape(tf.stack(made, 1), [-1, rows, steps, int(state.shape[-1])])
    return tf.transpose(result, [0, 2, 1, 3]) if options.get("time_major") else result


def _step(call: Call, gates: Any, cell: Any, projection: Any | None) -> tuple[Any, Any]:
    """Return (output, cell) after a step; `gates` are what the four gates are given."""
    tf, options = call.tf, call.options
    name = str(options.get("fused_activation", "TANH"))
    take, keep, new, show = tf.split(gates, 4, axis=-1)
    cell = tf.sigmoid(keep) * cell + tf.sigmoid(take) * fused(tf, name, new)
    if limit := float(options.get("cell_clip", 0.0)):
        cell = tf.clip_by_value(cell, -limit, limit)
    output = tf.sigmoid(show) * fused(tf, name, cell)
    if projection is not None:
        output = tf.matmul(output, projection, transpose_b=True)
        if limit := float(options.get("proj_clip", 0.0)):
            output = tf.clip_by_value(output, -limit, limit)
    return output, cell


TABLE: dict[str, Function] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence_lstm}
OWN_ACTIVATION = {"UNIDIRECTIONAL_SEQUENCE_LSTM"}
"""Operations whose fused activation is one inside them."""
