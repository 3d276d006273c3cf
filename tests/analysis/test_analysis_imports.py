"""analysis/ stands on its own: it reads the database and nothing of the half that wrote it."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from synthetic_results import REPO

FORBIDDEN = {"torch", "torchvision", "ray", "ibray"}
FILES = sorted((REPO / "analysis").glob("**/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_imports_the_computing_half(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not FORBIDDEN & {name.split(".")[0] for name in names}


def test_importing_the_report_loads_none_of_it():
    code = f"import sys, analysis.report; print(sorted({FORBIDDEN!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
