"""The kinds of models that people bring, made small: one process writes every file, its samples and right answers.

    python make_kinds.py FOLDER

Each kind gets `FOLDER/<kind>/`: the model, `calib.npz` (the inputs by name, or x), `ask.npz` (inputs in the model's
order as a0, a1, ... and the original's answers as y0, y1, ...). They come from TensorFlow and Keras themselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
import tf_keras

L = keras.layers
KINDS: dict[str, Callable[[Path], Any]] = {}
SAMPLES = 40


def kind(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
    KINDS[function.__name__] = function
    return function


def noise(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return smooth samples `[SAMPLES, *shape]`: neighbours correlate, as those of real data do."""
    rng = np.random.default_rng(seed)
    raw = rng.random((SAMPLES, *shape))
    for axis in range(1, min(raw.ndim, 3)):
        raw = (raw + np.roll(raw, 1, axis) + np.roll(raw, 2, axis)) / 3
    return (low + (high - low) * raw).astype("float32")


def write(folder: Path, inputs: dict[str, np.ndarray], answers: list[np.ndarray], asked: int = 4) -> None:
    single = len(inputs) == 1
    np.savez(folder / "calib.npz", **({"x": next(iter(inputs.values()))} if single else inputs))
    ask = {f"a{i}": x[:asked] for i, x in enumerate(inputs.values())}
    np.savez(folder / "ask.npz", **ask, **{f"y{i}": np.asarray(y)[:asked] for i, y in enumerate(answers)})


def answers_of(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    made = (
        model(*[tf.constant(x) for x in inputs])
        if len(inputs) == 1
        else model([tf.constant(x) for x in inputs])
    )
    return [np.asarray(y) for y in (made if isinstance(made, list | tuple) else [made])]


def save(folder: Path, model: Any, *xs: np.ndarray, name: str = "model.keras") -> None:
    """Write a Keras model with its samples; inputs are named by its own input layers."""
    model.save(folder / name)
    names = [t.name.split(":")[0] for t in model.inputs]
    write(folder, dict(zip(names, xs, strict=True)), answers_of(model, list(xs)))


def convert(model: Any, x: np.ndarray, **how: Any) -> bytes:
    """Return what TensorFlow's converter makes of a model, quantized with samples `x` as `how` says."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if how.get("data", True):
        converter.representative_dataset = lambda: ([one[None]] for one in x)
    if how.get("integers", True):
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if io := how.get("io"):
        converter.inference_input_type = converter.inference_output_type = io
    # As converters before 2.17 did: what compilers and older runtimes read.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    made: bytes = converter.convert()
    return made


def save_tflite(folder: Path, content: bytes, x: np.ndarray, *, raw: np.ndarray | None = None) -> None:
    """Write a quantized file; its right answers are LiteRT's own, real numbers for samples of its own type."""
    (folder / "model.tflite").write_bytes(content)
    run = tf.lite.Interpreter(model_content=content)
    run.allocate_tensors()
    entry, rows = run.get_input_details()[0], []
    sent = x if raw is None else raw
    for one in sent[:4]:
        run.set_tensor(entry["index"], one[None])
        run.invoke()
        rows.append([real(run.get_tensor(o["index"]), o) for o in run.get_output_details()])
    write(folder, {"x": sent}, [np.concatenate(column) for column in zip(*rows, strict=True)])


def real(values: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    scale, zero = entry["quantization"]
    return (
        values.astype("float32")
        if scale == 0
        else (scale * (values.astype("float64") - zero)).astype("float32")
    )


def small(shape: tuple[int, ...] = (16, 16, 3), classes: int = 4) -> Any:
    x = i = keras.Input(shape)
    x = L.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = L.Conv2D(16, 3, activation="relu")(x)
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(i, L.Dense(classes, activation="softmax")(x))


@kind
def plain(folder: Path) -> None:
    save(folder, small(), noise(16, 16, 3))


@kind
def dead_channels(folder: Path) -> None:
    x = i = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, strides=2, use_bias=False)(x)
    norm = L.BatchNormalization()
    x = L.ReLU(6)(norm(x))
    x = L.GlobalAveragePooling2D()(L.Conv2D(16, 3, activation="relu")(x))
    model = keras.Model(i, L.Dense(4)(x))
    gamma, beta, mean, var = (np.array(a) for a in norm.get_weights())
    gamma[[2, 5]], beta[:], beta[[2, 5]] = 1e-12, 0.3, 1.5
    norm.set_weights([gamma, beta, mean, var])
    save(folder, model, noise(16, 16, 3, low=-1))


@kind
def uint8_boundary(folder: Path) -> None:
    x = noise(16, 16, 3)
    content = convert(small(), x, io=tf.uint8)
    save_tflite(folder, content, x, raw=np.random.default_rng(1).integers(0, 256, x.shape).astype("uint8"))


@kind
def int8_boundary(folder: Path) -> None:
    x = noise(16, 16, 3)
    content = convert(small(), x, io=tf.int8)
    save_tflite(folder, content, x, raw=np.random.default_rng(1).integers(-128, 128, x.shape).astype("int8"))


@kind
def float_boundary(folder: Path) -> None:
    x = noise(16, 16, 3)
    save_tflite(folder, convert(small(), x), x)


@kind
def dynamic_range(folder: Path) -> None:
    x = noise(16, 16, 3)
    save_tflite(folder, convert(small(), x, data=False, integers=False), x)


@kind
def mixed(folder: Path) -> None:
    x = noise(16, 16, 3)
    model = keras.Sequential([
        keras.Input((16, 16, 3)), L.Conv2D(8, 3, activation="relu"), L.Activation(keras.ops.sin),
        L.Conv2D(8, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(4),
    ])  # fmt: skip
    save_tflite(folder, convert(model, x, integers=False), x)


@kind
def detector(folder: Path) -> None:
    i = keras.Input((32, 32, 3))
    h = L.Conv2D(16, 4, strides=4, activation="relu")(i)
    boxes = L.Rescaling(640.0)(L.Reshape((64, 4))(L.Conv2D(4, 1, activation="sigmoid")(h)))
    scores = L.Reshape((64, 5))(L.Conv2D(5, 1, activation="sigmoid")(h))
    save(folder, keras.Model(i, L.Concatenate(axis=-1)([boxes, scores])), noise(32, 32, 3))


@kind
def lstm(folder: Path) -> None:
    model = keras.Sequential([keras.Input((12, 3)), L.LSTM(8, return_sequences=True), L.LSTM(8), L.Dense(1)])
    save(folder, model, noise(12, 3))


@kind
def gru(folder: Path) -> None:
    save(folder, keras.Sequential([keras.Input((12, 3)), L.GRU(8), L.Dense(2)]), noise(12, 3))


@kind
def fused_lstm(folder: Path) -> None:
    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((12, 3)), layers.LSTM(8), layers.Dense(2)])
    save(folder, model, noise(12, 3), name="model.h5")


class Streaming(tf.Module):
    """Half of what was, half of what comes: state in a resource variable."""

    def __init__(self) -> None:
        self.v = tf.Variable(tf.zeros([1, 4]))

    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32)])
    def step(self, x: Any) -> Any:
        self.v.assign(0.5 * self.v + 0.5 * x)
        return {"out": tf.sigmoid(self.v.read_value())}


@kind
def state(folder: Path) -> None:
    model, x = Streaming(), noise(4)
    tf.saved_model.save(model, folder / "saved", signatures={"serving_default": model.step})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.experimental_enable_resource_variables = True
    (folder / "model.tflite").write_bytes(converter.convert())
    write(folder, {"x": x}, [1 / (1 + np.exp(-0.5 * x))])  # every request begins from zeros


@kind
def two_inputs(folder: Path) -> None:
    camera, speed = keras.Input((16, 16, 3), name="camera"), keras.Input((1,), name="speed")
    x = L.GlobalAveragePooling2D()(L.Conv2D(8, 3, activation="relu")(camera))
    x = L.Concatenate()([x, L.Dense(4, activation="relu")(speed)])
    save(folder, keras.Model([camera, speed], L.Dense(2)(x)), noise(16, 16, 3), noise(1, high=30, seed=1))


@kind
def ids_and_mask(folder: Path) -> None:
    ids, mask = keras.Input((8,), dtype="int32", name="ids"), keras.Input((8, 1), name="mask")
    x = L.Multiply()([L.Embedding(20, 6)(ids), mask])
    model = keras.Model([ids, mask], L.Dense(3)(L.Flatten()(x)))
    rng = np.random.default_rng(2)
    save(folder, model, rng.integers(0, 20, (SAMPLES, 8)).astype("int32"), noise(8, 1))


@kind
def four_outputs(folder: Path) -> None:
    i = keras.Input((16, 16, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(8, 3, activation="relu")(i))
    save(folder, keras.Model(i, [L.Dense(n + 2, name=f"head_{n}")(x) for n in range(4)]), noise(16, 16, 3))


@kind
def large_output(folder: Path) -> None:
    i = keras.Input((128, 128, 3))
    x = L.Conv2D(8, 3, padding="same", activation="relu")(i)
    save(folder, keras.Model(i, L.Conv2D(16, 1)(x)), noise(128, 128, 3))  # 1 MiB of float32


@kind
def conv1d(folder: Path) -> None:
    model = keras.Sequential([
        keras.Input((40, 6)), L.Conv1D(8, 5, activation="relu"), L.MaxPooling1D(2),
        L.GlobalAveragePooling1D(), L.Dense(3),
    ])  # fmt: skip
    save(folder, model, noise(40, 6, low=-1))


@kind
def conv3d(folder: Path) -> None:
    model = keras.Sequential([
        keras.Input((4, 12, 12, 2)), L.Conv3D(4, 3, activation="relu"), L.Flatten(), L.Dense(3),
    ])  # fmt: skip
    save(folder, model, noise(4, 12, 12, 2))


@kind
def attention(folder: Path) -> None:
    i = keras.Input((10, 8))
    x = L.LayerNormalization()(L.MultiHeadAttention(2, 4)(i, i) + i)
    save(folder, keras.Model(i, L.Dense(3)(L.GlobalAveragePooling1D()(x))), noise(10, 8, low=-1))


@kind
def embedding(folder: Path) -> None:
    i = keras.Input((8,), dtype="int32")
    x = L.GlobalAveragePooling1D()(L.Embedding(30, 8)(i))
    save(
        folder,
        keras.Model(i, L.Dense(3, activation="softmax")(x)),
        np.random.default_rng(3).integers(0, 30, (SAMPLES, 8)).astype("int32"),
    )


@kind
def half_precision(folder: Path) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        save(folder, small(), noise(16, 16, 3))
    finally:
        keras.config.set_dtype_policy("float32")


@kind
def nested(folder: Path) -> None:
    inner = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(8, 3, activation="relu"), L.MaxPooling2D(2)])
    outer = keras.Sequential([keras.Input((16, 16, 3)), inner, L.GlobalAveragePooling2D(), L.Dense(4)])
    save(folder, outer, noise(16, 16, 3))


@kind
def shared_layers(folder: Path) -> None:
    left, right = keras.Input((16, 16, 1), name="left"), keras.Input((16, 16, 1), name="right")
    tower = keras.Sequential(
        [keras.Input((16, 16, 1)), L.Conv2D(6, 3, activation="relu"), L.GlobalAveragePooling2D()]
    )
    save(
        folder,
        keras.Model([left, right], L.Dense(1)(L.Subtract()([tower(left), tower(right)]))),
        noise(16, 16, 1),
        noise(16, 16, 1, seed=5),
    )


@kind
def norm_after_dense(folder: Path) -> None:
    model = keras.Sequential([
        keras.Input((10,)), L.Dense(16, activation="relu"), L.BatchNormalization(), L.Dense(8), L.BatchNormalization(),
        L.ReLU(), L.Dense(2),
    ])  # fmt: skip
    save(folder, model, noise(10, low=-1))


@kind
def sub_pixel(folder: Path) -> None:
    i = keras.Input((12, 12, 1))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(i)
    x = L.Permute((1, 3, 2, 4))(
        L.Reshape((12, 12, 2, 2))(x)
    )  # a pixel shuffle, as Keras 3 lets people write it
    save(folder, keras.Model(i, L.Conv2D(1, 3, padding="same")(L.Reshape((24, 24, 1))(x))), noise(12, 12, 1))


@kind
def upsampling(folder: Path) -> None:
    model = keras.Sequential([
        keras.Input((8, 8, 3)), L.Conv2D(4, 3, padding="same", activation="relu"), L.UpSampling2D(2), L.Conv2D(2, 1),
    ])  # fmt: skip
    save(folder, model, noise(8, 8, 3))


@kind
def separable(folder: Path) -> None:
    model = keras.Sequential([
        keras.Input((16, 16, 3)), L.SeparableConv2D(8, 3, activation="relu"), L.DepthwiseConv2D(3, activation="relu6"),
        L.GlobalMaxPooling2D(), L.Dropout(0.5), L.Dense(4),
    ])  # fmt: skip
    save(folder, model, noise(16, 16, 3))


@kind
def saved_model(folder: Path) -> None:
    model, x = small(), noise(16, 16, 3)
    model.export(folder / "model", verbose=False)
    write(folder, {"x": x}, answers_of(model, [x]))


def main(folder: Path, names: list[str]) -> None:
    for name in names or KINDS:
        keras.utils.set_random_seed(1)
        tf_keras.utils.set_random_seed(1)
        (folder / name).mkdir(parents=True, exist_ok=True)
        KINDS[name](folder / name)
        print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
