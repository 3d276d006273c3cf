"""Whether our training learns what a plain PyTorch loop learns: test accuracy and ASR over seeds, in one run.

    python benchmarks/train_accuracy.py [--epochs 10] [--seeds 3] [--compile] [--precision bfloat16]

The network, data and recipe of sweeps/attacks_cpu.yaml: badnets on 10% of 500 CIFAR-10 images per class, ResNet-10 of
width 8, sigma 0.4. Both loops train on the same poisoned images; nothing else is shared, so their seeds are
independent. The difference of means is given with its standard error over seeds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from naive_training import plain

from ibray.attacks import get_attack
from ibray.cell import ArchitectureChoice, AttackChoice, Cell, DatasetChoice, TrainingSettings
from ibray.malloc import restart_tuned
from ibray.models import get_model, resolve_params
from ibray.rundata import RunData, build_run_data
from ibray.training import train

CPU = torch.device("cpu")
RATES = ("test_acc", "asr")


def cell_of(seed: int, arguments: argparse.Namespace) -> Cell:
    return Cell(
        dataset=DatasetChoice(name="cifar10", per_class=500, test_per_class=200),
        attack=AttackChoice(name="badnets", params=get_attack("badnets").params()),
        poison_ratio=0.1,
        target_class=0,
        architecture=ArchitectureChoice(name="resnet10_8", params=resolve_params("resnet10_8", {})),
        sigma=0.4,
        seed=seed,
        training=TrainingSettings(epochs=arguments.epochs, batch_size=64, lr=0.05, precision=arguments.precision),
    )


def ours(cell: Cell, data: RunData, compile_model: bool) -> dict[str, float]:
    """The last epoch's rates."""
    rows = []
    with tempfile.TemporaryDirectory() as checkpoints:
        train(
            cell, data, device=CPU, snapshots=[], checkpoints=Path(checkpoints), on_epoch=rows.append,
            on_snapshot=lambda epoch, model: None, compile_model=compile_model,
        )  # fmt: skip
    return {rate: rows[-1].metrics[rate] for rate in RATES}


def naive(cell: Cell, data: RunData) -> dict[str, float]:
    """The same of the plain loop, whose learning rate never falls: so few epochs have no plateau."""
    torch.manual_seed(1000 + cell.seed)
    model = get_model("resnet10_8", num_classes=len(data.class_names), sigma=cell.sigma)
    settings = cell.training
    epoch = plain(model, data.images, data.labels, batch=settings.batch_size, lr=settings.lr, device=CPU)
    for _ in range(settings.epochs):
        epoch()
    model.eval()
    return {
        "test_acc": share_right(model, data.test_images, data.test_labels),
        "asr": share_right(model, data.asr_images, data.asr_labels),
    }


@torch.no_grad()
def share_right(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    right = [model(x.float() / 255).argmax(1) == y for x, y in zip(images.split(128), labels.split(128), strict=True)]
    return torch.cat(right).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    restart_tuned(sys.argv)
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}, {vars(arguments)}", flush=True)
    found: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for seed in range(arguments.seeds):
        cell = cell_of(seed, arguments)
        data = build_run_data(cell)
        found["ours"].append(ours(cell, data, arguments.compile))
        found["plain"].append(naive(cell, data))
        print(seed, {name: runs[-1] for name, runs in found.items()}, flush=True)
    for rate in RATES:
        values = {name: [run[rate] for run in runs] for name, runs in found.items()}
        difference = statistics.mean(values["ours"]) - statistics.mean(values["plain"])
        error = sum(statistics.variance(each) / len(each) for each in values.values()) ** 0.5
        means = ", ".join(
            f"{name} {statistics.mean(each):.3f} ± {statistics.stdev(each):.3f}" for name, each in values.items()
        )
        print(f"{rate}: {means}; difference {difference:+.3f} ± {error:.3f}: {abs(difference) / error:.1f} of 2 errors")


if __name__ == "__main__":
    main()
