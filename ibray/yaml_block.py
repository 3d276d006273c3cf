"""One top-level key of a YAML text replaced, everything else to the letter: comments are not parsed away."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ibray.errors import UserError
from ibray.yaml_file import parse_yaml


def block(key: str, value: dict[str, dict[str, Any]]) -> str:
    """The key with a line for each of its keys, as sweep files have it."""
    lines = [f"  {name}: {_flow(settings)}" for name, settings in value.items()]
    return "\n".join([f"{key}:", *lines]) + "\n"


def _flow(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, default_flow_style=True, sort_keys=False, width=10**6).strip()


def replace_block(text: str, key: str, value: dict[str, dict[str, Any]], source: str) -> str:
    """The text with this value of a top-level key; at its end where the key was not there.

    Comments on lines of their own inside the old block come to stand in front of the new one.

    Raises:
        UserError: the text would not mean what it should, as when its top level is not written line by line.
    """
    lines = text.splitlines(keepends=True)
    start = next((at for at, line in enumerate(lines) if re.match(rf"{re.escape(key)}\s*:", line)), None)
    if start is None:
        end = start = len(lines)
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
    else:
        end = start + 1
        while end < len(lines) and not re.match(r"[^\s#]", lines[end]):
            end += 1
        while not lines[end - 1].strip() or lines[end - 1].startswith("#"):
            end -= 1  # blank lines and comments before the next key are that key's
    comments = [line for line in lines[start + 1 : end] if line.lstrip().startswith("#")]
    new = "".join([*lines[:start], *comments, block(key, value), *lines[end:]])
    try:
        is_right = parse_yaml(new, source) == {**parse_yaml(text, source), key: value}
    except (UserError, TypeError):
        is_right = False
    if not is_right:
        raise UserError(f"{source}: the key '{key}' cannot be replaced in a file laid out like this; do it by hand")
    return new
