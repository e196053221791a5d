"""`edgeship compress` and `explain` as they are typed: cold, cached, killed and resumed; and what is refused."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = "epochs=2,steps=8,batch=32,augment=none"
CHAIN = f"prune-60,{SHORT}+cluster-8,{SHORT}"
CONTROL = f"finetune,{SHORT}"


@pytest.fixture(scope="module")
def model(once: Callable[..., Path], tiny_models: ModuleType) -> Path:
    """A folder with a small classifier, training and evaluation data that it is right about."""

    def fill(folder: Path) -> None:
        path = tiny_models.classifier(folder / "m.tflite")
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        x = tiny_models.pictures(400)
        classes = []
        for sample in x:
            interpreter.set_tensor(entry["index"], sample[None])
            interpreter.invoke()
            classes.append(int(interpreter.get_tensor(out["index"]).argmax()))
        y = np.array(classes)
        np.savez(folder / "train.npz", x=x[:300], y=y[:300])
        np.savez(folder / "eval.npz", x=x[300:], y=y[300:])

    return once("compress-cli", fill)


class Typed:
    """Runs commands with a cache of their own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "EDGESHIP_CACHE": str(cache)}

    def words(self, *more: str) -> list[str]:
        data = ["--train", str(self.folder / "train.npz"), "--eval", str(self.folder / "eval.npz")]
        return [str(self.folder / "m.tflite"), "--target", "host", *data, *more]

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgeship", *words]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=560)
        return process.returncode, out, err


def told(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what a clock says."""
    if isinstance(document, dict):
        return {k: told(v) for k, v in document.items() if k not in ("seconds", "latency_ms", "peak_rss_mb")}
    return [told(v) for v in document] if isinstance(document, list) else document  # type: ignore[return-value]


def spent() -> float:
    """Return the processor seconds of all children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tookless(page: str) -> str:
    """Return a page without how long its search took."""
    return re.sub(r"<small>in [^<]*</small>", "", page)


def changed(model: Path, folder: Path, name: str, which: str) -> Path:
    """Return a folder like `model`, the first sample or label of one dataset another."""
    shutil.copytree(model, folder)
    held = dict(np.load(folder / f"{name}.npz"))
    held[which][0] = held[which][held["y"] != held["y"][0]][0]
    np.savez(folder / f"{name}.npz", **held)
    return folder


ASKED = ["--recipe", "int8", "--method", CHAIN, "--method", CONTROL, "--max-drop", "100", "--json", "-q"]


@pytest.fixture(scope="module")
def searched(once: Callable[..., Path], model: Path) -> Path:
    """A folder with the cache of a cold search, what it printed, and its results in `out`."""

    def fill(folder: Path) -> None:
        cold = Typed(model, folder / "cache")
        code, out, err = cold.run("compress", *cold.words(*ASKED, "-o", str(folder / "out")))
        assert code == 0, err
        (folder / "said.json").write_text(out)

    return once("compress-cold", fill)


@pytest.mark.slow
def test_cold_and_cached_runs_tell_the_same(model: Path, searched: Path, tmp_path: Path) -> None:
    cold, results = Typed(model, searched / "cache"), searched / "out"
    document = json.loads((searched / "said.json").read_text())
    schema = json.loads((ROOT / "docs" / "schemas" / "compress.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert document == json.loads((results / "compress.json").read_text())
    chain = next(v for v in document["variants"] if v["steps"] and not v["control"])
    assert chain["unique_weights"] <= 8 and chain["sparsity"] > 0.5
    assert chain["bytes_compressed"] < document["variants"][0]["bytes_compressed"]
    assert document["chosen"] == chain["file"] and (results / chain["file"]).exists()
    assert (results / document["bundle"]).exists()
    assert chain["name"] in (results / "report.html").read_text()
    layers = document["sensitivity"]
    assert layers["recipe"] == "static_wi8_ai8" and layers["looked_at"] == len(layers["layers"]) == 5
    assert layers["snr_db"] <= min(layer["alone_snr_db"] for layer in layers["layers"]) + 3.0

    code, out, err = cold.run("compress", *cold.words(*ASKED, "-o", str(tmp_path / "again")))
    assert code == 0, err
    assert told(json.loads(out)) == told(document), "cached"
    bundle = tmp_path / "again" / document["bundle"]
    before, lay = spent(), bundle.stat()
    code, out, err = cold.run("compress", *cold.words(*ASKED, "-o", str(tmp_path / "again")))
    assert spent() - before < 1.6, "0.8 processor seconds on an idle machine; 2.2 where a bundle is made"
    assert told(json.loads(out)) == told(document), "into the same folder"
    assert (bundle.stat().st_ino, bundle.stat().st_mtime_ns) == (lay.st_ino, lay.st_mtime_ns), "it stays"
    pages = [(folder / "report.html").read_text() for folder in (results, tmp_path / "again")]
    assert tookless(pages[0]) == tookless(pages[1]), "plots that were kept are those that were drawn"

    shutil.rmtree(searched / "cache" / "compress" / "layers")
    code, out, err = cold.run(
        "compress", *cold.words(*ASKED, "--minutes", "0.01", "-o", str(tmp_path / "again"))
    )
    assert code == 0, err
    assert "no time" in json.loads(out)["sensitivity"]["unavailable"], "a tenth of 0.6 seconds"

    turned = Typed(changed(model, tmp_path / "turned", "eval", "y"), searched / "cache")
    code, out, err = turned.run("compress", *turned.words(*ASKED, "-o", str(tmp_path / "again")))
    assert code == 0, err
    other = json.loads(out)
    assert other["bundle"] != document["bundle"] and other["data"][-1] != document["data"][-1]
    for one, two in zip(document["variants"], other["variants"], strict=True):
        was, now = one["metric"]["evaluation"], two["metric"]["evaluation"]
        assert (was["float"], now["float"]) == (100.0, 99.0), (
            "of 100 samples one is told to be of another class"
        )


@pytest.mark.slow
def test_a_killed_search_that_is_resumed_tells_the_same(model: Path, searched: Path, tmp_path: Path) -> None:
    document = json.loads((searched / "said.json").read_text())
    killed = Typed(model, tmp_path / "killed")
    process = killed.start("compress", *killed.words(*ASKED, "-o", str(tmp_path / "third")))
    steps, until = tmp_path / "killed" / "compress" / "steps", time.monotonic() + 400
    while not (steps.exists() and any(p.suffix != ".part" for p in steps.iterdir())):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "third" / "compress.json").exists()
    # a ladder's bundle holds how long its variants take on this machine: measured once, and kept
    shutil.copytree(searched / "cache" / "figures", tmp_path / "killed" / "figures")
    code, out, err = killed.run("compress", *killed.words(*ASKED, "-o", str(tmp_path / "third")))
    assert code == 0, err
    assert told(json.loads(out)) == told(document), "killed and resumed"


@pytest.mark.slow
def test_a_changed_training_sample_is_not_answered_from_what_was_kept(model: Path, tmp_path: Path) -> None:
    asked = ["--recipe", "int8", "--method", "equalise", "--json", "-q", "-o", str(tmp_path / "out")]
    digests = []
    for folder in (model, changed(model, tmp_path / "other", "train", "x")):
        typed = Typed(folder, tmp_path / "cache")
        code, out, err = typed.run("compress", *typed.words(*asked))
        assert code == 0, err
        digests.append(
            [(v["sha256"], v["steps"] and v["steps"][0]["data"]) for v in json.loads(out)["variants"]]
        )
    assert len(list((tmp_path / "cache" / "compress" / "results").iterdir())) == 4
    assert digests[0][1][1] != digests[1][1][1]


@pytest.mark.slow
def test_goals_that_nothing_meets_show_the_nearest_and_exit_3(model: Path, tmp_path: Path) -> None:
    typed = Typed(model, tmp_path / "cache")
    asked = ["--recipe", "int8", "--method", CONTROL, "--max-kb", "0.1", "-q", "-o", str(tmp_path / "out")]
    code, out, err = typed.run("compress", *typed.words(*asked))
    assert code == 3, err
    assert "no candidate meets the goals; nearest: static_wi8_ai8" in out
    assert "over the limit of 0.1 kB" in out
    assert not list((tmp_path / "out").glob("*.edgeship"))


@pytest.mark.slow
def test_explain_tells_every_layer(model: Path, tmp_path: Path) -> None:
    typed = Typed(model, tmp_path / "cache")
    code, out, err = typed.run("explain", *typed.words("--recipe", "int8", "--json", "-q"))
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, json.loads((ROOT / "docs" / "schemas" / "explain.schema.json").read_text()))
    layers = {layer["op"]: layer for layer in document["layers"]}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= set(layers)
    assert all(isinstance(layer["alone_snr_db"], float) for layer in layers.values()), layers
    assert document["snr_db"] <= min(layer["alone_snr_db"] for layer in layers.values()) + 3.0


@pytest.mark.slow
def test_weights_of_half_precision_are_compressed_as_float32(model: Path, tmp_path: Path) -> None:
    halved(model / "m.tflite", tmp_path / "half.tflite")
    typed = Typed(model, tmp_path / "cache")
    words = typed.words("--recipe", "int8", "--json", "-q", "--max-drop", "100", "-o", str(tmp_path / "out"))
    words[0] = str(tmp_path / "half.tflite")
    code, out, err = typed.run("compress", *words, "--method", "channels-30")
    assert code == 0, err
    plain, smaller = json.loads(out)["variants"]
    assert smaller["steps"] and smaller["parameters"] < plain["parameters"] == 320
    assert smaller["bytes"] < plain["bytes"] and plain["metric"]["evaluation"]["drop"] < 5


def halved(source: Path, out: Path) -> None:
    """Write a model with the weights of its layers in half precision, behind DEQUANTIZE."""
    from edgeship.tflite.draft import Draft
    from edgeship.tflite.flat import parse
    from edgeship.tflite.refit import packed
    from edgeship.tflite.weights import layers_of

    content = source.read_bytes()
    draft, file = Draft(content), parse(source, content, "")
    for layer in layers_of(file.main):
        op = next(o for o in draft.operators if layer.weight in o.inputs)
        for index in (layer.weight, layer.bias):
            assert index is not None
            small = draft.put(index, "half", draft.floats(index).astype(np.float16))  # type: ignore[union-attr]
            wide = draft.made(index, "wide")
            new = draft.before(op)
            draft.become(new, "DEQUANTIZE", [small])
            draft.make(new, [wide])
            draft.read(op, [wide if i == index else i for i in op.inputs])
    out.write_bytes(packed(draft.model, draft.schema, content))


@pytest.mark.parametrize(
    ("more", "reference"),
    [
        (["--method", "prun-50"], "unknown-method"),
        (["--method", "prune-500"], "bad-setting"),
        (["--target", "raspberry-pi-5"], "one-target"),
        (["--method", "prune-50+channels-30"], "bad-chain"),
        (["--train", "nowhere.npz"], "dataset-not-found"),
        (["--minutes", "0"], "bad-usage"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(
    model: Path, tmp_path: Path, more: list[str], reference: str
) -> None:
    typed = Typed(model, tmp_path / "cache")
    code, _, err = typed.run("compress", *typed.words("-q", "-o", str(tmp_path / "out"), *more))
    assert code == 2 and f"error: {reference}" in err and "Traceback" not in err
    assert "hint:" in err


@pytest.mark.parametrize(
    ("reference", "of"),
    [
        ("labels-unfit", lambda x, y: {"x": x, "y": y + 0.5}),
        ("labels-unfit", lambda x, y: {"x": x, "y": np.eye(int(y.max()) + 9, dtype=np.float32)[y]}),
        ("labels-range", lambda x, y: {"x": x, "y": y - 1}),
        ("dataset-too-small", lambda x, y: {"x": x[:1], "y": y[:1]}),
    ],
)
def test_data_that_nothing_can_be_chosen_by_is_told_before_anything_is_made(
    model: Path, tmp_path: Path, reference: str, of: Callable[..., dict[str, Any]]
) -> None:
    held = np.load(model / "train.npz")
    np.savez(tmp_path / "bad.npz", **of(held["x"], held["y"]))
    words = [str(model / "m.tflite"), "--target", "host", "--train", str(tmp_path / "bad.npz"), "-q"]
    typed = Typed(model, tmp_path / "cache")
    code, _, err = typed.run("compress", *words, "--max-drop", "1", "-o", str(tmp_path / "out"))
    assert code == 2 and f"error: {reference}" in err, err
    assert not (tmp_path / "cache" / "compress").exists() and not (tmp_path / "out").exists()


def test_a_dry_run_shows_the_plan(model: Path, tmp_path: Path) -> None:
    typed = Typed(model, tmp_path / "cache")
    code, out, err = typed.run("compress", *typed.words("--dry-run"))
    assert code == 0, err
    assert "try static_wi8_ai8 (plain)" in out and "the control" in out
    assert not (tmp_path / "cache" / "compress").exists()
