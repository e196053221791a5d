"""What people bring, small: every kind builds where it fits, serves, and answers as the original."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
CPU = ("host", "raspberry-pi-5")
WITHIN = {"detector": 0.02}
"""Share of the answers' range by which they may differ from the original's; 0.1 elsewhere."""
STEP = 1 / 255
"""And one step of int8 scores, for those of an untrained model lie nearer to each other than that."""

KINDS = re.findall(r"^@kind\ndef (\w+)", (HERE / "make_kinds.py").read_text(), re.M)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_builds_serves_and_agrees(
    edgeship: Any, kinds: Path, model_of: Any, build_kind: Any, served_bundle: Any, kind: str
) -> None:
    folder = kinds / kind
    checked = edgeship(
        "check", model_of(kind), *(word for target in CPU for word in ("-t", target)), "--json"
    )
    said = build_kind(kind, *CPU)
    assert said.status == checked.status == 0, (checked.out, said.err)
    assert said.err.count("- measuring float_fp32") <= 1, "both targets take the same files"
    bundle = Path(said.document()["targets"][0]["bundle"])
    if kind == "fused_lstm" and sys.version_info[:2] != (3, 11):
        return  # the Python that the bundle's packages are for; test_recurrent.py sees what is told elsewhere
    with np.load(folder / "ask.npz") as held:
        asked = [held[f"a{i}"] for i in range(len([k for k in held if k.startswith("a")]))]
        wanted = [held[f"y{i}"] for i in range(len([k for k in held if k.startswith("y")]))]
    service = served_bundle(bundle)
    for row in range(2):
        got = service.ask(*(a[row] for a in asked))
        for mine, theirs in zip(matched(got, wanted), wanted, strict=True):
            one = theirs[row].astype("float32").ravel()
            span = float(np.ptp(theirs)) or 1.0
            assert np.abs(mine.ravel() - one).max() <= max(WITHIN.get(kind, 0.1) * span, STEP), (
                mine.ravel()[:8],
                one[:8],
            )


def matched(got: list[np.ndarray], wanted: list[np.ndarray]) -> list[np.ndarray]:
    """Return the outputs in the original's order, by their sizes."""
    return [next(g for g in got if g[0].size == w[0].size) for w in wanted]


@pytest.mark.parametrize("kind", ["plain", "dynamic_range"])
def test_deploy_says_what_build_says(
    edgeship: Any, kinds: Path, model_of: Any, build_kind: Any, tmp_path: Path, kind: str
) -> None:
    """A deployment builds by the same steps: it refuses what they refuse, and changes nothing on the device."""
    for target in ("host", "coral"):
        built = build_kind(kind, target)
        host = f"local:{tmp_path / target}"
        said = edgeship(
            "deploy", model_of(kind), "-t", target, "--host", host, "--calibration", kinds / kind / "calib.npz",
            "--allow-uncompiled", "--goal", "stage", "--app", "m",
        )  # fmt: skip
        assert (built.status == 0) == (said.status == 0) or target == "coral", said.err
        if built.status != 0:
            assert said.status == built.status and not (tmp_path / target / "apps").exists()


def test_a_lambda_is_refused_and_told(edgeship: Any, tmp_path: Path) -> None:
    code = (
        "import keras; L = keras.layers\n"
        "keras.Sequential([keras.Input((4,)), L.Lambda(lambda x: x * 2), L.Dense(2)]).save('m.keras')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True,
                   env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})  # fmt: skip
    said = edgeship("build", tmp_path / "m.keras", "-t", "host")
    assert said.status == 2 and "error: model-lambda" in said.err and "hint:" in said.err


def test_every_kind_that_is_made_is_tried(kinds: Path) -> None:
    assert set(KINDS) == {p.name for p in kinds.iterdir() if p.is_dir()}
    assert len(KINDS) >= 24
