"""The page in a real browser, before real services: an image classifier and a model of sound, each from its bundle."""

from __future__ import annotations

import base64
import http.client
import http.server
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.assets import runtime_folder
from edgeship.bundle.seal import extract
from edgeship.data.dataset import load_dataset
from edgeship.data.pictures import pixels, survey
from edgeship.data.preprocess import resize
from edgeship.data.samples import Reading
from edgeship.project import load_project
from edgeship.score.detections import forms_of
from edgeship.values import Bundle, InputRule, Resize

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PATIENCE = 60.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


def beside(name: str) -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "pages" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"service_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Service:
    """A release that serves, as on a device."""

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self.release = folder / "release"
        extract(bundle, self.release)
        self.announced = folder / "announce.json"
        main = [sys.executable, "-I", "-B", str(self.release / "runtime/main.py"), "serve"]
        self.process = subprocess.Popen(
            [*main, "--release", str(self.release), "--listen", "127.0.0.1:0", "--announce", str(self.announced)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + PATIENCE
        while not self.announced.exists():
            assert self.process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        self.url = str(json.loads(self.announced.read_text())["url"])

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=PATIENCE)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        told = answer.status, answer.headers, answer.read()
        connection.close()
        return told

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def images(
    make: Callable[..., Bundle], profile_of: Any, variant_of: Any, shared_data: Path, tmp_path_factory: Any
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("images")
    model = variant_of(shared_data / "cifar10" / "mlperf_int8.tflite")
    data = load_dataset(
        str(shared_data / "cifar10" / "eval.npz"), folder / "data", Reading(role="evaluation", limit=60)
    )
    bundle = make(
        profile_of("host"), folder / "out", variants=(model,), chosen=model, evaluation=data, app="cifar",
        labels=LABELS, rules=(InputRule(),),
    )  # fmt: skip
    service = Service(bundle, folder)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def sounds(make: Callable[..., Bundle], profile_of: Any, tmp_path_factory: Any) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "edgeship.yaml").write_text(
        "metadata: {name: Word spotter, licence: Apache-2.0, description: '<img src=x onerror=evil()>'}\n"
        "governor: {deadline_ms: 5000}\n"
    )
    project = load_project(folder / "edgeship.yaml")
    service = Service(make(profile_of("host"), folder / "out", project=project), folder)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: Any) -> Iterator[Any]:
    assert CHROMIUM is not None
    opened = beside("browser").Browser(
        CHROMIUM, tmp_path_factory.mktemp("home"), "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    )  # fmt: skip
    try:
        opened.ask("DOM.enable")
        yield opened
    finally:
        opened.close()


def visit(browser: Any, url: str, width: int = 1100) -> None:
    browser.ask(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
    )
    browser.open(url)
    until(browser, "!document.getElementById('foot').hidden")


def until(browser: Any, condition: str) -> None:
    end = time.monotonic() + PATIENCE
    while not browser.value(f"!!({condition})"):
        assert time.monotonic() < end, (condition, text(browser))
        time.sleep(0.03)


def text(browser: Any, of: str = "document.body") -> str:
    return str(browser.value(f"{of}.innerText"))


def result(browser: Any) -> str:
    until(browser, "document.querySelector('#result p')")
    return text(browser, "document.getElementById('result')")


def choose(browser: Any, path: Path) -> None:
    root = browser.ask("DOM.getDocument")["root"]["nodeId"]
    node = browser.ask("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.value("document.getElementById('result').replaceChildren()")
    browser.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


@pytest.fixture(scope="module")
def picture(shared_data: Path, tmp_path_factory: Any) -> Path:
    from PIL import Image

    path: Path = tmp_path_factory.mktemp("picture") / "seventh.png"
    with np.load(shared_data / "cifar10" / "eval.npz") as data:
        Image.fromarray(data["x"][6]).save(path)
    return path


def asked(service: Service, bytes_of_pixels: bytes) -> list[str]:
    """The service's own answer to a tensor: `value:index:label`, the highest first."""
    spec = json.loads(service.ask("GET", "/v2/models/cifar")[2])
    name, output = spec["inputs"][0]["name"], spec["outputs"][0]["name"]
    body = {
        "inputs": [{"name": name, "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": list(bytes_of_pixels)}],
        "outputs": [{"name": output, "parameters": {"classification": 10}}],
    }  # fmt: skip
    status, _, answer = service.ask("POST", "/v2/models/cifar/infer", json.dumps(body).encode())
    assert status == 200, answer
    data: list[str] = json.loads(answer)["outputs"][0]["data"]
    return data


def test_a_bundle_tells_what_is_known_of_its_model(sounds: Service) -> None:
    told = json.loads((sounds.release / "page/page.json").read_text())
    assert (told["schema"], told["app"], told["version"]) == ("edgeship.page/1", "kws", "1")
    assert (told["name"], told["licence"]) == ("Word spotter", "Apache-2.0")
    assert told["measured_on"] == {"samples": 200, "data": "eval.npz"}
    assert told["variants"]["static_wi8_ai8"]["metric"]["value"] == 90.2
    assert told["classes"]["count"] == 12 and told["classes"]["first"][0] == "down"
    assert "picture" not in told["variants"]["static_wi8_ai8"], "a spectrogram is no picture"
    assert "boxes" not in told and told["governor"] is True
    for name in ("index.html", "page.css", "page.js"):
        whole = (sounds.release / "page" / name).read_bytes()
        assert whole == (runtime_folder() / "page" / name).read_bytes()
        assert sounds.ask("GET", "/" + name.replace("index.html", ""))[2] == whole


def test_an_uploaded_picture_gets_the_answer_of_the_service_and_nothing_leaves(
    browser: Any, images: Service, picture: Path
) -> None:
    visit(browser, images.url + "/")
    said = text(browser)
    for words in (
        "cifar",
        "version 1",
        "right at first guess",
        "60 samples of eval.npz",
        "32 × 32",
        "airplane",
    ):
        assert words in said, words
    assert "Not stated by who built it" in said, "no licence is made up"
    choose(browser, picture)
    value, _, label = asked(images, _pixels(picture).tobytes())[0].split(":")
    shown = result(browser).split("\n")
    assert shown[:2] == [label, f"{100 * float(value):.1f} %"] and "by static_wi8_ai8" in shown[-1]
    assert browser.value("document.getElementById('seen').width") == 32
    urls = [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")]
    assert len(urls) > 5 and all(url.startswith((images.url, "data:,")) for url in urls), urls
    assert not browser.happened("Log.entryAdded") and not browser.happened("Runtime.exceptionThrown")


def _pixels(path: Path) -> Any:
    return pixels(path, survey([path], "test"), "test")


def test_on_a_phone_nothing_is_wider_than_it_and_both_schemes_can_be_read(
    browser: Any, images: Service, picture: Path
) -> None:
    visit(browser, images.url + "/", width=360)
    choose(browser, picture)
    result(browser)
    browser.value("for (const d of document.querySelectorAll('details')) d.open = true")
    until(browser, "document.getElementById('tiles').children.length > 4")
    assert browser.value("document.documentElement.clientWidth") == 360
    assert browser.value("document.documentElement.scrollWidth") <= 360
    page = json.dumps("body, h1, h1 small, .quiet, dt, dd, button, a, #state, li b, summary, textarea")
    papers = set()
    for scheme in ("light", "dark"):
        browser.ask(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        found = browser.value(
            f"[...document.querySelectorAll({page})].map(e => {{ let p = e; "
            "while (/, 0\\)/.test(getComputedStyle(p).backgroundColor) && p.parentElement) p = p.parentElement; "
            "return [getComputedStyle(e).color, getComputedStyle(p).backgroundColor]; })"
        )
        papers.add(browser.value("getComputedStyle(document.body).backgroundColor"))
        assert min(contrast(*pair) for pair in found) >= 4.5  # WCAG 2.2, AA
    browser.ask("Emulation.setEmulatedMedia", features=[])
    assert len(papers) == 2


def contrast(ink: str, paper: str) -> float:
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2.2 has it."""
    red, green, blue = (int(v) / 255 for v in re.findall(r"\d+", colour)[:3])
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_control_has_a_name_and_can_be_reached_by_the_tab_key(browser: Any, images: Service) -> None:
    visit(browser, images.url + "/")
    browser.ask("Accessibility.enable")
    tree = browser.ask("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "textbox", "combobox", "link", "image", "DisclosureTriangle")
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree if not node["ignored"] and node.get("role", {}).get("value") in roles
    ]  # fmt: skip
    assert len(named) >= 5 and all(name for _, name in named), named
    reached = []
    for _ in range(8):
        for event in ("keyDown", "keyUp"):
            browser.ask("Input.dispatchKeyEvent", type=event, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(browser.value("document.activeElement.id || document.activeElement.tagName"))
    assert reached[:4] == ["file", "camera", "fit", "SUMMARY"], reached


CASES = [("smooth", 1), ("bilinear", 0), ("nearest", 0)]


@pytest.mark.parametrize(("method", "tolerance"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_tensor_of_a_picture_is_the_one_of_the_build(
    browser: Any, images: Service, method: str, tolerance: int, channels: int, tmp_path: Path
) -> None:
    """Resized as the service and the build do: to the bit; as Pillow does: to one of 255."""
    from PIL import Image

    if browser.value("typeof prepared") != "function":
        visit(browser, images.url + "/")
    random = np.random.default_rng(channels)
    for width, height in ((97, 61), (20, 45), (32, 24)):
        path = tmp_path / f"{width}.png"
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        wanted = pixels(path, survey([path], "test", channels), "test")
        if method == "smooth":
            grey = Image.fromarray(wanted[..., 0] if channels == 1 else wanted)
            wanted = np.asarray(grey.resize((32, 24), Image.Resampling.BILINEAR)).reshape(24, 32, channels)
        else:
            to = Resize(height=24, width=32, method="nearest" if method == "nearest" else "bilinear")
            wanted = np.rint(resize(wanted[np.newaxis], to)[0])
        made = in_page(browser, path, {"width": 32, "height": 24, "channels": channels, "resize": method})
        off = np.abs(np.array(made).reshape(24, 32, channels) - wanted)
        assert off.max() <= tolerance and (off > 0).mean() < 0.05, (width, off.max())


def in_page(browser: Any, path: Path, how: dict[str, Any], code: str = "bytes") -> list[float]:
    """The values that the page makes of a picture's file."""
    how = {"datatype": "UINT8", "scale": 1, "offset": 0, **how}
    data = base64.b64encode(path.read_bytes()).decode()
    expression = (
        "(async () => { const raw = Uint8Array.from(atob('%s'), c => c.charCodeAt(0)); "
        "const i = await createImageBitmap(new Blob([raw]), {imageOrientation: 'from-image', "
        "colorSpaceConversion: 'none', premultiplyAlpha: 'none'}); "
        "return Array.from(prepared(pixels(i, i.width, i.height), %s).%s); })()"
    )
    told = browser.ask(
        "Runtime.evaluate", expression=expression % (data, json.dumps(how), code), returnByValue=True,
        awaitPromise=True,
    )  # fmt: skip
    assert "exceptionDetails" not in told, told
    values: list[float] = told["result"]["value"]
    return values


def test_photographs_are_read_upright_and_real_numbers_scaled(
    browser: Any, images: Service, picture: Path, tmp_path: Path
) -> None:
    from PIL import Image

    if browser.value("typeof prepared") != "function":
        visit(browser, images.url + "/")
    path, image = tmp_path / "turned.jpg", Image.open(picture).resize((48, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, quality=90, exif=exif)
    how = {"width": 32, "height": 48, "channels": 3, "resize": "smooth"}
    off = np.abs(np.array(in_page(browser, path, how)).reshape(48, 32, 3) - _pixels(path))
    assert off.max() <= 3, "another decoder of JPEG may round otherwise"
    real = {**how, "datatype": "FP32", "scale": 2 / 255, "offset": -1.0}
    values = np.array(in_page(browser, path, real, "values"))
    assert np.abs(values - (np.array(in_page(browser, path, how)) * 2 / 255 - 1)).max() < 1e-6


@pytest.mark.parametrize("form", [{"turned": True, "sure": 0}, {"turned": False, "sure": 1}])
def test_boxes_are_those_that_scoring_finds(browser: Any, images: Service, form: dict[str, Any]) -> None:
    if browser.value("typeof boxes") != "function":
        visit(browser, images.url + "/")
    random, classes = np.random.default_rng(3), 4
    rows = np.zeros((1, 60, 4 + form["sure"] + classes), np.float32)
    rows[..., :2] = random.uniform(4, 28, (1, 60, 2))
    rows[..., 2:4] = random.uniform(2, 12, (1, 60, 2))
    # one class a box stands out: where two share a box, scoring counts it for both
    rows[0, np.arange(60), 4 + form["sure"] + random.integers(0, classes, 60)] = random.uniform(0.4, 1, 60)
    rows[..., 4 : 4 + form["sure"]] = 1.0
    output = rows.transpose(0, 2, 1) if form["turned"] else rows
    found = next(iter(forms_of([output], classes, (32, 32)))).read([output], 0)
    told = json.dumps([{"shape": list(output.shape), "data": output.ravel().tolist()}])
    browser.value(f"facts.boxes = {json.dumps(form)}")
    made = browser.value(f"boxes({told})")
    browser.value("delete facts.boxes")
    assert len(made) == len(found.scores) > 10
    for one, corners, label, score in zip(made, found.corners, found.classes, found.scores, strict=True):
        assert one["box"] == pytest.approx(corners, abs=1e-6)
        assert (one["label"], one["score"]) == (label, pytest.approx(score))


def test_the_camera_is_looked_at_until_it_is_stopped(browser: Any, images: Service) -> None:
    visit(browser, images.url + "/")
    browser.value("document.getElementById('camera').click()")
    until(browser, "document.querySelector('#result li')")
    assert (
        "Stop the camera" in text(browser) and browser.value("document.getElementById('shown').width") > 100
    )
    assert browser.value("document.getElementById('result').getAttribute('aria-live')") == "off"
    browser.value("document.getElementById('camera').click()")
    assert browser.value("stream") is None and "Use the camera" in text(browser)


def test_json_is_tried_as_it_stands_and_mistakes_are_told(browser: Any, sounds: Service) -> None:
    visit(browser, sounds.url + "/")
    said = text(browser)
    assert all(words in said for words in ("Word spotter", "90.2 % right at first guess", "Apache-2.0"))
    assert "<img src=x onerror=evil()>" in said and browser.value("document.images.length") == 0
    assert browser.value("document.getElementById('drop').hidden")
    request = browser.value("document.getElementById('text').value")
    status, _, answer = sounds.ask("POST", "/v2/models/kws/infer", request.encode())
    assert status == 200
    browser.value("document.getElementById('send').click()")
    assert result(browser).split("\n")[0] == json.loads(answer)["outputs"][0]["data"][0].split(":")[2]
    for typed, told in (("{", "That is no JSON"), ('{"inputs": []}', "is missing")):
        browser.value(f"document.getElementById('text').value = {json.dumps(typed)}")
        browser.value("document.getElementById('send').click()")
        until(browser, f"document.getElementById('result').innerText.includes({json.dumps(told)})")


def test_what_a_governor_tells_is_shown_and_what_it_does_not_know_is_said(
    browser: Any, sounds: Service
) -> None:
    visit(browser, sounds.url + "/")
    until(browser, "document.getElementById('tiles').children.length > 2")
    document = json.loads(sounds.ask("GET", "/v2/models/kws/governor")[2])
    said = text(browser, "document.getElementById('now')")
    assert document["rung"] in said and "requests a second" in said
    assert ("temperature" in said) == (document["temperature_c"] is None)
    told = {
        "mode": "auto", "rung": "static_wi8_ai8", "reason": "blind", "load": 0.42, "rate": 12.5, "p50_ms": 3.1,
        "p95_ms": 8.0, "misses": 2, "refused": 1, "temperature_c": 61.5, "watts": None, "joules_by": "estimated",
        "why": "no reading of soc: nothing goes up until it is back",
    }  # fmt: skip
    said = browser.value(f"governor({json.dumps(told)}), document.getElementById('now').innerText")
    for words in ("3.1 ms", "95 of 100 within 8 ms", "42 %", "12.5 requests a second", "61.5 °C",
                  "no reading of soc: nothing goes up until it is back", "Not known here: power"):  # fmt: skip
        assert words in said, words
    rungs = [{"variant": "a+b", "accuracy": 0.934, "measure": "top1 on evaluation data"}]
    told |= {"rung": "a+b", "rungs": rungs}
    said = browser.value(f"governor({json.dumps(told)}), document.getElementById('facts').innerText")
    assert "93.4 %, top1 on evaluation data" in said


class Prefixed(http.server.BaseHTTPRequestHandler):
    """A reverse proxy that serves `to` below /cam/."""

    to = ""

    def do_GET(self) -> None:
        if not self.path.startswith("/cam/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(self.to, timeout=PATIENCE)
        connection.request(self.command, self.path[4:], body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def test_it_works_below_a_prefix_of_a_proxy(browser: Any, images: Service, picture: Path) -> None:
    handler = type("To", (Prefixed,), {"to": images.url.removeprefix("http://")})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_port}/cam/"
        visit(browser, place)
        choose(browser, picture)
        assert "%" in result(browser)
        assert f"{place}v2/models/cifar/infer" in text(browser)
    finally:
        browser.open("about:blank")
        server.shutdown()
        server.server_close()


def test_the_headers_forbid_what_the_page_does_not_need(images: Service) -> None:
    status, headers, body = images.ask("GET", "/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-cache"
    for path in ("/", "/page.js", "/page.css", "/page.json"):
        status, whole, content = images.ask("GET", path)
        status, head, nothing = images.ask("HEAD", path)
        assert (status, nothing, head["Content-Length"]) == (200, b"", str(len(content)))
        for tags in (whole["ETag"], f'"x", W/{whole["ETag"]}', "*"):
            status, told, nothing = images.ask("GET", path, If_None_Match=tags)
            assert (status, nothing, told["ETag"]) == (304, b"", whole["ETag"])
        assert images.ask("GET", path, If_None_Match='"x"')[0] == 200
    assert images.ask("POST", "/", b"x")[0] == 405
    for path in ("/page", "/page/index.html", "/index.html", "/page.js.map", "//", "/..%2fservice.json"):
        assert images.ask("GET", path)[0] in (404, 200 if path == "//" else 404), path
    assert b"page" in images.ask("GET", "/metrics")[2]
    assert io.BytesIO(body).readline().startswith(b"<!doctype html>")


def test_a_service_that_stopped_is_told_and_one_that_is_back_found(browser: Any, sounds: Service) -> None:
    """The last of the file: it stops the service."""
    visit(browser, sounds.url + "/")
    until(browser, "document.getElementById('state').textContent === 'Ready'")
    os.kill(sounds.process.pid, signal.SIGKILL)
    sounds.process.wait()
    browser.value("document.getElementById('send').click()")
    assert "it was stopped, or the network to it is gone" in result(browser)
    until(browser, "document.getElementById('state').textContent.includes('Trying again')")
