"""What installed packages add to a registry, by Python entry points.

The entry point's name is the name in the registry, its object the entry. In the pyproject.toml of a package:

    [project.entry-points."ibray.attacks"]
    stripes = "ibray_stripes:ENTRY"

The groups are `ibray.attacks` (AttackEntry), `ibray.datasets` (DatasetEntry), `ibray.models` (ModelEntry) and
`ibray.estimators` (EstimatorEntry). On a cluster the package must be installed on every node, in the same version:
trials look names up where they run.
"""

from __future__ import annotations

import reprlib
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from ibray.errors import UserError

T = TypeVar("T")


def find_plugins(group: str) -> list[EntryPoint]:
    """The entry points of a group, by name and package; imports none of them."""
    return sorted(entry_points(group=group), key=lambda point: (point.name, package(point)))


def package(point: EntryPoint) -> str:
    """The package an entry point came with, as "NAME VERSION"."""
    return f"{point.dist.name} {point.dist.version}"


def load_plugin(point: EntryPoint, entry_type: type[T]) -> T:
    """Import the entry. Raises UserError, with package, entry point and reason, when that fails or it is no entry."""
    try:
        entry = point.load()
    except Exception as error:  # importing runs the package's code, which may raise anything
        raise _broken(point, f"{type(error).__name__}: {error}") from error
    if not isinstance(entry, entry_type):
        raise _broken(point, f"{reprlib.repr(entry)} is not an instance of {entry_type.__name__}")
    return entry


def _broken(point: EntryPoint, reason: str) -> UserError:
    return UserError(
        f"plug-in {package(point)}, entry point {point.name} = {point.value} of {point.group}: {reason}. "
        f"Repair or uninstall {point.dist.name}"
    )
