"""The engines against the reference interpreter, what they say about delegates, and what they refuse."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from island_lab import IO, MakeRelease, make_release, tensor

# Asks ai_edge_litert's own interpreter, in a process of its own.
REFERENCE = """
import base64, json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
answers = []
for vector in json.load(sys.stdin)["vectors"]:
    for detail, text in zip(interpreter.get_input_details(), vector):
        data = np.frombuffer(base64.b64decode(text), detail["dtype"]).reshape(detail["shape"])
        interpreter.set_tensor(detail["index"], data)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(detail["index"]).tobytes() for detail in interpreter.get_output_details()]
    answers.append([base64.b64encode(output).decode() for output in outputs])
print(json.dumps(answers))
"""
SPECS = """
import json, sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
def spec(d):
    scale, zero = d["quantization"]
    return [d["name"], [int(n) for n in d["shape"]], d["dtype"].__name__, float(scale) or None, int(zero)]
details = interpreter.get_input_details(), interpreter.get_output_details()
print(json.dumps([[spec(d) for d in side] for side in details]))
"""


def reference(model: Path, vectors: list[list[bytes]]) -> list[list[bytes]]:
    """Return the reference interpreter's output tensors for input tensors."""
    texts = [[base64.b64encode(data).decode() for data in vector] for vector in vectors]
    command = [sys.executable, "-c", REFERENCE, str(model)]
    done = subprocess.run(
        command, input=json.dumps({"vectors": texts}), capture_output=True, text=True, check=True
    )
    return [[base64.b64decode(text) for text in answer] for answer in json.loads(done.stdout)]


def real_specs(model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return service.json's inputs and outputs for a model whose clients send stored values."""
    done = subprocess.run(
        [sys.executable, "-c", SPECS, str(model)], capture_output=True, text=True, check=True
    )
    words = {"int8": "INT8", "uint8": "UINT8", "int16": "INT16", "int32": "INT32", "float32": "FP32"}
    sides = []
    for side in json.loads(done.stdout):
        sides.append(
            [tensor(name, shape, dtype, None, None, words[dtype]) for name, shape, dtype, _, _ in side]
        )
    return sides[0], sides[1]


def random_tensors(inputs: list[dict[str, Any]], count: int) -> list[list[bytes]]:
    """Return `count` vectors of random full-range input tensors."""
    rng = np.random.default_rng(11)
    vectors = []
    for _ in range(count):
        vector = []
        for spec in inputs:
            shape, dtype = spec["tensor"]["shape"], np.dtype(spec["tensor"]["dtype"])
            if dtype.kind == "f":
                vector.append(rng.normal(0, 2, shape).astype(dtype).tobytes())
            else:
                span = np.iinfo(dtype)
                vector.append(rng.integers(span.min, span.max + 1, shape).astype(dtype).tobytes())
        vectors.append(vector)
    return vectors


def stored_io(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a tiny model's tensors with clients that send and get stored values."""
    words = {"int8": "INT8", "int16": "INT16", "float32": "FP32"}

    def plain(spec: dict[str, Any]) -> dict[str, Any]:
        dtype = spec["tensor"]["dtype"]
        return tensor(spec["name"], spec["tensor"]["shape"], dtype, None, None, words[dtype])

    inputs, outputs = IO[name]
    return [plain(spec) for spec in inputs], [plain(spec) for spec in outputs]


def outputs_of(document: dict[str, Any]) -> list[list[bytes]]:
    """Return the output tensors of a golden document."""
    return [[base64.b64decode(text) for text in vector["outputs"]] for vector in document["vectors"]]


@pytest.mark.parametrize("name", ["dense_f32", "dense_i8", "several", "image", "int16"])
def test_litert_gives_the_reference_interpreters_bytes(release: MakeRelease, models: Path, name: str) -> None:
    inputs, outputs = stored_io(name)
    made = release(name, inputs=inputs, outputs=outputs)
    vectors = random_tensors(inputs, 20)
    document = made.record(vectors)
    assert outputs_of(document) == reference(models / f"{name}.tflite", vectors)
    assert document["recorded_with"]["engine"] == "litert"


@pytest.mark.parametrize("name", ["dense_f32", "dense_i8", "several"])
def test_tflite_engine_gives_the_reference_interpreters_bytes(
    release: MakeRelease, models: Path, name: str
) -> None:
    inputs, outputs = stored_io(name)
    made = release(name, inputs=inputs, outputs=outputs, engine={"name": "tflite_runtime"})
    vectors = random_tensors(inputs, 5)
    document = made.record(vectors)
    assert outputs_of(document) == reference(models / f"{name}.tflite", vectors)
    assert document["recorded_with"]["engine"] == "tflite_runtime"
    code, proof, _ = made.main("prove", "--release", str(made.path))
    assert code == 0 and proof["engine"]["delegated"] is True and proof["exact"]


@pytest.mark.shared
@pytest.mark.parametrize(
    "model",
    [
        "kws/mlperf_int8.tflite",
        "cifar10/mlperf_int8.tflite",
        "coral/mobilenet_v1_0.25_128_quant.tflite",
        "coral/split_concat.tflite",
    ],
)
def test_real_models_agree_to_the_byte(shared_data: Path, tmp_path: Path, model: str) -> None:
    inputs, outputs = real_specs(shared_data / model)
    made = make_release(tmp_path / "release", shared_data / model, inputs, outputs)
    vectors = random_tensors(inputs, 5)
    document = made.record(vectors)
    assert outputs_of(document) == reference(shared_data / model, vectors)
    assert document["recorded_with"]["delegated"] is True


@pytest.mark.shared
def test_a_model_the_engine_cannot_hold_is_refused_not_crashed(shared_data: Path, tmp_path: Path) -> None:
    model = (
        shared_data / "coral/keras_lstm_mnist_ptq.tflite"
    )  # Variable tensors, which LiteRT's C interface lacks.
    inputs, outputs = real_specs(model)
    made = make_release(tmp_path / "release", model, inputs, outputs)
    code, document, _ = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == "model-load" and "unsupported" in document["reason"]


def test_delegated_true_whole_model(release: MakeRelease) -> None:
    code, document, _ = (made := release()).main("bench", "--release", str(made.path), "--seconds", "0")
    assert code == 0
    assert document["engine"] == {
        "name": "litert",
        "version": "2.3.0",
        "delegate": "xnnpack",
        "delegated": True,
        "detail": "the whole model runs in XNNPACK",
    }


@pytest.mark.parametrize("engine", ["litert", "tflite_runtime"])
def test_a_delegate_without_kernels_for_the_model_is_inapplicable(release: MakeRelease, engine: str) -> None:
    made = release("int16", engine={"name": engine})
    made.record([[np.zeros(4, np.float32).tobytes()]])
    code, document, _ = made.main("prove", "--release", str(made.path))
    assert code == 0 and document["engine"]["delegated"] == "inapplicable"
    assert "no kernel for this model's operations" in document["engine"]["detail"]


@pytest.mark.parametrize("engine", ["litert", "tflite_runtime"])
def test_no_delegate_runs_the_built_in_kernels(release: MakeRelease, engine: str) -> None:
    made = release("dense_i8", engine={"name": engine, "delegate": "none"})
    code, document, _ = made.main("bench", "--release", str(made.path), "--seconds", "0")
    assert code == 0 and document["engine"]["delegated"] == "inapplicable"
    assert document["engine"]["detail"] == "no delegate was asked for"


def test_a_delegate_that_took_no_part_is_seen_and_fails_the_proof(release: MakeRelease) -> None:
    """LiteRT's silent fallback, made on purpose: the release asks for XNNPACK and the library never starts it."""
    made = release("dense_i8")
    made.record([[np.ones(6, np.float32).tobytes()]], max_lsb=50)
    # kernel_mode "builtin" is what a machine without /sys ends with: no delegate, no word about it.
    source = made.path / "runtime" / "es_litert.py"
    text = source.read_text()
    assert text.count('if self.delegate == "none":') == 1
    source.write_text(text.replace('if self.delegate == "none":', "if True:"))
    code, document, _ = made.main("prove", "--release", str(made.path))
    assert code == 1 and document["engine"]["delegated"] is False
    assert document["reason"].startswith(
        "the delegate xnnpack took no part: XNNPACK did not start on this machine"
    )


def test_the_gpu_is_refused_clearly_where_no_accelerator_registers(release: MakeRelease) -> None:
    made = release(engine={"delegate": "gpu"})
    # A folder of its own, so that no accelerator library stands beside the one that is linked to.
    library = made.path / "lib" / "libLiteRt.so"
    target = library.resolve()
    library.unlink()
    shutil.copy(target, library)
    code, document, _ = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == "delegate-missing"
    assert "no GPU accelerator could be registered" in document["reason"]
    assert "libLiteRtGpuAccelerator.so" in document["reason"]


@pytest.mark.parametrize(
    ("delegate", "library", "advice"),
    [
        ("edgetpu", "libedgetpu-absent.so.1", "Install libedgetpu1-std"),
        ("ethosu", "libethosu_absent.so", "ls /dev/ethosu0"),
    ],
)
def test_an_accelerator_is_refused_clearly_without_its_library(
    release: MakeRelease, delegate: str, library: str, advice: str
) -> None:
    engine = {"name": "tflite_runtime", "delegate": delegate, "delegate_library": library}
    made = release("dense_i8", engine=engine)
    code, document, stderr = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == "delegate-missing"
    assert library in document["reason"] and advice in document["reason"]
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("engine", "reference_", "reason"),
    [
        ({"name": "magic"}, "unknown-engine", "known: litert, tflite_runtime"),
        ({"version": "2.2.0"}, "engine-version", "speaks LiteRT 2.3's interface; the release pins 2.2.0"),
        ({"delegate": "hexagon"}, "unknown-delegate", "it has: xnnpack, gpu, none"),
        (
            {"name": "tflite_runtime", "delegate": "gpu"},
            "unknown-delegate",
            "it has: xnnpack, edgetpu, ethosu, none",
        ),
        ({"library": "lib/absent.so"}, "engine-library", "cannot load"),
        ({"library": "../lib/libLiteRt.so"}, "path-outside-release", "leads out of the release"),
        ({"library": "/usr/lib/libc.so.6"}, "path-outside-release", "leads out of the release"),
        ({"library": 7}, "bad-path", "names 7 where a relative path must stand"),
    ],
)
def test_engines_that_cannot_be_had(
    release: MakeRelease, engine: dict[str, Any], reference_: str, reason: str
) -> None:
    made = release(engine=engine)
    code, document, stderr = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == reference_ and reason in document["reason"]
    assert "Traceback" not in stderr


def test_another_library_under_the_same_name_is_refused(release: MakeRelease) -> None:
    made = release()
    library = made.path / "lib" / "libLiteRt.so"
    library.unlink()
    other = next(Path("/lib").rglob("libm.so.6"), None)
    if other is None:
        pytest.skip("no other shared library to put there")
    shutil.copy(other, library)
    code, document, _ = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == "engine-version" and "is not LiteRT 2.3" in document["reason"]


@pytest.mark.parametrize(
    ("io", "reason"),
    [
        (
            ("dense_i8", "dense_f32"),
            "model.tflite: output 'y' is float32 [1, 3]; service.json says int8 [1, 3]",
        ),
        (("several", "dense_f32"), "model.tflite has 1 inputs; service.json says 2"),
    ],
)
def test_a_model_that_is_not_what_service_json_says_is_refused(
    release: MakeRelease, io: tuple[str, str], reason: str
) -> None:
    said, model = io
    inputs, outputs = IO[said]
    if said == "dense_i8":
        inputs = IO[model][0]
    made = release(model, inputs=inputs, outputs=outputs)
    code, document, _ = made.main("bench", "--release", str(made.path))
    assert code == 2 and document["error"] == "model-mismatch" and document["reason"].endswith(reason)


@pytest.mark.parametrize("size", [0, 20, 300])
def test_damaged_models_are_refused(release: MakeRelease, size: int) -> None:
    made = release()
    model = made.path / "models" / "model.tflite"
    model.write_bytes(model.read_bytes()[:size])
    for engine in ("litert", "tflite_runtime"):
        made.edit(lambda service, engine=engine: service["engine"].update(name=engine))
        code, document, stderr = made.main("bench", "--release", str(made.path))
        assert code == 2 and document["error"] == "model-load", document
        assert "Traceback" not in stderr


def test_threads_are_taken(release: MakeRelease) -> None:
    made = release("slow", engine={"threads": 2})
    code, document, _ = made.main("bench", "--release", str(made.path), "--seconds", "0", "--runs", "1")
    assert code == 0 and document["threads"] == 2 and document["runs"] == 1


def test_open_and_close_give_the_memory_back(release: MakeRelease) -> None:
    made = release("dense_i8")
    program = """
import sys, resource
sys.path.insert(0, sys.argv[1] + "/runtime")
from es_model import Model
from es_release import load_release
release = load_release(sys.argv[1])
def cycle():
    model = Model(release); model.warm_up(1); model.close()
def anonymous():
    return int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1])
for _ in range(30): cycle()
before = anonymous()
for _ in range(200): cycle()
print(anonymous() - before)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(made.path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2048, "kilobytes grown in 200 loads"


def test_profiles_know_the_delegates_of_each_engine() -> None:
    import es_litert
    import es_tflite

    from edgeship.profile.types import DELEGATES

    assert DELEGATES == {
        "litert": es_litert.DELEGATES,
        "tflite_runtime": es_tflite.DELEGATES,
        "tflm": ("none",),
    }
