"""The kinds of values that stand in a sweep file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ibray.registry import Registry

T = TypeVar("T")


def as_list(value: Any) -> Any:
    """A scalar as a list of one."""
    return value if isinstance(value, list) else [value]


def as_mapping(value: Any) -> Any:
    """A bare name as the mapping it is short for."""
    return {"name": value} if isinstance(value, str) else value


def registered(registry: Registry[Any]) -> Callable[[str], str]:
    """A check that a name stands in a registry."""
    def check(name: str) -> str:
        registry[name]  # raises, listing what there is
        return name

    return check


Axis = Annotated[list[T], BeforeValidator(as_list), Field(min_length=1)]
Ratio = Annotated[float, Field(gt=0, lt=1, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NotNegative = Annotated[float, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0, lt=1, strict=True)]


class Strict(BaseModel):
    """A mapping without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
