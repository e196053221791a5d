"""One small registry: a fixed mapping of names to things, with errors that list what is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from edgeship.errors import InputError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to `name`, or None where nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


class Registry(Generic[T]):
    """An immutable, ordered mapping from name (and alias) to a thing of one kind.

    `kind` is the word used in errors. Built once from its entries: nothing registers itself by being imported.
    """

    def __init__(
        self, kind: str, entries: Mapping[str, T], *, aliases: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._aliases = dict(aliases or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._aliases

    def resolve(self, name: str) -> str:
        """Return the canonical name for a name or alias. Raises InputError `unknown-<kind>`."""
        canonical = self._aliases.get(name, name)
        if canonical in self._entries:
            return canonical
        near = did_you_mean(name, [*self._entries, *self._aliases])
        raise InputError(
            f"unknown-{self.kind.replace(' ', '-')}",
            f"unknown {self.kind} '{name}'",
            context={"known": ", ".join(self._entries)},
            hint=f"did you mean '{near}'?" if near else None,
        )

    def __getitem__(self, name: str) -> T:
        return self._entries[self.resolve(name)]

    def items(self) -> Iterable[tuple[str, T]]:
        """Return (canonical name, thing) pairs in the order they were given."""
        return self._entries.items()
