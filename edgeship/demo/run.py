"""Runs the demo: train, build every recipe, deploy to a local device, ask the live service digits it never saw."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeship.assets import target_folders
from edgeship.demo.client import Answers, ask
from edgeship.deploy import DeployOptions, deploy, remove
from edgeship.errors import EdgeshipError
from edgeship.pipeline.build import BuildReport
from edgeship.pipeline.build import build as build_all
from edgeship.pipeline.plan import every_recipe
from edgeship.profile import load_profile
from edgeship.progress import Progress
from edgeship.project import load_project
from edgeship.remote import parse_host
from edgeship.report.deploys import deploy_document
from edgeship.report.documents import build_document
from edgeship.report.figures import duration, figure, size
from edgeship.report.text import variants_table
from edgeship.toolchain import run_worker
from edgeship.values import DeployReport

APP = "digits"
SETTINGS = """\
# What the demo builds from. The same keys serve a model of your own: see examples/edgeship.yaml.
app: digits
version: "1"
model: digits.keras
targets: [host]
datasets:
  calibration: calibration.npz   # 200 training samples: the ranges of the integers come from them
  evaluation: eval.npz           # 400 labelled samples, not trained on: every score comes from them
preprocess:
  scale: 1/16                    # the raw pixels are 0..16, the model was trained on 0..1
labels: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
goals:
  accuracy: {max_drop: 2.0}      # points of top-1; a variant that loses more is not admitted
metadata:
  name: Handwritten digits
  description: Reads one handwritten digit from an 8 x 8 picture.
  licence: CC BY 4.0             # of the data
service:
  listen: 127.0.0.1:0            # any free port; a real device would say 127.0.0.1:8500
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo did, measured."""

    folder: Path
    kept: bool
    trained: dict[str, Any]
    built: BuildReport
    deployed: DeployReport
    answers: Answers
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 when the local device serves, otherwise as a deployment exits."""
        return self.deployed.exit_code

    def document(self) -> dict[str, Any]:
        """Return the `edgeship.demo/1` document."""
        return {
            "schema": "edgeship.demo/1",
            "seconds": round(self.seconds, 1),
            "trained": self.trained,
            "build": build_document(self.built),
            "deploy": deploy_document(self.deployed),
            "service": self.answers.as_dict(),
        }


def run_demo(*, folder: Path | None, keep: bool, cache: Path, progress: Progress) -> DemoResult:
    """Do the whole job in `folder` (default: a temporary one, removed afterwards unless `keep`).

    Raises what building raises, and EdgeshipError `demo-failed` where the local device did not come to serve.
    """
    started = time.monotonic()
    home = folder or Path(tempfile.mkdtemp(prefix="edgeship-demo-"))
    home.mkdir(parents=True, exist_ok=True)
    device = home / "device"
    host = parse_host(f"local:{device}")
    try:
        trained = run_worker("edgeship.demo.train:train", {"folder": str(home)}, progress=progress).value
        (home / "edgeship.yaml").write_text(SETTINGS)
        project = load_project(home / "edgeship.yaml")
        profile = load_profile("host", folders=target_folders(environment={}))
        project = project.merge(recipes=every_recipe(profile))
        built = build_all(project, home / "digits.keras", [profile], home / "bundles", cache, progress)
        bundle = built.targets[0].bundle
        if bundle is None:
            raise EdgeshipError("demo-failed", f"no variant was admitted: {built.targets[0].reason}")
        deployed = deploy(bundle, host, DeployOptions(), progress)
        if deployed.state not in ("committed", "unchanged") or not deployed.serving:
            raise EdgeshipError("demo-failed", f"the local device says {deployed.state}: {deployed.reason}")
        answers = ask(deployed.serving, APP, home / "held_out.npz", progress)
        return DemoResult(
            folder=home,
            kept=keep,
            trained=trained,
            built=built,
            deployed=deployed,
            answers=answers,
            seconds=time.monotonic() - started,
        )
    finally:
        if not keep:
            with contextlib.suppress(EdgeshipError):  # nothing to stop where it never came to a deployment
                remove(host, APP, DeployOptions())
            shutil.rmtree(device if folder else home, ignore_errors=True)


def demo_text(result: DemoResult) -> str:
    """Return what a person reads at the end: the table, the proof, the service's own accuracy, what to type next."""
    answers, deployed = result.answers, result.deployed
    target = result.built.targets[0]
    sent, times = size(deployed.bytes_sent), f"p50 {answers.p50_ms:.2f} ms, p95 {answers.p95_ms:.2f} ms"
    floats = figure(result.trained["accuracy"], 2, " %")
    lines = [
        f"A small CNN on scikit-learn's digits: {floats} of 400 digits it was not trained on, in float.",
        "",
        "Every recipe, on this machine (* serves):",
        variants_table(target.variants, target.chosen),
        f"chosen: {target.reason}",
        "",
        f"Deployed to {deployed.host} in {duration(deployed.seconds)}: {sent} sent, {deployed.state}.",
        f"Asked the running service {answers.asked} digits nobody had seen: {answers.right} right, {times} over HTTP.",
        f"All of it took {duration(result.seconds)}.",
        "",
    ]
    if result.kept:
        lines += [
            f"It still runs: curl {deployed.serving}/v2/models/{APP}",
            f"  in a browser: {deployed.serving}/",
            f"  edgeship status --host {deployed.host}",
            f"  edgeship logs --host {deployed.host}",
            f"  files: {result.folder}",
            "",
        ]
    lines += [
        "Now a real board (SSH and python3 are all it needs):",
        "  edgeship target list",
        "  edgeship init model.keras",
        "  edgeship deploy model.keras --target raspberry-pi-5 --host pi@10.0.0.7",
    ]
    return "\n".join(lines)
