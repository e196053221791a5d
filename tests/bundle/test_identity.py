"""Two candidates of one recipe in one bundle: names, provenance, the device's proof, and either of them serving."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from edgeship.bundle.choosing import serving
from edgeship.bundle.make import make_bundle
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.seal import extract, open_bundle, seal
from edgeship.compile.backend import CompileResult
from edgeship.compile.ship import Shipped
from edgeship.deploy import DeployOptions, bench, deploy, remove, status
from edgeship.digest import sha256_bytes
from edgeship.errors import InputError, ToolError
from edgeship.model.source import open_model
from edgeship.pipeline.rungs import seal_ladder, with_rungs
from edgeship.progress import Silent
from edgeship.project import load_project
from edgeship.report.deploys import worst_golden
from edgeship.report.inspection import bundle_text
from edgeship.values import Bundle, Host, InputRule, Step, StepRecord, Variant

WEIGHTS = bytes(range(12))
RECIPE = "static_wi8_ai8"


def prune(epochs: int) -> StepRecord:
    step = Step(label="prune-80", method="prune", settings=(("epochs", epochs), ("share", 80)), seed=epochs)
    return StepRecord(
        step=step, data=(("train", "ab" * 32),), seconds=9.5, figures=(("zeros", 0.8), ("loss", float("nan")))
    )


LAYERS = (("y/out", "float"),)
CHAINS = {
    "full": (prune(9), StepRecord(step=Step(label="qat-int8:epochs=6", method="qat"), layers=LAYERS)),
    "probe": (prune(1),),
    "again": (prune(2),),
}
"""Of one recipe; two of them have one name."""


@dataclass(frozen=True)
class Made:
    bundle: Bundle
    variants: dict[str, Variant]

    def name(self, which: str) -> str:
        """Return what a variant is called in the bundle."""
        digest = self.variants[which].artifact.digest
        return next(v["name"] for v in self.bundle.manifest["variants"] if v["candidate"] == digest)


@pytest.fixture(scope="module")
def parts(
    sample: bytes,
    variant_of: Callable[..., Variant],
    profile_of: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> BundleParts:
    """The parts of a bundle of all three, for this machine."""
    folder = tmp_path_factory.mktemp("candidates")
    variants = []
    for number, (which, steps) in enumerate(CHAINS.items()):
        path = folder / f"{which}.tflite"
        path.write_bytes(sample.replace(WEIGHTS, bytes(n * (number + 1) for n in WEIGHTS)))
        variant = variant_of(path)
        variants.append(replace(variant, artifact=replace(variant.artifact, steps=steps)))
    full, probe, again = variants
    return BundleParts(
        profile=profile_of("host"),
        project=load_project(directory=folder),
        app="small",
        version="1",
        variants=tuple(variants),
        chosen=full,
        also=(probe, again, full),
        source=open_model(folder / "full.tflite"),
        evaluation=None,
        calibration=None,
        rules=(InputRule(),),
        labels=(),
    )


@pytest.fixture(scope="module")
def made(parts: BundleParts, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("out")
    bundle = make_bundle(parts, out=out, cache=cache, progress=Silent())
    return Made(bundle, dict(zip(CHAINS, parts.variants, strict=True)))


@pytest.fixture(scope="module")
def release(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    extract(made.bundle, folder)
    return folder


def island(release: Path, verb: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the document of the release's own runtime."""
    command = [sys.executable, "-I", "-B", str(release / "runtime/main.py"), verb, "--release", str(release)]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    return done.returncode, dict(json.loads(done.stdout))


def answer(url: str) -> dict[str, Any]:
    """Return what a service answers to one request."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]}
    asked = urllib.request.Request(f"{url}/v2/models/small/infer", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(asked, timeout=20) as said:
        return dict(json.load(said))


def test_every_document_knows_a_variant_by_name_recipe_and_digest(
    made: Made, release: Path, schema: Callable[[str], Any]
) -> None:
    manifest, service = made.bundle.manifest, json.loads((release / "service.json").read_text())
    jsonschema.validate(manifest, schema("manifest"))
    jsonschema.validate(service, schema("service"))
    assert manifest["chosen"] == service["chosen"] == "prune-80+qat-int8,epochs=6+static_wi8_ai8"
    for entries in (manifest["variants"], service["variants"]):
        assert [v.get("layers") for v in entries] == [dict(LAYERS), None, None]
    names = [v["name"] for v in manifest["variants"]]
    assert names[0] == manifest["chosen"] and len(set(names)) == 3
    for which, name in zip(("full", "probe", "again"), names, strict=True):
        artifact = made.variants[which].artifact
        if which != "full":
            assert name == f"prune-80+static_wi8_ai8~{artifact.digest[:8]}", "told apart by the digest"
        known = {"name": name, "recipe": RECIPE, "candidate": artifact.digest}
        golden = json.loads((release / "golden" / f"{name}.json").read_text())
        jsonschema.validate(golden, schema("golden"))
        entries = [next(v for v in d["variants"] if v["name"] == name) for d in (manifest, service)]
        for document in (golden, *entries):
            assert {key: document[key] for key in known} == known
        assert (release / entries[0]["file"]).read_bytes() == artifact.path.read_bytes()
        assert golden["recorded_with"]["model_sha256"] == artifact.sha256


def test_provenance_says_every_step_and_inspect_shows_it(made: Made) -> None:
    told = made.bundle.manifest["provenance"]["variants"]
    assert [entry["candidate"] for entry in told] == [v.artifact.digest for v in made.variants.values()]
    first = told[1]["steps"][0]
    assert first == {
        "label": "prune-80", "method": "prune", "settings": {"epochs": 1, "share": 80}, "seed": 1,
        "data": {"train": "ab" * 32}, "figures": {"zeros": 0.8, "loss": {"unavailable": "not a finite number"}},
    }  # fmt: skip
    assert "9.5" not in json.dumps(told), "nothing of a clock"
    assert open_bundle(made.bundle.path) == made.bundle
    text = bundle_text(made.bundle)
    assert f"candidate {made.variants['full'].artifact.digest[:12]}" in text
    assert "1. prune-80: epochs 9, share 80, seed 9, train data abababababab" in text
    assert "2. qat-int8:epochs=6: seed 0" in text and "zeros 0.8, loss n/a (not a finite number)" in text
    assert f"{made.name('full')}: y/out as float" in text


def test_the_runtime_takes_each_by_its_name(made: Made, release: Path) -> None:
    seen = []
    for which in made.variants:
        status_, document = island(release, "prove", "--variant", made.name(which))
        assert (status_, document["variant"], document["failed"]) == (0, made.name(which), 0)
        seen.append(document["vectors"])
    assert min(seen) >= 3
    assert island(release, "bench", "--variant", made.name("probe"), "--seconds", "0.01", "--runs", "1")[1][
        "variant"
    ] == made.name("probe")
    status_, document = island(release, "prove", "--variant", RECIPE)
    assert (status_, document["error"]) == (2, "unknown-variant") and made.name("probe") in document["reason"]


def test_the_runtime_serves_another_than_the_chosen_one(made: Made, release: Path, tmp_path: Path) -> None:
    announce, name = tmp_path / "announce.json", made.name("again")
    words = ["serve", "--release", str(release), "--variant", name, "--listen", "127.0.0.1:0"]
    command = [
        sys.executable,
        "-I",
        "-B",
        str(release / "runtime/main.py"),
        *words,
        "--announce",
        str(announce),
    ]
    service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while not announce.exists() and time.monotonic() < until:
            time.sleep(0.02)
        told = json.loads(announce.read_text())
        assert told["variant"] == answer(told["url"])["parameters"]["variant"] == name
        status_, document = island(release, "prove", "--live", told["url"], "--variant", name)
        assert (status_, document["failed"]) == (0, 0), document
    finally:
        service.terminate()
        service.wait(20)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Host]:
    host = Host(text=f"local:{tmp_path}", kind="local", directory=tmp_path / "device")
    yield host
    remove(host, "small", OPTIONS)


OPTIONS = DeployOptions(trial_seconds=60, ready_seconds=30, prove_seconds=60, listen="127.0.0.1:0")


def test_a_device_proves_all_and_serves_the_one_that_is_named(
    made: Made, device: Host, tmp_path: Path
) -> None:
    report = deploy(made.bundle, device, OPTIONS, Silent())
    others = {made.name("probe"), made.name("again")}
    assert report.state == "committed" and set(report.golden.also) == others, report  # type: ignore[union-attr]
    assert all(name in worst_golden(report) for name in others)
    answers = {made.bundle.manifest["chosen"]: answer(str(report.serving))}
    other = serving(made.bundle, made.name("again"), out=tmp_path / "out")
    assert open_bundle(other.path) == other and other.release != made.bundle.release
    report = deploy(other, device, OPTIONS, Silent())
    assert report.state == "committed" and report.bytes_sent < 20_000, report
    answers[made.name("again")] = answer(str(report.serving))
    assert all(said["parameters"]["variant"] == name for name, said in answers.items())
    assert len({json.dumps(said["outputs"]) for said in answers.values()}) == 2, "each is another model"
    seen = status(device, "small", OPTIONS)["apps"]["small"]
    kept = {entry["release"]: entry["chosen"] for entry in seen["releases"]}
    assert kept[seen["current"]] == made.name("again")
    found = bench(device, "small", OPTIONS, variant=made.bundle.manifest["chosen"], seconds=0.1, runs=1)
    assert found["variant"] == made.bundle.manifest["chosen"]


def test_a_variant_that_would_not_hold_on_the_device_stops_the_release(
    made: Made, device: Host, tmp_path: Path
) -> None:
    bad = made.name("probe")
    release = tmp_path / "release"
    extract(made.bundle, release)
    golden = json.loads((release / "golden" / f"{bad}.json").read_text())
    for vector in golden["vectors"]:
        vector["outputs"] = [re.sub("^..", "Zm", text) for text in vector["outputs"]]
    content = json.dumps(golden).encode()
    (release / "golden" / f"{bad}.json").write_bytes(content)
    files = dict(made.bundle.manifest["files"])
    files[f"golden/{bad}.json"] = {
        "sha256": sha256_bytes(content),
        "bytes": len(content),
        "executable": False,
    }
    sealed = seal(
        {
            str(p.relative_to(release)): p
            for p in release.rglob("*")
            if p.is_file() and p.name != "manifest.json"
        },
        {**made.bundle.manifest, "files": files},
        executable=(),
        out=tmp_path,
    )
    report = deploy(sealed, device, OPTIONS, Silent())
    assert report.state == "failed" and f"variant {bad}: " in report.reason, report


def test_another_variant_is_one_of_the_bundles(made: Made, tmp_path: Path) -> None:
    assert serving(made.bundle, made.bundle.manifest["chosen"], out=tmp_path) is made.bundle
    with pytest.raises(InputError) as caught:
        serving(made.bundle, RECIPE, out=tmp_path)
    assert caught.value.reference == "unknown-variant" and made.name("probe") in str(caught.value.context)
    other = serving(made.bundle, made.name("probe"), out=tmp_path)
    extract(other, tmp_path / "release")
    assert f"variant {made.name('probe')}, " in (tmp_path / "release/README.txt").read_text()
    again = serving(made.bundle, made.name("probe"), out=tmp_path / "again")
    assert again.sha256 == other.sha256, "the same bytes whenever it is made"


def test_what_was_made_before_there_were_names_goes_on(made: Made, release: Path, tmp_path: Path) -> None:
    """A manifest of before, read by this controller; a service.json of before, by this runtime."""
    kept = {"recipe", "file", "bytes", "sha256", "precision", "metric", "agreement"}
    entry = {key: value for key, value in made.bundle.manifest["variants"][0].items() if key in kept}
    provenance = {k: v for k, v in made.bundle.manifest["provenance"].items() if k != "variants"}
    service = json.loads((release / "service.json").read_text())
    served = {k: v for k, v in service["variants"][0].items() if k not in ("name", "candidate")}
    old = json.dumps({**service, "chosen": RECIPE, "variants": [served]}).encode()
    files: dict[str, Path | bytes] = {
        str(p.relative_to(release)): p
        for p in release.rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }
    files["service.json"] = old
    digests = {
        **made.bundle.manifest["files"],
        "service.json": {"sha256": sha256_bytes(old), "bytes": len(old), "executable": False},
    }
    manifest = {
        **made.bundle.manifest, "chosen": RECIPE, "variants": [entry], "provenance": provenance, "files": digests,
    }  # fmt: skip
    bundle = open_bundle(seal(files, manifest, executable=(), out=tmp_path).path)
    assert re.search(rf"(?m)^\* +{RECIPE} ", bundle_text(bundle))
    assert serving(bundle, RECIPE, out=tmp_path) is bundle
    extract(bundle, tmp_path / "old")
    assert island(tmp_path / "old", "prove")[1]["variant"] == RECIPE
    assert island(tmp_path / "old", "prove", "--variant", RECIPE)[0] == 0


def test_each_compiled_rung_has_its_own_twin(
    parts: BundleParts,
    variant_of: Callable[..., Variant],
    profile_of: Callable[[str], Any],
    sample: bytes,
    cache: Path,
    tmp_path: Path,
) -> None:
    shipped = []
    for number, twin in enumerate(parts.variants[:2]):
        path = tmp_path / f"{number}_edgetpu.tflite"
        path.write_bytes(sample.replace(WEIGHTS, bytes(n + number + 40 for n in WEIGHTS)))
        there = variant_of(path).artifact
        compiled = replace(twin, artifact=replace(there, steps=twin.artifact.steps))
        result = CompileResult(
            artifacts=(compiled.artifact,), compiled=True, reason=f"{number + 1} of 3 operations", mapped=number + 1,
            total=3, subgraphs=1.0, estimates={}, log={}, tools={"edgetpu_compiler": "16"},
        )  # fmt: skip
        profile = profile_of("coral-dev-board")
        shipped.append(Shipped(variant=compiled, twin=twin, profile=profile, result=result))
    chosen, rung = shipped
    coral = replace(parts, profile=chosen.profile, chosen=chosen.variant, also=(), shipped=chosen,
                    variants=(*parts.variants, chosen.variant))  # fmt: skip
    bundle = make_bundle(with_rungs(coral, (rung,)), out=tmp_path / "out", cache=cache, progress=Silent())
    extract(bundle, tmp_path / "release")
    assert len(bundle.manifest["variants"]) == 2
    for entry, ships in zip(bundle.manifest["variants"], shipped, strict=True):
        golden = json.loads((tmp_path / "release/golden" / f"{entry['name']}.json").read_text())
        twin = ships.twin.artifact.sha256
        assert golden["recorded_with"]["model_sha256"] == entry["compile"]["from_sha256"] == twin
        assert entry["sha256"] == ships.variant.artifact.sha256 != twin
        assert entry["compile"]["reason"] == ships.result.reason  # type: ignore[union-attr]


def test_a_rung_that_the_runtime_refuses_stays_out_and_is_told(
    parts: BundleParts,
    variant_of: Callable[..., Variant],
    make_dense: Any,
    cache: Path,
    tmp_path: Path,
    notes: Any,
) -> None:
    path = tmp_path / "nan.tflite"
    path.write_bytes(
        make_dense().replace(struct.pack("<3f", 1, 2, 3), struct.pack("<3f", *[float("nan")] * 3))
    )
    mad = variant_of(path, "float_fp32")
    site: Any = SimpleNamespace(out=tmp_path / "out", work=cache, progress=notes)
    with_it = replace(parts, variants=(*parts.variants, mad), also=(mad, parts.variants[1]))
    bundle, left = seal_ladder(site, with_it)
    assert [v["recipe"] for v in bundle.manifest["variants"]] == [RECIPE, RECIPE]
    assert left.also == (parts.variants[1],)
    assert any(
        note.startswith("host: float_fp32 is not in the bundle: float_fp32 answers NaN")
        for note in notes.notes
    )
    with pytest.raises(ToolError, match="answers NaN"):
        seal_ladder(site, replace(with_it, chosen=mad, also=()))
