"""One search for unsound quantization serves inspect, the contract and the check: the same fault, each in its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeship.compile.lint import lint
from edgeship.tflite.findings import find_problems
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.soundness import bad_biases, bad_scales, odd_bias_scales, unlike_joins


@pytest.fixture
def real(shared_data: Path) -> Any:
    """A published int8 model, as ours and other people's converters make them."""
    return read_tflite(shared_data / "kws" / "mlperf_int8.tflite")


@pytest.mark.shared
def test_a_published_model_is_sound(real: Any) -> None:
    found = (
        bad_scales(real.main),
        bad_biases(real, real.main),
        odd_bias_scales(real.main),
        unlike_joins(real.main),
    )
    assert [list(facts) for facts in found] == [[], [], [], []]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("scale", "kind"), [(0.0, "zero or negative"), (float("inf"), "not finite"), (1e-40, "denormal")]
)
def test_every_reader_sees_the_same_scale(real: Any, scale: float, kind: str, tmp_path: Path) -> None:
    content = changed(real, scale)
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    file = read_tflite(path)
    (fault,) = bad_scales(file.main)
    assert (fault.kind, fault.channels, fault.bad) == (kind, 1, 1)
    assert [f.code for f in find_problems(file) if f.code == "bad-scale"] == ["bad-scale"]
    assert [f.code for f in lint(file) if f.code == "bad-scale"] == ["bad-scale"]


def changed(file: Any, scale: float) -> bytes:
    """Return the file with the scale of its first activation replaced."""
    import flatbuffers

    from edgeship.tflite.schema import tflite_schema

    schema = tflite_schema()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.path.read_bytes()))
    graph = model.subgraphs[0]
    graph.tensors[graph.operators[0].outputs[0]].quantization.scale = [scale]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_scale_that_nothing_reads(builder: Any, tmp_path: Path) -> None:
    """Old converters left scales of 0 at tensors of floats."""
    x, y = (builder.tensor(name, [1, 4], scales=[0.0]) for name in "xy")
    builder.op("RELU", [x], [y])
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.build([x], [y]))
    assert not list(bad_scales(read_tflite(path).main))
