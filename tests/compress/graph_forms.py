"""What the tests of whole trainable graphs run in a worker, where TensorFlow may be loaded: models of several
operations, built here, against LiteRT."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nets import Net
from operation_cases import NEAR, Array, Maker, differentiate, litert, natural

from edgeship.compress.graph import TrainableGraph
from edgeship.compress.rewriting.loops import unroll_loops
from edgeship.errors import InputError
from edgeship.tflite.draft import Draft
from edgeship.tflite.weights import with_weights

Check = Callable[[], object]


def maker() -> Maker:
    """Return a maker whose numbers are always the same."""
    return Maker(lambda _: 0)


def refusal(content: bytes) -> dict[str, Any]:
    """Return the error that the file is refused with."""
    try:
        TrainableGraph(content)
    except InputError as error:
        return error.as_json()
    return {}


def every_tensor(content: bytes, samples: Sequence[Array], indices: Sequence[int]) -> list[Array]:
    """Return tensors of LiteRT by their index, `[n, *shape]`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True, num_threads=1)
    interpreter.allocate_tensors()
    rows: list[list[Array]] = [[] for _ in indices]
    for number in range(len(samples[0])):
        for detail, values in zip(interpreter.get_input_details(), samples, strict=True):
            interpreter.set_tensor(detail["index"], values[number])
        interpreter.invoke()
        for row, index in zip(rows, indices, strict=True):
            row.append(interpreter.get_tensor(index).copy())
    return [np.stack(row) for row in rows]


def held(graph: TrainableGraph, samples: Sequence[Array]) -> None:
    """Hold the outputs of a graph against the tensors of LiteRT, whatever part of the model they end."""
    wanted = every_tensor(graph.file.content, samples, graph.outputs)
    for made, want in zip(graph([natural(sample) for sample in samples]), wanted, strict=True):
        want = natural(want)
        assert made.shape == want.shape, f"{made.shape}, LiteRT {want.shape}"
        far = float(np.abs(made.numpy().astype(float) - want).max())
        assert far <= NEAR * max(float(np.abs(want).max()), 0.1), f"differs from LiteRT by {far:.3g}"


def gradients(graph: TrainableGraph, samples: Sequence[Array]) -> dict[int, float]:
    """Return the largest magnitude of the gradient of each variable."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        outputs = [y for y in graph([natural(sample) for sample in samples]) if y.dtype == tf.float32]
        total = tf.add_n([tf.reduce_sum(tf.square(y)) for y in outputs])
    found = tape.gradient(total, graph.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return {index: float(np.abs(value.numpy()).max()) for index, value in found.items()}


def convolution(m: Maker, x: int, shape: Sequence[int], name: str) -> int:
    """Add a convolution to `shape[-1]` channels whose output is called `name`; return it."""
    of, to = shape
    inputs = [x, m.weight([to, 3, 3, of]), m.weight([to])]
    made = m.op(
        "CONV_2D",
        inputs,
        "Conv2DOptions",
        strideH=1,
        strideW=1,
        fusedActivationFunction=m.enum("ActivationFunctionType", "RELU6"),
    )
    m.builder.graph.tensors[made[0]].name = f"net/{name}/Conv2D"
    return made[0]


def a_detector() -> None:
    """Boxes and scores of two maps, joined; behind them an operation that nobody differentiates."""
    m = maker()
    x = m.input([1, 8, 8, 3])
    first = convolution(m, x, (3, 4), "first")
    second = m.op(
        "MAX_POOL_2D", [first], "Pool2DOptions", strideH=2, strideW=2, filterHeight=2, filterWidth=2
    )[0]
    heads = []
    for size in (4, 3):  # values a box
        parts = []
        for feature, cells in ((first, 64), (second, 16)):
            head = convolution(m, feature, (4, 2 * size), "head")
            target = m.const([1, cells * 2, size])
            parts.append(m.op("RESHAPE", [head, target], "ReshapeOptions")[0])
        heads.append(m.op("CONCATENATION", parts, "ConcatenationOptions", axis=1)[0])
    scores = m.op("LOGISTIC", [heads[1]])[0]
    best = m.op("REDUCE_MAX", [scores, m.const([2])], "ReducerOptions")[0]
    flat = m.op("RESHAPE", [best, m.const([160])], "ReshapeOptions")[0]
    boxes = m.op("RESHAPE", [heads[0], m.const([160, 4])], "ReshapeOptions")[0]
    limits = [m.const(5), m.const(0.5, "FLOAT32"), m.const(0.1, "FLOAT32")]
    kept = m.op("NON_MAX_SUPPRESSION_V4", [boxes, flat, *limits], outputs=2, kinds=["INT32", "INT32"])
    graph = TrainableGraph(m.builder.build([x], [*kept, scores]))
    assert [op.op for op in graph.behind] == ["NON_MAX_SUPPRESSION_V4"] and not graph.before
    assert graph.outputs == (scores, boxes, flat)
    assert graph.notes() == ("left out behind the trained layers: NON_MAX_SUPPRESSION_V4",)
    held(graph, m.samples)
    assert min(gradients(graph, m.samples).values()) > 0
    assert len(graph.variables) == 10


def a_segmentation() -> None:
    """Down and up again, a skip, and classes by ARG_MAX: the whole is computed, and trained up to the classes."""
    m = maker()
    x = m.input([1, 8, 8, 3])
    top = convolution(m, x, (3, 4), "top")
    low = m.op(
        "AVERAGE_POOL_2D", [top], "Pool2DOptions", strideH=2, strideW=2, filterHeight=2, filterWidth=2
    )[0]
    low = convolution(m, low, (4, 4), "low")
    up = m.op(
        "RESIZE_BILINEAR", [low, m.const([8, 8])], "ResizeBilinearOptions", version=3, halfPixelCenters=True
    )[0]
    joined = m.op("ADD", [top, up], "AddOptions")[0]
    scaled = m.op("MUL", [joined, m.weight([4])], "MulOptions")[0]
    classes = m.op(
        "ARG_MAX",
        [scaled, m.const(3)],
        "ArgMaxOptions",
        kinds=["INT64"],
        outputType=m.enum("TensorType", "INT64"),
    )
    graph = TrainableGraph(m.builder.build([x], [*classes, scaled]))
    assert len(graph.variables) == 5, "the scale of channels is trained"
    held(graph, m.samples)
    assert min(gradients(graph, m.samples).values()) > 0


def in_front(m: Maker) -> int:
    """Return a tensor [1, 6, 6] behind an operation that the graph does not know."""
    x = m.input([1, 6])
    square = m.op("SQUARE", [x], "SquareOptions")[0]
    return m.op("MATRIX_DIAG", [square], "MatrixDiagOptions")[0]


def what_is_in_front_is_computed() -> None:
    """For every sample of a batch, also inside a compiled step; and an input that both parts need."""
    import tensorflow as tf

    m = maker()
    diagonal = in_front(m)
    rows = m.op("MEAN", [diagonal, m.const([1])], "ReducerOptions")[0]
    weight = m.weight([5, 6])
    made = m.op("FULLY_CONNECTED", [rows, weight, -1], "FullyConnectedOptions")[0]
    beside = m.op("FULLY_CONNECTED", [m.inputs[0], weight, -1], "FullyConnectedOptions")[0]
    graph = TrainableGraph(m.builder.build(m.inputs, [made, beside, diagonal]))
    assert [op.op for op in graph.before] == ["SQUARE", "MATRIX_DIAG"] and not graph.behind
    assert graph.notes() == ("held as they are in front of the trained layers: SQUARE, MATRIX_DIAG",)
    assert set(graph.variables) == {weight}, "two layers share it"
    held(graph, m.samples)
    compiled = tf.function(lambda x: graph([x]))
    for eager, traced in zip(graph(m.samples), compiled(m.samples[0]), strict=True):
        assert np.array_equal(eager, traced)
    assert gradients(graph, m.samples)[weight] > 0


def between_layers_is_refused() -> dict[str, Any]:
    m = maker()
    x = m.input([1, 8, 8, 3])
    made = x
    for name in ("stem", "middle"):
        made = convolution(m, made, (3, 3), name)
        made = m.op("REVERSE_SEQUENCE", [made, m.const([8])], "ReverseSequenceOptions", seqDim=1)[0]
        m.builder.graph.tensors[made].name = f"net/{name}/turned"
    return refusal(m.builder.build([x], [convolution(m, made, (3, 3), "last")]))


def a_custom_operation_between_layers_is_refused() -> dict[str, Any]:
    m = maker()
    x = m.input([1, 8, 8, 3])
    made = convolution(m, x, (3, 3), "stem")
    y = m.builder.tensor("y", [])
    m.builder.op("CUSTOM", [made], [y], custom="MyOperation")
    return refusal(m.builder.build([x], [convolution(m, y, (3, 3), "last")]))


def a_custom_operation_in_front_is_refused() -> dict[str, Any]:
    """LiteRT does not have it either."""
    m = maker()
    x, y = m.input([1, 6]), m.builder.tensor("y", [1, 6])
    m.builder.op("CUSTOM", [x], [y], custom="MyOperation")
    last = m.op("FULLY_CONNECTED", [y, m.weight([2, 6]), -1], "FullyConnectedOptions")
    return refusal(m.builder.build([x], last))


def a_state_in_front_is_refused() -> dict[str, Any]:
    """Samples are trained on in any order: none may leave something for the next."""
    m = maker()
    x = m.input([1, 6])
    handle = m.op("VAR_HANDLE", [], "VarHandleOptions", kinds=["RESOURCE"], sharedName="sum")[0]
    before = m.op("READ_VARIABLE", [handle], "ReadVariableOptions")[0]
    added = m.op("ADD", [x, before], "AddOptions")[0]
    m.op("ASSIGN_VARIABLE", [handle, added], "AssignVariableOptions", outputs=0)
    last = m.op("FULLY_CONNECTED", [added, m.weight([2, 6]), -1], "FullyConnectedOptions")
    return refusal(m.builder.build([x], last))


def a_shape_that_is_not_the_files_is_refused() -> dict[str, Any]:
    """A file may say anything; nothing is computed that it does not say."""
    m = maker()
    x = m.input([1, 8, 8, 3])
    made = convolution(m, x, (3, 3), "stem")
    pooled = m.op("MEAN", [made, m.const([1, 2])], "ReducerOptions")[0]
    m.builder.graph.tensors[pooled].shape = [1, 1, 1, 3]
    last = m.op("FULLY_CONNECTED", [pooled, m.weight([2, 3]), -1], "FullyConnectedOptions")
    return refusal(m.builder.build([x], last))


def several_inputs_and_outputs() -> None:
    """Words (an embedding), numbers without a batch axis, an image; constants that feed an ADD; a scalar."""
    m = maker()
    words, numbers, factor = m.integers([1, 7], 10), m.input([4, 5]), m.input([])
    table = m.op("GATHER", [m.weight([10, 5]), words], "GatherOptions", axis=0)[0]
    mean = m.op("MEAN", [table, m.const([1])], "ReducerOptions")[0]
    dense = m.op("FULLY_CONNECTED", [numbers, m.weight([5, 5]), m.weight([5])], "FullyConnectedOptions")[0]
    both = m.op("ADD", [dense, mean], "AddOptions")[0]
    shifted = m.op("ADD", [both, m.weight([4, 5])], "AddOptions")[0]
    scaled = m.op("MUL", [shifted, factor], "MulOptions")[0]
    graph = TrainableGraph(m.builder.build([words, numbers, factor], [scaled, mean]))
    held(graph, m.samples)
    assert [tuple(y.shape) for y in graph(m.samples)] == [(3, 4, 5), (3, 5)]
    assert len(graph.variables) == 3, "the embedding, the weight and the bias"
    wide = [m.samples[0].astype(np.int64), *m.samples[1:]]
    assert all(np.array_equal(a, b) for a, b in zip(graph(wide), graph(m.samples), strict=True))
    try:
        graph([m.samples[0].astype(np.float32), *m.samples[1:]])
    except ValueError as error:
        assert str(error) == "an input holds float32, the model takes int32"
    else:
        raise AssertionError("a word was a fraction")


def hooks_see_every_value() -> None:
    """Each variable once a call, though two layers read it; each activation once, without the file's batch."""
    m = maker()
    x = m.input([1, 6])
    weight = m.weight([6, 6])
    first = m.op(
        "FULLY_CONNECTED", [x, weight, m.weight([6])], "FullyConnectedOptions", fusedActivationFunction=1
    )[0]
    second = m.op("FULLY_CONNECTED", [first, weight, -1], "FullyConnectedOptions")[0]
    last = m.op("SOFTMAX", [second], "SoftmaxOptions", beta=1.0)[0]
    graph = TrainableGraph(m.builder.build([x], [last]))
    seen: list[tuple[str, int, tuple[int, ...]]] = []

    def see(kind: str) -> Callable[[int, Any], Any]:
        def hook(index: int, value: Any) -> Any:
            seen.append((kind, index, tuple(value.shape)))
            return value * 0.5 if index == weight else value

        return hook

    halved = graph([m.samples[0][:2]], weight=see("weight"), activation=see("activation"))[0]
    assert [(i, s) for kind, i, s in seen if kind == "weight"] == [
        (i, tuple(v.shape)) for i, v in graph.variables.items()
    ]
    assert (
        [i for kind, i, _ in seen if kind == "activation"]
        == list(graph.activations)
        == [x, first, second, last]
    )
    assert {s for kind, _, s in seen if kind == "activation"} == {(2, 6)}
    values = graph.values()
    changed = TrainableGraph(with_weights(graph.file.content, {weight: values[weight] * np.float32(0.5)}))
    assert np.allclose(halved, changed([m.samples[0][:2]])[0], rtol=1e-6)
    graph.assign({weight: values[weight] * np.float32(0.5)})
    assert np.allclose(halved, graph([m.samples[0][:2]])[0], rtol=1e-6)


def a_step_learns() -> None:
    """In a compiled step, with batches of two sizes, the distance from another model's answers falls to a tenth, and
    the written file computes what was trained."""
    import tensorflow as tf

    m = maker()
    x = m.input([1, 8, 8, 2])
    made = convolution(m, x, (2, 4), "stem")
    pooled = m.op("MEAN", [made, m.const([1, 2])], "ReducerOptions")[0]
    last = m.op("FULLY_CONNECTED", [pooled, m.weight([3, 4]), m.weight([3])], "FullyConnectedOptions")
    content = m.builder.build([x], last)
    graph, teacher = TrainableGraph(content), TrainableGraph(content)
    rng = np.random.default_rng(0)
    graph.assign({i: v + rng.normal(0, 0.2, v.shape).astype(np.float32) for i, v in graph.values().items()})
    variables = list(graph.variables.values())
    moments = [tf.Variable(tf.zeros_like(v)) for v in variables]

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 2])])
    def step(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(graph([batch])[0] - teacher([batch])[0]))
        for variable, moment, gradient in zip(
            variables, moments, tape.gradient(loss, variables), strict=True
        ):
            moment.assign(0.8 * moment + gradient)
            variable.assign_sub(0.02 * moment)
        return loss

    data = rng.uniform(-2, 2, [24, 8, 8, 2]).astype(np.float32)
    losses = [float(step(data[start : start + 16])) for _ in range(90) for start in (0, 16)]
    assert losses[-1] < 0.1 * losses[0], f"{losses[0]:.4f} to {losses[-1]:.4f}"
    written = with_weights(content, graph.values())
    want = litert(written, [data[:, None]])[0][:, 0]
    assert np.allclose(graph([data])[0], want, atol=1e-5)


def an_unrolled_loop() -> None:
    """What a recurrent layer is as a loop it is turn after turn, and its weights, which all turns share, have the sum
    of their gradients; the loop itself is refused with what to type."""
    net = Net(3)
    x = net.reshape(net.dense(net.input(1, 6, 3), 4, keep=True), 6, 1, 4)
    content = net.build(net.dense(net.recurrent(x, 5, every=False), 2))
    assert "--method rewrite-loops+prune-50" in refusal(content)["hint"]
    draft = Draft(content)
    unroll_loops(draft)
    rng = np.random.default_rng(1)
    samples = [rng.normal(size=(3, 1, 6, 3)).astype(np.float32)]
    unrolled = draft.packed()
    graph = TrainableGraph(unrolled)
    assert len({layer.weight for layer in graph.layers}) == 4 and len(graph.variables) == 8
    wanted = natural(litert(content, samples)[0])
    assert np.abs(graph([natural(samples[0])])[0].numpy() - wanted).max() < 1e-5
    assert differentiate(unrolled, samples, rng) > 12


def a_batch_in_parts_has_the_same_gradient() -> None:
    """Whatever is left for the last part; without labels and with them."""
    import tensorflow as tf

    from edgeship.compress.in_parts import InParts

    m = maker()
    x = m.input([1, 8, 8, 2])
    pooled = m.op("MEAN", [convolution(m, x, (2, 4), "stem"), m.const([1, 2])], "ReducerOptions")[0]
    last = m.op("FULLY_CONNECTED", [pooled, m.weight([3, 4]), m.weight([3])], "FullyConnectedOptions")
    graph = TrainableGraph(m.builder.build([x], last))
    assert graph.sample_bytes() == 4 * (8 * 8 * 2 + 8 * 8 * 4 + 4 + 3)
    data, labels = m.values([7, 8, 8, 2]), m.values([7, 3])

    def loss_of(inputs: Any, wanted: Any) -> Any:
        return tf.reduce_mean(tf.square(graph(inputs)[0] - (0.0 if wanted is None else wanted)))

    for told in (None, labels):
        whole, *others = (
            InParts(loss_of, list(graph.variables.values()), rows)([data], told) for rows in (7, 4, 3, 1)
        )
        assert float(tf.linalg.global_norm(whole[1])) > 0.01
        for loss, found in others:
            assert np.isclose(loss, whole[0], rtol=1e-5)
            for one, other in zip(found, whole[1], strict=True):
                assert np.allclose(one, other, atol=1e-6)


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        a_detector,
        a_segmentation,
        what_is_in_front_is_computed,
        several_inputs_and_outputs,
        hooks_see_every_value,
        a_step_learns,
        an_unrolled_loop,
        a_batch_in_parts_has_the_same_gradient,
    )
}
REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    check.__name__: check
    for check in (
        between_layers_is_refused,
        a_custom_operation_between_layers_is_refused,
        a_custom_operation_in_front_is_refused,
        a_state_in_front_is_refused,
        a_shape_that_is_not_the_files_is_refused,
    )
}


def run_all(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Return `{"wrong": {check: what is wrong or ""}, "refused": {check: error document}}`."""
    wrong = {}
    for name, check in CHECKS.items():
        try:
            check()
            wrong[name] = ""
        except Exception:
            wrong[name] = traceback.format_exc()
    return {"wrong": wrong, "refused": {name: check() for name, check in REFUSED.items()}}


def real(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Hold the model at `payload["model"]` against LiteRT; return how many variables it has, and how many have a
    gradient."""
    content = Path(payload["model"]).read_bytes()
    graph = TrainableGraph(content)
    samples = [
        np.random.default_rng(0).uniform(
            payload["low"], payload["high"], [3, *graph.file.main.tensors[i].shape]
        )
        for i in graph.inputs
    ]
    samples = [sample.astype(np.float32) for sample in samples]
    held(graph, samples)
    return {
        "variables": len(graph.variables),
        "moved": sum(g > 0 for g in gradients(graph, samples).values()),
    }
