"""`edgeship simulate`: a sealed bundle with the real runtime, by its own governor, against a model of a board."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.assets import runtime_folder
from edgeship.bundle.seal import seal
from edgeship.digest import canonical_json

TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "tensor": {"dtype": "float32", "shape": [1, 4]}}
SECONDS = {"quick": (0.71, 0.004), "middle": (0.83, 0.015), "best": (0.91, 0.06), "worse": (0.7, 0.07)}
LIMITS: dict[str, float] = dict.fromkeys(("queue", "connections", "body_bytes", "header_bytes"), 32)
LIMITS |= dict.fromkeys(("request_seconds", "idle_seconds", "drain_seconds"), 10.0)
FAST = ("--seconds", 30, "--rate", 12, "--deadline-ms", 150)


def make(folder: Path, *, governor: bool = True, old: bool = False) -> Path:
    """Seal a bundle for a Raspberry Pi 4 whose rungs were timed by nobody."""
    rungs = [
        {"variant": name, "accuracy": accuracy, "seconds": seconds, "p95_seconds": 1.1 * seconds, "threads": 1,
         "measured": "host"}
        for name, (accuracy, seconds) in SECONDS.items()
    ]  # fmt: skip
    sensors = [{"name": "soc", "kind": "temperature", "trips": [{"at": 80, "effect": "slower"}]}]
    variants = [
        {"name": name, "recipe": "static_wi8_ai8", "file": "models/m.tflite", "inputs": [TENSOR], "outputs": [TENSOR]}
        for name in SECONDS
    ]  # fmt: skip
    service: dict[str, Any] = {
        "schema": "edgeship.service/1", "app": "kws", "version": "1", "chosen": "best", "limits": LIMITS,
        "engine": {"name": "litert", "version": "2.3.0", "threads": 1}, "variants": variants,
    }  # fmt: skip
    if governor:
        service["governor"] = {
            "settings": {},
            "rungs": rungs,
            "sensors": sensors,
            "power": None,
            "thermal": None,
        }
    files: dict[str, Path | bytes] = {
        f"runtime/{path.name}": path.read_bytes()
        for path in runtime_folder().glob("*.py")
        if not (old and "simulat" in path.name)
    }
    files["service.json"] = canonical_json(service)
    digests = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "executable": False}
        for name, data in files.items()
        if isinstance(data, bytes)
    }
    manifest = {
        "schema": "edgeship.manifest/1", "app": "kws", "version": "1", "target": "raspberry-pi-4", "chosen": "best",
        "requires": {
            "machine": "aarch64", "libc": None, "libstdcxx": None, "python": ["3.7"], "cpu_flags": [], "packages": [],
            "libraries": [], "ram_mb": 1, "disk_bytes": 1, "service": "auto", "delegate": None, "devices": [],
        },
        "engine": {"name": "litert", "version": "2.3.0", "delegate": "none"}, "variants": [],
        "provenance": {}, "files": digests,
    }  # fmt: skip
    return Path(seal(files, manifest, executable=(), out=folder).path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("ladder"))


def test_a_table_a_document_and_a_page(
    edgeship: Any, bundle: Path, tmp_path: Path, valid: Callable[[str, Any], None]
) -> None:
    page = tmp_path / "page.html"
    words = ["simulate", bundle.parent, *FAST, "--pattern", "steady,burst", "-o", page]
    said = edgeship(*words)
    assert said.status == 0, said.err
    assert "kws on Raspberry Pi 4; 150 ms for an answer" in said.out
    assert "worse does not serve: best is at least as accurate and not slower" in said.out
    assert "governor:" in said.out and "points more right answers in time than fixed:middle" in said.out
    assert "steady: " in said.out and "burst: " in said.out and f"page: {page}" in said.out
    assert "rungs were timed on the machine that built the bundle" in said.out
    assert "a trace lasts less than a minute" in said.out, "a budget comes to nothing in so little"
    text = page.read_text()
    assert text.count("<svg") == 6 and "fixed:middle (most right" in text and "<script" not in text
    again = edgeship(*words)
    assert again.status == 2 and "file-exists" in again.err and "--force" in again.err
    document = json.loads(edgeship(*words, "--force", "--json").out)
    valid("simulate", document)
    assert document["board"]["trips"] == [80.0, 85.0] and document["board"]["power"]["idle_watts"] == 2.7
    own = document["traces"][0]["policies"][0]
    assert own["policy"] == "governor" and own["requests"] > 300 and own["missed_share"] <= 0.02
    assert own["right"] <= document["traces"][0]["requests"] and set(own["rung_seconds"]) == set(SECONDS)


def test_settings_board_and_a_trace_of_ones_own(edgeship: Any, bundle: Path, tmp_path: Path) -> None:
    trace = tmp_path / "access.log"
    trace.write_text("".join(f"{n / 12}\n" for n in range(360)))
    words = [
        "simulate", bundle, "--trace", trace, "--speed", 2, "--deadline-ms", 150, "--board", "x86-64-linux",
        "--power", "idle=10,busy=20", "--thermal", "ambient=20,c_per_watt=1,seconds=60,die=0.5,die_seconds=2",
        "--watts", 12, "--set", "governor.coalesce=off", "--policy", "governor", "--policy", "fixed:best",
        "--ambient", 30, "--scale", 0.5, "--seed", 4, "--json",
    ]  # fmt: skip
    said = edgeship(*words)
    assert said.status == 0, said.err
    document = json.loads(said.out)
    assert document["board"]["title"].startswith("Linux") or "x86" in document["board"]["title"]
    assert (
        document["board"]["thermal"]["ambient_c"] == 30 and document["board"]["thermal"]["die_seconds"] == 2
    )
    assert document["settings"]["watts"] == 12
    assert document["settings"]["coalesce"] == "off" and document["rungs"][0]["seconds"] == pytest.approx(
        0.002
    )
    shown = document["traces"][0]
    assert shown["name"] == "access.log" and shown["rate"] == pytest.approx(24) and shown["seconds"] == 15
    assert [row["policy"] for row in shown["policies"]] == ["governor", "fixed:best"]
    assert shown["policies"][0]["watts"] < shown["policies"][1]["watts"]
    assert edgeship(*words).out == said.out


def test_figures_of_a_device_replace_the_host_s(edgeship: Any, bundle: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"schema": "edgeship.figures/1", "rungs": {"best": {"seconds": 0.02}}}))
    words = [
        "simulate",
        bundle,
        *FAST,
        "--pattern",
        "steady",
        "--policy",
        "governor",
        "--figures",
        figures,
        "--json",
    ]
    rungs = {row["variant"]: row for row in json.loads(edgeship(*words).out)["rungs"]}
    assert rungs["best"]["seconds"] == 0.02 and rungs["best"]["measured"] == "device"
    assert rungs["quick"]["measured"] == "host"


WRONG: dict[str, tuple[list[object], str, str]] = {
    "pattern": (["--pattern", "stedy"], "unknown-pattern", "there is no pattern 'stedy'; there are: steady"),
    "policy": (["--policy", "guvernor"], "unknown-policy", "there is no policy 'guvernor'"),
    "board": (["--board", "raspbery-pi-4"], "unknown-target", "raspberry-pi-4"),
    "no figures": (["--board", "rock-5b"], "no-board-figures", "--power idle="),
    "power": (["--power", "idle=2,bussy=3"], "bad-board-figure", "'bussy=3' is none of idle=NUMBER, busy=NUMBER"),
    "thermal": (["--thermal", "seconds=slow"], "bad-board-figure", "--thermal"),
    "less when busy": (["--power", "busy=1"], "no-board-figures", "busy_watts must be above idle_watts"),
    "seconds": (["--seconds", "1"], "bad-simulation", "wanted a number from 2"),
    "deadline": (["--deadline-ms", "0"], "bad-simulation", "deadline_ms is 0"),
    "too many": (["--rate", "1e5", "--seconds", "600"], "bad-simulation", "2000000 are simulated: fewer seconds (20)"),
    "setting": (["--set", "governor.wats=3"], "unknown-setting", "did you mean governor.watts?"),
    "watts": (["--watts", "-1"], "wrong-setting", "governor.watts"),
    "trace": (["--trace", "none.log"], "bad-trace", "none.log: No such file"),
    "line": (["--trace", "bad.log"], "bad-trace", "line 2: no time: soon"),
    "figures": (["--figures", "bad.log"], "bad-figures", "is not JSON"),
    "figures gone": (["--figures", "none.json"], "bad-figures", "No such file"),
    "figures of what": (["--figures", "list.json"], "bad-figures", "has no `rungs`"),
    "number": (["--rate", "many"], "bad-usage", "many"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_said(case: str, edgeship: Any, bundle: Path, tmp_path: Path) -> None:
    words, reference, holds = WRONG[case]
    (tmp_path / "bad.log").write_text("1\nsoon\n")
    (tmp_path / "list.json").write_text("[]")
    said = edgeship("simulate", bundle, *words)
    assert said.status == 2 and reference in said.err and holds in said.err and "hint:" in said.err, said.err
    assert "Traceback" not in said.err and said.out == ""
    hint = next(line for line in said.err.splitlines() if line.startswith("hint:"))
    assert hint.startswith(("hint: edgeship ", "hint: did you mean")), hint


def test_what_is_no_ladder_is_said(edgeship: Any, tmp_path: Path) -> None:
    for kept in ({"governor": False}, {"old": True}):
        said = edgeship("simulate", make(tmp_path / str(kept), **kept), *FAST)
        assert said.status == 2 and "no-ladder" in said.err and "--ladder" in said.err, said.err
    (tmp_path / "model.tflite").write_bytes(b"\0\0\0\0TFL3")
    said = edgeship("simulate", tmp_path / "model.tflite")
    assert said.status == 2 and "no-bundle" in said.err and "build" in said.err
    assert "bundle-missing" in edgeship("simulate", tmp_path / "none.edgeship").err
    (tmp_path / "empty").mkdir()
    said = edgeship("simulate", tmp_path / "empty", *FAST)
    assert said.status == 2 and "no-bundle" in said.err


def test_hints_can_be_typed(edgeship: Any, bundle: Path) -> None:
    said = edgeship("simulate", bundle, "--board", "rock-5b", *FAST)
    hint = next(line for line in said.err.splitlines() if line.startswith("hint:"))
    words = shlex.split(hint.removeprefix("hint: edgeship "))
    assert words[1] == str(bundle)
    assert edgeship(*words, *FAST, "--pattern", "steady", "--policy", "governor").status == 0
