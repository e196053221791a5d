"""Whatever a file holds, a check answers or refuses it: it never breaks, and what it says is consistent."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from edgeship.assets import target_folders
from edgeship.compile.check import check_model
from edgeship.compile.edgetpu.backend import reasons_against
from edgeship.compile.edgetpu.table import newest_versions, rows
from edgeship.compile.picture import WIDTH, picture
from edgeship.errors import EdgeshipError
from edgeship.profile import load_profile
from edgeship.tflite.reader import read_tflite

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "check.schema.json").read_text())
TYPES = ("int8", "int8", "int8", "uint8", "int16", "int32", "float32")
CUSTOM = ("TFLite_Detection_PostProcess", "FlexErf", "edgetpu-custom-op", "ethos-u")
OPTIONS = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "PACK": "PackOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "CONCATENATION": "ConcatenationOptions", "MEAN": "ReducerOptions",
    "SPLIT": "SplitOptions", "STRIDED_SLICE": "StridedSliceOptions",
}  # fmt: skip
REFUSALS = (
    "model-corrupt", "model-inconsistent", "model-unknown-parts", "model-not-tflite", "model-empty-graph",
)  # fmt: skip
PROFILES = [
    load_profile(name, folders=target_folders(environment={})) for name in ("coral", "host", "gpu-aarch64")
]


def anything(graph, rng: random.Random) -> None:
    """Fill a graph with operations on inputs of any number, type and shape: well formed as a file, not as a model."""

    def shape() -> list[int]:
        return [rng.choice((0, 1, 1, 2, 5, 8)) for _ in range(rng.randint(0, 6))]

    def tensor() -> int:
        dtype, scale = rng.choice(TYPES), rng.choice((None, 0.1, 0.0))
        if rng.random() < 0.4:
            return int(graph.const(shape(), dtype, fill=rng.randint(0, 3), scale=scale))
        return int(graph.tensor(shape(), dtype, scale=scale))

    live = [graph.input(shape(), rng.choice(TYPES)) for _ in range(rng.randint(0, 2))]
    kinds = sorted(rows()), sorted(newest_versions()), CUSTOM
    for _ in range(rng.randint(1, 6)):
        op = rng.choice(rng.choice(kinds))
        inputs = [
            rng.choice([*live, -1]) if rng.random() < 0.5 else tensor() for _ in range(rng.randint(0, 5))
        ]
        outputs = [graph.tensor(shape(), rng.choice(TYPES)) for _ in range(rng.choice((0, 1, 1, 1, 3)))]
        graph.op(op, inputs, outputs=outputs, version=rng.choice((1, 2, 12)), options=OPTIONS.get(op, ""))
        live += outputs


@pytest.mark.parametrize("seed", range(6))
def test_a_check_of_anything(seed: int, graph_maker: Callable, tmp_path: Path) -> None:
    rng = random.Random(seed)
    path = tmp_path / "model.tflite"
    for _ in range(8):
        graph = graph_maker()
        anything(graph, rng)
        path.write_bytes(graph.bytes())
        reasons_against(read_tflite(path))
        for profile in PROFILES:
            report = check_model(path, profile)
            jsonschema.validate(report.document(), SCHEMA)
            assert all(len(line) <= max(WIDTH, len(str(path)) + 60) for line in picture(report).splitlines())
            assert len(report.operations) == len(graph.operators)
            assert report.exit_code == (3 if report.verdict == "fail" else 0)
            if report.verdict == "partial":
                assert 0 < report.mapped < len(report.operations)
            for operation in report.operations:
                assert operation.placement == "accelerator" or operation.status != "Mapped to Edge TPU"


@pytest.mark.shared
def test_a_check_of_a_damaged_file(coral: Path, tmp_path: Path) -> None:
    """Bits flipped in the structure and the file cut anywhere: refused as damaged, or judged as what it says."""
    content = (coral / "split_concat.tflite").read_bytes()
    rng, path = random.Random(7), tmp_path / "model.tflite"
    refused = 0
    for trial in range(90):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged if trial % 3 else damaged[: rng.randrange(len(damaged))])
        try:
            for profile in PROFILES:
                picture(check_model(path, profile))
        except EdgeshipError as error:
            refused += 1
            assert error.reference in REFUSALS, error
    assert refused >= 30, "the cut ones at least"
