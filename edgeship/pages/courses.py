"""Plots of things over time: what several policies did in one trace, one strip above the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeship.pages.plots import drawn, shortened
from edgeship.pages.svg import BLUE, INK, MUTED, ORANGE, RED, inline

STRIP, FOOT = 78, 26
"""Height of a strip, and of what stands below the last one, in points."""
COLOURS = (BLUE, ORANGE, MUTED)
"""Of the courses, the first in front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What one policy did: seconds, and a value of each strip at each of them (None: nothing yet)."""

    name: str
    seconds: Sequence[float]
    values: Sequence[Sequence[float | None]]
    """A row for each strip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One of several plots that share their seconds."""

    title: str
    steps: bool = False
    """Whether the value stays until it changes."""
    names: tuple[str, ...] = ()
    """Of the values 0, 1, ...; none: they are numbers."""
    limits: tuple[float, ...] = ()
    """Drawn where they are not far from the values."""


def courses(them: Sequence[Course], strips: Sequence[Strip], *, name: str, title: str) -> str:
    """Return the plot of what policies did over time."""
    tall = STRIP * len(strips) + FOOT

    def draw(figure: Any) -> None:
        for place, strip in enumerate(strips):
            bottom = (FOOT + STRIP * (len(strips) - place - 1)) / tall
            area = figure.add_axes((0.13, bottom, 0.85, (STRIP - 19) / tall))
            _strip(area, strip, [(course, course.values[place]) for course in them])
            area.tick_params(labelbottom=place == len(strips) - 1)
        figure.axes[-1].set_xlabel("seconds")

    return inline(drawn(draw, tall), prefix=f"{name}-", title=title)


def _strip(area: Any, strip: Strip, them: Sequence[tuple[Course, Sequence[float | None]]]) -> None:
    from matplotlib.ticker import MaxNLocator

    area.set_title(strip.title, loc="left", fontsize=7.6, color=INK, pad=2)
    for place in reversed(range(len(them))):
        course, values = them[place]
        known = [(at, value) for at, value in zip(course.seconds, values, strict=True) if value is not None]
        line: Callable[..., Any] = area.step if strip.steps else area.plot
        further = {"where": "post"} if strip.steps else {}
        line([at for at, _ in known], [value for _, value in known], color=COLOURS[place % len(COLOURS)],
             linewidth=1.2 if place == 0 else 0.9, zorder=9 - place, **further)  # fmt: skip
    low, high = area.get_ylim()
    for limit in strip.limits:
        if low - (high - low) <= limit <= high + (high - low):
            area.axhline(limit, color=RED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    if strip.names:
        area.set_ylim(-0.4, len(strip.names) - 0.6)
        area.set_yticks(range(len(strip.names)))
        area.set_yticklabels([shortened(each, 8) for each in strip.names], fontsize=6)
    else:
        area.yaxis.set_major_locator(MaxNLocator(nbins=4))
        area.tick_params(axis="y", labelsize=7)
    area.xaxis.set_major_locator(MaxNLocator(nbins=5))
    area.grid(True)
