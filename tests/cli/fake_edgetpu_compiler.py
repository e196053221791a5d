"""Stands in for Google's compiler in tests: replays what it printed and the Edge TPU package it once wrote.

`python fake_edgetpu_compiler.py RECORDED_edgetpu.tflite SAY STATUS [arguments of edgetpu_compiler]`. SAY is a file with
the text to print. With status 0 the model given becomes one `edgetpu-custom-op` with its own inputs and outputs, whose
options are those of the recorded file: it has the form of a compiled model, and infers nothing. With `-n N` it
becomes N of them, with made-up tensors between.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import flatbuffers

from edgeship.tflite.schema import tflite_schema


def compiled(model: bytes, recorded: bytes, part: int = 0, parts: int = 1) -> bytes:
    """Return `model`, or one part of it, with its whole graph replaced by the recorded Edge TPU operation."""
    schema = tflite_schema()
    ours = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    theirs = schema.ModelT.InitFromObj(schema.Model.GetRootAs(recorded))
    graph, operation = ours.subgraphs[0], theirs.subgraphs[0].operators[0]
    kept = [*graph.inputs, *graph.outputs]
    graph.tensors = [graph.tensors[i] for i in kept]
    for number, here in ((0, part > 0), (len(kept) - 1, part < parts - 1)):
        if here:
            graph.tensors[number] = copy.deepcopy(graph.tensors[0])
            graph.tensors[number].name = f"between{part + (number > 0)}".encode()
    for tensor in graph.tensors:
        tensor.buffer = 0
    graph.inputs = list(range(len(graph.inputs)))
    graph.outputs = list(range(len(graph.inputs), len(kept)))
    ours.operatorCodes = [theirs.operatorCodes[operation.opcodeIndex]]
    operation.opcodeIndex, operation.inputs, operation.outputs = 0, graph.inputs, graph.outputs
    graph.operators = [operation]
    ours.buffers, ours.metadata, ours.signatureDefs = [schema.BufferT()], None, None
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(ours.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main(recorded: str, say: str, status: str, *arguments: str) -> int:
    sys.stdout.write(Path(say).read_text())
    parts = int(arguments[arguments.index("-n") + 1]) if "-n" in arguments else 1
    if status == "0":
        for name in (a for a in arguments if a.endswith(".tflite")):
            for part in range(parts):
                made = compiled(Path(name).read_bytes(), Path(recorded).read_bytes(), part, parts)
                segment = f"_segment_{part}_of_{parts}" if parts > 1 else ""
                Path(name.replace(".tflite", f"{segment}_edgetpu.tflite")).write_bytes(made)
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
