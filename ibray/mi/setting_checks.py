"""What a setting of an estimator may be; each check raises a UserError that names it and says what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ibray.errors import UserError


def check_whole(settings: Any, least: Mapping[str, int]) -> None:
    """Whole numbers, by name with the least that each may be."""
    for name, lowest in least.items():
        value = getattr(settings, name)
        if type(value) is not int or value < lowest:
            raise UserError(f"setting {name} must be a whole number of at least {lowest}, not {value!r}")


def check_positive(settings: Any, names: Iterable[str]) -> None:
    """Finite numbers above 0."""
    for name in names:
        value = getattr(settings, name)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise UserError(f"setting {name} must be a positive number, not {value!r}")


def check_not_negative(settings: Any, names: Iterable[str]) -> None:
    """Finite numbers of at least 0."""
    for name in names:
        value = getattr(settings, name)
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise UserError(f"setting {name} must be 0 or a positive number, not {value!r}")
