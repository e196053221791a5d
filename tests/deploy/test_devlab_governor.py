"""A ladder on lab devices, its own unit and runtime: what serves follows load, heat, sensors, a budget and pins."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tiny_release import free_port

from edgeship.assets import targets_folder
from edgeship.bundle.make import make_bundle
from edgeship.bundle.parts import BundleParts
from edgeship.cli.common import cache_folder
from edgeship.cli.main import run
from edgeship.deploy import DeployOptions, deploy, rollback, status
from edgeship.deploy.tuning import tuned
from edgeship.model.source import open_model
from edgeship.profile import load_profile
from edgeship.progress import Silent
from edgeship.project import load_project
from edgeship.remote import parse_host
from edgeship.tflite.reader import read_tflite
from edgeship.values import (
    Agreement,
    Artifact,
    Bundle,
    InputRule,
    Latency,
    Metric,
    Precision,
    Scorecard,
    Unavailable,
    Variant,
)

pytestmark = [pytest.mark.devlab, pytest.mark.root, pytest.mark.slow]
WIDTH = 512
LAYERS = {"amd64": 240, "arm64": 12}
"""Layers of the costly model: some 10 ms there."""
TARGETS = {"amd64": "x86-64-linux", "arm64": "aarch64-linux"}
SENSORS = "/srv/sensors"
TEMPERATURE = {
    "amd64": f"{SENSORS}/sys/class/hwmon/hwmon0/temp1_input",
    "arm64": "/sys/class/thermal/thermal_zone0/temp",
}
ENERGY = f"{SENSORS}/sys/class/powercap/intel-rapl:0/energy_uj"
METER = f"""
import os, time
begun = time.monotonic()
while True:
    with open("{ENERGY}.new", "w") as stream:
        stream.write("%d" % ((time.monotonic() - begun) * 8e6))
    os.rename("{ENERGY}.new", "{ENERGY}")
    time.sleep(0.2)
"""
"""A meter of the processor that shows 8 W."""
SMALL, LARGE = "static_wi8_ai8", "float_fp32"


def model(builder: Any, layers: int) -> bytes:
    """Return a float model [1, 4] -> [1, 3]; `layers` multiplications by one matrix that changes nothing."""
    options = builder.schema.FullyConnectedOptionsT()

    def dense(x: int, name: str, rows: int, columns: int, weights: int | None = None) -> int:
        if weights is None:
            ones = [
                1.0 if row % columns == column else 0.0 for row in range(rows) for column in range(columns)
            ]
            data = struct.pack(f"<{rows * columns}f", *ones)
            weights = builder.tensor(f"{name}_w", [rows, columns], "FLOAT32", data=data)
        bias = builder.tensor(f"{name}_b", [rows], "FLOAT32", data=bytes(4 * rows))
        y = builder.tensor(name, [1, rows], "FLOAT32")
        builder.op("FULLY_CONNECTED", [x, weights, bias], [y], options)
        return int(y)

    x = y = builder.tensor("x", [1, 4], "FLOAT32")
    if layers:
        y = dense(y, "wide", WIDTH, 4)
        same = [1.0 if row == column else 0.0 for row in range(WIDTH) for column in range(WIDTH)]
        weights = builder.tensor(
            "same", [WIDTH, WIDTH], "FLOAT32", data=struct.pack(f"<{WIDTH * WIDTH}f", *same)
        )
        for number in range(layers):
            y = dense(y, f"layer{number}", WIDTH, WIDTH, weights)
    y = dense(y, "y", 3, WIDTH if layers else 4)
    return bytes(builder.build([x], [y]))


def variant(path: Path, recipe: str, top1: float) -> Variant:
    """Return a model as a variant that was scored."""
    held, none = read_tflite(path), Unavailable(reason="not measured in this test")
    artifact = Artifact(
        path=path, recipe=recipe, bytes=held.size, sha256=held.sha256, signature=held.signature,
        precision=Precision(weights="float32", activations="float32", io="float32"),
        model_sha256=held.sha256, calibration_sha256=None,
    )  # fmt: skip
    card = Scorecard(
        artifact_sha256=held.sha256, evaluation_sha256=None,
        metric=Metric(name="top1", value=top1, float_value=none, drop=none),
        agreement=Agreement(argmax=top1 / 100, cosine=none, max_abs=none),
        latency_ms=Latency(cold=none, p50=none, p95=none), peak_rss_mb=none,
    )  # fmt: skip
    return Variant(artifact=artifact, scorecard=card, gates=())


@pytest.fixture(scope="module")
def make(tflite_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """Return what makes a bundle for a kind of device: of the costly model alone, or of a cheap one beside it."""
    folder = tmp_path_factory.mktemp("ladder")

    def made(base: str, port: int, *, ladder: bool) -> Bundle:
        paths = {SMALL: folder / "small.tflite", LARGE: folder / f"large-{base}.tflite"}
        for name, path in paths.items():
            if not path.exists():
                path.write_bytes(model(tflite_files.Builder(), LAYERS[base] if name == LARGE else 0))
        small, large = variant(paths[SMALL], SMALL, 80.0), variant(paths[LARGE], LARGE, 90.0)
        out = folder / f"{base}-{port}-{ladder}"
        out.mkdir(exist_ok=True)
        (out / "edgeship.yaml").write_text(f"service: {{listen: '127.0.0.1:{port}'}}\n")
        parts = BundleParts(
            profile=load_profile(TARGETS[base], folders=(targets_folder(),)),
            project=load_project(out / "edgeship.yaml"), app="kws", version="2" if ladder else "1",
            variants=(small, large), chosen=small if ladder else large, also=(large,) if ladder else (),
            source=open_model(paths[LARGE]), evaluation=None, calibration=None, rules=(InputRule(),), labels=(),
        )  # fmt: skip
        return make_bundle(parts, out=out, cache=cache_folder(), progress=Silent())

    return made


@dataclass
class Board:
    """A lab device with a fake tree of sensors, and a client of what serves there."""

    device: Any
    base: str
    port: int
    options: DeployOptions

    @property
    def host(self) -> Any:
        return parse_host(self.device.name)

    def on(self, command: str) -> str:
        """Return what a command prints there, as root."""
        done = self.device.exec(
            "sh", "-c", command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return str(done.stdout).strip()

    def words(self, *more: str) -> list[str]:
        return ["--host", self.device.name, "--ssh-config", str(self.options.ssh_config), *more]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/v2/models/kws{path}"

    def governor(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url("/governor"), timeout=30) as answer:
            return dict(json.load(answer))

    def ask(self, samples: int = 1, **parameters: Any) -> tuple[str, str]:
        """Return (what answered, why)."""
        body = {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [samples, 4], "data": [1, 2, 3, 4] * samples}
            ]
        }
        if parameters:
            body["parameters"] = parameters  # type: ignore[assignment]
        request = urllib.request.Request(self.url("/infer"), json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found = json.load(answer)["parameters"]
        except urllib.error.HTTPError as error:
            return "refused", str(error.code)
        return str(found["variant"]), str(found.get("reason"))

    def until(self, what: Callable[[], Any], seconds: float = 90) -> Any:
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                last = what()
                if last:
                    return last
            except OSError as error:
                last = error
            time.sleep(0.2)
        raise AssertionError(f"it did not happen in time: {last}; {self.governor()}")

    def answers_as(self, name: str, *reasons: str) -> None:
        """Wait until requests are answered so."""

        def so() -> bool:
            seen = self.ask()
            return seen[0] == name and (not reasons or seen[1] in reasons)

        self.until(so)

    def slow_enough(self, seconds: float) -> tuple[int, float]:
        """Return (samples of a request that takes the costly one so long, or longer, and its seconds): a quicker one
        could not be sent often enough from here."""
        samples, took = 1, 0.0
        while took < seconds:
            samples *= 2
            times = []
            for _ in range(5):
                begun = time.monotonic()
                assert self.ask(samples, variant=LARGE)[0] == LARGE
                times.append(time.monotonic() - begun)
            took = sorted(times)[2]
        return samples, took

    def open_loop(self, rate: float, seconds: float, samples: int = 1, **parameters: Any) -> Counter[str]:
        """Send requests at moments fixed beforehand, whatever becomes of those before; count what answered."""
        found: list[str] = []
        begun = time.monotonic() + 0.1

        def one(at: float) -> None:
            time.sleep(max(0.0, at - time.monotonic()))
            found.append(self.ask(samples, **parameters)[0])

        threads = [
            threading.Thread(target=one, args=(begun + number / rate,))
            for number in range(int(rate * seconds))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Counter(found)

    def heat(self, celsius: float | None) -> None:
        """Have the temperature sensor show so much; None: there is none any more."""
        path = TEMPERATURE[self.base]
        self.on(
            f"rm -f {path}"
            if celsius is None
            else f"echo {celsius * 1000:.0f} >{path}.n && mv {path}.n {path}"
        )


def with_systemd(lab: Any) -> Any:
    """Return a PC that systemd boots, whose service looks for sensors below SENSORS."""
    device = lab.up(1, prefix=f"tune-{os.getpid()}-pc", base="amd64", init="systemd", disk="256M")[0]
    drop_in, chip = "/etc/systemd/system/edgeship-kws.service.d", Path(TEMPERATURE["amd64"]).parent
    device.exec(
        "sh",
        "-c",
        f"mkdir -p {drop_in} {chip} {Path(ENERGY).parent}; echo Tctl >{chip}/temp1_label; "
        f"printf '[Service]\\nEnvironment=EDGESHIP_SENSOR_ROOT={SENSORS}\\n' >{drop_in}/sensors.conf",
    )
    return device


def emulated(lab: Any) -> Any:
    """Return an ARM board whose zones of temperature are files. (The emulator cannot do what the unit's sandbox asks
    for, so there is no systemd, and our own process supervises.)"""
    device = lab.up(1, prefix=f"tune-{os.getpid()}-arm", base="arm64", disk="256M", cpu_model="cortex-a72")[0]
    zone = Path(TEMPERATURE["arm64"]).parent
    device.exec("sh", "-c", f"mount -t tmpfs none {zone.parent} && mkdir {zone}")
    return device


def board(device: Any, base: str, lab: Any) -> Board:
    options = DeployOptions(
        ssh_config=lab.work / "ssh_config", allow_volatile_root=True, allow_no_boot_hook=True, trial_seconds=180,
        ready_seconds=90, prove_seconds=170, connect_seconds=5, cut_seconds=5,
    )  # fmt: skip
    made = Board(device, base, free_port(), options)
    made.heat(40)
    return made


def served(board: Board, bundle: Bundle, **options: Any) -> None:
    report = deploy(bundle, board.host, replace(board.options, **options), Silent())
    assert report.state == "committed", report.reason


def test_it_follows_load_heat_sensors_and_people(
    make: Any, lab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    it = board(with_systemd(lab), "amd64", lab)
    alone, ladder = make("amd64", it.port, ladder=False), make("amd64", it.port, ladder=True)
    served(it, alone)
    assert it.ask() == (LARGE, "None") and "--kept" not in it.on("systemctl cat edgeship-kws")
    served(it, ladder, settings={"log": True, "temperature_c": 60.0, "cascade": "off"})
    assert "--kept /run/edgeship-kws/app/kept" in it.on("systemctl cat edgeship-kws")
    it.until(lambda: len(it.governor()["rungs"]) == 2)
    it.answers_as(LARGE, "accurate")

    # Load: three times what the costly one can answer as measured here and now, each with a deadline.
    samples, took = it.slow_enough(0.03)
    crowd = it.open_loop(3 / took, 2.0, samples, deadline_ms=8e3 * took)
    assert crowd[SMALL] > sum(crowd.values()) / 5, (crowd, it.governor())
    it.answers_as(LARGE, "accurate")

    # Heat: near the ceiling of the settings a rung less; a sensor that is lost then never allows more.
    it.heat(59)
    it.answers_as(SMALL, "temperature")
    it.heat(None)
    it.until(lambda: any(r["value"] is None and r["age"] for r in it.governor()["readings"].values()))
    assert it.ask()[0] == SMALL
    it.heat(35)
    it.answers_as(LARGE, "accurate")

    # A budget, changed while it serves; the meter shows 8 W.
    it.on(f"systemd-run --unit=meter python3 -c '{METER}'")
    assert run(["tune", *it.words("governor.watts=3")]) == 0
    it.answers_as(SMALL, "budget")
    found = status(it.host, "kws", it.options)["apps"]["kws"]
    assert found["own"]["watts"] == 3.0 and found["governor"]["rung"] == SMALL
    assert run(["tune", *it.words("governor.watts=none")]) == 0
    it.answers_as(LARGE, "accurate")
    pid = found["serving"]["pid"]

    # People: a pin wins; the device restarts with it, and who watches sees that.
    assert run(["tune", *it.words(f"governor.variant={SMALL}")]) == 0
    it.answers_as(SMALL, "pinned")
    assert status(it.host, "kws", it.options)["apps"]["kws"]["serving"]["pid"] == pid
    capsys.readouterr()
    assert run(["replay", *it.words("--json")]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["decisions"] > 20 and again["mismatches"] == 0
    assert {"temperature", "budget", "pinned", "accurate"} <= set(again["reasons"])
    watch_a_restart(it)
    it.answers_as(SMALL, "pinned")

    # Back to the release of one variant: its own unit, and the settings wait.
    back = rollback(it.host, "kws", it.options, Silent())
    assert back.state == "committed" and back.release == alone.release, back
    assert it.ask() == (LARGE, "None") and "--kept" not in it.on("systemctl cat edgeship-kws")
    assert tuned(it.host, "kws", it.options)["own"]["variant"] == SMALL


def watch_a_restart(it: Board) -> None:
    """Watch a device that restarts meanwhile: it is seen before, missed, and seen again."""
    from edgeship.deploy.watching import Seen, Watcher

    heard: list[Seen] = []
    watcher = Watcher(it.host, None, it.options, 0.5, heard.append)
    thread = threading.Thread(target=watcher.go, daemon=True)
    thread.start()

    def seen(begin: int) -> list[str]:
        return [str(s.line["boot"]) for s in heard[begin:] if s.line and s.line["governor"].get("rung")]

    it.until(lambda: seen(0))
    before = seen(0)[0]
    it.device.fault("reboot")
    it.until(lambda: any(boot != before for boot in seen(0)))
    assert any(s.lost for s in heard)
    watcher.stop()
    thread.join(30)
    assert not thread.is_alive() and watcher.failed is None


def test_on_an_emulated_arm_board(make: Any, lab: Any) -> None:
    it = board(emulated(lab), "arm64", lab)
    served(it, make("arm64", it.port, ladder=True), settings={"temperature_c": 60.0, "cascade": "off"})
    it.until(lambda: len(it.governor()["rungs"]) == 2)
    it.answers_as(LARGE)  # the machine under the lab may be crowded: "pressure", then
    it.heat(59)
    it.answers_as(SMALL, "temperature")
    it.heat(35)
    it.answers_as(LARGE)
    assert run(["tune", *it.words("governor=off")]) == 0
    it.until(lambda: it.governor()["mode"] == "off")
    assert it.ask()[0] == SMALL and it.governor()["settings"]["temperature_c"] == 60.0, "the chosen one"
