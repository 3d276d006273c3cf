"""The README says only what works: its commands exist, its SQL runs, its links lead somewhere, and it stays short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from analysis import db
from ibray.cli import app
from ibray.spec import load_spec, parse_spec
from ibray.sweep import run_sweep

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def results(tmp_path_factory, data_dir):
    """A small sweep under the quickstart's name, for the README's queries."""
    spec = load_spec(
        ROOT / "sweeps" / "quickstart.yaml",
        ["training.epochs=1", "training.snapshots=[1]", "seed=0", "attack=badnets", "mi.draws=4",
         "mi.ixt.max_epochs=1", "mi.ity.max_epochs=1"],
    )  # fmt: skip
    return run_sweep(spec, tmp_path_factory.mktemp("readme") / "out", inline=True, data_dir=data_dir)


def test_it_has_two_set_up_commands_of_one_line():
    assert blocks("bash") == [
        "pip install . && ibray sweep sweeps/quickstart.yaml\n",
        'pip install ".[test]" && pytest\n',
    ]


def test_ci_runs_the_test_command_of_the_readme():
    command = [sys.executable, str(ROOT / ".ci" / "readme_command.py"), "pytest"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == blocks("bash")[1].strip()


def test_it_is_short():
    assert len(README.splitlines()) <= 165


def test_every_ibray_command_it_names_exists():
    existing = set(typer.main.get_command(app).commands)
    named = set(re.findall(r"ibray (\w+)", " ".join(re.findall(r"`ibray [^`]*`", README))))
    shown = set(re.findall(r"^\$ ibray (\w+)", README, re.M))
    assert named and shown and named | shown <= existing


def test_every_command_of_the_program_is_in_it():
    assert all(re.search(rf"`(ibray )?{name}\b", README) for name in typer.main.get_command(app).commands)


@pytest.mark.parametrize("query", re.findall(r'^\$ ibray sql \S+ "(.*)"$', README, re.M))
def test_its_queries_run(results, query):
    with db.read(results) as con:
        assert con.execute(query).fetchall()


def test_its_sweep_file_is_the_one_that_is_shipped():
    (shown,) = blocks("yaml")
    shipped = load_spec(ROOT / "sweeps" / "quickstart.yaml")
    assert parse_spec(yaml.safe_load(shown), "README").resolved() == shipped.resolved()


def test_its_python_imports_work():
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})


def test_its_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert targets and not missing
