"""Fixtures of the analysis tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_results import fill_plausibly, open_database


@pytest.fixture
def plausible(tmp_path: Path) -> Path:
    """A sweep directory whose database holds six finished runs."""
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con)
    return tmp_path
