"""No room for the database, or for anything: what was written stays, and what was not is written when there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers import Driver
from rows import doubled, numbers, query, states

from ibray.sweep import run_sweep

# A limit on the size of the process's files: real writes that fail, for which nobody has to be root.
FULL = """
import resource, sys
from pathlib import Path
from batches import batch, epoch
from ibray.store import Store

path = Path(sys.argv[1])
store = Store(path, interval=3600)
store.put({"epochs": [epoch("before", 1)]})
store.flush()
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, most))
for number in range(200):
    store.put({"epochs": [epoch(f"full {number}", each) for each in range(2000)]})
    try:
        store.flush()
    except Exception as error:
        print(type(error).__name__, error, file=sys.stderr)
        break
else:
    sys.exit("the disk was never full")
store.put({"epochs": [epoch(f"full {number}", 0, 0.5), epoch("after", 1)]})
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
store.close()
print(number)
"""
BATCHES = Path(__file__).parents[1] / "store"


def test_rows_for_which_there_is_no_room_are_written_when_there_is(tmp_path):
    path = tmp_path / "results.duckdb"
    search = os.pathsep.join([str(BATCHES), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    puts = int(done.stdout) + 1
    assert query(path, "SELECT count(*), count(DISTINCT (run_id, epoch)) FROM epochs WHERE run_id LIKE 'full%'") == [
        (2000 * puts, 2000 * puts)
    ]
    assert query(path, "SELECT train_loss FROM epochs WHERE train_loss > 0") == [(0.5,)]  # the newer row won
    assert query(path, "SELECT run_id FROM epochs WHERE run_id NOT LIKE 'full%' ORDER BY 1") == [
        ("after",), ("before",)
    ]  # fmt: skip


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few MiB, and a function to make it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=4m", "ibray", disk], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk, lambda: subprocess.run([*mount, "remount,size=200m", disk], check=True)
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_on_a_full_disk_goes_on_when_there_is_room(small_disk, machines, fast, data_dir, tmp_path):
    disk, enlarge = small_disk
    spec = fast(seed=[0, 1])
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir)
    driver = Driver(spec, disk, data_dir, machines.address)
    driver.start()
    assert driver.process.wait(timeout=300) not in (0, None)
    enlarge()
    driver.start()
    assert driver.process.wait(timeout=300) == 0, driver.said
    assert numbers(driver.database) == numbers(quiet) and states(driver.database) == states(quiet)
    assert doubled(driver.database) == {}
