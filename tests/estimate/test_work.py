"""FLOPs against numbers worked out by hand, bytes against files on disk, subsets against those of a real run."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from ibray.datasets import DatasetSizes, dataset_sizes
from ibray.mi.subsets import subsets
from ibray.rundata import build_run_data
from ibray.snapshots import Snapshots
from ibray.stages import plan_tasks
from ibray.training import build_model, train
from ibray.work import checkpoint_bytes, critic_flop, mi_flop, network, train_flop

CIFAR10 = DatasetSizes(image_shape=(3, 32, 32), train=(5000,) * 10, test=(1000,) * 10, exact=True)
TINY = DatasetSizes(image_shape=(3, 16, 16), train=(20,) * 10, test=(10,) * 10, exact=True)


def conv(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """FLOPs of a convolution whose output has this side."""
    return 2 * inputs * outputs * kernel**2 * side**2


def resnet(width: int, blocks: list[int], side: int) -> int:
    """FLOPs of a ResNet with basic blocks, layer by layer."""
    total, channels = conv(3, width, 3, side), width
    for stage, count in enumerate(blocks):
        out = width * 2**stage
        if stage:
            side //= 2
            total += conv(channels, out, 1, side)  # the shortcut
        total += conv(channels, out, 3, side) + (2 * count - 1) * conv(out, out, 3, side)
        channels = out
    return total + 2 * channels * 10


def of_cell(spec, sizes: DatasetSizes = CIFAR10):
    return network(spec.cells()[0], sizes)


def test_resnet18_has_the_flops_that_are_published_for_it(tiny):
    net = of_cell(tiny(architecture="resnet18"))
    assert net.flop == resnet(64, [2, 2, 2, 2], 32)
    assert net.flop / 2 == pytest.approx(0.556e9, rel=2e-3)  # multiply-adds, as they are usually counted
    assert net.t_dim == 512


def test_flops_follow_the_architectures_parameters_and_the_images(tiny):
    assert of_cell(tiny()).flop == resnet(4, [1, 1, 1, 1], 32)
    assert of_cell(tiny(), TINY).flop == resnet(4, [1, 1, 1, 1], 16)


@pytest.mark.parametrize(("architecture", "macs"), [("vgg16", 0.313e9), ("vit_tiny", 0.365e9)])
def test_flops_of_the_other_architectures_of_the_sweeps(tiny, architecture, macs):
    assert of_cell(tiny(architecture=architecture)).flop / 2 == pytest.approx(macs, rel=5e-3)


def train_task(spec):
    return next(task for task in plan_tasks(spec, spec.cells()) if task.stage == "train")


def test_training_counts_both_passes_the_test_set_and_the_triggered_one(tiny):
    flop = resnet(4, [1, 1, 1, 1], 16)
    assert train_flop(train_task(tiny(attack="none")), TINY) == 3 * (3 * 200 + 100) * flop  # 3 epochs
    assert train_flop(train_task(tiny(attack="badnets")), TINY) == 3 * (3 * 200 + 100 + 90) * flop
    for policy, triggered in [({"label_policy": "all_to_all"}, 100),
                              ({"label_policy": "source_specific", "source_classes": [2, 5]}, 20)]:  # fmt: skip
        spec = tiny(attack={"name": "badnets", **policy})
        assert train_flop(train_task(spec), TINY) == 3 * (3 * 200 + 100 + triggered) * flop
    adversarial = tiny(attack="none", training={**tiny().resolved()["training"], "adversarial_epsilon": 8})
    assert train_flop(train_task(adversarial), TINY) == 3 * ((3 + 2 * 7) * 200 + 100) * flop


def test_a_paper_run_trains_for_20_pflop(tiny):
    spec = tiny(attack="badnets", architecture="resnet18", training={"epochs": 120, "snapshots": [120]})
    assert train_flop(train_task(spec), CIFAR10) == pytest.approx(20e15 + 120 * 19000 * 1.11e9, rel=0.01)


def test_a_critics_step_by_hand():
    settings = {"batch": 128, "hidden": 128, "max_epochs": 1}
    projections, pairs = 2 * 128 * (3072 + 512) * 128, 2 * 128 * 128 * (128 * 128 + 128)
    assert critic_flop(128, 3072 + 512, settings) == 2 * projections + 3 * pairs == 1_858_076_672


def test_a_critic_makes_whole_batches_only_and_no_larger_than_its_images():
    settings = {"batch": 16, "hidden": 8, "max_epochs": 5}
    assert critic_flop(47, 10, settings) == 5 * 2 * critic_flop(16, 10, {**settings, "max_epochs": 1})
    assert critic_flop(10, 10, settings) == critic_flop(10, 10, {**settings, "batch": 10})


@pytest.mark.parametrize("attack", ["none", "badnets"])
@pytest.mark.parametrize("mi", [{}, {"max_samples": 15}, {"clean_classes": [4]}, {"clean_classes": []}], ids=str)
def test_mi_work_is_that_of_the_subsets_of_a_real_run(tiny, data_dir, attack, mi):
    settings = {**tiny().mi.model_dump(), **mi}
    spec = tiny(attack=attack, mi=settings)
    task = next(task for task in plan_tasks(spec, spec.cells()) if task.stage == "mi")
    data = build_run_data(task.cell, data_dir)
    options = {"clean_classes": settings["clean_classes"], "max_samples": settings["max_samples"], "seed": 3}
    chosen = list(subsets(data.labels, data.is_backdoor, 0, **options).values())
    net = of_cell(spec, TINY)
    expected = len(torch.cat(chosen).unique()) * settings["draws"] * net.flop
    for indices in chosen:
        expected += critic_flop(len(indices), 3 * 16 * 16 + net.t_dim, settings["ixt"])
        expected += critic_flop(len(indices), net.t_dim + 10, settings["ity"])
    # Which images are capped away is random, and with it how many of two subsets are the same.
    assert mi_flop(task, TINY) == pytest.approx(expected, rel=0.05 if settings["max_samples"] else 0)


def data_bytes(file: Path) -> int:
    """The bytes of a safetensors file after its header."""
    content = file.read_bytes()
    return len(content) - 8 - struct.unpack("<Q", content[:8])[0]


@pytest.mark.parametrize("architecture", ["resnet10_8", "vit_tiny", "small_cnn"])
def test_a_snapshot_has_the_bytes_on_disk(tiny, tmp_path, architecture):
    cell = tiny(architecture=architecture).cells()[0]
    Snapshots(tmp_path, cell.run_id).save(1, build_model(cell, 10, torch.device("cpu")))
    (file,) = tmp_path.rglob("*.safetensors")
    assert network(cell, CIFAR10).state_bytes == data_bytes(file)


def test_checkpoints_of_a_run_have_the_bytes_on_disk(tiny, data_dir, tmp_path):
    cell = tiny().cells()[0]
    train(
        cell,
        build_run_data(cell, data_dir),
        device=torch.device("cpu"),
        snapshots=[1, 2, 3],  # a checkpoint each, of which two stay
        checkpoints=tmp_path,
        on_epoch=lambda result: None,
        on_snapshot=lambda epoch, model: None,
    )
    sizes = dataset_sizes("digits16", data_dir=data_dir, per_class=20, test_per_class=10)
    assert checkpoint_bytes(cell, sizes) == sum(data_bytes(file) for file in tmp_path.glob("*.safetensors"))
