"""What several folders of tests share: tiny sweeps on real images, and a dataset cache of the test session's own."""

from __future__ import annotations

import pytest

from ibray.spec import SweepSpec, parse_spec

TINY = {
    "name": "tiny",
    "dataset": {"name": "digits16", "per_class": 20, "test_per_class": 10},
    "attack": ["none", "badnets"],
    "architecture": {"name": "resnet10_8", "width": 4},
    "seed": 0,
    "training": {"epochs": 3, "snapshots": [1, 3], "batch_size": 32, "lr": 0.05},
    "mi": {
        "draws": 2,
        "ixt": {"batch": 16, "negatives": 16, "hidden": 16, "max_epochs": 3, "report_last": 2},
        "ity": {"batch": 16, "negatives": 16, "hidden": 16, "max_epochs": 3, "report_last": 2},
    },
}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A dataset cache that the tests build and nobody else uses."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def tiny():
    """Make a sweep of a few seconds; keyword arguments replace top-level keys."""

    def make(**changes) -> SweepSpec:
        return parse_spec({**TINY, **changes}, "tiny.yaml")

    return make
