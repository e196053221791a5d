"""`check` of models that nobody quantized yet: what it says is what `build` makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.toolchain.environments import find


@pytest.mark.slow
@pytest.mark.skipif(find("vela") is None, reason="needs Vela: edgeship toolchain install vela")
def test_a_float_model_is_checked_by_asking_vela_about_its_int8_form(
    edgeship: Any, tiny_models: Any, tmp_path: Path, valid: Any
) -> None:
    """What `check` says is what `build` then makes, and a model that build refuses is not called good."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.PReLU(shared_axes=[1, 2]),
            layers.GlobalMaxPooling2D(),
        ]
    )
    model.save(tmp_path / "good.keras")
    said = edgeship("check", "good.keras", "--target", "ethos-u55-128", "--target", "coral", "--json")
    assert said.status == 0, said.err
    vela, coral = said.document()["targets"]
    valid("check", vela)
    assert (vela["verdict"], vela["basis"], coral["verdict"]) == ("pass", "compiler", "pass")
    assert vela["model"] == "good.keras"
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 8, 8, 3)).astype(np.float32))
    said = edgeship("build", "good.keras", "--target", "ethos-u55-128", "--calibration", "x.npy", "--json")
    assert said.status == 0, said.err

    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.ops.exp(layers.Conv2D(4, 3)(inputs))).save(tmp_path / "bad.keras")
    said = edgeship("check", "bad.keras", "--target", "ethos-u55-128")
    assert said.status == 3 and "quantizing leaves EXP in float" in said.out
