"""A node, or all of them, dies in mid-training; the training goes on from its newest good checkpoint."""

from __future__ import annotations

import pytest
from drivers import Driver, wait_for
from machines import Machines
from rows import doubled, numbers, query, states

from ibray.sweep import run_sweep

pytestmark = pytest.mark.ray

LONG = {"epochs": 60, "snapshots": [1, 2, 60], "batch_size": 32, "lr": 0.05}
TRAINING = "SELECT run_id, node FROM stages WHERE stage = 'train' AND status = 'running'"


def damage(checkpoint) -> None:
    """Flip a bit of the file, whose size stays."""
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)


def with_checkpoints(driver: Driver, count: int) -> dict[str, list]:
    """Node -> the checkpoints of the run that trains there, for runs that have so many."""
    found = {}
    for run_id, node in driver.ask(TRAINING):
        checkpoints = sorted((driver.out / "checkpoints" / run_id).glob("epoch_*.safetensors"))
        if len(checkpoints) == count:
            found[node] = checkpoints
    return found


def check(driver: Driver, quiet) -> None:
    assert numbers(driver.database) == numbers(quiet) and states(driver.database) == states(quiet)
    assert doubled(driver.database) == {}


@pytest.mark.parametrize("how", ["raylet", pytest.param("node", marks=pytest.mark.slow)])
def test_a_node_lost_in_mid_training_and_a_checkpoint_damaged(how, machines, fast, data_dir, tmp_path):
    spec = fast(attack=["badnets"], training=LONG, retries=1)
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir, stages=["train"])
    driver = Driver(spec, tmp_path, data_dir, machines.address, stages=["train"])
    driver.start()
    ((node_id, checkpoints),) = wait_for(lambda: with_checkpoints(driver, 2), "two checkpoints").items()
    (node,) = [each for each in machines.nodes() if each.node_id == node_id]
    damage(checkpoints[-1])
    {"raylet": machines.kill_raylet, "node": machines.kill_node}[how](node)
    machines.add_node()
    # The one before it is used: the rows are those of a quiet run.
    wait_for(checkpoints[-1].with_suffix(".corrupt").exists, "the damaged checkpoint set aside")
    assert driver.process.wait(timeout=240) == 0, driver.said
    assert query(driver.database, "SELECT attempts FROM stages WHERE stage = 'train'") == [(2,)]
    check(driver, quiet)


@pytest.mark.slow
def test_all_nodes_lost_with_the_head_and_the_driver(fast, data_dir, tmp_path):
    spec = fast(attack=["badnets", "blend"], training=LONG)
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir)
    with Machines(workers=2) as first:
        driver = Driver(spec, tmp_path, data_dir, first.address)
        driver.start()
        wait_for(lambda: len(with_checkpoints(driver, 2)) == 2, "two trainings under way")
        first.kill_everything()
        driver.kill()
    with Machines(workers=2) as second:
        driver = Driver(spec, tmp_path, data_dir, second.address)
        driver.start()
        assert driver.process.wait(timeout=240) == 0, driver.said
    check(driver, quiet)
