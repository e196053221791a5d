"""A SavedModel of TensorFlow 1 as a function of constants: `frozen_signature(...)`. Worker side.

Such a file has a graph and a checkpoint, and no objects that say which belongs to what. Nothing of it is run, neither
its restore operation nor what it wants run at the start: the part of the graph that a signature asks for is cut out,
its variables become constants with their values from the checkpoint, and its inputs get the sizes they are to have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.model.signatures import Entry

INIT = "__saved_model_init_op"
REFERENCES = ("Variable", "VariableV2")
HANDLES = ("VarHandleOp", "AutoReloadVariable")
WRITES = re.compile(
    r"^(Assign|Scatter(Nd)?(Add|Sub|Mul|Div|Min|Max|Update)|(Resource)?CountUpTo|Resource(Scatter|Apply)|Apply)"
)
"""Operations that change a variable; ScatterNd and its NonAliasing kin make a new tensor."""
TABLES = re.compile(r"Table(V2)?$|^Lookup")


class NotPlain(Exception):
    """Why the graph cannot be frozen this way; TensorFlow's own loader may manage."""


def graph_of(source: str) -> Any:
    """Return the one MetaGraphDef of a TensorFlow 1 SavedModel (tagged `serve` where it has several), or None for a
    SavedModel of TensorFlow 2, which holds objects."""
    from tensorflow.python.saved_model import loader_impl

    graphs = list(loader_impl.parse_saved_model(source).meta_graphs)
    if not graphs or any(graph.HasField("object_graph_def") for graph in graphs):
        return None
    served = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
    # Of several for serving, the plainest: others are for TPUs and GPUs.
    return min(served or graphs, key=lambda graph: len(graph.meta_info_def.tags))


def entries_of(graph: Any) -> list[Entry]:
    """Return the signatures of a MetaGraphDef, in order of their names."""
    import tensorflow as tf

    def part(tensors: Any) -> tuple[tuple[str, str], ...]:
        # a variable is handed over by reference (float32_ref): what is read is the same
        return tuple((name, tf.as_dtype(tensors[name].dtype).base_dtype.name) for name in sorted(tensors))

    return [
        Entry(key=key, inputs=part(d.inputs), outputs=part(d.outputs), method=d.method_name)
        for key, d in sorted(graph.signature_def.items())
        if key != INIT
    ]


def frozen_signature(graph: Any, key: str, source: str, shapes: dict[str, list[int]]) -> Any:
    """Return a callable `(**inputs) -> {name: tensor}` of the signature, all constants, inputs of `shapes`.

    Raises InputError `saved-model-incomplete`, `saved-model-state`, `saved-model-unfed`, `unsupported-operation`;
    NotPlain.
    """
    import tensorflow as tf
    from tensorflow.python.framework import graph_util_impl

    definition, signature = tf.compat.v1.GraphDef(), graph.signature_def[key]
    definition.CopyFrom(graph.graph_def)
    feeds = {
        _plain(info.name): f"edgeship_feed_{n}"
        for n, (_, info) in enumerate(sorted(signature.inputs.items()))
    }
    for node in definition.node:
        for place, name in enumerate(node.input):
            if not name.startswith("^") and _plain(name) in feeds:
                node.input[place] = feeds[_plain(name)]
    for name, info in sorted(signature.inputs.items()):
        node = definition.node.add(op="Placeholder", name=feeds[_plain(info.name)])
        node.attr["dtype"].type = info.dtype
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(shapes[name]).as_proto())
    fetched = {name: feeds.get(_plain(i.name), _plain(i.name)) for name, i in signature.outputs.items()}
    roots = [tensor.partition(":")[0] for tensor in (*fetched.values(), *feeds.values())]
    try:
        definition = graph_util_impl.extract_sub_graph(definition, roots)
    except (ValueError, AssertionError) as error:
        raise NotPlain(str(error)) from error
    _check_nodes(definition.node, key, source, set(feeds.values()))
    _values_in_place(definition, graph, source)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    element = wrapped.graph.as_graph_element
    order = sorted(signature.inputs)
    given = [element(f"{feeds[_plain(signature.inputs[name].name)]}:0") for name in order]
    made = {name: element(tensor if ":" in tensor else f"{tensor}:0") for name, tensor in fetched.items()}
    pruned = wrapped.prune(given, made)
    return lambda **inputs: pruned(*[inputs[name] for name in order])


def _plain(name: str) -> str:
    """Return a tensor's name with its output number left out where that is 0."""
    return name.removesuffix(":0")


def _check_nodes(nodes: Iterable[Any], key: str, source: str, fed: set[str]) -> None:
    """Raise what a signature cannot be converted for: it writes, looks up, or wants what nobody feeds."""
    held = list(nodes)
    context: dict[str, object] = {"model": source, "signature": key}
    writes = sorted({node.name for node in held if WRITES.match(node.op)})
    if writes:
        raise InputError(
            "saved-model-state",
            f"the signature '{key}' changes the model's own variables each time it is asked",
            context={**context, "written by": ", ".join(writes[:6])},
            hint="export a signature that only computes; a counter or a running state is kept outside the model",
        )
    tables = sorted({node.op for node in held if TABLES.search(node.op)})
    if tables:
        raise InputError(
            "unsupported-operation",
            f"the signature '{key}' looks values up in a table ({', '.join(tables)})",
            context={**context, "operations": ", ".join(tables)},
            hint="name a signature before the table (--signature NAME), and look words up outside the model",
        )
    unfed = sorted(node.name for node in held if node.op == "Placeholder" and node.name not in fed)
    if unfed:
        raise InputError(
            "saved-model-unfed",
            f"the signature '{key}' does not say what {', '.join(unfed[:6])} should be: the graph asks for "
            f"{'it' if len(unfed) == 1 else 'them'} and no input feeds {'it' if len(unfed) == 1 else 'them'}",
            context=context,
            hint="export it with tf.compat.v1.placeholder_with_default, or with these among the signature's inputs",
        )


def _values_in_place(definition: Any, graph: Any, source: str) -> None:
    """Turn variables and what reads them into constants, and inputs with a default into that default."""
    import tensorflow as tf

    held = {node.name: node for node in definition.node}
    variables = [node for node in definition.node if node.op in (*REFERENCES, *HANDLES)]
    handles = {node.name for node in variables if node.op in HANDLES}
    for node in list(definition.node):
        if node.op == "PlaceholderWithDefault":
            _as_identity(node, node.attr["dtype"].type)
        takes = [_plain(name) for name in node.input if _plain(name) in handles]
        if not takes:
            continue
        if node.op == "ReadVariableOp":
            _as_identity(node, node.attr["dtype"].type)
        elif node.op == "ResourceGather" and not node.attr["batch_dims"].i:
            _as_gather(definition, node)
        else:
            raise NotPlain(f"{node.op} takes the variable {takes[0]}")
    if not variables:
        return
    read = _checkpoint(source, [node.name for node in variables])
    slices = _slices(graph)
    values, missing = {}, []
    for node in variables:
        name = node.attr["shared_name"].s.decode() if node.op in HANDLES else ""
        full, cut = slices.get(node.name, (name or node.name, None))
        if read is None or not read.has_tensor(full):
            missing.append(node.name)
            continue
        value = read.get_tensor(full)
        values[node.name] = value if cut is None else value[cut]
    if missing:
        raise InputError(
            "saved-model-incomplete",
            f"{len(missing)} variables of the SavedModel have no value in its checkpoint: it was saved before they "
            "were initialised, or files of it are missing",
            context={"model": source, "variables": ", ".join(sorted(missing)[:6])},
            hint="run the initialiser or restore the weights before saving; or copy the whole folder again (cp -r)",
        )
    for name, value in values.items():
        node = held[name]
        dtype = node.attr["dtype"].type
        node.Clear()
        node.op, node.name = "Const", name
        node.attr["dtype"].type = dtype
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype=dtype))


def _as_identity(node: Any, dtype: int) -> None:
    inputs = list(node.input)
    name = node.name
    node.Clear()
    node.op, node.name = "Identity", name
    node.input.extend(inputs)
    node.attr["T"].type = dtype


def _as_gather(definition: Any, node: Any) -> None:
    """Turn a look-up in a variable into one in a constant."""
    import tensorflow as tf

    axis = definition.node.add(op="Const", name=f"{node.name}/edgeship_axis")
    axis.attr["dtype"].type = tf.int32.as_datatype_enum
    axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0, dtype=tf.int32))
    inputs, name = list(node.input), node.name
    values, indices = node.attr["dtype"].type, node.attr["Tindices"].type
    node.Clear()
    node.op, node.name = "GatherV2", name
    node.input.extend([*inputs[:2], axis.name, *inputs[2:]])
    node.attr["Tparams"].type, node.attr["Tindices"].type = values, indices
    node.attr["Taxis"].type = tf.int32.as_datatype_enum


def _checkpoint(source: str, names: list[str]) -> Any:
    """Return what reads the values of variables; None where the SavedModel has no checkpoint."""
    import tensorflow as tf

    prefix = Path(source) / "variables" / "variables"
    if not prefix.with_suffix(".index").exists():
        return None
    try:
        return tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(
            "saved-model-incomplete",
            f"the checkpoint of the SavedModel cannot be read: {' '.join(str(error).split())[:200]}",
            context={"model": source, "variables": ", ".join(names[:6])},
            hint="copy the whole folder again (cp -r, or scp -r)",
        ) from error


def _slices(graph: Any) -> dict[str, tuple[str, Any]]:
    """Return node -> (name in the checkpoint, which part of it) of variables saved under another name or in parts."""
    from tensorflow.core.framework import variable_pb2

    found: dict[str, tuple[str, Any]] = {}
    for collection in graph.collection_def.values():
        for raw in collection.bytes_list.value:
            variable = variable_pb2.VariableDef()
            try:
                variable.ParseFromString(raw)
            except Exception:  # another kind of collection
                continue
            part = variable.save_slice_info_def
            if variable.variable_name and part.full_name:
                cut = tuple(
                    slice(start, start + size)
                    for start, size in zip(part.var_offset, part.var_shape, strict=True)
                )
                found[_plain(variable.variable_name)] = (part.full_name, cut)
    return found
