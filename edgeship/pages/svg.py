"""What matplotlib draws, made part of a page: ids of its own, the page's colours, points that tell what they are."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Tree

SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
COLOURS = {
    "#010101": "var(--ink)", "#010102": "var(--muted)", "#010103": "var(--rule)", "#010104": "var(--blue)",
    "#010105": "var(--orange)", "#010106": "var(--green)", "#010107": "var(--red)", "#010108": "var(--paper)",
    "#010109": "var(--pale)",
}  # fmt: skip
"""What plots are drawn in -> the variable of the style sheet, which knows light, dark and paper."""
INK, MUTED, RULE, BLUE, ORANGE, GREEN, RED, PAPER, PALE = COLOURS
FONT = re.compile(r" font-family: [^;\"]*;| transform=\"rotate\(-0 [^\"]*\"")
"""What the page knows better, and turns by nothing."""
REACH = 9.0
"""Radius that a finger or pointer finds a point by, in units of the plot."""
LETTER, LINE, LONGEST = 4.9, 11.5, 40
"""Width and height of the letters of a tip, in units of the plot, and the most of them on a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one point of a plot tells when it is pointed at, tapped or focused."""

    gid: str
    lines: tuple[str, ...]
    """The name first."""


def inline(drawn: str, *, prefix: str, title: str, told: Sequence[Told] = ()) -> str:
    """Return an SVG document as an element that can stand in a page beside others.

    `prefix` is put before every id; `title` names the plot to who does not see it. The points of `told` become the last
    children, in reading order, each followed by nothing but points and tips: a tip is shown by style alone.
    """
    for drawn_in, variable in COLOURS.items():
        drawn = drawn.replace(drawn_in, variable)
    drawn = FONT.sub("", drawn)
    root = Tree.fromstring(drawn)
    points = [_taken(root, each.gid) for each in told]
    for element in [e for tree in (root, *points) for e in tree.iter()]:
        _own_ids(element, prefix)
        if element.tag == f"{{{SVG}}}style":
            element.text = ""  # a rule for everything: of the page, where it stands in one
    box = [float(v) for v in root.attrib["viewBox"].split()]
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    for child in root:
        child.set("aria-hidden", "true")
    root.set("role", "group" if told else "img")
    root.set("aria-label", title)
    tips = []
    for each, point in zip(told, points, strict=True):
        tips.append(_telling(point, each, f"{prefix}{each.gid}", box))
    root.extend(points)
    root.extend(tips)
    return _text(root)


def tip_rules(prefix: str, told: Sequence[Told]) -> str:
    """Return the style rules that show the tip of a point while it is pointed at or has the focus."""
    rules = [f"#{prefix}{each.gid}:is(:hover,:focus)~#{prefix}{each.gid}-tip" for each in told]
    return ",".join(rules) + "{visibility:visible}" if rules else ""


def _taken(root: Tree.Element, gid: str) -> Tree.Element:
    """Take the group of a point out of the tree and return it."""
    for parent in root.iter():
        for child in list(parent):
            if child.get("id") == gid:
                parent.remove(child)
                return child
    raise KeyError(gid)


def _own_ids(element: Tree.Element, prefix: str) -> None:
    """Put `prefix` before what an element is called and what it calls others."""
    if name := element.attrib.pop("id", None):
        element.set("id", prefix + name)
    if aim := element.attrib.pop(HREF, None):
        element.set("href", "#" + prefix + aim.removeprefix("#"))
    clip = element.attrib.pop("clip-path", None)
    if clip:
        element.set("clip-path", re.sub(r"url\(#", f"url(#{prefix}", clip))


def _telling(point: Tree.Element, told: Told, name: str, box: list[float]) -> Tree.Element:
    """Make a point one that can be focused and has a name; return its tip."""
    use = next(e for e in point.iter(f"{{{SVG}}}use"))
    x, y = float(use.attrib["x"]), float(use.attrib["y"])
    for each in (point, *point.iter()):
        each.attrib.pop("clip-path", None)
    point.attrib.clear()
    for key, value in {
        "id": name, "class": "point", "tabindex": "0", "role": "img", "aria-label": "; ".join(told.lines),
    }.items():  # fmt: skip
        point.set(key, value)
    title = Tree.Element(f"{{{SVG}}}title")
    title.text = "\n".join(told.lines)
    point.insert(0, title)
    Tree.SubElement(
        point, f"{{{SVG}}}circle", {"class": "reach", "cx": f"{x:g}", "cy": f"{y:g}", "r": f"{REACH:g}"}
    )
    return _tip(told, name, (x, y), box)


def _tip(told: Told, name: str, at: tuple[float, float], box: list[float]) -> Tree.Element:
    head = textwrap.wrap(told.lines[0].replace("+", " + "), LONGEST) or [""]
    lines = head + [part for line in told.lines[1:] for part in textwrap.wrap(line, LONGEST)]
    width = min(max(map(len, lines)) * LETTER + 14, box[2] - 4)
    height = len(lines) * LINE + 9
    left = min(max(at[0] - width / 2, 2), box[2] - width - 2)
    top = at[1] - height - 9
    top = at[1] + 9 if top < 2 else top
    tip = Tree.Element(f"{{{SVG}}}g", {"class": "tip", "id": f"{name}-tip", "aria-hidden": "true"})
    shape = {"x": left, "y": top, "width": width, "height": height, "rx": 3}
    Tree.SubElement(tip, f"{{{SVG}}}rect", {key: f"{value:.1f}" for key, value in shape.items()})
    for place, line in enumerate(lines):
        spot = {"x": f"{left + 7:.1f}", "y": f"{top + 12.5 + place * LINE:.1f}"}
        text = Tree.SubElement(tip, f"{{{SVG}}}text", spot)
        text.text = line
        if place < len(head):
            text.set("class", "head")
    return tip


def _text(root: Tree.Element) -> str:
    Tree.register_namespace("", SVG)
    text = Tree.tostring(root, encoding="unicode", short_empty_elements=True)
    return re.sub(r">\s*\n\s*<", "><", text)
