"""Sweep files as a user writes them: YAML text on disk, read by load_spec."""

from __future__ import annotations

from textwrap import dedent

import pytest

from ibray.spec import load_spec


@pytest.fixture
def load(tmp_path):
    """Write YAML text to sweep.yaml and load it; further arguments are `--set` assignments."""

    def load_text(text: str, *assignments: str):
        file = tmp_path / "sweep.yaml"
        file.write_text(dedent(text))
        return load_spec(file, list(assignments))

    return load_text
