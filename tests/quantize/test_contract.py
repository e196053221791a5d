"""The contract check on files that break it, each made by editing a good one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.profile import TargetProfile, load_profile
from edgeship.quantize.contract import check
from edgeship.quantize.derive import derive, derive_all
from edgeship.quantize.recipes import RECIPES, recipe_of
from edgeship.tflite.precision import precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import FloatModel, GateResult, PreparedSamples

ROOT = Path(__file__).resolve().parents[2]


def fed(path: Path) -> PreparedSamples:
    return PreparedSamples(paths=(path,), sha256="c" * 64)


@pytest.fixture(scope="module")
def int8(
    float_model: FloatModel, samples: Path, base_profile: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("contract")
    return derive(float_model, RECIPES["int8"], fed(samples), out, profile=base_profile).path


@pytest.fixture
def broken(
    int8: Path, tiny: ModuleType, tmp_path: Path, base_profile: Any
) -> Callable[..., dict[str, GateResult]]:
    def run(change: Callable[[Any], None], profile: Any = None) -> dict[str, GateResult]:
        path = tiny.edited(int8, tmp_path / "broken.tflite", change)
        return {g.name: g for g in check(path, RECIPES["int8"], profile or base_profile)}

    return run


def named(model: Any, name: bytes) -> Any:
    return next(t for t in model.subgraphs[0].tensors if t.name == name)


def test_the_wrong_boundary(int8: Path, make_profile: Any) -> None:
    profile = make_profile(precision={"io": "float32"})
    io = next(g for g in check(int8, RECIPES["int8"], profile) if g.name == "io-types")
    assert (io.verdict, io.value, io.limit) == ("fail", 2.0, 0.0)
    assert io.reason == (
        "input 'x' is int8, test-target wants float32; output 'y' is int8, test-target wants float32"
    )


def test_a_float_file_is_not_fully_integer(float_model: FloatModel, make_profile: Any) -> None:
    strict = make_profile(precision={"wants": ("int8",), "accepts": ("int8",)})
    found = next(g for g in check(float_model.path, RECIPES["int8"], strict) if g.name == "fully-integer")
    assert found.verdict == "fail"
    assert found.value == 5
    assert found.reason == (
        "5 operations are float (1 CONV_2D, 1 DEPTHWISE_CONV_2D, 1 AVERAGE_POOL_2D, 1 FULLY_CONNECTED, 1 SOFTMAX; the "
        "first is CONV_2D at 'a' (operation 0)) because they have no int8 form here; replace them, or move them to the "
        "host"
    )
    loose = make_profile(precision={"wants": ("int8",), "accepts": ("int8", "fp32")})
    found = next(g for g in check(float_model.path, RECIPES["int8"], loose) if g.name == "fully-integer")
    assert found.verdict == "inconclusive"


def test_an_open_shape_names_its_producer(broken: Any) -> None:
    def change(model: Any) -> None:
        named(model, b"b").shapeSignature = [-1, 8, 8, 8]

    assert broken(change)["static-shapes"].verdict == "pass", "the CPU's interpreter sizes it while it runs"
    coral = load_profile("coral", folders=[ROOT / "targets"], machine="x86_64")
    result = broken(change, coral)["static-shapes"]
    assert result.verdict == "fail"
    assert result.reason.startswith(
        "a size is open: [-1, 8, 8, 8] from DEPTHWISE_CONV_2D at 'b' (operation 1); "
    )


@pytest.mark.parametrize(
    ("name", "said", "advice"),
    [
        (
            "FlexErf",
            "FlexErf is a TensorFlow (Flex) operation, which litert lacks",
            "end the model before them",
        ),
        ("MyOp", "MyOp is a custom operation, which litert lacks", "end the model before them"),
    ],
)
def test_an_operation_that_the_runtime_lacks(broken: Any, name: str, said: str, advice: str) -> None:
    def change(model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        code = schema.OperatorCodeT()
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.deprecatedBuiltinCode, code.version, code.customCode = 32, 1, name.encode()
        model.operatorCodes.append(code)
        operator = model.subgraphs[0].operators[4]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    result = broken(change)["operators"]
    assert result.verdict == "fail"
    assert said in result.reason
    assert "at 'y' (operation 4))" in result.reason
    assert result.reason.count(advice) == 1


def test_a_version_newer_than_the_runtime(broken: Any, make_profile: Any) -> None:
    def change(model: Any) -> None:
        model.operatorCodes[0].version = 6

    old = make_profile(runtime={"engine": "tflite_runtime", "version": "2.5.0.post1"})
    result = broken(change, old)["operators"]
    assert result.verdict == "fail"
    assert (
        "CONV_2D version 6 is of TensorFlow 2.9, the runtime is older (tflite_runtime 2.5.0.post1; at 'a' "
        in (result.reason)
    )
    assert broken(change)["operators"].verdict == "pass"


def test_types_ask_for_versions_that_the_file_hides(broken: Any, make_profile: Any) -> None:
    """ai-edge-quantizer writes version 1 everywhere: the types tell."""

    def hide(model: Any) -> None:
        for code in model.operatorCodes:
            code.version = 1

    ancient = make_profile(runtime={"engine": "tflite_runtime", "version": "1.13.0"})
    assert "CONV_2D version 3 is of TensorFlow 1.14" in broken(hide, ancient)["operators"].reason


def test_dense_scales_that_an_old_runtime_ignores(int8: Path, make_profile: Any) -> None:
    old = make_profile(runtime={"engine": "tflite_runtime", "version": "2.5.0.post1"})
    result = next(g for g in check(int8, RECIPES["int8"], old) if g.name == "operators")
    assert result.verdict == "fail"
    assert "FULLY_CONNECTED has a scale per channel, too new for TensorFlow 2.5.0" in result.reason


def test_an_unknown_operator_is_not_judged(broken: Any, make_profile: Any) -> None:
    odd = make_profile(runtime={"engine": "litert", "version": "9.0"})
    result = broken(lambda model: None, odd)["operators"]
    assert result.verdict == "inconclusive"
    assert (
        "nothing is recorded of CONV_2D version 3 in this runtime (litert 9.0; at 'a' (operation 0))"
        in result.reason
    )


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (0.0, "is 0, zero or negative"),
        (float("inf"), "is inf, not finite"),
        (float("nan"), "is nan, not finite"),
        (1e-40, "denormal"),
    ],
)
def test_an_unsound_scale(broken: Any, scale: float, words: str) -> None:
    def change(model: Any) -> None:
        named(model, b"a").quantization.scale = [scale]

    result = broken(change)["quantization"]
    assert result.verdict == "fail"
    assert result.reason.startswith(
        "one channel has a scale that is no normal positive number, the first 'a'"
    )
    assert "--accept scale" in result.reason and result.reason.endswith("ships it all the same")
    assert words in result.reason


def test_a_zero_point_outside_its_type(broken: Any) -> None:
    def change(model: Any) -> None:
        named(model, b"a").quantization.zeroPoint = [300]

    assert (
        "the first 'a' (channel 0: the zero point is 300, outside int8)"
        in broken(change)["quantization"].reason
    )


def test_a_bias_that_overflows(broken: Any) -> None:
    def change(model: Any) -> None:
        bias = named(model, b"conv_b")
        data = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32).copy()
        data[2] = 2**31 - 1
        model.buffers[bias.buffer].data = np.frombuffer(data.tobytes(), np.uint8)

    result = broken(change)["quantization"]
    assert result.verdict == "pass", "the channel saturates with the clipped bias as with the true one"
    assert "without effect on any output: one channel has a bias that does not fit 32 bits" in result.reason
    assert "'a' (channel 2: 2.147e+09 steps)" in result.reason


def test_a_bias_with_a_scale_of_its_own(broken: Any) -> None:
    def change(model: Any) -> None:
        named(model, b"conv_b").quantization.scale = [1.0] * 8

    assert "(channel 0: its scale is 1, input times weight is" in broken(change)["quantization"].reason


@pytest.mark.shared
def test_a_state_between_runs_is_refused_for_litert(shared_data: Path) -> None:
    """LiteRT 2.3's C API answers a model with variable tensors with an error on the device; it is told here."""
    folders = [ROOT / "targets"]
    given = shared_data / "coral" / "keras_lstm_mnist_ptq.tflite"
    recipe = recipe_of(precision_of(read_tflite(given)))
    for target, verdict in (("aarch64-linux", "fail"), ("aarch64-linux-older", "pass")):
        profile = load_profile(target, folders=folders, machine="x86_64")
        gate = next(g for g in check(given, recipe, profile) if g.name == "operators")
        assert gate.verdict == verdict, gate
        told = "refuses the state that UNIDIRECTIONAL_SEQUENCE_LSTM keeps between runs" in gate.reason
        assert told == (verdict == "fail")


@pytest.mark.shared
def test_a_model_that_came_quantized_keeps_its_bytes_at_the_boundary(shared_data: Path) -> None:
    """Coral's own MobileNet is uint8 throughout, its LSTM int8 behind a uint8 boundary, as most exports were."""
    for name in ("mobilenet_v1_0.25_128_quant.tflite", "keras_lstm_mnist_ptq.tflite"):
        given = shared_data / "coral" / name
        recipe = recipe_of(precision_of(read_tflite(given)))
        for target in ("coral", "aarch64-linux"):
            profile = load_profile(target, folders=[ROOT / "targets"], machine="x86_64")
            gate = next(g for g in check(given, recipe, profile, given=True) if g.name == "io-types")
            assert (gate.verdict, gate.reason) == ("pass", "inputs and outputs are uint8"), (name, target)
        coral = load_profile("coral", folders=[ROOT / "targets"], machine="x86_64")
        made = next(g for g in check(given, recipe, coral) if g.name == "io-types")
        assert made.verdict == "fail", "what edgeship makes itself is what the profile says"


@pytest.fixture(scope="module")
def float_boundary(
    float_model: FloatModel, samples: Path, base_profile: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An int8 model with float32 at its boundary: what TFLiteConverter makes unless it is told otherwise."""
    out = tmp_path_factory.mktemp("boundary")
    precision = base_profile.precision.model_copy(update={"io": "float32"})
    profile = base_profile.model_copy(update={"precision": precision})
    return derive(float_model, RECIPES["int8"], fed(samples), out, profile=profile).path


def test_a_model_that_came_quantized_may_have_a_float_boundary(
    float_boundary: Path, make_profile: Any
) -> None:
    def io(given: bool, **sections: Any) -> GateResult:
        profile = make_profile(**{"precision": {"io": "int8"}, **sections})
        found = check(float_boundary, RECIPES["int8"], profile, given=given)
        return next(g for g in found if g.name == "io-types")

    assert (io(True).verdict, io(True).reason) == ("pass", "inputs and outputs are float32")
    assert io(False).verdict == "fail", "what edgeship makes itself is what the profile says"
    for sections in (
        {"compiler": {"backend": "edgetpu"}},
        {"precision": {"io": "int8", "accepts": ("int8",)}},
    ):
        assert io(True, **sections).verdict == "pass", "the conversions stay on the CPU"


def test_plain_bytes_go_in_where_no_compiler_has_to_take_them(
    tiny: ModuleType, make_profile: Any, tmp_path: Path
) -> None:
    """A camera's pixels are uint8 and have no scale: the model widens them itself."""
    build = tiny.Builder()
    x, wide, y = (
        build.tensor(name, [1, 8], kind=kind)
        for name, kind in (("x", "UINT8"), ("wide", "FLOAT32"), ("y", "FLOAT32"))
    )
    build.operation("CAST", [x], [wide])
    build.operation("NEG", [wide], [y])
    path = build.write(tmp_path / "camera.tflite", [x], [y])

    def io(**sections: Any) -> GateResult:
        found = check(path, RECIPES["fp32"], make_profile(**sections))
        return next(g for g in found if g.name == "io-types")

    assert (io().verdict, io().reason) == ("pass", "inputs and outputs are float32 and uint8")
    refused = io(compiler={"backend": "edgetpu"})
    assert refused.verdict == "fail"
    assert "give the .keras or .h5 file, whose input edgeship makes float32" in refused.reason


@pytest.mark.parametrize("kind", ["FLOAT16", "INT16", "UINT32", "FLOAT64", "COMPLEX64"])
def test_what_a_service_carries_to_a_cpu(
    tiny: ModuleType, make_profile: Any, tmp_path: Path, kind: str
) -> None:
    """Halves, 16-bit audio, doubles: the model casts them itself. Complex numbers nobody carries."""
    build = tiny.Builder()
    x, wide, y = (
        build.tensor(name, [1, 8], kind=k) for name, k in (("x", kind), ("wide", "FLOAT32"), ("y", kind))
    )
    build.operation("CAST", [x], [wide])
    build.operation("CAST", [wide], [y])
    path = build.write(tmp_path / "plain.tflite", [x], [y])
    given = recipe_of(precision_of(read_tflite(path)))

    def io(recipe: Any, came: bool, **sections: Any) -> GateResult:
        found = check(path, recipe, make_profile(**sections), given=came)
        return next(g for g in found if g.name == "io-types")

    for recipe, came in ((RECIPES["fp32"], False), (given, True)):
        assert io(recipe, came).verdict == ("fail" if kind == "COMPLEX64" else "pass")
    assert io(RECIPES["fp32"], False, compiler={"backend": "edgetpu"}).verdict == "fail"
    if kind == "COMPLEX64":
        mixed = replace(given, precision=replace(given.precision, io="mixed"))
        said = io(mixed, True).reason
        assert said.startswith("input 'x' is complex64, test-target wants numbers of 8 to 64 bits")


def test_a_model_without_weights_that_came_quantized_has_none_to_hold(
    tiny: ModuleType, make_profile: Any, tmp_path: Path
) -> None:
    def integers(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.type, tensor.quantization = (
                tiny.schema.TensorType.INT8,
                tiny.schema.QuantizationParametersT(),
            )
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [3]

    path = tiny.edited(tiny.adder(tmp_path / "float.tflite"), tmp_path / "int8.tflite", integers)
    recipe = recipe_of(precision_of(read_tflite(path)))
    assert all(g.verdict == "pass" for g in check(path, recipe, make_profile(), given=True))


def test_a_handle_of_a_variable_is_no_float(tiny: ModuleType, make_profile: Any, tmp_path: Path) -> None:
    build = tiny.Builder()
    x, y = (build.tensor(name, [1, 4], kind="INT8") for name in "xy")
    build.operation("VAR_HANDLE", [], [handle := build.tensor("state", [], kind="RESOURCE")])
    build.operation("READ_VARIABLE", [handle], [held := build.tensor("held", [1, 4], kind="INT8")])
    build.operation("ADD", [x, held], [y])
    path = build.write(tmp_path / "stream.tflite", [x], [y])
    gate = next(g for g in check(path, RECIPES["int8"], make_profile()) if g.name == "fully-integer")
    assert (gate.verdict, gate.reason) == ("pass", "every computed tensor is an integer")


def test_what_was_compiled_for_another_accelerator_is_called_that(
    tiny: ModuleType, make_profile: Any, tmp_path: Path
) -> None:
    for name, made_for in (("edgetpu-custom-op", "an Edge TPU"), ("DISPATCH_OP", "a phone's NPU")):
        build = tiny.Builder()
        x, y = (build.tensor(name, [1, 4]) for name in "xy")
        build.operation("CUSTOM", [x], [y], custom=name)
        path = build.write(tmp_path / "compiled.tflite", [x], [y])
        gate = next(g for g in check(path, RECIPES["fp32"], make_profile()) if g.name == "operators")
        assert gate.verdict == "fail" and gate.value == 1
        assert gate.reason == (
            f"compiled for {made_for} already ({name} at 'y' (operation 0)): "
            "give the .tflite from before compiling"
        )


def test_an_int8_state_of_svdf_is_told_before_it_ends_the_engine(
    tiny: ModuleType, make_profile: Any, tmp_path: Path
) -> None:
    """A model for TensorFlow Lite Micro: scaled int16 in, scaled int32 out, which services carry as they are."""
    for state, verdict in (("INT8", "fail"), ("INT16", "pass")):
        build = tiny.Builder()
        x, y = build.tensor("x", [1, 2], kind="INT16"), build.tensor("y", [1, 2], kind="INT32")
        for index in (x, y):
            held = build.graph.tensors[index].quantization = tiny.schema.QuantizationParametersT()
            held.scale, held.zeroPoint = [0.5], [0]
        weights = [build.tensor(n, [2, 2], np.zeros((2, 2), np.int8), "INT8") for n in ("feature", "time")]
        bias = build.tensor("bias", [2], np.zeros(2, np.int32), "INT32")
        build.operation("SVDF", [x, *weights, bias, kept := build.tensor("state", [1, 4], kind=state)], [y])
        build.graph.tensors[kept].isVariable = True
        path = build.write(tmp_path / "svdf.tflite", [x], [y])
        recipe = recipe_of(precision_of(read_tflite(path)))
        profile = make_profile(runtime={"engine": "tflite_runtime", "version": "2.14.0"})
        found = {g.name: g for g in check(path, recipe, profile, given=True)}
        assert found["operators"].verdict == verdict and found["io-types"].verdict == "pass"
        told = "SVDF with an int8 state is TensorFlow Lite Micro's, tflite_runtime crashes on it"
        assert (told in found["operators"].reason) == (verdict == "fail")


LONG = ";".join(f"model/block_{n}/conv_{n}/Conv2D" for n in range(12))


def test_reasons_count_and_name_the_first_layer_once(
    tiny: ModuleType, make_profile: Any, float_model: FloatModel, tmp_path: Path
) -> None:
    def change(model: Any) -> None:
        for number, tensor in enumerate(model.subgraphs[0].tensors):
            tensor.name = LONG.replace("model", f"m{number}").encode()

    path = tiny.edited(float_model.path, tmp_path / "long.tflite", change)
    strict = make_profile(precision={"wants": ("int8",), "accepts": ("int8",), "io": "int8"})
    failed = [g for g in check(path, RECIPES["int8"], strict) if g.verdict == "fail"]
    assert {g.name for g in failed} >= {"io-types", "fully-integer"}
    for gate in failed:
        assert len(gate.reason) < 300, gate.reason
        assert LONG[5:] not in gate.reason


def test_open_inputs_name_the_option_as_it_is_typed(broken: Any) -> None:
    def change(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is None:
                tensor.shapeSignature = [-1, -1, -1, int(tensor.shape[3])]

    result = broken(change)["static-shapes"]
    assert result.verdict == "fail"
    assert "of the input 'x'" in result.reason
    assert "--input-shape 1,224,224,3" in result.reason


def test_weights_of_4_bits_are_never_for_tflite_runtime(
    float_model: FloatModel, samples: Path, base_profile: TargetProfile, tmp_path: Path
) -> None:
    fed = PreparedSamples(paths=(samples,), sha256="c" * 64)
    made = derive_all(
        float_model, (RECIPES["int4"], RECIPES["int8"]), fed, tmp_path, profile=base_profile
    ).artifacts
    older = next(one for one in base_profile.engines() if one.runtime.engine == "tflite_runtime")
    assert "int4" in base_profile.precision.accepts and "int4" not in older.precision.accepts
    verdicts = [
        next(g for g in check(a.path, RECIPES[a.recipe], older) if g.name == "operators") for a in made
    ]
    assert [g.verdict for g in verdicts] == ["fail", "pass"]
    assert "tflite_runtime 2.14.0" in verdicts[0].reason and "weights of 4 bits" in verdicts[0].reason
