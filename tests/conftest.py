"""What several folders of tests share: tiny sweeps on real images, a dataset cache of their own, and plug-ins."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Before torch is imported, here and in processes to come: two processes with two threads each on two cores wait for
# each other's threads and take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import example_plugin
import pytest

from ibray.attacks import ATTACKS
from ibray.datasets import DATASETS
from ibray.mi import ESTIMATORS
from ibray.models import MODELS
from ibray.spec import SweepSpec, parse_spec

TINY = {
    "name": "tiny",
    "dataset": {"name": "digits16", "per_class": 20, "test_per_class": 10},
    "attack": ["none", "badnets"],
    "architecture": {"name": "resnet10_8", "width": 4},
    "seed": 0,
    "training": {"epochs": 3, "snapshots": [1, 3], "batch_size": 32, "lr": 0.05},
    "mi": {
        "protocol": "paper",
        "draws": 2,
        "ixt": {"batch": 16, "negatives": 16, "hidden": 16, "max_epochs": 3, "report_last": 2},
        "ity": {"batch": 16, "negatives": 16, "hidden": 16, "max_epochs": 3, "report_last": 2},
    },
}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes run the tests: those that start Ray stay in one of them, and each file with its fixtures in one."""
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A dataset cache that the tests build and nobody else uses."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def tiny():
    """Make a sweep of a few seconds; keyword arguments replace top-level keys."""

    def make(**changes) -> SweepSpec:
        return parse_spec({**TINY, **changes}, "tiny.yaml")

    return make


def _forget_plugins() -> None:
    for registry in (ATTACKS, DATASETS, ESTIMATORS, MODELS):
        vars(registry).pop("_plugins", None)


@pytest.fixture
def install(tmp_path) -> Iterator[Callable[..., Path]]:
    """Install a package of one module for one test, as pip would lay it out; returns the directory it lies in.

    entry_points: group -> name -> attribute of the module.
    """
    site = tmp_path / "site-packages"
    modules = []

    def make(package: str, source: str, entry_points: Mapping[str, Mapping[str, str]], version: str = "1.2") -> Path:
        module = package.replace("-", "_")
        modules.append(module)
        info = site / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = []
        for group, entries in entry_points.items():
            lines += [f"[{group}]", *(f"{name} = {module}:{attribute}" for name, attribute in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        importlib.invalidate_caches()
        _forget_plugins()
        return site

    sys.path.insert(0, str(site))
    yield make
    for module in modules:
        sys.modules.pop(module, None)
    sys.path.remove(str(site))
    _forget_plugins()


@pytest.fixture
def example(install) -> Path:
    """example_plugin.py installed as ibray-example 1.2; returns the directory it lies in."""
    return install("ibray-example", Path(example_plugin.__file__).read_text(), example_plugin.ENTRY_POINTS)
