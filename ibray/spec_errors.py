"""What is wrong with a sweep file, as one line per mistake: key, value, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ibray.registry import what_there_is

# What pydantic says, in the words of somebody who writes a sweep file.
_PLAIN_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a name",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "list_type": "must be a list, like [1, 2]",
    "dict_type": "must be a mapping, like {key: value}",
    "model_type": "must be a mapping, like {key: value}",
    "model_attributes_type": "must be a mapping, like {key: value}",
    "too_short": "give at least one value",
    "string_pattern_mismatch": "only letters, digits, . _ and - (it names the output directory)",
}


def explain(error: Mapping[str, Any], raw: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One pydantic error as `key: value: what is wrong (what is allowed)`.

    Args:
        error: one of `ValidationError.errors()`.
        raw: the sweep file as read.
        model: what it was checked against.
    """
    location = _as_written([part for part in error["loc"] if not str(part).startswith("function-")], raw)
    key = ".".join(str(part) for part in location) or "sweep"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key: {what_there_is(location[-1], _keys_at(location[:-1], model))}"
    if error["type"] == "missing":
        return f"{key}: this key is required"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}" if location else message
    if "poison_ratio" in location[-2:] and error["type"] != "too_short":
        message = "must be a number between 0 and 1, both excluded"
    else:
        message = _PLAIN_WORDS.get(error["type"], message.replace("Input should be", "must be"))
    return f"{key}: {error['input']!r}: {message}"


def _as_written(location: list[Any], raw: Any) -> list[Any]:
    """A place in the checked sweep as a place in the file: a scalar axis became a list of one, so it has no index."""
    written = []
    for part in location:
        if isinstance(part, int) and not isinstance(raw, list):
            continue
        written.append(part)
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            raw = None
    return written


def _keys_at(location: list[Any], model: type[BaseModel]) -> list[str]:
    """The allowed keys of the mapping at a place in the sweep file."""
    for part in location:
        if isinstance(part, str) and part in getattr(model, "model_fields", {}):
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields)


def _model_in(annotation: Any) -> Any:
    """The first pydantic model inside a (possibly nested) annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None

