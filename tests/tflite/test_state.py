"""What a model keeps between runs: found in the file, told by inspect, deciding the engine, set back while scoring."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeship.compile.check import check_model
from edgeship.model.inspect import inspect_model
from edgeship.profile import load_profile
from edgeship.report.inspection import model_text
from edgeship.tflite.engine import engine_for, refusal
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.state import State, states_of
from edgeship.toolchain import WorkerLimits, run_worker

ROOT = Path(__file__).resolve().parents[2]
TOTAL = State(name="total", kind="resource", dtype="float32", shape=(1, 2))
MEMORY = State(name="SVDF:0:0", kind="tensor", dtype="float32", shape=(1, 3))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models of the runtime's tests; made in a process of its own, because that imports ai_edge_litert."""
    folder = tmp_path_factory.mktemp("stateful")
    subprocess.run([sys.executable, str(ROOT / "tests/runtime/make_models.py"), str(folder)], check=True)
    return folder


def test_state_is_found(models: Path) -> None:
    assert states_of(read_tflite(models / "accumulate.tflite")) == (TOTAL,)
    assert states_of(read_tflite(models / "svdf.tflite")) == (MEMORY,)
    assert states_of(read_tflite(models / "dense_f32.tflite")) == ()


def test_a_variable_that_only_its_first_value_is_given_to_is_no_state(models: Path) -> None:
    held = read_tflite(models / "accumulate.tflite")
    main = held.main
    kept = tuple(o for o in main.operators if o.op != "ASSIGN_VARIABLE")
    constant = dataclasses.replace(
        held, subgraphs=(dataclasses.replace(main, operators=kept), *held.subgraphs[1:])
    )
    assert states_of(constant) == (), "a weight that stayed a variable is a constant under another name"


def test_a_variable_assigned_inside_a_loop_has_its_own_name(models: Path) -> None:
    """The body of a loop gets the variable's handle as an input of its own name."""
    held = read_tflite(models / "accumulate.tflite")
    main, once = held.subgraphs
    handle = main.operators[1].outputs[0]
    body = dataclasses.replace(
        main,
        index=2,
        operators=tuple(o for o in main.operators if o.op not in ("CALL_ONCE", "VAR_HANDLE")),
        inputs=(handle, *main.inputs),
    )
    call = dataclasses.replace(
        main.operators[0],
        index=2,
        op="WHILE",
        inputs=(handle, *main.inputs),
        options={"cond_subgraph_index": 3, "body_subgraph_index": 2},
    )
    outer = dataclasses.replace(main, operators=(*main.operators[:2], call))
    again = dataclasses.replace(body, index=3, operators=(dataclasses.replace(call, index=0),))
    looped = dataclasses.replace(held, subgraphs=(outer, once, body, again))
    assert states_of(looped) == (TOTAL,), "and loops that call each other end"


def test_litert_gives_no_variables_own_value_out(models: Path) -> None:
    """Measured: "Failed to set custom allocation for output tensor" for what READ_VARIABLE makes."""
    held = read_tflite(models / "accumulate.tflite")
    assert refusal(held, "litert") is None
    read = next(o for o in held.main.operators if o.op == "READ_VARIABLE").outputs[0]
    given = dataclasses.replace(
        held, subgraphs=(dataclasses.replace(held.main, outputs=(read,)), *held.subgraphs[1:])
    )
    assert "an output that is a variable's own value ('before')" in (refusal(given, "litert") or "")
    assert refusal(given, "tflite_runtime") is None


def test_inspect_tells_it(models: Path) -> None:
    text = model_text(inspect_model(models / "accumulate.tflite"), operations=False)
    assert "\n  state   total: float32 [1 x 2]\n" in text
    assert "a service begins each request anew, or keeps it in a session" in text
    assert "  state " not in model_text(inspect_model(models / "dense_f32.tflite"), operations=False)


@pytest.mark.parametrize(
    ("target", "engine"),
    [
        ("host", "tflite_runtime"),
        ("raspberry-pi-5", "tflite_runtime"),
        ("aarch64-linux-older", None),
        ("armv7-linux", None),
        ("coral", None),
        ("gpu-linux-x86-64", None),
    ],
)
def test_the_engine_that_runs_it_is_taken(models: Path, target: str, engine: str | None) -> None:
    profile = load_profile(target, folders=[ROOT / "targets"], machine="x86_64")
    for name in ("dense_f32", "accumulate"):
        choice = engine_for(read_tflite(models / f"{name}.tflite"), profile)
        assert (choice.profile, choice.reason) == (profile, None)
    choice = engine_for(read_tflite(models / "svdf.tflite"), profile)
    if engine is None:
        assert (choice.profile, choice.reason) == (profile, None)
        return
    assert choice.profile.runtime.engine == engine and choice.profile.name == profile.name
    assert (
        choice.profile.python.versions[0] == "3.11" and "weight-int4" not in choice.profile.precision.accepts
    )
    assert choice.reason == "litert 2.3.0 refuses the state that SVDF keeps between runs (variable tensors)"


@pytest.mark.parametrize(
    ("target", "code", "verdict"),
    [
        ("host", "another-engine", "pass"),
        ("gpu-linux-x86-64", "engine-refuses", "fail"),
        ("armv7-linux", None, "pass"),
    ],
)
def test_check_says_what_build_does(models: Path, target: str, code: str | None, verdict: str) -> None:
    profile = load_profile(target, folders=[ROOT / "targets"], machine="x86_64")
    report = check_model(models / "svdf.tflite", profile)
    found = {f.code for f in report.findings} & {"another-engine", "engine-refuses"}
    assert (found, report.verdict) == ({code} if code else set(), verdict)
    if code == "another-engine":
        assert report.operations[0].status == "Runs on the CPU, tflite_runtime 2.14.0 with xnnpack"


def test_what_is_told_of_litert_is_what_it_does(models: Path) -> None:
    """The refusal is LiteRT's own: where a newer one takes such models, this says so."""
    code = """
import sys; sys.path.insert(0, sys.argv[1])
import es_litert
class Release:
    engine = {"delegate": "none", "version": "2.3.0", "threads": 1, "library": sys.argv[3]}
    path = staticmethod(lambda name: name)
es_litert.LiteRtEngine(Release, {"name": "r", "recipe": "r", "file": sys.argv[2]})
"""
    spec = importlib.util.find_spec("ai_edge_litert")
    assert spec is not None and spec.submodule_search_locations
    library = Path(next(iter(spec.submodule_search_locations))) / "libLiteRt.so"
    for name in ("svdf", "accumulate"):
        model = models / f"{name}.tflite"
        command = [sys.executable, "-c", code, str(ROOT / "edgeship/runtime"), str(model), str(library)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode != 0) == (refusal(read_tflite(model), "litert") is not None), done.stderr


@pytest.mark.parametrize(("name", "first"), [("accumulate", 1.0), ("svdf", 0.0)])
def test_scoring_begins_each_sample_fresh(models: Path, tmp_path: Path, name: str, first: float) -> None:
    width = 2 if name == "accumulate" else 1
    samples = np.repeat(np.array([[1.0], [2.0], [4.0], [1.0]], np.float32), width, axis=1)
    np.save(tmp_path / "x.npy", samples)
    job = {"name": name, "path": str(models / f"{name}.tflite"), "out": str(tmp_path / "y")}
    run_worker(
        "edgeship.score.worker:outputs",
        {"samples": [str(tmp_path / "x.npy")], "models": [job]},
        limits=WorkerLimits(seconds=60),
    )
    answers = np.load(tmp_path / "y.0.npy")
    assert np.array_equal(answers, first + samples)
