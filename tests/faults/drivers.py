"""Real `ibray sweep` processes, to be killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from analysis import db
from ibray.spec import SweepSpec

PATIENCE = 120  # seconds: for what comes sooner or later, on a slow machine too


class Driver:
    """The command that runs a spec on a cluster, in an output directory of its own."""

    def __init__(self, spec: SweepSpec, directory: Path, data_dir: Path, address: str, stages: Sequence[str] = ()):
        file, self.out = directory / "sweep.yaml", directory / "out"
        file.write_text(yaml.safe_dump(spec.resolved()))
        self._command = [sys.executable, "-m", "ibray", "sweep", str(file), "--out", str(self.out)]
        self._command += ["--address", address, "--no-report", *(f"--stage={stage}" for stage in stages)]
        # The weights that the command would take from the environment are not those of the undisturbed run.
        self._environment = {**os.environ, "IBRAY_DATA": str(data_dir), "IBRAY_LPIPS_WEIGHTS": ""}
        self._said = (directory / "said.txt").open("a+")
        self.starts = 0
        self.process: subprocess.Popen | None = None

    @property
    def database(self) -> Path:
        return self.out / "results.duckdb"

    def start(self) -> None:
        self.starts += 1
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdout=self._said, stderr=subprocess.STDOUT
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def said(self) -> str:
        """All that the processes have printed."""
        self._said.seek(0)
        return self._said.read()

    def ask(self, sql: str) -> list[tuple]:
        """Rows of a query, while it runs; none while there is no database."""
        if not self.database.exists():
            return []
        with db.read(self.out) as con:
            return con.execute(sql).fetchall()

    def log(self) -> str:
        path = self.out / "logs" / "sweep.log"
        return path.read_text() if path.exists() else ""


def wait_for(happens: Callable[[], object], what: str) -> object:
    """What `happens()` returns, as soon as that is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happens()):
        assert time.monotonic() < deadline, f"{what}: not in {PATIENCE} s"
        time.sleep(0.1)
    return found
