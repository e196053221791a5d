"""`governor` of service.json: what may answer, what is left out and why; and bundles without one stay as they were."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgeship.bundle.choosing import serving
from edgeship.bundle.governor import governed, is_governed
from edgeship.bundle.make import make_bundle
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.seal import extract
from edgeship.bundle.service import service_values
from edgeship.errors import InputError
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.project import load_project
from edgeship.project.governing import settings_of
from edgeship.report.inspection import bundle_text
from edgeship.score.cascade import Answers
from edgeship.values import Agreement, Bundle, InputRule, Unavailable, Variant

WEIGHTS = bytes(range(12))
RECIPES = {"small": "static_wi8_ai8", "middle": "weight_fp16", "large": "float_fp32"}
TOP1 = {"small": 88.0, "middle": 90.0, "large": 92.0}
SECONDS = {"static_wi8_ai8": 0.002, "weight_fp16": 0.008, "float_fp32": 0.02}
ENGINE = {"name": "litert"}
NONE = Unavailable(reason="-")


@pytest.fixture(scope="module")
def parts(
    sample: bytes,
    variant_of: Callable[..., Variant],
    profile_of: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> BundleParts:
    """Three variants that were scored, for 64-bit PCs in general: no one of them was measured there."""
    folder = tmp_path_factory.mktemp("rungs")
    variants = []
    for number, (which, recipe) in enumerate(RECIPES.items()):
        path = folder / f"{which}.tflite"
        path.write_bytes(sample.replace(WEIGHTS, bytes(n * (number + 1) for n in WEIGHTS)))
        variant = variant_of(path, recipe)
        metric = replace(variant.scorecard.metric, value=TOP1[which])
        agreement = Agreement(argmax=TOP1[which] / 100 + 0.05, cosine=0.9, max_abs=0.1)
        variants.append(
            replace(variant, scorecard=replace(variant.scorecard, metric=metric, agreement=agreement))
        )
    small, middle, large = variants
    return BundleParts(
        profile=profile_of("x86-64-linux"),
        project=load_project(directory=folder),
        app="small",
        version="1",
        variants=tuple(variants),
        chosen=middle,
        also=(small, large),
        source=open_model(folder / "small.tflite"),
        evaluation=None,
        calibration=None,
        rules=(InputRule(),),
        labels=(),
    )


def figures(**seconds: Any) -> dict[str, Any]:
    """Return figures as they are measured; a text is why there are none."""
    return {
        name: s
        if isinstance(s, str)
        else {"seconds": s, "p95_seconds": 2 * s, "cold_seconds": 0.1, "threads": 1, "memory_bytes": 1 << 20}
        for name, s in {**SECONDS, **seconds}.items()
    }


def rungs(parts: BundleParts, body_mb: int = 100, **seconds: Any) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the rows by their variant, in order, and what was left out with its reasons."""
    entries = service_values(parts, ENGINE)["variants"]
    found = governed(parts, entries, figures(**seconds), body_mb)
    return {row["variant"]: row for row in found.entry["rungs"]}, " | ".join(found.notes)


def without(variant: Variant, **measures: Any) -> Variant:
    card = variant.scorecard
    return replace(
        variant,
        scorecard=replace(
            card,
            metric=replace(card.metric, value=measures.get("value", NONE)),
            agreement=Agreement(argmax=measures.get("argmax", NONE), cosine=NONE, max_abs=NONE),
        ),
    )


def with_settings(parts: BundleParts, tmp_path: Path, text: str) -> BundleParts:
    (tmp_path / "edgeship.yaml").write_text(text)
    return replace(parts, project=load_project(tmp_path / "edgeship.yaml"))


def test_every_rung_with_what_it_is_worth_and_takes(parts: BundleParts) -> None:
    rows, left_out = rungs(parts)
    assert list(rows) == ["static_wi8_ai8", "weight_fp16", "float_fp32"] and not left_out, "quickest first"
    assert rows["float_fp32"] == {
        "variant": "float_fp32", "accuracy": 0.92, "agreement": pytest.approx(0.97), "seconds": 0.02,
        "p95_seconds": 0.04, "cold_seconds": 0.1, "threads": 1, "joules": None, "memory_bytes": 1 << 20,
        "measured": "host", "measure": "top1 on evaluation data",
    }  # fmt: skip


def test_without_labels_they_go_by_agreement(parts: BundleParts) -> None:
    small, large = parts.also
    blind = replace(parts, also=(without(small, argmax=0.9), large))
    rows, _ = rungs(blind)
    assert {r["accuracy"] for r in rows.values()} == {None}, "one measure for all"
    assert rows["static_wi8_ai8"]["agreement"] == 0.9
    rows, said = rungs(replace(parts, also=(without(small), large)))
    assert "static_wi8_ai8" not in rows and "nothing tells how good its answers are" in said
    rows, said = rungs(replace(parts, chosen=without(parts.chosen)))
    assert list(rows) == ["weight_fp16"] and "only weight_fp16 answers" in said


def test_what_another_one_beats_is_left_out_and_said(
    parts: BundleParts, profile_of: Callable[[str], Any]
) -> None:
    here = replace(parts, profile=profile_of("host"))
    rows, said = rungs(here, float_fp32=0.0019)
    assert list(rows) == ["float_fp32", "weight_fp16"], "the chosen one stays, whatever beats it"
    assert "static_wi8_ai8 does not answer by itself: float_fp32 is as accurate and as quick" in said
    assert next(iter(rungs(here, static_wi8_ai8=0.00201)[0])) == "static_wi8_ai8"
    smaller = replace(parts.also[0], artifact=replace(parts.also[0].artifact, bytes=10))
    rows, said = rungs(replace(parts, also=(smaller, parts.also[1])), float_fp32=0.0019)
    assert "static_wi8_ai8" in rows and not said, "on another machine the smaller file may be the quicker"
    rows, said = rungs(parts, float_fp32="it crashed")
    assert "float_fp32" not in rows and "could not be timed here (it crashed)" in said


def test_what_does_not_fit_the_memory_of_the_target_is_left_out(parts: BundleParts) -> None:
    entries = service_values(parts, ENGINE)["variants"]
    files = [v.artifact.bytes for v in parts.carried]
    assert governed(parts, entries, figures(), 100).loaded_bytes == sum(
        max(size, 1 << 19) for size in files
    ), "a file counts twice, and what was measured is more"
    large = replace(parts.also[1], artifact=replace(parts.also[1].artifact, bytes=4 << 30))
    rows, said = rungs(replace(parts, also=(parts.also[0], large)))
    assert list(rows) == ["static_wi8_ai8", "weight_fp16"]
    assert "float_fp32 does not answer by itself: x86-64-linux has no memory to keep it loaded beside" in said


def test_a_cascade_is_one_more(parts: BundleParts) -> None:
    draw = np.random.default_rng(0)
    labels, margins = draw.integers(0, 3, 1000), draw.random(1000)
    sure = {"small": np.minimum(1, 0.4 + 2 * margins), "middle": 0.9, "large": 0.97}
    names = {"middle": parts.chosen, "small": parts.also[0], "large": parts.also[1]}
    classes = {
        names[which].artifact.digest: np.where(draw.random(1000) < share, labels, (labels + 1) % 3)
        for which, share in sure.items()
    }
    answers = Answers(
        classes=classes,
        margins=dict.fromkeys(classes, margins),
        labels=labels,
        reference=None,
        about="1000 samples",
    )
    rows, said = rungs(replace(parts, answers=answers))
    assert "static_wi8_ai8 with float_fp32 behind it, asked for the" in said
    row = rows["static_wi8_ai8+float_fp32"]
    assert list(rows)[-1] == row["variant"] and row["memory_bytes"] == 0
    little, big, share = row["cascade"]["little"], row["cascade"]["big"], row["cascade"]["share"]
    assert (little, big) == ("static_wi8_ai8", "float_fp32") and 0 < share < 0.5
    assert row["seconds"] == pytest.approx(0.002 + share * 0.02, rel=1e-3)
    assert 0.9 < row["accuracy"] < 0.93 and "that its margin was not chosen on" in row["measure"]
    entries = service_values(parts, ENGINE)["variants"]
    timed = figures()
    timed["static_wi8_ai8"]["threads"] = 2
    found = governed(replace(parts, answers=answers), entries, timed, 100).entry["rungs"][-1]
    assert (row["threads"], found["threads"]) == (1, 2), "or it seems to take less power than its little one"


def test_settings_of_the_project_with_variants_by_their_names(parts: BundleParts, tmp_path: Path) -> None:
    entries = service_values(parts, ENGINE)["variants"]
    text = "governor: {watts: 3, variant: fp32, battery: [{below_percent: 30, variant: static_wi8_ai8}]}\n"
    found = governed(with_settings(parts, tmp_path, text), entries, figures(), 100).entry
    bands = [{"below_percent": 30.0, "watts": None, "variant": "static_wi8_ai8"}]
    assert found["settings"] == settings_of({"watts": 3, "variant": "float_fp32", "battery": bands})
    assert governed(parts, entries, figures(), 100).entry["settings"] == settings_of({})
    with pytest.raises(InputError) as caught:
        governed(with_settings(parts, tmp_path, "governor: {variant: int4}\n"), entries, figures(), 100)
    assert caught.value.reference == "unknown-variant" and "static_wi8_ai8" in caught.value.render()


def test_one_variant_has_none_unless_something_is_set(parts: BundleParts, tmp_path: Path) -> None:
    alone = replace(parts, also=())
    assert is_governed(parts) and not is_governed(alone)
    assert is_governed(with_settings(alone, tmp_path, "governor: {watts: 3}\n"))


@pytest.fixture(scope="module")
def bundle(parts: BundleParts, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(parts, out=tmp_path_factory.mktemp("out"), cache=cache, progress=Silent())


def test_a_sealed_ladder(
    bundle: Bundle, parts: BundleParts, cache: Path, schema: Callable[[str], Any], tmp_path: Path
) -> None:
    extract(bundle, tmp_path / "release")
    service = json.loads((tmp_path / "release/service.json").read_text())
    jsonschema.validate(service, schema("service"))
    jsonschema.validate(bundle.manifest, schema("manifest"))
    rows = {row["variant"]: row for row in service["governor"]["rungs"]}
    assert service["chosen"] in rows and all(row["seconds"] > 0 for row in rows.values())
    assert (tmp_path / "release/runtime/es_simulated.py").is_file(), "a ladder can be simulated"
    assert all((tmp_path / f"release/golden/{name}.json").is_file() for name in rows), "each is proven"
    assert set(bundle.manifest["requires"]["ladder"]["resident_mb"]) == set(rows)
    assert f"the device decides which answers; {len(rows)} stay loaded" in bundle_text(bundle)
    again = make_bundle(parts, out=tmp_path / "again", cache=cache, progress=Silent())
    assert again.sha256 == bundle.sha256, "what was measured once on a machine is kept"
    pinned = serving(bundle, service["chosen"], out=tmp_path / "pinned")
    extract(pinned, tmp_path / "other")
    said = json.loads((tmp_path / "other/service.json").read_text())
    assert said["governor"]["settings"]["variant"] == service["chosen"], "who names one wants that one"
    assert {**said, "governor": 0} == {**service, "governor": 0}


@pytest.mark.devlab
@pytest.mark.root
@pytest.mark.slow
def test_a_device_times_every_rung(bundle: Bundle, lab: Any) -> None:
    from edgeship.deploy import DeployOptions, deploy
    from edgeship.remote import parse_host

    device = lab.up(1, prefix=f"ladder-{os.getpid()}-figures", base="amd64", init="systemd", disk="256M")[0]
    options = DeployOptions(
        ssh_config=lab.work / "ssh_config",
        allow_volatile_root=True,
        listen="127.0.0.1:0",
        allow_unsigned=True,
    )
    report = deploy(bundle, parse_host(device.name), options, Silent())
    assert report.state == "committed", report
    names = set(bundle.manifest["requires"]["ladder"]["resident_mb"])
    assert not isinstance(report.ladder, Unavailable) and {rung.variant for rung in report.ladder} == names
    shown = device.exec(  # through the service's own view of the file system
        "sh",
        "-c",
        "cat /proc/$(systemctl show -p MainPID --value edgeship-small)/root/run/edgeship-small/app/kept/figures-"
        f"{bundle.release}.json",
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    document = json.loads(shown)
    assert (document["schema"], document["release"]) == ("edgeship.figures/1", bundle.release)
    measured = {rung.variant: rung.latency_ms.p50 for rung in report.ladder}
    assert {n: 1e3 * f["seconds"] for n, f in document["rungs"].items()} == pytest.approx(measured)
    assert all(set(f["by_threads"]) >= {"1"} for f in document["rungs"].values())
