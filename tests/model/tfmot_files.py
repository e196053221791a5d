"""Makes models as tensorflow-model-optimization 0.8.1 saves them; runs in a worker that has it on its module path.

tfmot.zip beside it holds what it recorded: `edgeship toolchain install tfmot`, then with that folder's site-packages
on PYTHONPATH `python tests/model/tfmot_files.py` makes it again.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

RECORDED = (
    "small.h5", "pruned", "clustered",
    "pruned.h5", "clustered.keras", "sparse-clustered.h5", "annotated.h5", "qat.h5", "qat.keras", "pqat.h5", "cqat.h5",
    "pcqat.keras", "recurrent.h5", "recurrent.keras", "decoder.h5", "nested.h5", "nested.keras",
)  # fmt: skip
CLUSTERS = 8


def make(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Write `payload["files"]` (NAME.h5, NAME.keras, or NAME: a SavedModel) into `payload["folder"]`, for each name
    NAME.npz with `x` and the `y` of the model in memory; return what counts for each."""
    import numpy as np
    import tf_keras

    folder = Path(payload["folder"])
    told = {}
    for name in dict.fromkeys(file.partition(".")[0] for file in payload["files"]):
        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(3)
        model, x = Maker().model(name)
        model.compile("sgd", "sparse_categorical_crossentropy")  # an optimizer that keeps nothing
        for file in payload["files"]:
            if file.partition(".")[0] == name:
                model.save(str(folder / file), **({} if "." in file else {"save_format": "tf"}))
        np.savez(folder / f"{name}.npz", x=x, y=model.predict(x, verbose=0))
        told[name] = len(model.layers)
    return told


class Maker:
    """The models, small; each trained for a moment, so that ranges and centroids are some that training found."""

    def __init__(self) -> None:
        import numpy as np
        import tensorflow_model_optimization as tfmot
        import tf_keras

        self.keras, self.layers = tf_keras, tf_keras.layers
        self.sparsity, self.clustering = tfmot.sparsity.keras, tfmot.clustering.keras
        self.quantization, self.combine = tfmot.quantization.keras, tfmot.experimental.combine
        self.rng = np.random.default_rng(5)
        self.x = self.rng.random((96, 8, 8, 1), np.float32)
        self.y = (self.x[:, :4].mean((1, 2, 3)) > self.x[:, 4:].mean((1, 2, 3))).astype(np.int64)

    def model(self, name: str) -> tuple[Any, Any]:
        """Return a model and samples of its input."""
        made = getattr(self, name.replace("-", "_"))()
        return made if isinstance(made, tuple) else (made, self.x[:4])

    def small(self) -> Any:
        layers = self.layers
        given = layers.Input((8, 8, 1), name="picture")
        a = layers.Conv2D(6, 3, padding="same", use_bias=False)(given)
        a = layers.ReLU()(layers.BatchNormalization()(a))
        b = layers.DepthwiseConv2D(3, padding="same", activation="relu")(a)
        b = layers.Conv2D(6, 1)(b)
        c = layers.Flatten()(layers.MaxPooling2D()(layers.ReLU()(layers.Add()([a, b]))))
        return self.fitted(
            self.keras.Model(given, layers.Dense(4, activation="softmax", name="answer")(c)), 3
        )

    def fitted(self, model: Any, epochs: int = 2, *callbacks: Any, x: Any = None) -> Any:
        model.compile(self.keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
        model.fit(
            self.x if x is None else x,
            self.y,
            batch_size=32,
            epochs=epochs,
            verbose=0,
            callbacks=list(callbacks),
        )
        return model

    def prune(self, model: Any, x: Any = None) -> Any:
        schedule = self.sparsity.ConstantSparsity(0.8, 0, frequency=2)
        wrapped = self.sparsity.prune_low_magnitude(model, pruning_schedule=schedule)
        return self.fitted(wrapped, 2, self.sparsity.UpdatePruningStep(), x=x)

    def cluster(self, model: Any, **more: Any) -> Any:
        linear = self.clustering.CentroidInitialization.LINEAR
        return self.clustering.cluster_weights(
            model, number_of_clusters=CLUSTERS, cluster_centroids_init=linear, **more
        )

    def collaborate(self, model: Any, scheme: Any) -> Any:
        annotated = self.quantization.quantize_annotate_model(model)
        return self.fitted(self.quantization.quantize_apply(annotated, scheme))

    def pruned(self) -> Any:
        return self.prune(self.small())

    def clustered(self) -> Any:
        return self.fitted(self.cluster(self.small()))

    def sparse_clustered(self) -> Any:
        from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

        linear = self.clustering.CentroidInitialization.LINEAR
        stripped = self.sparsity.strip_pruning(self.pruned())
        wrapped = cluster.cluster_weights(
            stripped, number_of_clusters=CLUSTERS, cluster_centroids_init=linear, preserve_sparsity=True
        )
        return self.fitted(wrapped)

    def annotated(self) -> Any:
        return self.quantization.quantize_annotate_model(self.small())

    def qat(self) -> Any:
        return self.fitted(self.quantization.quantize_model(self.small()))

    def pqat(self) -> Any:
        stripped = self.sparsity.strip_pruning(self.pruned())
        return self.collaborate(stripped, self.combine.Default8BitPrunePreserveQuantizeScheme())

    def cqat(self) -> Any:
        stripped = self.clustering.strip_clustering(self.clustered())
        return self.collaborate(stripped, self.combine.Default8BitClusterPreserveQuantizeScheme())

    def pcqat(self) -> Any:
        stripped = self.clustering.strip_clustering(self.sparse_clustered())
        scheme = self.combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
        return self.collaborate(stripped, scheme)

    def recurrent(self) -> tuple[Any, Any]:
        layers = self.layers
        x = self.x[..., 0]
        model = self.keras.Sequential(
            [layers.LSTM(5, input_shape=(8, 8)), layers.Dense(4, activation="softmax")]
        )
        return self.fitted(self.cluster(self.fitted(model, x=x)), x=x), x[:4]

    def decoder(self) -> Any:
        layers = self.layers
        model = self.keras.Sequential(
            [
                layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", input_shape=(8, 8, 1)),
                layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(4, activation="sigmoid"),
            ]
        )
        return self.fitted(self.quantization.quantize_model(self.fitted(model)))

    def nested(self) -> Any:
        layers = self.layers
        inner = self.keras.Sequential(
            [layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), layers.Flatten()]
        )
        model = self.keras.Sequential([inner, layers.Dense(4, activation="softmax")])
        return self.prune(self.fitted(model))


def record(path: Path) -> None:
    """Write the zip of recorded files."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        make({"folder": folder, "files": RECORDED}, print)
        for file in sorted(Path(folder).rglob("*")):
            archive.write(file, file.relative_to(folder))


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    record(Path(__file__).with_name("tfmot.zip"))
