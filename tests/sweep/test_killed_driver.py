"""The driver dies by SIGKILL at random moments; the same command goes on and the rows are those of a quiet run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from rows import doubled, numbers, query

from ibray.sweep import run_sweep

pytestmark = pytest.mark.ray


def children_of(driver):
    return psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []


def survivors(processes):
    """Those that do our work and are still there after half a minute.

    Ray's agents and log monitor do none of it, notice a dead driver later, and then end by themselves.
    """
    deadline = time.monotonic() + 30
    while (left := [p for p in processes if works(p)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def works(process):
    try:
        name = process.name()
        ours = name.startswith(("ray::", "raylet", "gcs_server")) and not name.endswith("Agent")
        return ours and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_sigkill_of_the_driver_loses_and_doubles_nothing(kills, tiny, tmp_path, data_dir):
    training = {"epochs": 12, "snapshots": [1, 6, 12], "batch_size": 32, "lr": 0.05}
    spec = tiny(seed=[0, 1], training=training)
    file, out = tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(spec.resolved()))
    command = [sys.executable, "-m", "ibray", "sweep", str(file), "--out", str(out), "--no-report"]
    # The weights that the command would take from the environment are not those of the undisturbed run.
    environment = {**os.environ, "IBRAY_DATA": str(data_dir), "IBRAY_LPIPS_WEIGHTS": ""}
    moments = random.Random(20261121)
    finished_before = 0

    for _ in range(kills):
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(3, 9))
        family = children_of(driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert not survivors(family)
        if (out / "results.duckdb").exists():
            assert doubled(out / "results.duckdb") == {}
            finished = query(out / "results.duckdb", "SELECT count(*) FROM stages WHERE status = 'done'")[0][0]
            assert finished >= finished_before  # finished work is kept ...
            finished_before = finished

    done = "SELECT run_id, stage, unit, finished FROM stages WHERE status = 'done'"
    kept = set(query(out / "results.duckdb", done))
    last = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert last.returncode == 0, last.stderr
    assert kept <= set(query(out / "results.duckdb", done))  # ... and not run again
    assert query(out / "results.duckdb", "SELECT status, count(*) FROM runs GROUP BY 1") == [("done", 4)]
    assert doubled(out / "results.duckdb") == {}
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir)
    assert numbers(out / "results.duckdb") == numbers(quiet)


def test_ctrl_c_says_how_to_go_on_and_leaves_nothing_running(tiny, tmp_path, data_dir):
    spec = tiny(training={"epochs": 500, "snapshots": [1, 500], "batch_size": 32, "lr": 0.05})
    file, out = tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(spec.resolved()))
    driver = subprocess.Popen(
        [sys.executable, "-m", "ibray", "sweep", str(file), "--out", str(out)],
        env={**os.environ, "IBRAY_DATA": str(data_dir)},
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 180
    while not list(out.glob("snapshots/*/epoch_0001.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    family = children_of(driver)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 130, errors
    assert "The same command goes on from here" in errors and "Traceback" not in errors
    assert not survivors(family)
    assert query(out / "results.duckdb", "SELECT count(*) FROM stages WHERE status = 'running'") == [(0,)]
    assert query(out / "results.duckdb", "SELECT count(*) > 0 FROM epochs") == [(True,)]
