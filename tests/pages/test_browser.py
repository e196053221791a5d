"""The page in a real browser: quiet, asking for nothing, legible on a phone and on paper, points that tell."""

from __future__ import annotations

import base64
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeship.pages.compression import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser(
    load_beside: Callable[[str], ModuleType], document: Callable[[], dict[str, Any]], tmp_path_factory: Any
) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(page(document()), encoding="utf-8")
    assert CHROMIUM is not None
    opened = load_beside("browser").Browser(CHROMIUM, folder / "home")
    try:
        opened.resize(1200)
        opened.open(path.as_uri())
        yield opened
    finally:
        opened.close()


def seen(browser: Any, tip: str) -> bool:
    return bool(browser.value(f"getComputedStyle(document.getElementById('{tip}')).visibility") == "visible")


def test_it_opens_in_silence_and_asks_for_nothing(browser: Any) -> None:
    asked = [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [browser.value("location.href")]
    assert browser.happened("Log.entryAdded") == [] and browser.happened("Runtime.exceptionThrown") == []
    assert browser.happened("Runtime.consoleAPICalled") == []
    assert browser.value("document.querySelectorAll('svg .point').length") == 60


def test_pointing_at_a_point_and_the_tab_key_show_what_it_is(browser: Any) -> None:
    browser.resize(1200)
    point = "document.getElementById('download-p16')"
    assert not seen(browser, "download-p16-tip")
    browser.value(f"{point}.scrollIntoView({{block: 'center'}})")
    box = browser.value(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({point}.getBoundingClientRect())")
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    assert seen(browser, "download-p16-tip")
    assert "cluster-16" in browser.value("document.getElementById('download-p16-tip').textContent")
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert not seen(browser, "download-p16-tip")
    browser.value(f"{point}.focus()")
    assert seen(browser, "download-p16-tip")
    for event in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=event, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.value("document.activeElement.id") == "download-p17"
    assert seen(browser, "download-p17-tip") and not seen(browser, "download-p16-tip")
    browser.value("document.activeElement.blur()")


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_nothing_is_wider_than_the_screen(browser: Any, width: int) -> None:
    browser.resize(width)
    assert browser.value("document.documentElement.clientWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    beyond = (
        "[...document.querySelectorAll('td, th, pre, figure > svg, .tip rect')].filter(e => "
        f"e.getBoundingClientRect().right > {width} + .5 || e.getBoundingClientRect().left < -.5)"
        ".map(e => e.outerHTML.slice(0, 80)).filter(t => !t.includes('clip'))"
    )
    assert [e for e in browser.value(beyond) if not e.startswith('<th scope="col"')] == []


def test_layers_have_a_plot_beside_their_table_on_a_desk_and_above_it_on_a_phone(browser: Any) -> None:
    def places() -> tuple[float, float, float, float]:
        box = "document.querySelector('section[aria-labelledby=layers] {0}').getBoundingClientRect()"
        plot, table = box.format("svg"), box.format("table")
        found = browser.value(f"[{plot}.right, {plot}.bottom, {table}.left, {table}.top]")
        return found[0], found[1], found[2], found[3]

    browser.resize(1200)
    right, bottom, left, top = places()
    assert right <= left and top < bottom
    browser.resize(360)
    right, bottom, left, top = places()
    assert bottom <= top and right <= 360
    rows = "document.querySelectorAll('section[aria-labelledby=layers] tbody tr').length"
    assert browser.value(rows) == 11
    bars = "document.querySelector('section[aria-labelledby=layers] svg').textContent"
    assert "block2/conv1" in browser.value(bars)


def test_letters_of_plots_are_legible_on_a_phone(browser: Any) -> None:
    browser.resize(360)
    heights = browser.value(
        "[...document.querySelectorAll('svg text')].filter(e => !e.closest('.tip')).map(e => e.getBoundingClientRect())"
        ".map(b => Math.min(b.height, b.width > 0 ? 99 : 0)).filter(h => h > 0)"
    )
    assert min(heights) >= 7
    captions = browser.value(
        "[...document.querySelectorAll('caption')].map(e => e.getBoundingClientRect().width)"
    )
    assert min(captions) > 250


def test_dark_and_light_differ_and_both_can_be_read(browser: Any) -> None:
    def contrast(scheme: str) -> tuple[float, str]:
        browser.ask(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        worst = 99.0
        paper = browser.value("getComputedStyle(document.body).backgroundColor")
        for what in ("body", ".small", ".blue", ".orange", ".green", ".red", ".muted", "svg text"):
            of = "fill" if "svg" in what else "color"
            ink = browser.value(f"getComputedStyle(document.querySelector('{what}')).{of}")
            light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
            worst = min(worst, (light + 0.05) / (dark + 0.05))
        return worst, paper

    (light, white), (dark, black) = contrast("light"), contrast("dark")
    browser.ask("Emulation.setEmulatedMedia", features=[])
    assert white != black and min(light, dark) >= 4.5  # WCAG 2.2, AA


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2.2 has it."""
    red, green, blue = (int(v) / 255 for v in re.findall(r"\d+", colour)[:3])
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_prints_with_every_figure(browser: Any) -> None:
    made = browser.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    pdf = base64.b64decode(made["data"])
    sheets = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert 3 <= len(sheets) <= 14 and all(
        abs(float(w) - 595) < 2 and abs(float(h) - 842) < 2 for w, h in sheets
    )
    drawn = sum(len(zlib.decompressobj().decompress(part)) for part in streams(pdf))
    assert drawn > 50_000
    browser.ask("Emulation.setEmulatedMedia", media="print")
    browser.resize(703)  # A4 less its margins, in CSS pixels
    assert browser.value("document.documentElement.scrollWidth") <= 703
    assert browser.value("getComputedStyle(document.querySelector('.tip')).display") == "none"
    assert browser.value("document.querySelector('.wide').innerText.includes('75.7 (73.8–77.5)')")
    browser.ask("Emulation.setEmulatedMedia", media="")


def streams(pdf: bytes) -> Iterator[bytes]:
    """Yield the streams of a PDF that are compressed as zlib does it."""
    for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S):
        if part[:1] == b"\x78":
            yield part
