"""The machine's clock jumps, also backwards: no number, no plan and no state depends on it."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

from rows import doubled, numbers, states

from ibray import store
from ibray.status import read_status
from ibray.sweep import run_sweep

JUMPS = (timedelta(hours=-2), timedelta(days=400), timedelta(days=-4000))


def test_a_clock_that_jumps_changes_nothing(fast, data_dir, tmp_path, monkeypatch):
    spec, real, calls = fast(attack="badnets"), store.now, count()
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir)
    monkeypatch.setattr(store, "now", lambda: real() + JUMPS[next(calls) % len(JUMPS)])
    half = run_sweep(spec, tmp_path / "out", inline=True, data_dir=data_dir, stages=["train"])
    disturbed = run_sweep(spec, tmp_path / "out", inline=True, data_dir=data_dir)
    assert half == disturbed and next(calls) > 10
    assert numbers(disturbed) == numbers(quiet) and states(disturbed) == states(quiet)
    assert doubled(disturbed) == {}
    assert read_status(tmp_path / "out").runs == {"done": 1}
