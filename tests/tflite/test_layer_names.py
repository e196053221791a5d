"""Layers by the names that people gave them, out of what converters make of these."""

from __future__ import annotations

import pytest

from edgeship.tflite.layer_names import layer_name

KERAS_3 = (
    "functional_1/re_lu_1/Relu6;functional_1/bn_1/batchnorm/add_1;functional_1/conv_1/convolution;",
    "arith.constant2",
    "serving_default_input_layer:0",
    "StatefulPartitionedCall:0",
)

FOLDED = (
    "model_1/activation/Relu;model_1/bn/FusedBatchNormV3;model_1/conv2d_1/BiasAdd/ReadVariableOp;"
    "model_1/conv2d_1/BiasAdd;model_1/conv2d_1/Conv2D"
)


@pytest.mark.parametrize(
    ("names", "graph", "name"),
    [
        (KERAS_3[:1], KERAS_3, "conv"),
        (
            [FOLDED],
            ["model_1/conv2d_1/Conv2D", "model_1/dense/MatMul"],
            "conv2d_1",
        ),
        (["StatefulPartitionedCall:0", "sequential/head/MatMul;sequential/head/BiasAdd"], (), "head"),
        (["model/up/BiasAdd/ReadVariableOp"], (), "up"),
        (["conv_b"], (), "conv_b"),
        (["arith.constant3", "StatefulPartitionedCall:0"], (), ""),
    ],
)
def test_a_layer_by_its_own_name(names: list[str], graph: list[str], name: str) -> None:
    assert layer_name(names, graph) == name
