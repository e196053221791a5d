"""Sizes that are open inside a model although its inputs leave none open but the batch: `closed(...)`.

A converter that follows a computed shape (`tf.shape(x)`, which Keras 3 asks for wherever it repeats values) marks
all that comes after it as open, to the end. With the batch fixed they are all fixed, and what they are is what the
runtime finds: it is asked, on two different samples, and the sizes are written into the file.
"""

from __future__ import annotations

from pathlib import Path

from edgeship.errors import EdgeshipError
from edgeship.tflite.file import Subgraph, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.normalise import normalised
from edgeship.tflite.refit import packed
from edgeship.tflite.schema import tflite_schema
from edgeship.toolchain import WorkerLimits, run_worker

WORKER = "edgeship.tflite.sizes_worker:sizes"
SHAPED_BY: dict[str, tuple[int, ...]] = {
    "RESHAPE": (1,), "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "PAD": (1,), "PADV2": (1,),
    "MIRROR_PAD": (1,), "FILL": (0,), "TILE": (1,), "BROADCAST_TO": (1,), "TRANSPOSE_CONV": (0,), "SLICE": (1, 2),
    "STRIDED_SLICE": (1, 2, 3), "RANGE": (0, 1, 2), "SPLIT_V": (1,), "SPACE_TO_BATCH_ND": (1, 2),
    "BATCH_TO_SPACE_ND": (1, 2), "EXPAND_DIMS": (1,), "TRANSPOSE": (1,), "BROADCAST_ARGS": (0, 1),
    "SPARSE_TO_DENSE": (1,), "ONE_HOT": (1,), "SEGMENT_SUM": (1,), "DYNAMIC_UPDATE_SLICE": (),
}  # fmt: skip
"""Inputs that hold what size an operation's result has."""
BY_DATA = frozenset({
    "WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "IF", "WHILE", "CALL_ONCE", "LSH_PROJECTION",
    "SKIP_GRAM", "HASHTABLE_LOOKUP", "UNSORTED_SEGMENT_SUM", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN",
    "UNSORTED_SEGMENT_PROD", "RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "TOPK_V2", "REDUCE_WINDOW",
})  # fmt: skip
"""Operations whose results have sizes that values decide, or may."""


def closed(content: bytes, scratch: Path, limits: WorkerLimits) -> bytes:
    """Return the file with every size that follows from its inputs' written down, and what that makes constant folded.

    The same bytes where nothing is open but what an input leaves open itself, where values decide a size, or where the
    runtime does not take the model. `scratch` is a folder for one file.
    """
    file = parse(Path("model.tflite"), content, "")
    if not _closable(file):
        return content
    path = scratch / "open.tflite"
    path.write_bytes(content)
    try:
        found: list[list[int] | None] = run_worker(
            WORKER, {"model": str(path), "tensors": len(file.main.tensors)}, limits=limits
        ).value["sizes"]
    except EdgeshipError:
        return content
    finally:
        path.unlink()
    schema = tflite_schema()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for tensor, sizes in zip(model.subgraphs[0].tensors, found, strict=True):
        if tensor.shapeSignature is None or not any(size < 0 for size in tensor.shapeSignature):
            continue
        if sizes is None or len(sizes) != len(tensor.shapeSignature):
            return content
        tensor.shape, tensor.shapeSignature = sizes, None
    return normalised(packed(model, schema, content))


def _closable(file: TfliteFile) -> bool:
    """Return whether sizes are open inside, the inputs leave open their batch at most, and no value decides one."""
    graph = file.main
    inputs = [graph.tensors[i] for i in graph.inputs]
    opens = [t for t in graph.tensors if -1 in t.shape_signature[1:]]
    if len(file.subgraphs) != 1 or not opens or any(-1 in t.shape_signature[1:] for t in inputs):
        return False
    return not _values_decide(graph)


def _values_decide(graph: Subgraph) -> bool:
    """Return whether the size of a result may depend on what is asked, not only on its size."""
    told = set(graph.inputs)
    for op in graph.operators:
        given = {i for i in op.inputs if i in told}
        if op.op in ("SHAPE", "RANK"):
            continue
        if given and (op.custom or op.op in BY_DATA):
            return True
        if any(op.inputs[p] in told for p in SHAPED_BY.get(op.op, ()) if p < len(op.inputs)):
            return True
        if given:
            told.update(op.outputs)
    return False
