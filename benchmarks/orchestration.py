"""What a cell costs beyond its work: cells that do nothing, through the whole of `ibray sweep` on Ray.

    python benchmarks/orchestration.py [--cells 2000]

Every cell is a Tune trial with its rows in DuckDB, two at a time. Printed: milliseconds a cell from the first trial's
beginning to the last one's end, and over everything, the start of Ray's workers and the planning included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import duckdb
from pretended import start_ray, sweep_of

from ibray.sweep import run_sweep

WINDOW = """
SELECT count(*) FILTER (status = 'done'), epoch(max(finished) - min(started)), sum(seconds) FROM stages"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    cells = parser.parse_args().cells
    start_ray(cpus=2, gpus=0)
    spec = sweep_of(cells, resources={"mi": {"cpu": 1, "gpu": 0}})
    with tempfile.TemporaryDirectory() as scratch:
        started, cpu = time.perf_counter(), time.process_time()
        database = run_sweep(spec, Path(scratch) / "out", stages=["noop"])
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        with duckdb.connect(str(database), read_only=True) as con:
            done, window, inside = con.execute(WINDOW).fetchone()
    assert done == cells, f"{done} of {cells} cells are done"
    print(f"{cells} cells, 2 at a time on {os.cpu_count()} cores: {1000 * window / cells:.1f} ms a cell")
    print(f"with planning and the start of workers: {1000 * wall / cells:.1f} ms a cell, {wall:.1f} s in all")
    print(f"of which the driver's own CPU: {1000 * cpu / cells:.1f} ms; between begin and end of a trial: "
          f"{1000 * inside / cells:.2f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
