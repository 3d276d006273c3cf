"""Named things: attacks, datasets, models, estimators, stages each live in one registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import Generic, TypeVar

from ibray.errors import UserError
from ibray.plugins import find_plugins, load_plugin, package

T = TypeVar("T")

BUILT_IN = "ibray"  # the origin of what comes with this package


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

    With a group, installed packages add entries (see `ibray.plugins`). They are found when the registry is first used
    and imported when they are looked up; one that cannot be imported or is no `entry_type` is a UserError then, and
    the other names go on working. Two entries of one name make every use of the registry a UserError.
    """

    def __init__(
        self, kind: str, entries: Mapping[str, T], *, group: str | None = None, entry_type: type[T] = object
    ):
        self.kind = kind
        self._entries = dict(entries)
        self._group = group
        self._entry_type = entry_type

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        """The entry points by name; every method asks for them first, so that a name that is there twice is refused."""
        found: dict[str, EntryPoint] = {}
        for point in find_plugins(self._group) if self._group else []:
            if point.name in self._entries or point.name in found:
                raise self._twice(point, found.get(point.name))
            found[point.name] = point
        return found

    def _twice(self, second: EntryPoint, first: EntryPoint | None) -> UserError:
        """Two entries of one name; the first is built in when it has no entry point."""
        owner, to_remove = (package(first), f"{first.dist.name} or ") if first else (BUILT_IN, "")
        return UserError(
            f"{self.kind} '{second.name}' is there twice, from {owner} and from {package(second)}: "
            f"uninstall {to_remove}{second.dist.name}"
        )

    def origin(self, name: str) -> str:
        """Where the entry comes from: "ibray", or "PACKAGE VERSION" of a plug-in. UserError for an unknown name."""
        if name not in self:
            raise self._unknown(name)
        return package(self._plugins[name]) if name in self._plugins else BUILT_IN

    def __getitem__(self, name: str) -> T:
        if name in self._plugins:
            return load_plugin(self._plugins[name], self._entry_type)
        if name in self._entries:
            return self._entries[name]
        raise self._unknown(name)

    def _unknown(self, name: object) -> UserError:
        return UserError(f"unknown {self.kind} '{name}': {what_there_is(name, self)}")

    def get(self, name: str, default: T | None = None) -> T | None:
        """The entry, or `default` when there is none of that name."""
        return self[name] if name in self else default  # noqa: SIM401  (this is get)

    def __contains__(self, name: object) -> bool:
        return name in self._plugins or name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter([*self._entries, *self._plugins])

    def __len__(self) -> int:
        return len(self._entries) + len(self._plugins)
