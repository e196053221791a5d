"""The page of a simulation: what it says, and how it is in a real browser."""

from __future__ import annotations

import base64
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from edgeship.pages.simulation import simulation_page

RUNTIME = Path(__file__).parents[2] / "edgeship" / "runtime"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RUNGS = (
    ("student-width-30+distill+static_wi8_ai8", 0.71, 0.004),
    ("quick", 0.83, 0.02),
    ("<b>best</b>", 0.91, 0.06),
)


@pytest.fixture(scope="module")
def simulated() -> dict[str, Any]:
    """A document as `edgeship simulate` leaves it."""
    if str(RUNTIME) not in sys.path:
        sys.path.append(str(RUNTIME))
    from es_simulated import simulated as simulate

    board = {"idle_watts": 2.7, "busy_watts": 3.6, "basis": "its plug"}
    thermal = {"ambient_c": 25, "c_per_watt": 12, "seconds": 150, "basis": "still air"}
    rungs = [
        {"variant": name, "accuracy": accuracy, "seconds": seconds, "p95_seconds": 1.1 * seconds}
        for name, accuracy, seconds in RUNGS
    ]
    governor = {"settings": {}, "rungs": rungs, "power": board, "thermal": thermal, "sensors": [
        {"name": "soc", "kind": "temperature", "trips": [{"at": 61, "effect": "slower"}]}
    ]}  # fmt: skip
    request = {
        "seconds": 120, "rate": 14, "deadline_ms": 150, "settings": {"watts": 3.3},
        "traces": [{"pattern": "burst"}, {"pattern": "heat-wave"}],
    }  # fmt: skip
    document: dict[str, Any] = simulate({"app": "kws", "governor": governor}, request)
    return {**document, "bundle": "kws.edgeship", "release": "0" * 64, "target": "raspberry-pi-4"}


def test_every_figure_of_the_document_stands_in_it(simulated: dict[str, Any]) -> None:
    page = simulation_page(simulated)
    assert page == simulation_page(simulated)
    assert "<b>best</b>" not in page and "fixed:&lt;b&gt;best&lt;/b&gt;" in page
    assert page.count("<svg") == 6 and "://" not in page.replace("http://www.w3.org/2000/svg", "")
    for trace in simulated["traces"]:
        assert f"{trace['requests']:,} requests" in page
        for row in trace["policies"]:
            assert f">{100 * row['right_share']:.2f}</td>" in page and f">{row['watts']:.3f}</td>" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ElementTree.fromstring(svg)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_without_courses_and_figures_it_is_still_a_page(simulated: dict[str, Any]) -> None:
    board, settings = {**simulated["board"], "trips": []}, {**simulated["settings"], "watts": None}
    bare = {**simulated, "deadline_ms": None, "settings": settings, "board": board}
    trace = simulated["traces"][0]
    bare["traces"] = [{**trace, "curves": {}, "policies": trace["policies"][1:]}]
    page = simulation_page(bare)
    assert page.count("<svg") == 2 and "kws on raspberry-pi-4" in page


@pytest.fixture(scope="module")
def browser(load_beside: Callable[[str], ModuleType], simulated: Any, tmp_path_factory: Any) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("simulation")
    path = folder / "page.html"
    path.write_text(simulation_page(simulated), encoding="utf-8")
    assert CHROMIUM is not None
    opened = load_beside("browser").Browser(CHROMIUM, folder / "home")
    try:
        opened.open(path.as_uri())
        yield opened
    finally:
        opened.close()


in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@pytest.mark.slow
@in_chromium
def test_it_opens_in_silence_and_asks_for_nothing(browser: Any) -> None:
    asked = [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [browser.value("location.href")]
    assert browser.happened("Log.entryAdded") == [] and browser.happened("Runtime.exceptionThrown") == []
    assert browser.value("document.querySelectorAll('svg').length") == 6


@pytest.mark.slow
@in_chromium
@pytest.mark.parametrize("width", [360, 768, 1200])
def test_nothing_is_wider_than_the_screen(browser: Any, width: int) -> None:
    browser.resize(width)
    assert browser.value("document.documentElement.clientWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    beyond = (
        "[...document.querySelectorAll('td, th, figure > svg, svg text')].filter(e => "
        f"e.getBoundingClientRect().right > {width} + .5 || e.getBoundingClientRect().left < -.5)"
        ".map(e => e.outerHTML.slice(0, 90)).filter(t => !t.startsWith('<th scope=\"col\"'))"
    )
    assert browser.value(beyond) == []


@pytest.mark.slow
@in_chromium
def test_it_prints(browser: Any) -> None:
    made = browser.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    sheets = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", base64.b64decode(made["data"]))
    assert 2 <= len(sheets) <= 10
