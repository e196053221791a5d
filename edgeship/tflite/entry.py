"""Which of the entry points of a `.tflite` is the model: `read_entry(path, key)`.

A file may have several signatures (`train` and `infer`, `encode` and `decode`), each over a graph of its own. Runtimes
run the first graph unless they are asked by name, and so does everything here: the graph of another signature is made
the first one, and graphs of signatures that are not taken stay behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.refit import cannot_be_moved, packed, unpacked


def read_entry(path: Path, key: str | None) -> TfliteFile:
    """Return a `.tflite` with the graph of signature `key` as its first, without those of other signatures; None is the
    signature that is first already. A file without others is returned as it is.

    Raises what `read_tflite` raises, and InputError `tflite-signature` for a name that the file does not have.
    """
    file = read_tflite(path)
    chosen = next((d for d in file.signature_defs if (d.key == key if key else d.subgraph == 0)), None)
    if chosen is None and key is None:
        return file
    if chosen is None or (chosen.subgraph and cannot_be_moved(file)):
        has = ", ".join(repr(d.key) for d in file.signature_defs) or "none"
        why = "is over a graph that counts on its place" if chosen else "is not in the file"
        raise InputError(
            "tflite-signature",
            f"the signature '{key}' {why}",
            context={"model": path, "it has": has},
            hint="leave --signature out, or name one that it has"
            if chosen is None
            else "convert it alone: tf.lite.TFLiteConverter.from_saved_model(FOLDER, signature_keys=[NAME])",
        )
    if len(file.signature_defs) == 1 or cannot_be_moved(file):
        return file
    content = _alone(file.content, file.signature_defs.index(chosen))
    return parse(path, content, file.sha256)


def other_entries(file: TfliteFile) -> tuple[str, tuple[str, ...]]:
    """Return (the signature over the first graph, the names of all others); both empty where there is no choice."""
    first = next((d.key for d in file.signature_defs if d.subgraph == 0), "")
    others = tuple(d.key for d in file.signature_defs if d.key != first)
    return (first, others) if others else ("", ())


def _alone(content: bytes, number: int) -> bytes:
    """Return the file with signature `number` alone, its graph the first, behind it those that it calls, and no weights
    of others: no quantizer or compiler asks about graphs that nobody runs."""
    model, schema = unpacked(content)
    signature = model.signatureDefs[number]
    keep_graphs(model, [int(signature.subgraphIndex)])
    signature.subgraphIndex = 0
    model.signatureDefs = [signature]
    used = {int(tensor.buffer) for graph in model.subgraphs for tensor in graph.tensors or ()}
    used |= {int(entry.buffer) for entry in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    return packed(model, schema, content)


def keep_graphs(model: Any, first: Sequence[int]) -> None:
    """Leave out, in place, the graphs that none of `first` is or calls; `first` come first, in that order. Signatures
    are not renumbered."""
    order = list(first)
    for index in order:  # grows while it is walked
        for owner, field in _calls(model.subgraphs[index]):
            called = getattr(owner, field)
            for other in [called] if isinstance(called, int) else called:
                if other >= 0 and int(other) not in order:
                    order.append(int(other))
    place = {old: new for new, old in enumerate(order)}
    model.subgraphs = [model.subgraphs[old] for old in order]
    for graph in model.subgraphs:
        for owner, field in _calls(graph):
            called = getattr(owner, field)
            moved = place.get(called, called) if isinstance(called, int) else [place[int(i)] for i in called]
            setattr(owner, field, moved)


def _calls(graph: Any) -> Iterator[tuple[Any, str]]:
    """Yield (options, field) of everything in a graph that names other graphs by their number."""
    for operator in graph.operators or ():
        for options in (operator.builtinOptions, operator.builtinOptions2):
            for field in vars(options) if options is not None else ():
                if field.endswith(("SubgraphIndex", "SubgraphIndices")) or field == "subgraph":
                    yield options, field
