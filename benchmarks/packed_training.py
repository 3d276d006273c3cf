"""What training several narrow networks together is worth: K runs packed against the same K one after another.

    python benchmarks/packed_training.py [--members 4] [--device cpu] [--threads 1] [--rounds 3]

Whole training epochs of `ibray.training` and `ibray.packed_training` on random images of CIFAR-10's or digits16's
shape, in turn in one process: median, and images/s of all runs together. On a GPU in bfloat16 and by the clock; on a
CPU in float32 and per CPU second, so that other processes disturb less. Under the malloc settings that sweeps run with.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ibray.cell import ArchitectureChoice, AttackChoice, Cell, DatasetChoice, TrainingSettings
from ibray.malloc import restart_tuned
from ibray.models import resolve_params
from ibray.packed_training import Together
from ibray.rundata import RunData
from ibray.training import Trainer


@dataclass(frozen=True)
class Case:
    """A network and what it is trained on; `images` is how many make an epoch here."""

    architecture: str
    side: int
    batch: int
    images: int

    def __str__(self) -> str:
        return f"{self.architecture}, {self.side}x{self.side}, batch {self.batch}"


CASES = {
    "cpu": [
        Case("small_cnn", 16, 64, 1024),
        Case("resnet10_8", 16, 64, 512),
        Case("small_cnn", 32, 256, 1024),
        Case("resnet10_8", 32, 256, 512),
        Case("resnet10_16", 32, 256, 512),
    ],
    "cuda": [
        Case("small_cnn", 32, 256, 25_600),
        Case("resnet10_8", 32, 256, 25_600),
        Case("resnet10_16", 32, 256, 25_600),
        Case("resnet18", 32, 256, 25_600),
    ],
}


def random_data(case: Case, seed: int) -> RunData:
    """As many random images as the case has, ten classes; the test set is one image and nothing is poisoned."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (case.images, 3, case.side, case.side), dtype=torch.uint8, generator=random)
    labels = torch.randint(0, 10, (case.images,), generator=random)
    nothing = torch.zeros(case.images, dtype=torch.bool)
    return RunData(
        images=images, labels=labels, is_backdoor=nothing, is_cover=nothing, original_labels=labels,
        clean_images=images, test_images=images[:1], test_labels=labels[:1], asr_images=None, asr_labels=None,
        parts={}, class_names=tuple("0123456789"), checksum="",
    )  # fmt: skip


def trainers(case: Case, members: int, device: torch.device, scratch: Path) -> list[Trainer]:
    precision = "bfloat16" if device.type == "cuda" else "float32"
    cell = Cell(
        dataset=DatasetChoice(name="random"),
        attack=AttackChoice(name="none"),
        poison_ratio=0.0,
        target_class=0,
        architecture=ArchitectureChoice(name=case.architecture, params=resolve_params(case.architecture, {})),
        sigma=0.4,
        seed=0,
        training=TrainingSettings(batch_size=case.batch, precision=precision),
    )
    return [
        Trainer(replace(cell, seed=seed), random_data(case, seed), device, scratch / str(seed), compile_model=False)
        for seed in range(members)
    ]


def compare(case: Case, members: int, device: torch.device, rounds: int) -> str:
    """One line of the table: faster by, images/s one after another, images/s packed, spread of the ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        single = trainers(case, members, device, Path(scratch))
        pack = Together(trainers(case, members, device, Path(scratch)), device)

        def one_after_another() -> None:
            for trainer in single:
                trainer._train_epoch(1)

        pairs = []
        for turn in range(rounds + 1):
            pair = (seconds(one_after_another, device), seconds(pack.train_epoch, device))
            if turn:  # the first warms caches up
                pairs.append(pair)
    ratios = [alone / packed for alone, packed in pairs]
    alone, packed = (members * case.images / statistics.median(times) for times in zip(*pairs, strict=True))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"| {case} | **{statistics.median(ratios):.2f}x** ({spread}) | {alone:,.0f} | {packed:,.0f} |"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--device", choices=sorted(CASES), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="cases whose architecture contains this")
    arguments = parser.parse_args()
    restart_tuned(sys.argv)
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    what = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {arguments.threads} thread(s)"
    print(f"{what}; Python {platform.python_version()}, torch {torch.__version__}; {arguments.members} runs")
    print(
        "| network | packed / one after another | one after another, images/s | packed, images/s |\n|---|---|---|---|"
    )
    for case in CASES[arguments.device]:
        if not arguments.only or arguments.only in case.architecture:
            print(compare(case, arguments.members, device, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
