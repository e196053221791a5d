"""What the tests of operations run in a worker, where TensorFlow may be loaded: one case an operation, which builds
files of it with sizes and settings that hypothesis draws, and holds the trainable graph against LiteRT."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tflite"))
from files import Builder

Array = np.ndarray[Any, Any]
Check = Callable[["Maker"], None]
CASES: dict[str, Check] = {}
SAMPLES = 3
NEAR = 1e-5
"""Largest difference from LiteRT, as a share of the largest value of the output."""


class Maker:
    """Builds one file, with what hypothesis draws."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.builder = Builder()
        self.rng = np.random.default_rng(self.int(0, 10_000))
        self.inputs: list[int] = []
        self.samples: list[Array] = []
        self.smooth = True
        """Whether the operation has a gradient that differences of outputs show."""
        self.gradients = 0
        """How many values of a gradient were held against differences."""

    def int(self, low: int, high: int) -> int:
        from hypothesis import strategies as st

        return int(self.draw(st.integers(low, high)))

    def pick(self, *values: Any) -> Any:
        from hypothesis import strategies as st

        return self.draw(st.sampled_from(values))

    def shape(self, low: int = 1, high: int = 4) -> list[int]:
        """Return a shape whose first axis is 1 as often as not."""
        rank = self.int(low, high)
        return [self.pick(1, 1, 2), *(self.int(1, 5) for _ in range(rank - 1))]

    def image(self, low: int = 3, high: int = 9, channels: int | None = None) -> list[int]:
        return [self.pick(1, 1, 2), self.int(low, high), self.int(low, high), channels or self.int(1, 4)]

    def values(self, shape: Sequence[int], low: float = -2.0, high: float = 2.0) -> Array:
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def input(self, shape: Sequence[int], low: float = -2.0, high: float = 2.0) -> int:
        """Return a float input; what samples hold is between `low` and `high`."""
        self.samples.append(self.values([SAMPLES, *shape], low, high))
        self.inputs.append(self.builder.tensor(f"x{len(self.inputs)}", list(shape)))
        return self.inputs[-1]

    def integers(self, shape: Sequence[int], below: int, kind: str = "INT32") -> int:
        drawn = self.rng.integers(0, below, [SAMPLES, *shape])
        self.samples.append(drawn.astype(kind.lower()) if kind != "BOOL" else drawn > 0)
        self.inputs.append(self.builder.tensor(f"x{len(self.inputs)}", list(shape), kind))
        return self.inputs[-1]

    def const(self, value: Any, kind: str = "INT32") -> int:
        array = np.asarray(value, kind.lower())
        name = f"c{len(self.builder.graph.tensors)}"
        return self.builder.tensor(name, list(array.shape), kind, data=np.ascontiguousarray(array).tobytes())

    def weight(self, shape: Sequence[int], low: float = -1.0, high: float = 1.0) -> int:
        return self.const(self.values(shape, low, high), "FLOAT32")

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        options: str = "",
        *,
        outputs: int = 1,
        kinds: Sequence[str] = (),
        version: int = 1,
        **told: Any,
    ) -> list[int]:
        """Add an operation, whose outputs have no shape in the file: LiteRT finds it."""
        schema = self.builder.schema
        table = getattr(schema, f"{options}T")() if options else None
        for field, value in told.items():
            setattr(table, field, value)
        made = [
            self.builder.tensor(f"y{len(self.builder.graph.tensors)}", [], kinds[i] if kinds else "FLOAT32")
            for i in range(outputs)
        ]
        self.builder.op(name, list(inputs), made, table)
        self.builder.codes[-1].version = version
        return made

    def enum(self, kind: str, name: str) -> int:
        return int(getattr(getattr(self.builder.schema, kind), name))

    def activation(self) -> int:
        name = self.pick("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
        return self.enum("ActivationFunctionType", name)

    def padding(self) -> int:
        return self.enum("Padding", self.pick("SAME", "VALID"))

    def hold(self, outputs: Sequence[int]) -> None:
        """Hold the trainable graph of the file against LiteRT, and its gradients against differences."""
        content = self.builder.build(self.inputs, list(outputs))
        compare(content, self.samples)
        if self.smooth and any(sample.dtype == np.float32 for sample in self.samples):
            self.gradients += differentiate(content, self.samples, self.rng)


def litert(content: bytes, samples: Sequence[Array]) -> list[Array]:
    """Return each output of LiteRT, called once a sample: `[n, *shape]`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    rows: list[list[Array]] = [[] for _ in interpreter.get_output_details()]
    for number in range(len(samples[0])):
        interpreter.reset_all_variables()
        for detail, values in zip(interpreter.get_input_details(), samples, strict=True):
            interpreter.set_tensor(detail["index"], values[number])
        interpreter.invoke()
        for row, detail in zip(rows, interpreter.get_output_details(), strict=True):
            row.append(interpreter.get_tensor(detail["index"]))
    return [np.stack(row) for row in rows]


def natural(value: Array) -> Array:
    """Return `[n, *shape]` as the graph gives it: without a first axis of size 1."""
    return value[:, 0] if value.ndim > 1 and value.shape[1] == 1 else value


def compare(content: bytes, samples: Sequence[Array], near: float = NEAR) -> None:
    from edgeship.compress.graph import TrainableGraph

    graph = TrainableGraph(content)
    wanted = litert(content, samples)
    for count in (1, len(samples[0])):
        given = [sample[:count] for sample in samples]
        for how in (given, [natural(sample) for sample in given]):
            made = [value.numpy() for value in graph(how)]
            assert len(made) == len(wanted)
            for value, want in zip(made, wanted, strict=True):
                want = natural(want[:count])
                assert value.shape == want.shape, f"{value.shape}, LiteRT {want.shape}"
                assert value.dtype == want.dtype, f"{value.dtype}, LiteRT {want.dtype}"
                size = float(np.abs(want).max(initial=0)) if want.dtype != bool else 1.0
                far = float(np.abs(value.astype(float) - want.astype(float)).max(initial=0))
                assert far <= near * max(size, 0.1), f"differs from LiteRT by {far:.3g} of {size:.3g}"


def differentiate(content: bytes, samples: Sequence[Array], rng: np.random.Generator) -> int:
    """Hold the gradient of a weighted sum of the outputs against its differences, along single values of inputs and
    variables, and return of how many. Where the second difference shows a kink the value is passed over."""
    import tensorflow as tf

    from edgeship.compress.graph import TrainableGraph

    graph = TrainableGraph(content)
    inputs = [tf.Variable(s) if s.dtype == np.float32 else tf.constant(s) for s in samples]
    watched = [x for x in inputs if isinstance(x, tf.Variable)] + list(graph.variables.values())
    with tf.GradientTape() as tape:
        made = [y for y in graph(list(inputs)) if y.dtype == tf.float32]
        sums = [tf.constant(rng.uniform(0.5, 1.5, y.shape).astype(np.float32)) for y in made]
        total = tf.add_n([tf.reduce_sum(y * w) for y, w in zip(made, sums, strict=True)])
    gradients = tape.gradient(total, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    held = 0
    for variable, gradient in zip(watched, gradients, strict=True):
        dense = tf.convert_to_tensor(gradient).numpy()
        for place in rng.integers(0, max(dense.size, 1), 3 if dense.size else 0):
            held += _hold_one(graph, inputs, variable, int(place), dense, sums)
    return held


def _hold_one(
    graph: Any, inputs: Sequence[Any], variable: Any, place: int, gradient: Array, sums: Sequence[Any]
) -> bool:
    import tensorflow as tf

    def at(shift: float) -> list[Array]:
        value = variable.numpy().reshape(-1)
        before = value[place]
        value[place] += shift
        variable.assign(value.reshape(variable.shape))
        outputs = [y.numpy().astype(float) for y in graph(list(inputs)) if y.dtype == tf.float32]
        value[place] = before
        variable.assign(value.reshape(variable.shape))
        return outputs

    step = 1 / 128  # exact in float32
    middle, above, below = at(0.0), at(step), at(-step)
    slope = bend = size = 0.0
    for m, a, b, w in zip(middle, above, below, sums, strict=True):
        weights = w.numpy().astype(float)
        slope += float(((a - b) * weights).sum()) / (2 * step)
        bend += float(np.abs((a - 2 * m + b) * weights).sum()) / step
        size += float(np.abs((a - b) * weights).sum()) / (2 * step)
    if bend > 0.025 * max(size, 0.05):
        return False
    found = float(gradient.reshape(-1)[place])
    assert abs(found - slope) <= 0.02 * max(size, abs(found), 0.05), (
        f"gradient {found:.5g}, differences {slope:.5g}"
    )
    return True


def case(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a case of a function, for each operation that it is told."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for name in names:
            CASES[name] = (lambda maker, name=name: function(maker, name)) if len(names) > 1 else function
        return function

    return register


def holding(check: Check, examples: int, random: bool) -> Callable[[], None]:
    """Return a function that runs a check with `examples` drawn cases."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    counted: list[int] = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not random,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.data())
    def hold(data: Any) -> None:
        maker = Maker(data.draw)
        check(maker)
        counted.append(maker.gradients if maker.smooth else -1)

    def whole() -> None:
        hold()
        assert any(counted), "no gradient was held against differences"

    return whole
