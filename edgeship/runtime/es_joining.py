"""Several runs of a model computed in one: where a run has a part that does not grow with its samples (weights read
from memory, kernels begun), n of them joined take less than n times one.

Only where every answer keeps every bit that it has alone: `why_not` tries that with samples that differ.
"""

import time

from es_errors import EngineFailed
from es_metrics import percentile
from es_tensors import RANGES, count, is_float, pack

MOST = 64
_TRIED = 3  # Runs joined in the trial: odd, so that no tile of a kernel is filled exactly.
_MEASURED = 8
_FEWEST = 7


def together(model, inputs):
    """Return [output tensors] of several runs, computed at once: `inputs` is [input tensors]. Raises EngineFailed where
    the engine fails, as it may for one of them alone.
    """
    found = []
    for start in range(0, len(inputs), MOST):
        part = inputs[start : start + MOST]
        model.engine.widen(len(part))
        joined = model.engine.run([b"".join(pieces) for pieces in zip(*part)])
        sizes = [len(data) // len(part) for data in joined]
        for n in range(len(part)):
            found.append([data[n * size : (n + 1) * size] for data, size in zip(joined, sizes)])
    return found


def why_not(model):
    """Return why runs of a model cannot be joined, None where they can."""
    if model.states:
        return "it keeps state from one run to the next"
    shapes = [list(side.tensor_shape) for side in model.encoders + model.decoders]
    if not all(shapes) or len({shape[0] for shape in shapes}) != 1:
        return "its inputs and outputs have no batch axis in common"
    if any(not is_float(e.dtype) and (e.dtype not in RANGES or e.scale is None) for e in model.encoders):
        return "its inputs are no numbers that could be tried"
    inputs = [[_sample(e, n) for e in model.encoders] for n in range(_TRIED)]
    try:
        apart = []
        for one in inputs:
            model.engine.widen(1)
            apart.append(model.engine.run(one))
        if together(model, inputs) != apart or together(model, inputs[:2]) != apart[:2]:
            return "its answers depend on what is computed with them"
        model.engine.widen(1)
        if model.engine.run(inputs[0]) != apart[0]:
            return "its answers are not the same afterwards"
    except EngineFailed as error:
        return str(error)
    return None


def _sample(encoder, number):
    """Return an input tensor of numbers that differ from those of another `number`."""
    total = count(encoder.tensor_shape)
    if is_float(encoder.dtype):
        return pack([((i * 37 + number * 101) % 199 - 99) / 64.0 for i in range(total)], encoder.dtype)
    low, high = RANGES[encoder.dtype]
    span = min(high - low + 1, 251)
    return pack([low + (i * 37 + number * 101) % span for i in range(total)], encoder.dtype)


def measured(model, seconds):
    """Return (fixed, each): n runs joined take fixed + n * each seconds here, resizing there and back included; (0.0,
    seconds of a run) where they cannot be joined or nothing is gained.
    """
    reason = why_not(model)
    model.engine.widen(1)
    inputs = [_sample(e, 0) for e in model.encoders] if reason is None else model.zeros()
    alone = _median(lambda: model.engine.run(inputs), seconds / 2)
    if reason is not None:
        return 0.0, alone
    several = [[_sample(e, n) for e in model.encoders] for n in range(_MEASURED)]

    def joined():
        together(model, several)
        model.engine.widen(1)

    each = (_median(joined, seconds / 2) - alone) / (_MEASURED - 1)
    if not 0.0 < each < alone:
        return 0.0, alone
    return alone - each, each


def _median(work, seconds):
    times = []
    begun = now = time.perf_counter()
    while len(times) < _FEWEST or (now - begun < seconds and len(times) < 2000):
        started = time.perf_counter()
        work()
        now = time.perf_counter()
        times.append(now - started)
    times.sort()
    return percentile(times, 0.5)
