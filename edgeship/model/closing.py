"""Sizes that a model leaves open and its user says: matched with its inputs here, put into a `.tflite` by `resized`."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeship.data.named import as_said, find
from edgeship.errors import EdgeshipError, InputError
from edgeship.progress import Progress
from edgeship.registry import did_you_mean
from edgeship.tflite.file import Subgraph, TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.refit import with_shapes
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import ModelSource

OPTION = "--input-shape"
Sizes = Sequence[int | None]
"""The sizes of an input, batch first, None where open."""
BY_VALUES = frozenset({"WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"})
"""Operations that make as many results as the data asks for."""
SIZED_BY_DATA = BY_VALUES | {"RANGE"}
"""And those that count to a number they are fed."""


def closed_sizes(
    said: Mapping[str, Sequence[int]], declared: Mapping[str, Sizes | None], model: object
) -> dict[str, list[int]]:
    """Return the input -> the sizes that the user says for it; `declared` is what the model says, None: no rank.

    Raises InputError `input-shape` where the two do not fit: another name, number of sizes, or a size that is fixed.
    """
    found: dict[str, list[int]] = {}
    for name, sizes in said.items():
        own = _input(name, declared, model)
        wanted = declared[own]
        if wanted is not None and not _fits(sizes, wanted):
            raise InputError(
                "input-shape",
                f"the input '{as_said(own)}' cannot be {list(sizes)}: the model says {_shown(wanted)}",
                context={"model": model, "key": f"input_shape ({OPTION})"},
                hint=typed({own: _filled(sizes, wanted)}, alone=len(declared) == 1)
                if None in wanted
                else f"its sizes are fixed: leave {OPTION} out, or export the model with the size you want",
            )
        found[own] = list(sizes)
    return found


def typed(declared: Mapping[str, Sizes | None], *, alone: bool) -> str:
    """Return the option as one types it, an example standing in for each open size."""
    words = []
    for name, sizes in declared.items():
        numbers = ",".join(map(str, _example(sizes)))
        words.append(f"{OPTION} {numbers if alone else shlex.quote(f'{as_said(name)}={numbers}')}")
    return " ".join(words)


def open_hint(declared: Mapping[str, Sizes | None]) -> str:
    """Return what to do about inputs of open sizes; `declared` are all inputs of the model."""
    opens = {name: sizes for name, sizes in declared.items() if sizes is None or None in sizes[1:]}
    return f"say the sizes that you will send, for example:  {typed(opens or declared, alone=len(declared) == 1)}"


def resized(content: bytes, source: ModelSource, progress: Progress) -> bytes:
    """Return a `.tflite` with the sizes that `source` closes written down, and those that follow from them.

    The runtime works them out, as it does when a caller resizes an input. Sizes that depend on values stay open.
    Raises InputError `input-shape` where sizes and inputs do not fit, or the model cannot run with them.
    """
    with tempfile.TemporaryDirectory(prefix="edgeship-sizes-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        check_flex(read_tflite(path), source)
        graph = read_tflite(path).main
        signature = read_tflite(path).signature
        declared = {
            spec.name: [None if n < 0 else n for n in graph.tensors[index].shape_signature]
            for spec, index in zip(signature.inputs, graph.inputs, strict=True)
        }
        sizes = closed_sizes(dict(source.shapes), declared, source.path)
        by_index = {
            str(index): sizes[name]
            for name, index in zip(declared, graph.inputs, strict=True)
            if name in sizes and sizes[name] != declared[name]
        }
        if not by_index:
            return content
        try:
            value = run_worker(
                "edgeship.model.shapes_worker:resized_shapes",
                {"model": str(path), "sizes": by_index},
                progress=progress,
            ).value
        except EdgeshipError as error:
            shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InputError(
                "input-shape",
                f"the model cannot run with {shown}: something in it was made for other sizes",
                context={"model": source.path, "it said": error.context.get("error", error.message)},
                hint="say sizes that it was trained for, or export it again with the sizes you want",
            ) from None
    stays = _depending_on_values(graph)
    shapes = {int(i): shape for i, shape in value["shapes"].items() if int(i) not in stays}
    return with_shapes(content, shapes)


def check_flex(file: TfliteFile, source: ModelSource) -> None:
    """Raise InputError `unsupported-operation` for TensorFlow's own operations in a file of open sizes: only
    TensorFlow could say what follows from the sizes of its inputs, and no device could run it then."""
    names = dict.fromkeys(
        op.op for graph in file.subgraphs for op in graph.operators if op.op.startswith("Flex")
    )
    if names:
        raise InputError(
            "unsupported-operation",
            f"the model needs TensorFlow's own kernels for {', '.join(names)}, which no device gets",
            context={"model": source.path, "operations": ", ".join(names)},
            hint="convert it with tf.lite.OpsSet.TFLITE_BUILTINS alone, without SELECT_TF_OPS; or give the .keras, .h5 "
            "or SavedModel that it was made from",
        )


def check_sizes(file: TfliteFile, source: ModelSource, limits: WorkerLimits) -> None:
    """Raise InputError `model-dynamic-shape` where values decide how large an output is, whatever the file says.

    A size that is open on the first axis is taken for a batch; of what a non-maximum suppression keeps it is none.
    The runtime is asked, on two samples, where the model has such an operation.
    """
    graph = file.main
    first = next((op for op in graph.operators if op.op in BY_VALUES and not op.custom), None)
    if first is None:
        return
    payload = {"model": str(file.path), "tensors": len(graph.tensors)}
    try:
        found = run_worker("edgeship.tflite.sizes_worker:sizes", payload, limits=limits).value["sizes"]
    except EdgeshipError:  # what the runtime lacks is told where the target is known
        return
    for index, spec in zip(graph.outputs, file.signature.outputs, strict=True):
        if graph.tensors[index].shape and found[index] != list(graph.tensors[index].shape):
            raise InputError(
                "model-dynamic-shape",
                f"how large the output '{as_said(spec.name)}' is depends on the values",
                context={
                    "model": source.path,
                    "seen": found[index] or "another size for each of two samples",
                    "first such operation": f"operation {first.index} ({first.op})",
                    "wanted": "fixed sizes",
                },
                hint=f"end the model before operation {first.index} ({first.op}), and do the rest on the host",
            )


def _depending_on_values(graph: Subgraph) -> set[int]:
    """Return the tensors whose sizes no shape of the inputs tells."""
    found: set[int] = set()
    for operator in graph.operators:
        if operator.op in SIZED_BY_DATA or found & set(operator.inputs):
            found |= set(operator.outputs)
    return found


def _input(name: str, declared: Mapping[str, Sizes | None], model: object) -> str:
    """Return the model's own name of the input that a name is for."""
    if not name and len(declared) == 1:
        return next(iter(declared))
    own = find(name, list(declared)) if name else None
    if own is not None:
        return own
    near = did_you_mean(name, list(declared)) or next(iter(declared))
    said = f"the model has no input '{name}'" if name else f"the model has {len(declared)} inputs: which one?"
    raise InputError(
        "input-shape",
        said,
        context={
            "model": model,
            "inputs": ", ".join(f"{as_said(n)} {_shown(sizes)}" for n, sizes in declared.items()),
        },
        hint=typed({near: declared[near]} if name else declared, alone=False),
    )


def _fits(sizes: Sequence[int], wanted: Sizes) -> bool:
    return len(sizes) == len(wanted) and all(w in (None, n) for n, w in zip(sizes, wanted, strict=True))


def _filled(sizes: Sequence[int], wanted: Sizes) -> list[int | None]:
    """Return what was probably meant: the sizes that were said where they fit, a batch of 1 before them."""
    if len(sizes) == len(wanted) - 1:
        sizes = [1, *sizes]
    if len(sizes) != len(wanted):
        return list(wanted)
    return [n if w is None else w for n, w in zip(sizes, wanted, strict=True)]


def _example(sizes: Sizes | None) -> list[int]:
    """Return sizes with something usual where one is open."""
    if sizes is None:
        return [1, 224, 224, 3]
    last, image = len(sizes) - 1, len(sizes) == 4
    usual = [1 if k == 0 else 3 if image and k == last else 224 if image else 128 for k in range(len(sizes))]
    return [usual[k] if n is None else n for k, n in enumerate(sizes)]


def _shown(sizes: Sizes | None) -> str:
    return (
        "any number of sizes"
        if sizes is None
        else str(["open" if n is None else n for n in sizes]).replace("'", "")
    )
