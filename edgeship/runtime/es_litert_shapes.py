"""The sizes of a compiled model's tensors under the litert engine: open ones closed, the batch widened."""

import ctypes

import es_litert_abi as abi
from es_errors import CannotRun, EngineFailed


def tensor_type(engine, side, index, tensor):
    """Return the ranked type of an input or output. Open sizes of inputs become 1, and the first axis is multiplied by
    `engine.runs`; outputs follow from that.
    """
    kind = engine.library.get("GetRankedTensorType", abi.RankedType, tensor)
    rank = kind.layout.bits & 127
    sizes = kind.layout.dimensions
    if not engine.widened and all(size >= 0 for size in sizes[:rank]):
        return kind
    if engine.runs > 1 and not rank:
        raise EngineFailed("a tensor has no axes")
    if side == "Input":
        for axis in range(rank):
            sizes[axis] = sizes[axis] if sizes[axis] >= 0 else 1
        if rank:
            sizes[0] *= engine.runs
        name = "CompiledModelResizeInputTensorNonStrict"
        engine.library.call(name, engine.compiled, engine.index, index, sizes, rank)
        return kind
    layouts = (abi.Layout * (index + 1))()
    name = "GetCompiledModelOutputTensorLayouts"
    engine.library.call(name, engine.compiled, engine.index, index + 1, layouts, ctypes.c_bool(True))
    if rank and sizes[0] >= 0 and layouts[index].dimensions[0] != sizes[0] * engine.runs:
        raise EngineFailed("an output does not grow with the inputs")
    kind.layout = layouts[index]
    return kind


def widen(engine, runs):
    """Have `engine` compute `runs` runs at once: inputs are resized and buffers made anew, which takes some tens of
    microseconds; the weights stay. Raises EngineFailed where the model cannot be resized, and leaves it as it was.
    """
    if runs == engine.runs:
        return
    before, engine.runs, engine.widened = engine.runs, runs, True
    try:
        engine.bind_again()
    except (CannotRun, EngineFailed) as error:
        engine.runs = before
        engine.widened = before > 1
        engine.reset()
        raise EngineFailed("the model cannot be resized to %d runs: %s" % (runs, error))
