"""Python and the packages ibray needs, against what pyproject.toml asks for."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import ibray
from ibray.check import Check

PYPROJECT = Path(ibray.__file__).parents[1] / "pyproject.toml"


def check_packages() -> Iterator[Check]:
    """Python, then every package that is missing or of another version, or one line for all of them."""
    python, requirements = _asked()
    yield check_python(platform.python_version(), python)
    problems = [check for each in requirements if (check := check_package(each))]
    yield from problems
    if not problems:
        versions = [f"{name} {metadata.version(name)}" for name in ("torch", "ray", "duckdb")]
        yield Check("packages", "ok", f"all {len(requirements)} as pyproject.toml asks: {', '.join(versions)}, ...")


def check_python(version: str, asked: str) -> Check:
    """Whether this Python is one that ibray runs on."""
    if SpecifierSet(asked).contains(version, prereleases=True):
        return Check("Python", "ok", version)
    return Check("Python", "failed", f"{version}, ibray asks for {asked}", "install ibray into a newer Python")


def check_package(requirement: Requirement) -> Check | None:
    """What is wrong with a package, None where nothing is."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        version = None
    # A local label, as in 2.13.0+cpu, names the build of a version that was asked for.
    if version is not None and requirement.specifier.contains(version, prereleases=True):
        return None
    found = "not installed" if version is None else f"{version}, pyproject.toml asks for {requirement.specifier}"
    return Check(f"package {requirement.name}", "failed", found, f"pip install '{requirement}'")


def _asked() -> tuple[str, list[Requirement]]:
    """From the checkout that this code runs from, else from what was installed."""
    if PYPROJECT.exists():
        project = tomllib.loads(PYPROJECT.read_text())["project"]
        python, lines = project["requires-python"], project["dependencies"]
    else:
        python, lines = metadata.metadata("ibray")["Requires-Python"], metadata.requires("ibray") or []
    asked = [Requirement(line) for line in lines]
    return python, [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
