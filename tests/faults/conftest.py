"""Sweeps to disturb: many cells that take a fraction of a second, and whose rows are the same in every run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ibray.spec import SweepSpec, parse_spec

sys.path.insert(0, str(Path(__file__).parent))

CRITIC = {"batch": 8, "negatives": 8, "hidden": 8, "max_epochs": 2, "report_last": 1}
FAST = {
    "name": "faults",
    "dataset": {"name": "digits", "per_class": 12, "test_per_class": 6},
    "attack": ["none", "badnets", "blend"],
    "poison_ratio": 0.2,
    "architecture": "small_cnn",
    "training": {"epochs": 2, "snapshots": [1, 2], "batch_size": 32, "lr": 0.05},
    "mi": {"protocol": "paper", "draws": 2, "clean_classes": [1], "ixt": CRITIC, "ity": CRITIC},
    "resources": {"train": {"cpu": 1, "gpu": 0}, "mi": {"cpu": 1, "gpu": 0}},
}


@pytest.fixture(scope="session")
def fast():
    """Make a sweep of three attacks; keyword arguments replace top-level keys."""

    def make(**changes) -> SweepSpec:
        return parse_spec({**FAST, **changes}, "faults.yaml")

    return make


@pytest.fixture(scope="session")
def machines():
    """Three nodes for several tests; each leaves as many behind."""
    from machines import Machines

    with Machines(workers=2) as cluster:
        yield cluster
