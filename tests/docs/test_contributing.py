"""CONTRIBUTING.md's seventh attack: added to a copy of the package just as the page says, then run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture
def copy(tmp_path):
    """A copy of the package with the page's file and registry line in place; runs a command there."""
    for package in ("ibray", "analysis"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    code, line = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (tmp_path / "ibray" / "attacks" / "sig.py").write_text(code)
    registry = tmp_path / "ibray" / "attacks" / "registry.py"
    text = registry.read_text()
    text = text.replace("import adap_blend,", "import sig, adap_blend,", 1)
    text = text.replace('        "none": none.ENTRY,\n', f'{line}        "none": none.ENTRY,\n', 1)
    registry.write_text(text)

    def run(*command) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_attack_of_the_page_is_listed_and_runs(copy, tmp_path, tiny, data_dir):
    assert re.search(r"^sig +ibray +a faint sinusoid", copy("-m", "ibray", "attacks"), re.M)
    sweep = {**tiny(attack="none").resolved(), "attack": [{"name": "sig", "frequency": 4, "poison_ratio": 0.5}]}
    (tmp_path / "sig.yaml").write_text(yaml.safe_dump(sweep))
    copy("-m", "ibray", "sweep", "sig.yaml", "--out", "out", "--inline", "--no-report", "--data-dir", data_dir)
    with duckdb.connect(str(tmp_path / "out" / "results.duckdb"), read_only=True) as con:
        assert con.execute("SELECT attack, ratio_of, status FROM runs").fetchall() == [("sig", "target_class", "done")]
        ((psnr,),) = con.execute(
            "SELECT value FROM perceptual WHERE metric = 'psnr' AND images = 'train'"
        ).fetchall()
    # A sinusoid of amplitude a has a mean square of a^2 / 2: 10 log10(2 / (40 / 255)^2) = 19.1 dB, more where it clips.
    assert 19.0 < psnr < 23


def test_the_property_tests_take_it_as_they_are(copy, tmp_path):
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    out = copy("-m", "pytest", "tests/core/test_attacks.py", "-k", "sig-paper", "-p", "no:cacheprovider")
    (passed,) = re.findall(r"(\d+) passed", out)
    assert int(passed) >= 4  # range and dtype, chunks, parameters, target class


def test_its_links_and_files_exist():
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in target]
    files = re.findall(r"`((?:ibray|tests|benchmarks)/[\w./]+)`", PAGE)
    assert links and files
    assert [path for path in links + files if path != "ibray/attacks/sig.py" and not (ROOT / path).exists()] == []
