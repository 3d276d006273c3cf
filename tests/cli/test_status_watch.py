"""`ibray status --watch`: it follows a sweep to its end, in place on a terminal and by plain lines elsewhere."""

from __future__ import annotations

import io
import json
import threading
import time
from datetime import timedelta

import pytest

from ibray import machines, store, watch_status
from ibray.stages import STAGES
from ibray.sweep import run_sweep
from ibray.terminal import console
from ibray.workspace import DATABASE, locked

pytestmark = pytest.mark.ray


def sweep_row(started, **more) -> dict:
    facts = {"name": "tiny", "cells": 2, "spec": "{}", "ibray_version": "0", "versions": "{}", "machine": "{}"}
    return {"sweep_id": "now", "started": started, "host": "here", **facts, **more}


@pytest.fixture
def under_way(half_done, tiny):
    """An output directory held by a sweep of 100 s: of every stage three units are done in 5 s each."""
    writer = store.Store(half_done / DATABASE, interval=3600)
    writer.put({"sweeps": [sweep_row(store.now() - timedelta(seconds=100))]})
    for stage in STAGES:
        keys = [store.StageKey("0123456789abcdef", stage, unit, "settings") for unit in range(4)]
        for key in keys:
            writer.begin(key)
        for key in keys[:3]:
            writer.finish(key, {}, seconds=5.0)
    writer.close()
    with locked(half_done):
        yield half_done


def test_status_of_a_running_sweep_has_the_rate_and_the_time_left(ibray, under_way):
    facts = json.loads(ibray("status", under_way, "--json").out)
    assert facts["running"] and facts["cells_per_hour"] == 0
    assert facts["seconds_left"] > 0 and len(facts["seconds_left_interval"]) == 2
    low, high = facts["seconds_left_interval"]
    assert low <= facts["seconds_left"] <= high
    assert " left; runs: " in ibray("status", under_way).out


def test_an_ended_sweep_is_shown_once(ibray, half_done):
    result = ibray("status", half_done, "--watch")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("no sweep is running") == 1 and "\x1b" not in result.out
    assert "cores" in result.out and "OSError: [Errno 28] no space for [weights]" in result.out


def test_it_follows_a_sweep_to_its_end_without_control_codes(tiny, tmp_path, data_dir):
    spec, out, text = tiny(), tmp_path / "out", io.StringIO()
    failures = []

    def watch():
        while not (out / ".lock").exists() or not watch_status.is_locked(out):
            time.sleep(0.01)
        try:
            watch_status.watch_status(out, 0.1, console(file=text))
        except BaseException as error:
            failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run_sweep(spec, out, inline=True, data_dir=data_dir)
    watcher.join(30)
    assert not watcher.is_alive() and not failures
    assert text.getvalue().count("running for ") >= 2 and "no sweep is running; runs: 2 done" in text.getvalue()
    assert "\x1b" not in text.getvalue()


def test_on_a_terminal_it_is_drawn_in_place(half_done):
    text = io.StringIO()
    watch_status.watch_status(half_done, 0.1, console(file=text, width=120, force_terminal=True))
    assert "\x1b[" in text.getvalue() and "no sweep is running" in text.getvalue()


def test_as_json_it_is_one_line_for_each_look(ibray, half_done):
    lines = ibray("status", half_done, "--watch", "--json").out.splitlines()
    assert [json.loads(line)["running"] for line in lines] == [False]


def test_ctrl_c_ends_the_watching_alone(ibray, under_way, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch_status.time, "sleep", interrupt)
    result = ibray("status", under_way, "--watch")
    assert result.code == 0 and "Stopped watching; the sweep goes on." in result.out


def test_an_address_without_watch_is_refused(ibray, half_done):
    result = ibray("status", half_done, "--address", "auto")
    assert result.code == 2 and "--address is for --watch" in result.err


def nvidia_smi(tmp_path, monkeypatch, script: str) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_gpus_by_nvidia_smi(tmp_path, monkeypatch):
    nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA H100, 37, 2048, 81920'; echo 'NVIDIA Old, [N/A], 512, 1024'")
    assert machines.gpus() == [
        machines.GpuUse("NVIDIA H100", 37.0, 2.0, 80.0),
        machines.GpuUse("NVIDIA Old", None, 0.5, 1.0),
    ]


def test_a_driver_that_does_not_answer_has_no_gpus(tmp_path, monkeypatch):
    nvidia_smi(tmp_path, monkeypatch, "exit 9")
    assert machines.gpus() == []
