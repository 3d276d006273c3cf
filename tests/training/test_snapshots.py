"""Snapshots rebuild a run: the same network, and the same poisoned data to the bit."""

from __future__ import annotations

import json

import pytest
import torch

from ibray.files import CorruptFileError
from ibray.rundata import build_run_data
from ibray.snapshots import Snapshots
from ibray.training import build_model


@pytest.fixture
def saved(tiny, data_dir, tmp_path):
    """A saved snapshot of epoch 1: (cell, data, model, snapshots)."""
    cell = tiny(attack="badnets").cells()[0]
    data = build_run_data(cell, data_dir)
    model = build_model(cell, len(data.class_names), torch.device("cpu"))
    snapshots = Snapshots(tmp_path, cell.run_id)
    snapshots.save_recipe(cell, data)
    snapshots.save(1, model)
    return cell, data, model, snapshots


def test_the_recipe_alone_rebuilds_the_poisoned_set(saved, data_dir):
    cell, data, _, snapshots = saved
    again, rebuilt = snapshots.load_data(data_dir)
    assert again == cell
    assert torch.equal(rebuilt.images, data.images)
    assert torch.equal(rebuilt.labels, data.labels)
    assert torch.equal(rebuilt.is_backdoor, data.is_backdoor)


def test_the_weights_come_back_as_they_were(saved):
    cell, data, model, snapshots = saved
    other = build_model(cell, len(data.class_names), torch.device("cpu"))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    snapshots.load_weights(1, other)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_only_a_complete_snapshot_counts(saved):
    *_, snapshots = saved
    assert snapshots.has(1) and not snapshots.has(2)
    (snapshots.directory / "epoch_0001.json").unlink()
    assert not snapshots.has(1)


def test_data_that_differs_from_what_was_trained_on_is_refused(saved, data_dir):
    *_, snapshots = saved
    path = snapshots.directory / "recipe.json"
    recipe = json.loads(path.read_text())
    path.write_text(json.dumps({**recipe, "cell": {**recipe["cell"], "seed": 5}}))
    with pytest.raises(CorruptFileError, match=r"recipe\.json.*not the data the run was trained on"):
        snapshots.load_data(data_dir)


def test_a_missing_recipe_is_named(tmp_path, data_dir):
    with pytest.raises(CorruptFileError, match=r"recipe\.json"):
        Snapshots(tmp_path, "0" * 16).load_data(data_dir)
