"""YAML as people write it: `1e-3` is a number, and a key that stands twice is a mistake."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ibray.errors import UserError


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, which reads 1e-3 as text and lets the last of two equal keys win."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key '{key.value}' stands twice"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return node


_SCIENTIFIC = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _SCIENTIFIC, list("-+0123456789"))


def parse_yaml(text: str, source: str) -> Any:
    """The value a YAML text stands for.

    Raises:
        UserError: the text is not YAML; `source` names it, and the message the place.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{source}: not valid YAML: {place}{error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
