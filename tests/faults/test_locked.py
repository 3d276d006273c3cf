"""Somebody reads the database for longer than a writer waits: it goes on when they have left, with every row."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from drivers import Driver, wait_for
from rows import doubled, numbers, query, states

from ibray import store
from ibray.errors import UserError
from ibray.store import StageKey, Store
from ibray.sweep import run_sweep

READER = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True):
    print("open", flush=True)
    sys.stdin.read()
"""
KEY = StageKey("a", "train", 0, "s")


@contextmanager
def reading(path):
    """Another process has the database open."""
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        for _ in range(50):  # the writer may be at it this moment
            if reader.stdout.readline() == "open\n":
                break
        yield
        reader.communicate()


@pytest.fixture
def path(tmp_path):
    store.create(tmp_path / "results.duckdb")
    return tmp_path / "results.duckdb"


def test_rows_wait_for_a_reader_who_stays_longer_than_one_attempt(path):
    writer = Store(path, interval=0.01, patience=0.05)
    with reading(path):
        writer.begin(KEY)
        time.sleep(0.5)  # several attempts
        with pytest.raises(UserError, match="another program has held this database"):
            writer.flush()
        writer.finish(KEY, {})
    writer.close()
    assert query(path, "SELECT status FROM stages") == [("done",)]


def test_a_writer_that_takes_the_place_of_a_dead_one_waits_for_the_reader(path):
    made = []
    with reading(path):
        thread = threading.Thread(target=lambda: made.append(Store(path)))
        thread.start()
        time.sleep(0.5)
        assert not made
    thread.join(timeout=60)
    made[0].begin(KEY)
    made[0].close()
    assert query(path, "SELECT status FROM stages") == [("running",)]


def test_the_end_waits_for_the_reader(path):
    writer = Store(path, interval=3600)
    writer.begin(KEY)
    with reading(path):
        thread = threading.Thread(target=writer.close)
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive()
    thread.join(timeout=60)
    assert query(path, "SELECT status FROM stages") == [("running",)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_whose_database_is_read_for_more_than_a_minute(machines, fast, data_dir, tmp_path):
    spec = fast(seed=[0, 1, 2, 3])
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir)
    driver = Driver(spec, tmp_path, data_dir, machines.address)
    driver.start()
    wait_for(lambda: " INFO done: train" in driver.log(), "the first training")
    with reading(driver.database):
        time.sleep(70)
        assert driver.process.poll() is None
    assert driver.process.wait(timeout=300) == 0, driver.said
    assert numbers(driver.database) == numbers(quiet) and states(driver.database) == states(quiet)
    assert doubled(driver.database) == {}
