"""Plots, drawn by matplotlib: candidates against a cost, and a row for each of many things.

One unit is a point of matplotlib; a plot is 315 wide, so that its letters are legible on a phone of 360 pixels, and
two stand side by side on a desk.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeship.pages.svg import BLUE, GREEN, INK, MUTED, ORANGE, PALE, PAPER, RED, RULE, Told, inline

WIDTH, HEIGHT, ROW = 315, 255, 27
"""Of a plot, and of a row in one, in points."""
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "edgeship", "text.parse_math": False, "font.size": 8.5,
    "font.family": ["DejaVu Sans"], "text.color": INK, "axes.edgecolor": RULE, "axes.labelcolor": INK,
    "axes.labelsize": 8.5, "xtick.color": RULE, "ytick.color": RULE, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.axisbelow": True,
    "grid.color": RULE, "grid.linewidth": 0.4,
}  # fmt: skip
"""DejaVu is what matplotlib brings along: the same letters are measured everywhere. The page shows the reader's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One candidate in a plot of the quality against a cost."""

    key: str
    """What it is called in the plot: its number in the table."""
    x: float
    y: float
    low: float | None
    high: float | None
    """Of the 95 % interval, where there is one."""
    rung: bool
    control: bool
    chosen: bool
    admitted: bool
    lines: tuple[str, ...]
    """What it tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What a plot of the quality against a cost is of."""

    name: str
    """Prefix of every id: letters only."""
    title: str
    x: str
    y: str
    x_limit: float | None
    y_limit: float | None
    """What the goals allow, in the units of the axes."""
    higher: bool
    """Whether more of y is better; else the axis is turned, so that better is up."""


def pareto(spots: Sequence[Spot], axes: Axes) -> tuple[str, tuple[Told, ...], int]:
    """Return the plot, what its points tell, and how many lie beyond its edge and are shown on it."""
    sign = 1 if axes.higher else -1
    edge = edge_of([sign * s.y for s in spots])
    shown = {s.key: s.y if sign * s.y >= edge else sign * edge for s in spots}

    def draw(figure: Any) -> None:
        area = figure.add_axes((0.135, 0.15, 0.84, 0.82))
        limits(area, axes, spots)
        line = stairs(spots, sign)
        for spot in sorted(spots, key=lambda s: (s.rung, s.chosen)):
            draw_spot(area, spot, shown[spot.key], named=spot in line or spot.control or spot.chosen)
        area.step([s.x for s in line], [shown[s.key] for s in line], where="post", color=BLUE,
                  linewidth=1, alpha=0.55, zorder=2)  # fmt: skip
        scale(area, [s.x for s in spots])
        area.set_xlabel(axes.x)
        area.set_ylabel(axes.y)
        area.grid(True)
        if not axes.higher:
            area.invert_yaxis()

    told = tuple(Told(gid=f"p{spot.key}", lines=spot.lines) for spot in spots)
    svg = inline(drawn(draw, HEIGHT), prefix=f"{axes.name}-", title=axes.title, told=told)
    return svg, told, sum(shown[s.key] != s.y for s in spots)


def limits(area: Any, axes: Axes, spots: Sequence[Spot]) -> None:
    """Draw what the goals allow; a limit far from every candidate would squeeze them, and is left to the text."""
    far = max((s.x for s in spots), default=0.0)
    if axes.x_limit is not None and axes.x_limit <= 1.3 * far:
        area.axvline(axes.x_limit, color=RED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    values = [s.y for s in spots]
    room = 0.6 * (max(values) - min(values)) or 1.0
    if axes.y_limit is not None and min(values) - room <= axes.y_limit <= max(values) + room:
        area.axhline(axes.y_limit, color=RED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def edge_of(values: Sequence[float]) -> float:
    """Return the least of values (more is better) that a plot shows in its place: what ruins a model is told, and does
    not flatten the others."""
    ranked = sorted(values, reverse=True)
    if len(ranked) < 5:
        return ranked[-1] if ranked else 0.0
    usual = ranked[0] - ranked[len(ranked) * 3 // 4]
    return max(ranked[-1], ranked[0] - 2.2 * usual) if usual > 0 else ranked[-1]


def stairs(spots: Sequence[Spot], sign: int) -> list[Spot]:
    """Return those of the ladder that nothing cheaper in this one cost beats, cheapest first."""
    line: list[Spot] = []
    for spot in sorted((s for s in spots if s.rung), key=lambda s: (s.x, -sign * s.y)):
        if not line or sign * spot.y > sign * line[-1].y:
            line.append(spot)
    return line


def scale(area: Any, costs: Sequence[float]) -> None:
    """Lay out the axis of costs: by ratio where they differ by much, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(costs), max(costs)
    if low <= 0 or high / low < 4:
        room = (high - low or abs(high) or 1.0) * 0.1
        area.set_xlim(low - room, high + room)
        few_ticks(area)
        return
    area.set_xscale("log")
    area.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    area.xaxis.set_minor_locator(NullLocator())
    area.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    room = (high / low) ** 0.07
    area.set_xlim(low / room, high * room)


def few_ticks(area: Any) -> None:
    """Put as many numbers below a plot as fit a phone, in as few digits as they need."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    area.xaxis.set_major_locator(MaxNLocator(nbins=5))
    area.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "\u2212")))


def draw_spot(area: Any, spot: Spot, y: float, *, named: bool) -> None:
    """Draw a candidate: shape and colour say what it is, its number which, where `named`."""
    beyond = y != spot.y
    colour = ORANGE if spot.control else GREEN if spot.chosen else BLUE if spot.rung else MUTED
    marker = "v" if beyond else "D" if spot.control else "*" if spot.chosen else "o"
    size = 13 if spot.chosen else 6 if spot.rung or spot.control else 4.5
    face = colour if spot.admitted else PAPER
    if spot.low is not None and spot.high is not None and not beyond:
        area.plot([spot.x, spot.x], [spot.low, spot.high], color=colour, linewidth=0.8, alpha=0.45, zorder=2)
    area.plot([spot.x], [y], marker, color=colour, markersize=size, markerfacecolor=face, markeredgewidth=1.1,
              gid=f"p{spot.key}", zorder=5, clip_on=False)  # fmt: skip
    if named:
        area.annotate(spot.key, (spot.x, y), (5, 4), textcoords="offset points", fontsize=7, color=INK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A value in a row: a bar from 0, or a mark with its interval."""

    value: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a plot: what it is of, and a value or two."""

    name: str
    bars: tuple[Bar, ...]
    marked: bool = False
    """Whether it is the chosen one."""


def rows(
    entries: Sequence[Row],
    *,
    name: str,
    title: str,
    unit: str,
    lines: Sequence[float] = (),
    marks: bool = False,
) -> str:
    """Return a plot of a row each, with its name above: bars from 0, or marks with intervals where `marks`.

    `lines` are limits, drawn from top to bottom.
    """
    tall = ROW * len(entries) + 34

    def draw(figure: Any) -> None:
        area = figure.add_axes((0.02, 30 / tall, 0.96, 1 - 34 / tall))
        area.set_ylim(len(entries) - 0.35, -0.65)
        area.set_yticks([])
        area.spines["left"].set_visible(False)
        area.grid(True, axis="x")
        (draw_marks if marks else draw_bars)(area, entries)
        few_ticks(area)
        for limit in lines:
            area.axvline(limit, color=RED, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
        for place, row in enumerate(entries):
            said = ("\u2605 " if row.marked else "") + shortened(row.name, 44 if marks else 54)
            if marks:
                area.text(1.0, place - 0.2, row.bars[0].text, transform=area.get_yaxis_transform(), fontsize=7.2,
                          ha="right")  # fmt: skip
            area.text(0.0, place - 0.2, said, transform=area.get_yaxis_transform(), fontsize=7.6,
                      weight="bold" if row.marked else "normal")  # fmt: skip
        area.set_xlabel(unit)

    return inline(drawn(draw, tall), prefix=f"{name}-", title=title)


def draw_bars(area: Any, entries: Sequence[Row]) -> None:
    """Draw the bars of each row one upon the other, the first the longest, each with its value behind."""
    most = max((bar.value for row in entries for bar in row.bars), default=0.0)
    least = min((bar.value for row in entries for bar in row.bars), default=0.0)
    for place, row in enumerate(entries):
        for k, bar in enumerate(row.bars):
            last = k == len(row.bars) - 1
            colour = PALE if not last else GREEN if row.marked else BLUE
            area.barh(place + 0.1, bar.value, 0.3, color=colour, zorder=2)
        longest = max([0.0, *(bar.value for bar in row.bars)])
        area.annotate("  ".join(bar.text for bar in reversed(row.bars)), (longest, place + 0.1), (4, 0),
                      textcoords="offset points", va="center", fontsize=7.2)  # fmt: skip
    area.axvline(0, color=RULE, linewidth=0.8)
    room = 0.36 if any(len(row.bars) > 1 for row in entries) else 0.3
    area.set_xlim(min(0.0, 1.1 * least), (most or 1.0) * (1 + room))


def draw_marks(area: Any, entries: Sequence[Row]) -> None:
    """Draw a mark and its interval for each value: the second one hollow, a little lower. What ruins a model lies
    beyond the edge; its figure is told beside its name."""
    firsts = [row.bars[0].value for row in entries]
    low, high = edge_of(firsts), -edge_of([-value for value in firsts])
    seen = [
        each
        for row in entries
        if low <= row.bars[0].value <= high
        for bar in row.bars
        for each in (bar.value, bar.low, bar.high)
        if each is not None
    ]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    room = (high - low or 1.0) * 0.06
    area.set_xlim(low - room, high + room)
    for place, row in enumerate(entries):
        for k, bar in enumerate(row.bars):
            y, colour = place + 0.03 + 0.17 * k, ORANGE if k else GREEN if row.marked else BLUE
            if not low - room <= bar.value <= high + room:
                left = bar.value < low
                area.plot([0.01 if left else 0.99], [y], "<" if left else ">", color=colour, markersize=4,
                          markerfacecolor=PAPER if k else colour, transform=area.get_yaxis_transform())  # fmt: skip
                continue
            if bar.low is not None and bar.high is not None:
                area.plot([bar.low, bar.high], [y, y], color=colour, linewidth=1.4, alpha=0.6, zorder=2)
            area.plot([bar.value], [y], "s" if k else "o", color=colour, markersize=4,
                      markerfacecolor=PAPER if k else colour, zorder=4)  # fmt: skip


def shortened(name: str, longest: int) -> str:
    """Return a name that fits the width, its middle left out."""
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def drawn(draw: Callable[[Any], None], height: float) -> str:
    """Return the SVG of what `draw` draws on a matplotlib Figure; whatever the user's own settings, the same."""
    import matplotlib
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    stream = io.StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that DejaVu has not: they are the reader's font's business
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        figure.patch.set_visible(False)
        draw(figure)
        for area in figure.axes:
            area.patch.set_visible(False)
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=none, transparent=True)
    return stream.getvalue()
