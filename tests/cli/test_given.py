"""Models that came quantized, as people have them: taken by what they hold, and `check` says what `build` does."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

MAKE = """
import os; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, keras, tensorflow as tf
L = keras.layers; keras.utils.set_random_seed(0)
m = keras.Sequential([keras.Input((16, 16, 3), batch_size=1), L.Conv2D(8, 3, activation="relu"),
                      L.Conv2D(32, 3, strides=2, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(4)])
s = keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(8, 3, activation="relu"), L.Activation(keras.ops.sin),
                      L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(4)])
r = np.random.default_rng(0)
def made(model, name, data=True, only_integers=False, half=False):
    c = tf.lite.TFLiteConverter.from_keras_model(model); c.optimizations = [tf.lite.Optimize.DEFAULT]
    if data: c.representative_dataset = lambda: ([r.random((1, 16, 16, 3), "float32")] for _ in range(20))
    if only_integers: c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if half: c.target_spec.supported_types = [tf.float16]
    open(name, "wb").write(c.convert())
made(m, "float_io.tflite", only_integers=True)
made(m, "dynamic.tflite", data=False)
made(m, "fp16.tflite", data=False, half=True)
made(s, "fallback.tflite")
"""
KINDS = ("float_io", "dynamic", "fp16", "fallback")
TARGETS = ("host", "raspberry-pi-5", "coral", "ethos-u55-128")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models, quantized by TensorFlow's own converter in the ways that people use it."""
    folder = tmp_path_factory.mktemp("given")
    subprocess.run([sys.executable, "-c", MAKE], cwd=folder, check=True, capture_output=True, timeout=200)
    return folder


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_check_and_build_say_the_same(edgeship: Any, models: Path, kind: str, target: str) -> None:
    model = models / f"{kind}.tflite"
    checked = edgeship("check", model, "-t", target, "--json")
    built = edgeship("build", model, "-t", target, "--allow-uncompiled", "-o", "out", "--json")
    assert (checked.status == 0) == (built.status == 0), (checked.out, built.err)
    floats = kind in ("dynamic", "fp16")
    runs = target in ("host", "raspberry-pi-5") or not floats
    assert built.status == 0 if runs else built.status in (2, 3), built.err
    assert "recipe-not-accepted" not in built.err


def test_a_float_boundary_stays_on_the_cpu_and_is_told(edgeship: Any, models: Path) -> None:
    said = edgeship("build", models / "float_io.tflite", "-t", "coral", "--allow-uncompiled", "-o", "out")
    assert said.status == 0, said.err
    assert "QUANTIZE and DEQUANTIZE" in said.err and "CPU" in said.err
    assert "a dense layer came with a scale per channel" in said.err


@pytest.mark.shared
def test_the_detector_everybody_starts_with(edgeship: Any, shared_data: Path) -> None:
    model = shared_data / "detector" / "ssd_mobilenet_v1_coco_quant.tflite"
    checked = edgeship("check", model, "-t", "coral", "--json").document()
    assert checked["verdict"] == "partial"
    said = edgeship("build", model, "-t", "coral", "--allow-uncompiled", "-o", "out", "--json")
    assert said.status == 0, said.err
    target = said.document()["targets"][0]
    with tarfile.open(target["bundle"]) as bundle:
        service = json.load(bundle.extractfile("service.json"))  # type: ignore[arg-type]
        recipe = service["variants"][0]["recipe"]
        golden = json.load(bundle.extractfile(f"golden/{recipe}.json"))  # type: ignore[arg-type]
    assert [o["shape"] for o in service["variants"][0]["outputs"]] == [[1, 10, 4], [1, 10], [1, 10], [1]]
    assert [bool(one) for one in golden["tolerance"]] == [False, False, True, False]


def test_a_real_flaw_is_refused_and_shipped_where_it_is_accepted(
    edgeship: Any, models: Path, tiny_models: Any, tmp_path: Path
) -> None:
    def spoil(model: Any) -> None:
        """Give every bias another scale than the kernels take, as old converters' rounding did."""
        for op in model.subgraphs[0].operators:
            for index in op.inputs[2:3]:
                tensor = model.subgraphs[0].tensors[index]
                if tensor.quantization is not None and tensor.quantization.scale is not None:
                    tensor.quantization.scale = [1.0] * len(tensor.quantization.scale)
                    held = np.full(int(np.prod(tensor.shape)), 700, "<i4")
                    model.buffers[tensor.buffer].data = np.frombuffer(held.tobytes(), np.uint8)

    model = tiny_models.edited(models / "float_io.tflite", tmp_path / "spoilt.tflite", spoil)
    refused = edgeship("build", model, "-t", "host", "-o", "out")
    assert refused.status == 3 and edgeship("check", model, "-t", "host").status == 3
    assert "have a bias of another scale than kernels take" in refused.err + refused.out
    assert "--accept bias-scale ships it all the same" in refused.err + refused.out
    assert edgeship("check", model, "-t", "host", "--accept", "bias-scale").status == 0
    taken = edgeship("build", model, "-t", "host", "-o", "out", "--accept", "bias-scale", "--json")
    assert taken.status == 0, taken.err
    with tarfile.open(taken.document()["targets"][0]["bundle"]) as bundle:
        manifest = json.load(bundle.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert manifest["variants"][0]["accepted"] == ["bias-scale"]
    unknown = edgeship("build", model, "-t", "host", "--accept", "bias")
    assert unknown.status == 2 and "bias-overflow" in unknown.err


def test_the_flaws_that_settings_name_are_those_that_are_found() -> None:
    from typing import get_args

    from edgeship.project.schema import ProjectFile
    from edgeship.score.gates import AGREEMENT
    from edgeship.tflite.flaws import CODES

    assert get_args(get_args(ProjectFile.model_fields["accept"].annotation)[0]) == (*CODES, AGREEMENT)
