"""The page of a compression: what it says, that it is safe and the same every time, whatever the document holds."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgeship.pages.compression import deploy_command, page, sensitivity_plots
from edgeship.pages.plots import edge_of

NAMELESS = {"meta", "link", "br", "hr", "img", "input"}
EVIL = (
    "a\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{ 7*7 }}$x^2$\x1b[2J\x00\u202e]]>\ud800"
)

Make = Callable[[], dict[str, Any]]


class Read(HTMLParser):
    """Reads a page: its elements, its ids, what it points at, and whether all that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in NAMELESS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in NAMELESS:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(document: Make) -> str:
    return page(document())


def test_every_figure_of_the_document_is_told(document: Make, text: str) -> None:
    said = html.unescape(re.sub("<[^>]*>", " ", text.replace("\u200b", "")))
    for entry in document()["variants"]:
        assert entry["name"] in said
        assert (
            f"{entry['bytes'] / 1000:.1f} kB" in said and f"{entry['bytes_compressed'] / 1000:.1f} kB" in said
        )
        held = entry["metric"]["held_out"]
        assert f"{held['value']:.1f} ({held['low']:.1f}–{held['high']:.1f})" in said
    for word in ("nm-2-4+static_wi8_ai8", "conv2d has 3 input channels", "distill-50", "prune-90", "40 min 16 s",
                 "cifar/calib.npz", "9.3 times", "rate=0.0005", "top1 falls by 30.7 points"):  # fmt: skip
        assert word in said, word
    assert "edgeship deploy resnet8-raspberry-pi-4.esb --host local:device" in said
    assert len(text.encode()) < 300_000


def test_nothing_is_asked_of_elsewhere_and_every_id_is_one(text: str) -> None:
    read = Read(text)
    assert not {"script", "iframe", "object", "embed", "base"} & set(read.tags)
    assert len(read.ids) == len(set(read.ids))
    for name, value in read.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "action"):
            assert value.startswith("#") or value == "data:,", (name, value)
            assert value == "data:," or value[1:] in read.ids, value
    for aim in re.findall(r"url\(([^)]*)\)", text):
        assert aim.startswith("#") and aim[1:] in read.ids
    assert "@import" not in text


def test_each_point_can_be_focused_and_has_a_name(document: Make, text: str) -> None:
    points = re.findall(
        r'<g id="download-p(\d+)" class="point" tabindex="0" role="img" aria-label="([^"]*)"', text
    )
    variants = document()["variants"]
    assert [int(key) for key, _ in points] == list(range(1, len(variants) + 1))
    for (_, label), entry in zip(points, variants, strict=True):
        assert entry["name"] in label and "download" in label
    assert text.count("<title>") == 1 + 3 * len(variants)
    for key, _ in points:
        assert f"#download-p{key}:is(:hover,:focus)~#download-p{key}-tip" in text


def test_the_same_document_gives_the_same_bytes_in_another_process(
    document: Make, text: str, tmp_path: Path
) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\nsvg.fonttype: path\n")
    code = (
        "import sys, json; from edgeship.pages.compression import page;"
        "sys.stdout.buffer.write(page(json.load(sys.stdin)).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(document()).encode(), capture_output=True, check=True,
        cwd=tmp_path, env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(p for p in sys.path if p),
                           "MPLCONFIGDIR": str(tmp_path), "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.stdout.decode() == text


def test_plots_that_were_kept_are_those_that_would_be_drawn(
    document: Make, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert page(document(), tmp_path) == text
    monkeypatch.setattr("edgeship.pages.plots.drawn", lambda *_: pytest.fail("drawn again"))
    assert page(document(), tmp_path) == text
    assert page(document() | {"seconds": 1.0}, tmp_path) != text, "it tells the time this search took"
    other = document()
    other["variants"][0]["bytes"] += 1000
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        page(other, tmp_path)


def evil(value: Any, key: str = "") -> Any:
    """Put markup into every text of a document that is not a word of the format's own."""
    if isinstance(value, dict):
        return {name: evil(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [evil(each, key) for each in value]
    fixed = ("schema", "role", "verdict", "drop_unit", "prefer")
    return value + EVIL if isinstance(value, str) and key not in fixed else value


def test_names_that_hold_markup_are_shown_as_they_are(document: Make) -> None:
    text = page(evil(document()))
    read = Read(text)
    assert not {"script", "img"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in text and "{{ 7*7 }}" in text and "$x^2$" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    text.encode()


def test_figures_that_could_not_be_had_are_told(document: Make) -> None:
    made, no = document(), {"unavailable": "there are <no> samples"}
    for entry in made["variants"]:
        entry["metric"] |= {"held_out": no, "evaluation": no, "higher_is_better": no}
        entry["agreement"] = {"argmax": no, "cosine": no}
        entry["latency_ms"] = {"cold": no, "p50": no, "p95": no}
        entry["peak_rss_mb"] = no
    made |= {"chosen": no, "bundle": no, "model_file": no, "control": no, "data": [], "goals": {}}
    for key in ("machine", "tools", "sensitivity"):
        del made[key]
    text = page(made)
    assert "Nothing was chosen" in text and "there are &lt;no&gt; samples" in text
    assert "Nothing could be measured" in text and "99.6 kB" in text and "Which layers" not in text
    Read(text)


def test_layers_are_told_with_their_causes_and_what_was_cut(document: Make, text: str) -> None:
    part = text[text.index('id="layers"') : text.index('id="all"')]
    assert "There was time for 10 of 11 layers" in part and "static_wi8_ai8 alone" in part
    assert "range outlier: its largest value is 9.3 times" in part and "--method qat-int8" in part
    drawn = part[part.index("<svg") : part.index("</svg>")]
    for layer in document()["sensitivity"]["layers"]:
        assert layer["layer"] in part and layer["op"] in part
        assert (layer["layer"] in drawn) == isinstance(layer["alone_snr_db"], float)
    assert ">0.89<" in drawn, "20.5 dB are 0.89 % of the signal"
    whole = document()
    whole["sensitivity"] = {"unavailable": "there are no samples"}
    assert "Not looked at: there are no samples." in page(whole)


def test_of_many_layers_those_that_make_most_noise_are_drawn_in_the_order_of_the_graph(
    document: Make,
) -> None:
    made = document()
    layer = made["sensitivity"]["layers"][0]
    many = [{**layer, "layer": f"layer-{k}", "alone_snr_db": 10.0 + (7 * k) % 60} for k in range(60)]
    made["sensitivity"] |= {"layers": many, "looked_at": 60}
    (drawn,) = sensitivity_plots(made)
    shown = [int(k) for k in re.findall(r"layer-(\d+) ", drawn)]
    assert shown == sorted(shown) and len(shown) == 22
    assert set(shown) == {k for k in range(60) if (7 * k) % 60 < 22}


def test_a_search_that_made_nothing_has_a_page(document: Make) -> None:
    no = {"unavailable": "every recipe was refused"}
    text = page(document() | {"variants": [], "chosen": no, "control": no, "bundle": no, "sensitivity": no})
    assert "every recipe was refused" in text
    Read(text)


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (-1.0, 2.0, 1e9), (3.0,)], ids=["zeros", "wide", "one"])
def test_errors_of_any_size_are_plotted_with_better_up(document: Make, values: tuple[float, ...]) -> None:
    made = document()
    made["variants"] = made["variants"][: len(values)]
    for entry, value in zip(made["variants"], values, strict=True):
        entry["metric"] |= {"name": "mse", "higher_is_better": False, "drop_unit": "%"}
        entry["metric"]["held_out"] = {
            "value": value, "low": {"unavailable": "no share"}, "high": {"unavailable": "no share"}, "float": 1.0,
            "drop": value, "count": 9,
        }  # fmt: skip
    text = page(made)
    heights = dict(
        re.findall(r'<g id="download-p(\d)".*?<circle class="reach" cx="[^"]*" cy="([^"]*)"', text, re.S)
    )
    least, most = values.index(min(values)), values.index(max(values))
    assert float(heights[str(least + 1)]) <= float(heights[str(most + 1)])


def test_many_candidates_are_split_into_plots_that_fit_a_sheet(document: Make) -> None:
    made = document()
    made["variants"] = made["variants"] * 3
    text = page(made)
    assert 'id="size2-' in text and 'id="size3-' not in text
    Read(text)


def test_what_ruins_a_model_does_not_flatten_the_others() -> None:
    assert 60 < edge_of([77, 76, 75, 74, 73, 10]) < 73
    assert edge_of([77, 76, 75, 74, 73, 72]) == 72
    assert edge_of([5, 5, 5, 5, 5]) == 5


def test_the_command_works_for_any_file_name() -> None:
    assert deploy_command({"bundle": "my model.esb"}) == "edgeship deploy 'my model.esb' --host "
    assert deploy_command({"bundle": "-x.esb"}) == "edgeship deploy ./-x.esb --host "
    assert deploy_command({"bundle": {"unavailable": "none"}}) is None
