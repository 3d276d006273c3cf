"""A million MI rows through the store actor while somebody reads, and a merge of two databases of half a million.

    python benchmarks/writer.py [--rows 1000000]

Four producers put snapshots of 100 estimates, each put waited for as a trial does. A reader in another process counts
the rows every second. Printed: rows/s, the reader's longest wait, the database's size; that every row is there once;
then the seconds of `ibray merge`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
from pretended import sweep_of

from ibray import ray_runner, store
from ibray.workspace import enter_output

PRODUCERS, ROWS_PER_PUT = 4, 100
READER = """
import sys, time
from pathlib import Path
from analysis import db
waits, last = [], 0
while not Path(sys.argv[2]).exists():
    started = time.monotonic()
    with db.read(sys.argv[1], patience=60) as con:
        (count,) = con.execute("SELECT count(*) FROM estimates").fetchone()
    waits.append(time.monotonic() - started)
    assert count >= last, (last, count)
    last = count
    time.sleep(1)
print(len(waits), max(waits), sum(waits) / len(waits))
"""
HALF = """
INSERT INTO runs BY NAME SELECT run_id, 'digits' AS dataset, 'none' AS attack, 0 AS poison_ratio, 'none' AS ratio_of,
    0 AS target_class, 'resnet18' AS architecture, 0.4 AS sigma, 0 AS seed, '{}' AS attack_params, '{}' AS cell,
    'done' AS status FROM (SELECT DISTINCT run_id FROM estimates);
INSERT INTO stages BY NAME SELECT DISTINCT run_id, 'mi' AS stage, epoch AS unit, settings, 'done' AS status,
    1 AS attempts, TIMESTAMP '2026-01-01' AS started, TIMESTAMP '2026-01-02' AS finished FROM estimates
"""


def snapshot(number: int) -> list[dict]:
    """The estimates of one snapshot: 25 subsets, 2 quantities, 2 protocols."""
    key = {"run_id": f"{number // 20:016x}", "epoch": 1 + number % 20, "layer": "T", "estimator": "infonce"}
    return [
        {
            **key, "settings": protocol, "protocol": protocol, "subset": str(subset), "quantity": quantity,
            "nats": number + subset / 7, "ci_low": number - 0.1, "ci_high": number + 0.1, "ceiling": 4.72, "n": 500,
            "draws": 8, "seconds": 1.0, "status": "done",
        }
        for subset in range(25) for quantity in ("I(X;T)", "I(T;Yhat)") for protocol in ("paper", "certified")
    ]  # fmt: skip


def write(database: Path, rows: int) -> None:
    store.create(database)
    ray_runner.start_ray(None)
    sink, _ = ray_runner.start_store(database)
    stop = database.with_name("stop")
    command = [sys.executable, "-c", READER, str(database), str(stop)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def produce(which: int) -> None:
        for number in range(which, rows // ROWS_PER_PUT, PRODUCERS):
            sink.put({"estimates": snapshot(number)})

    started = time.perf_counter()
    producers = [threading.Thread(target=produce, args=(which,)) for which in range(PRODUCERS)]
    for each in producers:
        each.start()
    for each in producers:
        each.join()
    taken = time.perf_counter() - started
    sink.close()
    seconds = time.perf_counter() - started
    stop.touch()
    said, _ = reader.communicate()
    reads, longest, mean = map(float, said.split())
    with duckdb.connect(str(database), read_only=True) as con:
        keys = "(run_id, epoch, settings, subset, quantity, layer)"
        counts = con.execute(f"SELECT count(*), count(DISTINCT {keys}) FROM estimates").fetchone()
    assert counts == (rows, rows), f"{rows} put, {counts} there"
    print(f"{rows:,} rows in {seconds:.1f} s: {rows / seconds:,.0f} rows/s, the last {seconds - taken:.1f} s of it to "
          "write what had been taken; every row is there, once")  # fmt: skip
    print(f"{reads:.0f} reads, {mean:.2f} s each on average, the longest {longest:.2f} s")
    print(f"database {database.stat().st_size / 2**20:.0f} MiB")


def merge(whole: Path, scratch: Path) -> None:
    """The same rows as two sweeps of the same name, in one again."""
    spec = sweep_of(1)
    sources = [scratch / "a", scratch / "b"]
    for half, out in enumerate(sources):
        enter_output(out, spec)
        store.create(out / "results.duckdb")
        with duckdb.connect(str(out / "results.duckdb")) as con:
            con.execute(f"ATTACH '{whole}' AS whole (READ_ONLY)")
            con.execute(f"INSERT INTO estimates SELECT * FROM whole.estimates WHERE hash(run_id) % 2 = {half}")
            con.execute(HALF)
    command = [sys.executable, "-m", "ibray", "merge", *map(str, sources), "-o", str(scratch / "merged")]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    with duckdb.connect(str(scratch / "merged" / "results.duckdb"), read_only=True) as con:
        (rows,) = con.execute("SELECT count(*) FROM estimates").fetchone()
    print(f"merge of two halves: {rows:,} rows in {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "results.duckdb"
        write(database, rows)
        merge(database, Path(scratch))


if __name__ == "__main__":
    main()
