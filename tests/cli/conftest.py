"""The command line as a user runs it, in this process: quick, and with the real exit code and messages."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ibray import cli


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def ibray(monkeypatch, capsys, data_dir) -> Callable[..., Result]:
    """Run `ibray ...` with the dataset cache of the tests."""
    monkeypatch.setenv("IBRAY_DATA", str(data_dir))

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["ibray", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Result(ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def sweep_file(tmp_path, tiny) -> Path:
    """The tiny sweep on disk."""
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny().resolved(), sort_keys=False))
    return file


@pytest.fixture
def contents() -> Callable[[Path], dict[str, str]]:
    """Everything below a directory with its bytes, to see that nothing changed."""

    def read(directory: Path) -> dict[str, str]:
        return {
            str(path.relative_to(directory)): hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "/"
            for path in sorted(directory.rglob("*"))
        }

    return read
