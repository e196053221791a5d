"""The driver against a compiler on the PATH that replays recorded outputs: every way to end, with its advice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeship.compile.edgetpu import driver
from edgeship.compile.edgetpu.blockers import blockers
from edgeship.compile.edgetpu.driver import Wanted, compile_models
from edgeship.compile.edgetpu.lower import Lowering, lowered, lowerings
from edgeship.compile.edgetpu.places import find_place
from edgeship.compile.running import LocalRunner
from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite

NAME = "mobilenet_v1_0.25_128_quant"
GOOD = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 812 ms.

Input model: MODEL.tflite
Input size: 513.28KiB
Output model: MODEL_edgetpu.tflite
Output size: 782.68KiB
On-chip memory used for caching model parameters: 553.62KiB
On-chip memory remaining for caching model parameters: 7.10MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 31
Operation log: MODEL_edgetpu.log

Operator                       Count      Status

SOFTMAX                        1          Mapped to Edge TPU
CONV_2D                        15         Mapped to Edge TPU
DEPTHWISE_CONV_2D              13         Mapped to Edge TPU
AVERAGE_POOL_2D                1          Mapped to Edge TPU
RESHAPE                        1          Mapped to Edge TPU
Compilation child process completed within timeout period.
Compilation succeeded!
"""

pytestmark = pytest.mark.shared


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "PAUSE", 0.0)


def run(models: list[Path], out: Path, env: dict[str, str], **more: object):
    place = find_place(None, LocalRunner(env), env)
    return compile_models(models, out, Wanted(**more), place, progress=Silent())  # type: ignore[arg-type]


def failing(models: list[Path], out: Path, env: dict[str, str], **more: object) -> EdgeshipError:
    with pytest.raises(EdgeshipError) as error:
        run(models, out, env, **more)
    assert not list(out.glob("*")), "a failure leaves no file"
    return error.value


def test_a_compilation(coral: Path, tmp_path: Path, fake_compiler) -> None:
    model = tmp_path / "my model (1).tflite"
    shutil.copy(coral / f"{NAME}.tflite", model)
    env = fake_compiler(
        GOOD, files={"my_model_1_.tflite"[:-7] + "_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite"}
    )
    made = run([model], tmp_path / "out", env, runtime=14)
    (one,) = made.models
    assert [f.name for f in one.files] == ["my model (1)_edgetpu.tflite"]
    assert one.files[0].read_bytes() == (coral / f"{NAME}_edgetpu.tflite").read_bytes()
    assert (one.parameter_bytes, one.cpu_operations) == (566912, ())
    assert (made.log.version, made.log.models[0].mapped, made.tries) == ("16.0.384591198", 31, 1)
    said = (tmp_path / "fake" / "calls.txt").read_text().split("\n---")[0].splitlines()
    assert said == ["-s", "-o", ".", "-m", "14", "my_model_1_.tflite"]
    assert " " not in (tmp_path / "fake" / "cwd").read_text()
    assert (tmp_path / "fake" / "got.tflite").read_bytes() == model.read_bytes()


def test_a_model_of_which_a_part_stays_on_the_cpu(coral: Path, tmp_path: Path, fake_compiler) -> None:
    name = "deeplabv3_mnv2_dm05_pascal_quant"
    env = fake_compiler(GOOD, files={f"{name}_edgetpu.tflite": coral / f"{name}_edgetpu.tflite"})
    (one,) = run([coral / f"{name}.tflite"], tmp_path / "out", env).models
    assert one.parameter_bytes == 766720
    assert len(one.cpu_operations) == 8
    assert one.cpu_operations[0] == "RESIZE_BILINEAR"


def test_the_flaky_internal_error_is_tried_again(coral: Path, tmp_path: Path, fake_compiler) -> None:
    flaky = "Edge TPU Compiler version 14.1.317412892\n\nInternal compiler error. Aborting! \n"
    env = fake_compiler(
        flaky,
        flaky,
        GOOD,
        status=(1, 1, 0),
        files={f"{NAME}_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite"},
    )
    assert run([coral / f"{NAME}.tflite"], tmp_path / "out", env).tries == 3


FAILURES = [
    ("Internal compiler error. Aborting! ", "edgetpu-internal-error", "an infinite scale"),
    (
        (
            "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'\n"
            "Invalid model: m.tflite\nModel could not be parsed"
        ),
        "edgetpu-operation-version",
        "TensorFlow 2.8 or older",
    ),
    (
        (
            "ERROR: Attempting to use a delegate that only supports static-sized tensors "
            "with a graph that has dynamic-sized tensors."
        ),
        "edgetpu-dynamic-shape",
        "fixed batch and input shape",
    ),
    (
        "Compilation failed: Compilation failed due to large activation tensors in model.\nCompilation failed!",
        "edgetpu-large-activations",
        "use a smaller input",
    ),
    ("Invalid model: m.tflite\nModel not quantized", "edgetpu-not-quantized", "edgeship build quantizes"),
    ("Compilation child process timed out.\nCompilation failed!", "edgetpu-timeout", "--timeout_sec"),
    ("Segmentation fault (core dumped)", "edgetpu-failed", "its last words are above"),
]


@pytest.mark.parametrize(("said", "reference", "advice"), FAILURES, ids=[f[1] for f in FAILURES])
def test_failures_with_their_advice(
    said: str, reference: str, advice: str, coral: Path, tmp_path: Path, fake_compiler
) -> None:
    error = failing([coral / f"{NAME}.tflite"], tmp_path / "out", fake_compiler(said, status=(1,)))
    assert isinstance(error, ToolError)
    assert error.reference == reference
    text = error.render()
    assert said.strip().splitlines()[-1] in text
    assert advice in text


def test_nothing_mapped_is_a_failure_although_the_compiler_says_success(
    coral: Path, tmp_path: Path, fake_compiler
) -> None:
    zero = GOOD.replace("subgraphs: 1", "subgraphs: 0")
    env = fake_compiler(zero, files={f"{NAME}_edgetpu.tflite": coral / f"{NAME}.tflite"})
    error = failing([coral / f"{NAME}.tflite"], tmp_path / "out", env)
    assert error.reference == "edgetpu-nothing-mapped"
    assert "edgeship check MODEL --target coral" in error.render()


def test_success_without_a_file_is_a_failure(coral: Path, tmp_path: Path, fake_compiler) -> None:
    error = failing([coral / f"{NAME}.tflite"], tmp_path / "out", fake_compiler(GOOD))
    assert error.reference in ("edgetpu-failed", "edgetpu-no-output")


def test_the_output_of_another_model_is_found_out(coral: Path, tmp_path: Path, fake_compiler) -> None:
    env = fake_compiler(
        GOOD, files={f"{NAME}_edgetpu.tflite": coral / "deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite"}
    )
    error = failing([coral / f"{NAME}.tflite"], tmp_path / "out", env)
    assert error.reference == "edgetpu-io-changed"
    assert "uint8 [1, 128, 128, 3]" in error.render()


def test_a_package_newer_than_the_targets_runtime(coral: Path, tmp_path: Path, fake_compiler) -> None:
    env = fake_compiler(GOOD, files={f"{NAME}_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite"})
    error = failing([coral / f"{NAME}.tflite"], tmp_path / "out", env, runtime=10)
    assert error.reference == "edgetpu-runtime-too-new"
    assert "needs Edge TPU runtime 12, and the target has 10" in error.render()


def test_a_hanging_compiler_is_stopped_with_everything_it_started(
    coral: Path, tmp_path: Path, fake_compiler
) -> None:
    env = fake_compiler(GOOD, sleep=30)
    error = failing([coral / f"{NAME}.tflite"], tmp_path / "out", env, timeout_s=0.5)
    assert error.reference == "edgetpu-timeout"
    assert "did not finish in 0 s" in error.render() or "did not finish in 1 s" in error.render()


def test_co_compilation_checks_that_the_models_share_the_cache(
    coral: Path, tmp_path: Path, fake_compiler
) -> None:
    other = "deeplabv3_mnv2_dm05_pascal_quant"
    files = {f"{n}_edgetpu.tflite": coral / f"{n}_edgetpu.tflite" for n in (NAME, other)}
    error = failing(
        [coral / f"{NAME}.tflite", coral / f"{other}.tflite"],
        tmp_path / "out",
        fake_compiler(GOOD, files=files),
    )
    assert error.reference == "edgetpu-not-co-compiled"
    twin = tmp_path / "twin.tflite"
    shutil.copy(coral / f"{NAME}.tflite", twin)
    compiled = coral / f"{NAME}_edgetpu.tflite"
    env = fake_compiler(GOOD, files={f"{NAME}_edgetpu.tflite": compiled, "twin_edgetpu.tflite": compiled})
    made = run([coral / f"{NAME}.tflite", twin], tmp_path / "out", env)
    assert [m.files[0].name for m in made.models] == [f"{NAME}_edgetpu.tflite", "twin_edgetpu.tflite"]
    assert made.arguments[-2:] == (f"{NAME}.tflite", "twin.tflite")


def test_a_pipeline_is_several_files_in_order(coral: Path, tmp_path: Path, fake_compiler) -> None:
    compiled = coral / f"{NAME}_edgetpu.tflite"
    files = {f"{NAME}_segment_{i}_of_2_edgetpu.tflite": compiled for i in (1, 0)}
    made = run([coral / f"{NAME}.tflite"], tmp_path / "out", fake_compiler(GOOD, files=files), segments=2)
    assert [f.name for f in made.models[0].files] == [
        f"{NAME}_segment_{i}_of_2_edgetpu.tflite" for i in (0, 1)
    ]
    assert made.arguments[:5] == ("-s", "-o", ".", "-n", "2")


def test_no_compiler_says_how_to_get_one() -> None:
    with pytest.raises(ToolError) as error:
        find_place(None, LocalRunner({}), {"PATH": "/nonexistent"})
    assert error.value.render().splitlines()[:2] == [
        "error: edgetpu-compiler-missing",
        "  compiling for the Edge TPU needs edgetpu_compiler, and it is not on the PATH",
    ]
    assert "coral.ai/docs/edgetpu/compiler" in error.value.render()
    assert "--allow-uncompiled" in error.value.render()


def test_a_place_nobody_knows() -> None:
    with pytest.raises(InputError) as error:
        find_place("telnet:x", LocalRunner({}), {})
    assert "local, ssh:user@host[:port], or container:IMAGE" in error.value.render()


def test_versions_are_lowered_where_only_the_number_is_new(
    graph, written: Callable[..., Path], tmp_path: Path, fake_compiler
) -> None:
    x = graph.conv(graph.input([1, 8, 8, 4]), version=8)
    graph.op("ADD", [x, x], [1, 8, 8, 4], version=5)
    path = written(graph)
    model = read_tflite(path)
    changes = lowerings(model)
    assert [(c.op, c.before, c.after) for c in changes] == [("CONV_2D", 8, 3), ("ADD", 5, 2)]
    after = tmp_path / "after.tflite"
    after.write_bytes(lowered(path.read_bytes(), changes))
    assert [o.version for o in read_tflite(after).main.operators] == [3, 2]
    differing = sum(a != b for a, b in zip(path.read_bytes(), after.read_bytes(), strict=True))
    assert differing == 2
    fake = fake_compiler("Internal compiler error. Aborting!", status=(1,))
    failing([path], tmp_path / "out", fake)
    assert [o.version for o in read_tflite(tmp_path / "fake" / "got.tflite").main.operators] == [3, 2]


def test_a_lowered_model_answers_as_before(shared_data: Path, tmp_path: Path) -> None:
    """A real model whose converter wrote versions too high: LiteRT computes the same from both files."""
    content = (shared_data / "kws" / "mlperf_int8.tflite").read_bytes()
    high = {"CONV_2D": 8, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10, "SOFTMAX": 3}
    raised, after = tmp_path / "raised.tflite", tmp_path / "after.tflite"
    before = {o.op: o.version for o in read_tflite(shared_data / "kws" / "mlperf_int8.tflite").main.operators}
    raised.write_bytes(
        lowered(
            content, tuple(Lowering(op=o, before=before[o], after=v, operations=()) for o, v in high.items())
        )
    )
    changes = lowerings(read_tflite(raised))
    assert {c.op: (c.before, c.after) for c in changes} == {
        "CONV_2D": (8, 3), "DEPTHWISE_CONV_2D": (7, 3), "FULLY_CONNECTED": (10, 4),
    }  # fmt: skip
    after.write_bytes(lowered(raised.read_bytes(), changes))
    assert list(blockers(read_tflite(after))) == []
    one, two = answers(raised), answers(after)
    assert len(one) == 8 and one == two


def answers(path: Path) -> list[bytes]:
    """Return what LiteRT answers to eight inputs of noise."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    noise = numpy.random.default_rng(4)
    found = []
    for _ in range(8):
        interpreter.set_tensor(
            given["index"], noise.integers(-128, 128, given["shape"]).astype(given["dtype"])
        )
        interpreter.invoke()
        found.append(interpreter.get_tensor(made["index"]).tobytes())
    return found


def test_versions_that_mean_a_feature_stay(graph, written: Callable[..., Path]) -> None:
    w, b = graph.const([4, 1, 1, 2]), graph.const([4], "int32")
    graph.op("CONV_2D", [graph.input([1, 8, 8, 4]), w, b], [1, 8, 8, 4], options="Conv2DOptions", version=6)
    graph.op("EXP", [graph.input([1, 8])], [1, 8], version=2)
    assert lowerings(read_tflite(written(graph))) == ()


def test_the_truths_have_nothing_to_lower(coral: Path) -> None:
    for truth in json.loads((coral / "mapping_truth.json").read_text())["models"]:
        assert lowerings(read_tflite(coral / truth["file"])) == ()
