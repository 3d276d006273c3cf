"""The command line as a user runs it, in this process: quick, and with the real exit code and messages."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ibray import cli, store
from ibray.plan import enter_plan
from ibray.stages import plan_tasks
from ibray.workspace import DATABASE, enter_output


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
def half_done(tmp_path, tiny) -> Path:
    """An output directory whose first training is done and whose second failed, with brackets in its reason."""
    spec, out = tiny(), tmp_path / "out"
    enter_output(out, spec)
    store.create(out / DATABASE)
    tasks = plan_tasks(spec, spec.cells())
    enter_plan(out / DATABASE, spec.cells(), tasks)
    writer = store.Store(out / DATABASE, interval=3600)
    first, second = (task.key for task in tasks if task.stage == "train")
    writer.begin(first, device="cpu")
    writer.finish(first, {}, seconds=1.0)
    writer.begin(second)
    writer.fail(second, "OSError: [Errno 28] no space for [weights] in '[/disk]'")
    writer.close()
    return out


@pytest.fixture
def contents() -> Callable[[Path], dict[str, str]]:
    """Everything below a directory with its bytes, to see that nothing changed."""

    def read(directory: Path) -> dict[str, str]:
        return {
            str(path.relative_to(directory)): hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "/"
            for path in sorted(directory.rglob("*"))
        }

    return read
