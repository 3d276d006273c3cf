"""Named things: attacks, datasets, models, estimators, stages each live in one registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Generic, TypeVar

from ibray.errors import UserError

T = TypeVar("T")


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """The nearest of the names as a question with a space behind it, or nothing when none is near.

    >>> did_you_mean("gren", ["red", "green"])
    "did you mean 'green'? "
    """
    close = get_close_matches(str(name), list(names), n=1, cutoff=0.7)
    return f"did you mean '{close[0]}'? " if close else ""


def what_there_is(name: object, allowed: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one that exists, if any is near, and all of them.

    >>> what_there_is("gren", ["red", "green"])
    "did you mean 'green'? There are: red, green"
    """
    names = list(allowed)
    return f"{did_you_mean(name, names)}There are: {', '.join(names) or 'none'}"


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping from name to entry whose failed look-up says what exists.

    >>> colours = Registry("colour", {"red": 1, "green": 2})
    >>> colours["red"]
    1
    >>> colours["gren"]
    Traceback (most recent call last):
    ibray.errors.UserError: unknown colour 'gren': did you mean 'green'? There are: red, green
    """

    def __init__(self, kind: str, entries: Mapping[str, T]):
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        if name in self._entries:
            return self._entries[name]
        raise UserError(f"unknown {self.kind} '{name}': {what_there_is(name, self._entries)}")

    def get(self, name: str, default: T | None = None) -> T | None:
        """The entry, or `default` when there is none of that name."""
        return self._entries.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
