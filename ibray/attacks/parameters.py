"""Type checks of attack parameters: they come from a file a person wrote, so the message is for that person.

Each returns the value in its one canonical form, so that 1 and 1.0 make the same run id. Raises UserError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from ibray.errors import UserError


def number(attack: str, key: str, value: Any) -> float:
    """A finite real number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise _wrong(attack, key, "a number", value)
    return float(value)


def integer(attack: str, key: str, value: Any, *, minimum: int) -> int:
    """A whole number, at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise _wrong(attack, key, f"a whole number of at least {minimum}", value)
    return int(value)


def flag(attack: str, key: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise _wrong(attack, key, "true or false", value)
    return value


def choice(attack: str, key: str, value: Any, allowed: Sequence[str]) -> str:
    """One of the strings in ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        raise _wrong(attack, key, "one of " + ", ".join(allowed), value)
    return value


def sequence(attack: str, key: str, value: Any, of: str, *, length: int | None = None) -> tuple[Any, ...]:
    """A list or tuple of ``length`` values, or of at least one; ``of`` says in the message what they are."""
    if not isinstance(value, list | tuple) or not value or (length is not None and len(value) != length):
        raise _wrong(attack, key, f"a list of {of}", value)
    return tuple(value)


def name(attack: str, key: str, value: Any, of: str) -> str:
    """A string that is not empty; ``of`` says in the message what it names."""
    if not isinstance(value, str) or not value:
        raise _wrong(attack, key, of, value)
    return value


def unit_interval(key: str, value: float) -> None:
    """For ``Attack.check``: raises ValueError for a value outside [0,1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{key}: expected a value in [0,1], got {value}")


def at_least_zero(key: str, value: float) -> None:
    """For ``Attack.check``: raises ValueError for a negative value."""
    if value < 0:
        raise ValueError(f"{key}: expected a value of at least 0, got {value}")


def _wrong(attack: str, key: str, expected: str, value: Any) -> UserError:
    return UserError(f"attack '{attack}': {key}: expected {expected}, got {value!r} ({type(value).__name__})")
