"""Golden vectors: which inputs, recorded by the island, agreed with by LiteRT's interpreter."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.bundle.make import runtime_files
from edgeship.bundle.recording import host_engine, lay_out
from edgeship.bundle.service import input_entry, model_name, variant_entry
from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.errors import ToolError
from edgeship.score.golden import record
from edgeship.score.selection import Selection, pick, select_inputs, value_range
from edgeship.values import Dataset, GoldenTolerance, InputRule, TensorSpec, Variant

TOLERANCE = GoldenTolerance(max_lsb=1, max_abs=0.001, min_cosine=0.999, argmax=True)
INT8 = {"dtype": "int8", "shape": [1, 4], "scale": 0.5, "zero_point": -8}


def one_input(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 4], "tensor": INT8, "preprocess": None, **changes}


def dataset(folder: Path, x: Any, y: Any = None) -> Dataset:
    arrays = {"x": np.asarray(x)} | ({} if y is None else {"y": np.asarray(y)})
    np.savez(folder / "d.npz", **arrays)
    return load_dataset(str(folder / "d.npz"), folder / "work", Reading(role="evaluation"))


def test_every_class_and_both_extremes_are_picked() -> None:
    x = np.arange(400, dtype=np.float32).reshape(100, 4) % 97
    x[63, 0], x[77, 3] = -500, 900
    y = np.repeat(np.arange(5), 20)
    chosen = pick([x], y, 7)
    assert chosen[:2] == [63, 77]
    assert [int(y[i]) for i in chosen[2:]] == [0, 1, 2, 3, 4]
    assert chosen == pick([x], y, 7)
    assert len(pick([x[:3]], y[:3], 8)) == 3
    assert len(set(pick([x], None, 20))) == 20


@pytest.mark.parametrize(
    ("words", "asked"), [("gather index out of bounds; Node number 5", [8, 6]), ("out of memory", [8])]
)
def test_made_up_vectors_that_lead_out_of_a_table_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, asked: list[int]
) -> None:
    """The highest value of all is no index of every column's table; each sample is."""
    data = dataset(tmp_path, np.random.default_rng(1).integers(0, 9, (50, 4)).astype(np.int32))
    entry = {
        "name": "r",
        "recipe": "r",
        "candidate": "0",
        "inputs": [one_input(datatype="INT32")],
        "outputs": [],
    }
    (tmp_path / "service.json").write_text(json.dumps({"variants": [entry]}))
    seen = []

    def refuses(release: Path, recipe: str, selection: Selection) -> None:
        seen.append(len(selection.vectors))
        raise ToolError("golden-cannot-record", "it does not run", context={"engine": words})

    monkeypatch.setattr("edgeship.score.golden._run_island", refuses)
    with pytest.raises(ToolError):
        record(
            tmp_path,
            "r",
            select_inputs(entry, data, 8),
            tolerance=TOLERANCE,
            exact=True,
            keep=8,
            model=tmp_path,
        )
    assert seen == asked


def test_an_input_without_a_batch_axis_is_one_sample(tmp_path: Path) -> None:
    data = dataset(tmp_path, np.arange(120, dtype=np.float32).reshape(3, 40))
    spec = TensorSpec(name="waveform", shape=(40,), dtype="float32")
    entry = input_entry(spec, data.info.part(0), InputRule())
    assert entry["shape"] == entry["tensor"]["shape"] == [40]
    chosen = select_inputs({"inputs": [entry]}, data, 4)
    assert [vector[0].shape for vector in chosen.vectors] == [(40,)] * 4
    number = dataset(tmp_path, np.arange(3, dtype=np.float32))
    scalar = input_entry(TensorSpec(name="gain", shape=(), dtype="float32"), number.info.part(0), InputRule())
    assert scalar["shape"] == [] and select_inputs({"inputs": [scalar]}, number, 3).vectors[0][0].shape == ()


def test_selection_from_data_has_both_edges_and_repeats(tmp_path: Path) -> None:
    data = dataset(tmp_path, np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32))
    entry = {"inputs": [one_input()]}
    first, second = (select_inputs(entry, data, 8) for _ in range(2))
    assert len(first.vectors) == 8 and first.source == "samples of d.npz, and the edges of its range"
    for (a,), (b,) in zip(first.vectors, second.vectors, strict=True):
        assert a.dtype == np.float32 and a.shape == (1, 4) and np.array_equal(a, b)
    low, high = first.vectors[-2][0], first.vectors[-1][0]
    assert np.all(low == np.float32(data.info.minimum)) and np.all(high == np.float32(data.info.maximum))


@pytest.mark.parametrize(
    ("reference", "name"),
    [("../data/pictures/", "pictures"), ("/home/anna/eval.npz", "eval.npz"), ("a.b:c", "a.b:c")],
)
def test_where_samples_come_from_is_said_without_their_folder(
    tmp_path: Path, reference: str, name: str
) -> None:
    """It stands in the bundle, which must be the same wherever it is built."""
    data = dataset(tmp_path, np.zeros((8, 4), np.float32))
    data = replace(data, info=replace(data.info, reference=reference))
    assert select_inputs({"inputs": [one_input()]}, data, 5).source.startswith(f"samples of {name}, and")


def test_edges_of_small_integers_are_those_of_the_type(tmp_path: Path) -> None:
    data = dataset(tmp_path, np.random.default_rng(1).integers(50, 60, (20, 4), dtype=np.uint8))
    chosen = select_inputs({"inputs": [one_input(datatype="UINT8")]}, data, 5)
    assert np.all(chosen.vectors[-2][0] == 0) and np.all(chosen.vectors[-1][0] == 255)
    assert all(v.dtype == np.uint8 for (v,) in chosen.vectors)


def test_batches_are_filled_from_samples(tmp_path: Path) -> None:
    data = dataset(tmp_path, np.arange(12, dtype=np.float32).reshape(3, 4))
    chosen = select_inputs({"inputs": [one_input(shape=[2, 4])]}, data, 4)
    assert all(v.shape == (2, 4) for (v,) in chosen.vectors)


def test_without_data_noise_fills_the_range() -> None:
    raw = one_input(preprocess={"resize": None, "scale": 0.5, "mean": [1.0], "std": [2.0]})
    low, high = value_range(raw)
    assert (low, high) == (((-60.0 * 2.0) + 1.0) / 0.5, ((67.5 * 2.0) + 1.0) / 0.5)
    chosen = select_inputs({"inputs": [raw, one_input(name="y", datatype="INT8")]}, None, 6)
    assert chosen.source.startswith("seeded noise")
    for real, integer in chosen.vectors:
        assert real.min() >= low and real.max() <= high and integer.dtype == np.int8
    assert np.all(chosen.vectors[-1][0] == np.float32(high)) and np.all(chosen.vectors[-2][1] == -128)
    again = select_inputs({"inputs": [raw, one_input(name="y", datatype="INT8")]}, None, 6)
    assert all(
        np.array_equal(a, b)
        for v, w in zip(chosen.vectors, again.vectors, strict=True)
        for a, b in zip(v, w, strict=True)
    )


@pytest.fixture(scope="module")
def twin(
    tmp_path_factory: pytest.TempPathFactory, kws: tuple[Variant, Dataset], profile_of: Callable[[str], Any]
) -> tuple[Path, dict[str, Any]]:
    """The island, the KWS model and this environment's library as a release."""
    from edgeship.bundle.engines import installed_version, litert_files

    variant, data = kws
    folder = tmp_path_factory.mktemp("twin")
    profile = profile_of("host")
    entry = variant_entry(variant.artifact, data.info, (InputRule(),))
    limits = {"queue": 1, "connections": 1, "body_bytes": 1000, "header_bytes": 1000}
    limits |= {"request_seconds": 1.0, "idle_seconds": 1.0, "drain_seconds": 1.0}
    service = {
        "schema": "edgeship.service/1",
        "app": "kws",
        "version": "1",
        "listen": "127.0.0.1:0",
        "limits": limits,
        "engine": host_engine(profile),
        "chosen": entry["recipe"],
        "variants": [entry],
        "labels": [],
    }
    library = litert_files(
        ("libLiteRt.so",),
        version=installed_version(),
        machine=profile.architecture,
        libc="glibc",
        libc_version="2.36",
        cache=folder,
        progress=None,  # type: ignore[arg-type]
    ).libraries["libLiteRt.so"]
    lay_out(
        folder, {**runtime_files(), "lib/libLiteRt.so": library, "service.json": json.dumps(service).encode()}
    )
    lay_out(folder, {model_name(entry["recipe"]): variant.artifact.path})
    return folder, service


def rewrite(
    twin: tuple[Path, dict[str, Any]], change: Callable[[dict[str, Any]], None]
) -> Callable[[], None]:
    folder, service = twin
    changed = json.loads(json.dumps(service))
    change(changed)
    (folder / "service.json").write_text(json.dumps(changed))
    return lambda: (folder / "service.json").write_text(json.dumps(service)) and None


def recorded(
    twin: tuple[Path, dict[str, Any]], kws: tuple[Variant, Dataset], **changes: Any
) -> dict[str, Any]:
    folder, service = twin
    variant, data = kws
    wanted: dict[str, Any] = {
        "selection": select_inputs(service["variants"][0], data, 12),
        "tolerance": TOLERANCE,
        "exact": True,
        "keep": 8,
        "model": variant.artifact.path,
    }
    return record(folder, variant.artifact.recipe, **{**wanted, **changes})


def test_recording_says_what_it_was_made_with(twin: Any, kws: Any, schema: Callable[[str], Any]) -> None:
    import jsonschema

    document = recorded(twin, kws)
    jsonschema.validate(document, schema("golden"))
    assert len(document["vectors"]) == 8
    assert document["recorded_with"]["engine"] == "litert"
    assert document["recorded_with"]["delegate"] == "xnnpack"
    assert document["tolerance"]["max_lsb"] == 1
    assert document == recorded(twin, kws)


def test_vectors_nobody_could_promise_are_left_out(twin: Any, kws: Any) -> None:
    """Where the device's kernels differ, an equal argmax is only asked of inputs whose answer is clear."""
    loose = GoldenTolerance(max_lsb=30, max_abs=0.1, min_cosine=0.9, argmax=True)
    document = recorded(twin, kws, tolerance=loose, exact=False)
    for vector in document["vectors"]:
        steps = np.sort(np.frombuffer(base64.b64decode(vector["outputs"][0]), dtype=np.int8).astype(int))
        assert steps[-1] - steps[-2] > 60


def test_a_runtime_that_computes_otherwise_is_found_out(twin: Any, kws: Any) -> None:
    """The island is told a wrong scale, as a bug in its preprocessing would be: the interpreter disagrees."""
    variant, _ = kws
    _, service = twin
    selection = select_inputs(service["variants"][0], kws[1], 8)

    def wrong(document: dict[str, Any]) -> None:
        document["variants"][0]["inputs"][0]["tensor"]["scale"] *= 40

    restore = rewrite(twin, wrong)
    try:
        with pytest.raises(ToolError) as caught:
            recorded(twin, kws, selection=selection)
    finally:
        restore()
    assert caught.value.reference == "golden-disagree"
    assert caught.value.message == (
        "the runtime for devices and LiteRT's interpreter give different answers for "
        + variant.artifact.recipe
    )
    assert "wanted 0.99 at least" in caught.value.context["cosine"]


def test_what_the_island_cannot_run_is_said_in_its_words(twin: Any, kws: Any) -> None:
    def wrong(document: dict[str, Any]) -> None:
        document["variants"][0]["inputs"][0]["tensor"]["dtype"] = "uint8"

    restore = rewrite(twin, wrong)
    try:
        with pytest.raises(ToolError) as caught:
            recorded(twin, kws)
    finally:
        restore()
    assert caught.value.reference == "golden-cannot-record"
    assert "service.json says uint8" in caught.value.context["it said"]


def refused_by(folder: Path, program: str) -> str:
    """Return what is told where the runtime of a release is `program`."""
    (folder / "runtime").mkdir(parents=True)
    (folder / "runtime" / "main.py").write_text(program)
    named = {"name": "static_wi8_ai8", "recipe": "static_wi8_ai8", "candidate": "0"}
    entry = {**named, "inputs": [one_input()], "outputs": []}
    (folder / "service.json").write_text(json.dumps({"variants": [entry]}))
    with pytest.raises(ToolError) as caught:
        record(
            folder, "static_wi8_ai8", select_inputs(entry, None, 3),
            tolerance=TOLERANCE, exact=True, keep=3, model=folder / "none.tflite",
        )  # fmt: skip
    return caught.value.render()


def test_what_the_engine_itself_complained_of_is_told(tmp_path: Path) -> None:
    """LiteRT 2.3 answers an int8 SPLIT that XNNPACK cannot take with a status; the reason is on stderr only. An engine
    that dies leaves its chatter there, and how it died."""
    chatter = "import os, sys\nprint('INFO: XNNPACK', file=sys.stderr)\n"
    text = refused_by(
        tmp_path / "status",
        chatter + "print('ERROR: failed to delegate SPLIT node #3', file=sys.stderr)\n"
        'print(\'{"error": "engine-failed", "reason": "runtime failure (status 3)"}\')\nsys.exit(2)\n',
    )
    assert "it said: runtime failure (status 3)" in text
    assert "engine:  failed to delegate SPLIT node #3" in text and "INFO" not in text
    text = refused_by(tmp_path / "died", chatter + "sys.stderr.flush()\nos.kill(os.getpid(), 9)\n")
    assert "it said: the engine crashed (SIGKILL)" in text and "INFO" not in text
    assert "--eval D (without data it is asked noise)" in text
