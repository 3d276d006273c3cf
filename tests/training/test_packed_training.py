"""Runs trained together: the numbers of runs alone, each for itself in order, noise, rate, checkpoints and failures."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ibray.cell import ArchitectureChoice
from ibray.models import resolve_params
from ibray.packed_network import PackedNetwork, agrees, can_be_packed
from ibray.packed_training import Member, train_packed
from ibray.rundata import build_run_data
from ibray.training import build_model, train

CPU = torch.device("cpu")
# 200 images: the last batch is smaller. A small rate: with a large one rounding grows to percents within two epochs.
TRAINING = {"epochs": 3, "snapshots": [1, 3], "batch_size": 48, "lr": 0.001, "weight_decay": 0.1}


class Died(Exception):
    """Stands for whatever goes wrong in one run."""


class Diary:
    """What one run told: rows, weights at snapshots, how it ended; raises where it is told to."""

    def __init__(self, cell, data, checkpoints, snapshots=(1, 3), fail_at=None):
        self.rows, self.weights, self.ends = [], {}, []
        self.cell, self.data, self.snapshots, self.fail_at = cell, data, snapshots, fail_at
        self.checkpoints = checkpoints / cell.run_id

    def on_epoch(self, result):
        if result.epoch == self.fail_at:
            raise Died
        self.rows.append(result)

    def on_snapshot(self, epoch, model):
        self.weights[epoch] = {name: value.clone() for name, value in model.state_dict().items()}

    @property
    def arguments(self):
        names = ("cell", "data", "snapshots", "checkpoints", "on_epoch", "on_snapshot")
        return {name: getattr(self, name) for name in names}

    def alone(self):
        torch.set_num_threads(1)
        train(device=CPU, **self.arguments)
        return self

    @property
    def losses(self):
        return [row.metrics["train_loss"] for row in self.rows]


def together(diaries):
    torch.set_num_threads(1)
    train_packed([Member(**each.arguments, on_end=each.ends.append) for each in diaries], device=CPU)
    return diaries


@pytest.fixture
def diaries(tiny, data_dir, tmp_path):
    """Make diaries of a tiny grid's cells; checkpoints go below `name`."""

    def make(name, *, fail_at=(), **axes):
        grid = {"attack": ["none", "badnets"], "sigma": [0.0, 0.4]}
        axes = {**grid, "architecture": "small_cnn", "training": TRAINING, **axes}
        cells = tiny(**axes).cells()
        fails = dict(fail_at)
        return [
            Diary(cell, build_run_data(cell, data_dir), tmp_path / name, fail_at=fails.get(position))
            for position, cell in enumerate(cells)
        ]

    return make


def close(a, b):
    """Whether rows of two runs agree but for rounding, and what three epochs make of it."""
    for one, other in zip(a, b, strict=True):
        assert one.metrics.keys() == other.metrics.keys()
        tolerance = 1e-4 if one.epoch == 1 else 1e-3
        for name in ("train_loss", "test_loss", "lr"):
            assert one.metrics[name] == pytest.approx(other.metrics[name], rel=tolerance), (one.epoch, name)
        for name in ("train_acc", "test_acc", "asr"):
            assert one.metrics[name] == pytest.approx(other.metrics[name], abs=0.011), (one.epoch, name)
        for mine, theirs in zip(one.class_losses, other.class_losses, strict=True):
            assert mine == {**theirs, "train_loss": pytest.approx(theirs["train_loss"], rel=10 * tolerance)}


def near(a, b):
    for name in a:
        torch.testing.assert_close(
            a[name], b[name], rtol=1e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("architecture", "epochs"),
    [
        ({"name": "resnet10_8", "width": 4}, 3),
        ("small_cnn", 3),
        ({"name": "vgg16", "width": 2}, 1),  # thirteen norms of two channels, some of them dead: rounding grows at once
    ],
)
def test_a_pack_gives_the_numbers_of_runs_alone(diaries, architecture, epochs):
    packed = together(diaries("packed", architecture=architecture))
    alone = [each.alone() for each in diaries("alone", architecture=architecture)]
    for one, other in zip(packed, alone, strict=True):
        assert one.ends == [None] and len(one.rows) == 3
        close(one.rows[:epochs], other.rows[:epochs])
        assert one.weights.keys() == other.weights.keys() == {1, 3}
        near(one.weights[1], other.weights[1])
        counted = [value for name, value in one.weights[3].items() if name.endswith("num_batches_tracked")]
        assert counted and {int(value) for value in counted} == {15}  # 3 epochs of 5 batches
    assert len({each.losses[0] for each in packed}) == 4  # attack and sigma of each its own


def test_learning_rates_fall_for_each_run_by_itself(diaries):
    training = {**TRAINING, "lr": 1e-3, "epochs": 5, "plateau_patience": 0, "plateau_metric": "test_loss"}
    axes = {"training": training, "sigma": [0.4, 3.0], "seed": [0, 1]}
    packed, alone = together(diaries("packed", **axes)), [each.alone() for each in diaries("alone", **axes)]
    rates = [[row.metrics["lr"] for row in each.rows] for each in alone]
    assert len(set(map(tuple, rates))) > 1
    assert [[row.metrics["lr"] for row in each.rows] for each in packed] == rates
    for one, other in zip(packed, alone, strict=True):
        close(one.rows, other.rows)


def test_a_failing_run_leaves_the_others_be(diaries):
    packed = together(diaries("packed", fail_at={0: 2}))
    assert [type(end) for each in packed for end in each.ends] == [Died, *[type(None)] * 3]
    assert [row.epoch for row in packed[0].rows] == [1]
    for one, other in zip(packed[1:], diaries("alone")[1:], strict=True):
        close(one.rows, other.alone().rows)


def test_the_last_run_of_a_pack_goes_on_alone(diaries):
    packed = together(diaries("packed", attack="badnets", fail_at={0: 1}))
    assert packed[1].ends == [None] and packed[0].rows == []
    close(packed[1].rows, diaries("alone", attack="badnets")[1].alone().rows)


def test_a_run_that_cannot_start_and_one_that_cannot_save_leave_the_others_be(diaries):
    packed = diaries("packed")
    packed[0].data = replace(packed[0].data, labels=None)
    packed[1].checkpoints.parent.mkdir()
    packed[1].checkpoints.write_text("in the way")
    together(packed)
    assert [[type(end) for end in each.ends] for each in packed] == [
        [AttributeError], [FileExistsError], [type(None)], [type(None)]
    ]  # fmt: skip
    assert [row.epoch for row in packed[3].rows] == [1, 2, 3]


def test_a_run_that_diverges_goes_on_and_stays_by_itself(diaries):
    packed = together(diaries("packed", attack="badnets", sigma=[0.4, 1e38]))
    assert all(each.ends == [None] for each in packed)
    assert math.isnan(packed[1].losses[-1])
    close(packed[0].rows, diaries("alone", attack="badnets", sigma=[0.4, 1e38])[0].alone().rows)


def test_a_run_of_a_pack_is_resumed_alone(diaries):
    broken = together(diaries("runs", fail_at={1: 2}))[1]
    assert [type(end) for end in broken.ends] == [Died]
    resumed = diaries("runs")[1]
    resumed.snapshots = (3,)
    resumed.alone()
    assert resumed.rows[0] == broken.rows[0]  # clock included: it was not trained again
    close(resumed.rows, diaries("alone")[1].alone().rows)


def test_runs_that_stopped_at_different_epochs_go_on_together(diaries):
    for position, epoch in ((0, 2), (1, 3)):
        with pytest.raises(Died):
            diaries("runs", fail_at={position: epoch})[position].alone()
    resumed = diaries("runs")
    for each in resumed:
        each.snapshots = (3,)
    together(resumed)
    for one, other in zip(resumed, diaries("alone"), strict=True):
        assert one.ends == [None]
        close(one.rows, other.alone().rows)


def test_a_run_that_is_done_is_told_so(diaries):
    for each in diaries("runs")[:1]:
        each.alone()
    packed = diaries("runs")
    packed[0].snapshots = ()
    together(packed)
    assert [each.ends for each in packed] == [[None]] * 4 and packed[0].weights == {}


def test_bfloat16_in_a_pack(diaries):
    axes = {"training": {**TRAINING, "precision": "bfloat16"}}
    for one, other in zip(together(diaries("packed", **axes)), diaries("alone", **axes), strict=True):
        assert one.losses[0] == pytest.approx(other.alone().losses[0], rel=0.02)


def test_architectures_and_recipes_that_differ_are_no_pack(diaries):
    one, other = diaries("a")[0], diaries("b", architecture="resnet10_8")[0]
    with pytest.raises(ValueError, match="one architecture"):
        together([one, other])


@pytest.mark.parametrize(
    ("name", "can"), [("resnet18", True), ("vgg16", True), ("small_cnn", True), ("vit_tiny", False)]
)
def test_which_architectures_can_be_packed(name, can):
    assert can_be_packed(name, resolve_params(name, {})) is can


class MixesChannels(nn.Module):
    """A network whose parameters can be packed, and whose forward pass cannot."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x).mean(dim=(2, 3)).softmax(1)


def test_a_network_that_mixes_channels_is_found_out():
    torch.manual_seed(0)
    mixing = [MixesChannels(nn.Conv2d(3, 4, 3)) for _ in range(2)]
    streams = [torch.Generator() for _ in mixing]
    assert not agrees(PackedNetwork(mixing, streams), streams, (3, 8, 8))


def test_networks_that_disagree_when_packed_are_trained_alone(diaries, monkeypatch):
    monkeypatch.setattr("ibray.packed_training.agrees", lambda *arguments: False)
    for one, other in zip(together(diaries("packed")), diaries("alone"), strict=True):
        assert one.ends == [None]
        assert one.losses == other.alone().losses


def test_weights_of_members_are_views_of_the_packed_ones(tiny):
    cell = tiny(attack="none").cells()[0]
    cell = replace(cell, architecture=ArchitectureChoice(name="small_cnn", params=resolve_params("small_cnn", {})))
    members = [build_model(replace(cell, seed=seed), 10, CPU) for seed in (0, 1)]
    before = [{name: value.clone() for name, value in member.state_dict().items()} for member in members]
    packed = PackedNetwork(members, [torch.Generator() for _ in members])
    assert all(
        torch.equal(value, was[name])
        for m, was in zip(members, before, strict=True)
        for name, value in m.state_dict().items()
    )
    for parameter in packed.parameters.values():
        parameter.data.zero_()
    assert all(not parameter.any() for member in members for parameter in member.parameters())
