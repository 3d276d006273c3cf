"""A snapshot whose bytes have changed: it is set aside, and the network trained again when the sweep goes on."""

from __future__ import annotations

from rows import doubled, numbers, states

from ibray.snapshots import Snapshots
from ibray.sweep import run_sweep


def test_a_damaged_snapshot_is_trained_again(fast, data_dir, tmp_path):
    spec = fast(attack="badnets")
    (cell,) = spec.cells()
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir, stages=["mi"])
    out = tmp_path / "out"
    run_sweep(spec, out, inline=True, data_dir=data_dir, stages=["train"])
    weights = out / "snapshots" / cell.run_id / "epoch_0002.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert Snapshots(out, cell.run_id).has(2)  # nothing but its hash gives it away
    run_sweep(spec, out, inline=True, data_dir=data_dir, stages=["mi"])
    database = run_sweep(spec, out, inline=True, data_dir=data_dir, stages=["mi"])
    assert weights.with_suffix(".corrupt").read_bytes() == content
    assert numbers(database) == numbers(quiet) and states(database) == states(quiet)
    assert doubled(database) == {}
