"""make_bundle() from end to end on real models for this machine: proven by its own runtime, the same bytes
every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.bundle.seal import extract, open_bundle
from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.errors import InputError
from edgeship.model.source import open_model
from edgeship.project import load_project
from edgeship.values import Artifact, Bundle, Dataset, InputRule, Preprocess, Resize, Variant

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.shared


def prove(release: Path) -> dict[str, Any]:
    """Run the release's own proof, as a device does."""
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-B",
            str(release / "runtime" / "main.py"),
            "prove",
            "--release",
            str(release),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def host_bundle(
    make: Callable[..., Bundle], profile_of: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    return make(profile_of("host"), tmp_path_factory.mktemp("host") / "out")


@pytest.fixture(scope="module")
def release(host_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    extract(host_bundle, folder)
    return folder


def test_bundle_opens_as_it_was_made_and_fits_its_schemas(
    host_bundle: Bundle, release: Path, schema: Callable[[str], Any]
) -> None:
    assert open_bundle(host_bundle.path) == host_bundle
    jsonschema.validate(host_bundle.manifest, schema("manifest"))
    jsonschema.validate(json.loads((release / "service.json").read_text()), schema("service"))
    jsonschema.validate(
        json.loads((release / "golden" / "static_wi8_ai8.json").read_text()), schema("golden")
    )
    assert (release / "labels.txt").read_text().splitlines()[:2] == ["down", "go"]
    assert sorted(p.name for p in release.iterdir()) == [
        "README.txt", "golden", "labels.txt", "lib", "licences", "manifest.json", "models", "page", "runtime",
        "service", "service.json",
    ]  # fmt: skip
    assert host_bundle.bytes < 3_600_000


def test_release_proves_itself_exactly(release: Path) -> None:
    report = prove(release)
    assert (report["vectors"], report["failed"], report["exact"]) == (8, 0, True)
    assert report["engine"]["delegated"] is True


def test_readme_says_how_to_run_it(release: Path) -> None:
    text = (release / "README.txt").read_text()
    assert text.startswith("kws 1 for host\n==============\n")
    assert "variant static_wi8_ai8, 53,936 bytes" in text
    assert (
        "8 inputs with the outputs they must give (samples of eval.npz, and the edges of its range)" in text
    )


def test_licences_of_all_that_travels(release: Path) -> None:
    names = sorted(str(p.relative_to(release)) for p in (release / "licences").rglob("*") if p.is_file())
    assert names == ["licences/ai-edge-litert-2.3.0/LICENSE", "licences/edgeship/LICENSE"]
    assert all("Apache License" in (release / name).read_text() for name in names)


def test_no_trace_of_this_machine(host_bundle: Bundle, release: Path) -> None:
    words = [str(Path.home()), str(ROOT), str(host_bundle.path.parent), os.uname().nodename]
    for path in sorted(release.rglob("*")):
        if path.is_file() and path.suffix not in {".so", ".tflite"}:
            content = path.read_text()
            assert not [w for w in words if len(w) > 5 and w in content], path
    for key in ("latency", 'seconds":', "rss", '"date'):
        assert key not in (release / "manifest.json").read_text(), key


CODE = """
import importlib.util, os, sys
from pathlib import Path
out, mask, tests, kws = Path(sys.argv[1]), int(sys.argv[2], 8), sys.argv[3], Path(sys.argv[4])
os.umask(mask)
spec = importlib.util.spec_from_file_location("helpers", tests)
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
variant = helpers.variant_of(kws / "mlperf_int8.tflite")
data = helpers.load_dataset(str(kws / "eval.npz"), out / "work", helpers.Reading(role="evaluation"))
helpers.make_bundle(helpers.BundleParts(
    profile=helpers.load_profile("host", folders=(helpers.targets_folder(),)),
    project=helpers.load_project(directory=out), app="kws", version="1", variants=(variant,), chosen=variant,
    source=helpers.open_model(kws / "mlperf_int8.tflite"), evaluation=data, calibration=None,
    rules=(helpers.InputRule(),), labels=helpers.LABELS,
), out=out / "bundles", progress=helpers.Silent(), cache=out / "cache")
"""


def test_same_bytes_in_other_folders_at_other_times(
    host_bundle: Bundle, tmp_path: Path, shared_data: Path
) -> None:
    """Other processes, folders, umask, time zone, locale and hash seed, and another day on the clock of the
    files."""
    for number, (mask, zone, seed) in enumerate([("022", "UTC", "1"), ("077", "Pacific/Auckland", "77")]):
        out = tmp_path / f"deeper{number}" / "folder"
        out.mkdir(parents=True)
        env = {**os.environ, "TZ": zone, "PYTHONHASHSEED": seed, "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", CODE, str(out), mask]
        command += [str(Path(__file__).with_name("conftest.py")), str(shared_data / "kws")]
        subprocess.run(command, env=env, cwd=out, check=True)
        (made,) = (out / "bundles").iterdir()
        assert made.name == host_bundle.path.name
        assert made.read_bytes() == host_bundle.path.read_bytes()


def test_raw_images_and_normalisation_travel_to_the_device(
    make: Callable[..., Bundle],
    profile_of: Callable[[str], Any],
    shared_data: Path,
    tmp_path: Path,
    variant_of: Any,
) -> None:
    """ResNet-8 with uint8 images of another size and statistics a channel: prepared on the device as on the
    host."""
    model = variant_of(shared_data / "cifar10" / "mlperf_int8.tflite")
    data = load_dataset(
        str(shared_data / "cifar10" / "eval.npz"), tmp_path / "d", Reading(role="evaluation", limit=60)
    )
    preprocess = Preprocess(
        resize=Resize(height=32, width=32), scale=1.0, mean=(1.0, 2.0, 0.5), std=(1.0, 1.01, 0.99)
    )
    bundle = make(
        profile_of("host"), tmp_path / "out", variants=(model,), chosen=model, evaluation=data,
        rules=(InputRule(preprocess=preprocess),), labels=(), app="resnet",
    )  # fmt: skip
    extract(bundle, tmp_path / "release")
    service = json.loads((tmp_path / "release" / "service.json").read_text())
    entry = service["variants"][0]["inputs"][0]
    assert entry["datatype"] == "UINT8" and entry["shape"] == [1, 32, 32, 3]
    assert entry["preprocess"]["mean"] == [1.0, 2.0, 0.5]
    assert not (tmp_path / "release" / "labels.txt").exists()
    report = prove(tmp_path / "release")
    assert (report["failed"], report["exact"]) == (0, True)


def test_without_data_it_says_that_noise_proves_less(
    make: Callable[..., Bundle], profile_of: Callable[[str], Any], tmp_path: Path, notes: Any
) -> None:
    bundle = make(profile_of("host"), tmp_path / "out", evaluation=None, progress=notes)
    assert any("seeded noise" in note for note in notes.notes)
    assert bundle.manifest["provenance"]["golden"].startswith("seeded noise")
    assert bundle.manifest["provenance"]["evaluation_sha256"] is None
    extract(bundle, tmp_path / "release")
    assert prove(tmp_path / "release")["failed"] == 0


def test_several_variants_travel_when_asked(
    make: Callable[..., Bundle], profile_of: Callable[[str], Any], kws: tuple[Variant, Dataset], variant_of:
    Any, shared_data: Path, tmp_path: Path,
) -> None:  # fmt: skip
    other = variant_of(shared_data / "kws" / "mlperf_int8.tflite", "weight_fp16")
    project = load_project(directory=tmp_path).merge(vectors=3, threads=2)
    bundle = make(
        profile_of("host"), tmp_path / "out", variants=[kws[0], other], also=[other], project=project
    )
    assert [v["recipe"] for v in bundle.manifest["variants"]] == ["static_wi8_ai8", "weight_fp16"]
    assert "golden/weight_fp16.json" in bundle.manifest["files"]
    extract(bundle, tmp_path / "release")
    service = json.loads((tmp_path / "release" / "service.json").read_text())
    assert service["engine"]["threads"] == 2
    assert len(json.loads((tmp_path / "release" / "golden" / "weight_fp16.json").read_text())["vectors"]) == 3


@pytest.mark.parametrize("name", ["", "-kws", "a/b", "..", "a b", "k" * 65, "kws\n", "über"])
def test_names_that_cannot_be_folders_are_refused(
    name: str, make: Callable[..., Bundle], profile_of: Callable[[str], Any], tmp_path: Path
) -> None:
    for key in ("app", "version"):
        with pytest.raises(InputError) as caught:
            make(profile_of("host"), tmp_path / "out", **{key: name})
        assert caught.value.reference == "bad-app-name"
        assert caught.value.context["key"] == key
        assert f"{'--app' if key == 'app' else 'version:'} " in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def changed(variant: Variant, **fields: Any) -> Variant:
    import dataclasses

    artifact: Artifact = dataclasses.replace(variant.artifact, **fields)
    return dataclasses.replace(variant, artifact=artifact)


def test_a_file_that_changed_since_it_was_scored_is_refused(
    make: Callable[..., Bundle],
    profile_of: Callable[[str], Any],
    kws: tuple[Variant, Dataset],
    tmp_path: Path,
) -> None:
    copy = tmp_path / "m.tflite"
    copy.write_bytes(kws[0].artifact.path.read_bytes() + b"x")
    stale = changed(kws[0], path=copy)
    with pytest.raises(InputError) as caught:
        make(profile_of("host"), tmp_path / "out", variants=[stale], chosen=stale)
    assert caught.value.render() == (
        "error: model-changed\n"
        "  the file of variant static_wi8_ai8 is not the one that was scored\n"
        f"  file:   {copy}\n"
        f"  wanted: sha256 {stale.artifact.sha256}\n"
        "hint: build again; let nothing else write into the work folder meanwhile"
    )
    stranger = changed(kws[0], sha256="0" * 64)
    with pytest.raises(InputError, match="none of those that were built"):
        make(profile_of("host"), tmp_path / "out", chosen=stranger)
    assert not (tmp_path / "out").exists()


def test_open_shapes_are_refused(
    make: Callable[..., Bundle],
    profile_of: Callable[[str], Any],
    kws: tuple[Variant, Dataset],
    tmp_path: Path,
) -> None:
    import dataclasses

    signature = kws[0].artifact.signature
    open_input = dataclasses.replace(signature.inputs[0], shape=(1, -1, 10, 1))
    variant = changed(kws[0], signature=dataclasses.replace(signature, inputs=(open_input,)))
    with pytest.raises(InputError) as caught:
        make(profile_of("host"), tmp_path / "out", variants=[variant], chosen=variant)
    assert caught.value.reference == "model-not-servable"
    assert caught.value.message == "tensor 'input_1' cannot be served: its shape [1, -1, 10, 1] is open"


def test_source_is_named_by_content_not_by_place(host_bundle: Bundle, kws: tuple[Variant, Dataset]) -> None:
    assert host_bundle.manifest["provenance"]["model"] == {
        "name": "mlperf_int8.tflite",
        "sha256": open_model(kws[0].artifact.path).sha256,
    }
