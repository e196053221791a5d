"""Which groups of channels go: the least important first, until enough is gone, and never all of a tensor's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.coupling import Coupling
from edgeship.compress.lanes import Places
from edgeship.compress.surgery import Cost, Stays

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How much is to go."""

    share: float
    """0 to 1 of `of`."""
    of: str = "channels"
    """`channels` (of those that can go), `macs` or `parameters` (of the whole model)."""
    least: float = 0.1
    """Share of the channels of every tensor that stays in any case; one channel always does."""
    multiple: int = 1
    """Numbers of channels are brought to the nearest multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What stays."""

    stays: Stays
    reached: bool
    """Whether as much goes as was wanted (before numbers of channels are rounded)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Groups that one layer makes, and those of layers that it shares any of them with."""

    groups: Places
    each: int
    """Channels of a layer that one group holds (two and more in convolutions by groups)."""


def families_of(coupling: Coupling) -> tuple[Family, ...]:
    """Return the families, in the order of the graph. Each group is in one."""
    above = list(range(coupling.groups))

    def root(group: int) -> int:
        while above[group] != group:
            group = above[group]
        return group

    each: dict[int, int] = {}
    for cut in coupling.cuts:
        if cut.role != "makes":
            continue
        groups, counts = np.unique(coupling.of(cut.atoms), return_counts=True)
        free = [(int(g), int(n)) for g, n in zip(groups, counts, strict=True) if g >= 0]
        for group, count in free:
            each[group] = max(each.get(group, 1), count)
            one, other = sorted((root(free[0][0]), root(group)))
            above[other] = one
    members: dict[int, list[int]] = {}
    for group in range(coupling.groups):
        members.setdefault(root(group), []).append(group)
    return tuple(
        Family(groups=np.array(held, np.int64), each=max(each.get(g, 1) for g in held))
        for held in members.values()
    )


def evenly(coupling: Coupling, scores: Scores) -> Scores:
    """Return scores by which every family loses the same share, its least important groups first."""
    even = np.zeros(coupling.groups)
    for family in families_of(coupling):
        order = np.argsort(scores[family.groups], kind="stable")
        even[family.groups[order]] = (np.arange(len(order)) + 0.5) / len(order)
    return even


def chosen(coupling: Coupling, scores: Scores, wanted: Wanted) -> Choice:
    """Return which groups stay: those of the lowest score go first, ties in the order of the graph."""
    room = _Room(coupling, wanted.least)
    going = [g for g in np.argsort(scores, kind="stable").tolist() if room.take(g)]
    left, full = _measure(coupling, wanted.of)
    goal = full * (1.0 - wanted.share) + 1e-6 * full

    def without(count: int) -> Stays:
        stays = np.ones(coupling.groups, np.bool_)
        stays[going[:count]] = False
        return stays

    low, high = 0, len(going)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if left(without(middle)) <= goal else (middle + 1, high)
    stays = without(low)
    reached = left(stays) <= goal
    if wanted.multiple > 1:
        stays = _rounded(coupling, scores, stays, wanted)
    return Choice(stays=stays, reached=reached)


def _measure(coupling: Coupling, of: str) -> tuple[Callable[[Stays], float], float]:
    """Return (what counts what is left, how much there is of it at first)."""
    everything = np.ones(coupling.groups, np.bool_)
    if of != "channels":
        cost = Cost(coupling)
        count = cost.macs if of == "macs" else cost.parameters
        return count, count(everything)
    held = channels_of(coupling).astype(np.float64)
    return (lambda stays: float(held[stays].sum())), float(held.sum())


def channels_of(coupling: Coupling) -> Places:
    """Return how many channels of layers go with each group."""
    held = np.zeros(coupling.groups, np.int64)
    for cut in coupling.cuts:
        if cut.role == "makes":
            groups = coupling.of(cut.atoms)
            np.add.at(held, groups[groups >= 0], 1)
    return held


class _Room:
    """How many places of each tensor may still go."""

    def __init__(self, coupling: Coupling, least: float) -> None:
        self._left: list[int] = []
        self._held: dict[int, list[tuple[int, int]]] = {}
        seen: set[bytes] = set()
        everything = [lane.atoms for lane in coupling.lanes.values()]
        everything += [cut.atoms for cut in coupling.cuts]
        for atoms in everything:
            groups = coupling.of(atoms)
            if groups.tobytes() in seen:
                continue
            seen.add(groups.tobytes())
            for group, count in zip(*np.unique(groups[groups >= 0], return_counts=True), strict=True):
                self._held.setdefault(int(group), []).append((len(self._left), int(count)))
            self._left.append(len(groups) - max(1, ceil(least * len(groups) - 1e-9)))

    def take(self, group: int) -> bool:
        """Let a group go where every tensor can do without it; return whether it goes."""
        held = self._held.get(group, [])
        if any(self._left[lane] < count for lane, count in held):
            return False
        for lane, count in held:
            self._left[lane] -= count
        return True

    def give(self, group: int) -> None:
        """Take a group back."""
        for lane, count in self._held.get(group, []):
            self._left[lane] += count


def _rounded(coupling: Coupling, scores: Scores, stays: Stays, wanted: Wanted) -> Stays:
    """Bring the channels of every family to the nearest multiple; a family of fewer channels than one stays whole."""
    stays = stays.copy()
    room = _Room(coupling, wanted.least)
    for group in np.flatnonzero(~stays).tolist():
        room.take(group)
    for family in families_of(coupling):
        order = family.groups[np.argsort(scores[family.groups], kind="stable")]
        full, now = len(order) * family.each, int(stays[order].sum()) * family.each
        goal = max(wanted.multiple, int(now / wanted.multiple + 0.5) * wanted.multiple)
        if full <= wanted.multiple or goal >= full:
            goal = full
        for group in order[::-1].tolist():
            if now < goal and not stays[group]:
                stays[group], now = True, now + family.each
                room.give(group)
        for group in order.tolist():
            if now - family.each >= goal and stays[group] and room.take(group):
                stays[group], now = False, now - family.each
    return stays
