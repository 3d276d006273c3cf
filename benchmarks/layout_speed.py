"""Training and evaluation with contiguous and with channels-last tensors on this CPU, in turn in one process.

    python benchmarks/layout_speed.py [--architecture resnet10_8] [--width 8] [--batch 64] [--size 32] [--threads 1]

What ibray/training.py chooses channels-last by. Random images; malloc as ibray sets it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from ibray.malloc import restart_tuned
from ibray.models import get_model

FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
EVALUATION_BATCH = 128


def works(arguments: argparse.Namespace, memory_format: torch.memory_format) -> dict[str, Callable[[], int]]:
    """One step of training, one batch of evaluation; each returns its number of images."""
    torch.manual_seed(0)
    width = {} if arguments.width is None else {"width": arguments.width}
    model = get_model(arguments.architecture, num_classes=10, sigma=0.4, **width).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    shape = (3, arguments.size, arguments.size)
    counts = (arguments.batch, EVALUATION_BATCH)
    images, few = (torch.rand(count, *shape).to(memory_format=memory_format) for count in counts)
    labels = torch.randint(10, (arguments.batch,))

    def train() -> int:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        return len(images)

    @torch.inference_mode()
    def evaluate() -> int:
        model(few)
        return len(few)

    return {"training": train, "evaluation": evaluate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet10_8")
    parser.add_argument("--width", type=int)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32, help="of an image's side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3, help="of a round")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    restart_tuned(sys.argv)
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter  # the former sees no other processes
    by_format = {name: works(arguments, memory_format) for name, memory_format in FORMATS.items()}
    rates: dict[tuple[str, str], list[float]] = {}
    for turn in range(arguments.rounds + 1):
        for name, work in by_format.items():
            for kind, step in work.items():
                started = clock()
                done = sum(step() for _ in range(arguments.steps))
                if turn:
                    rates.setdefault((kind, name), []).append(done / (clock() - started))
    for kind in ("training", "evaluation"):
        plain, last = (statistics.median(rates[kind, name]) for name in FORMATS)
        print(f"{kind:10} channels-last is {last / plain:.2f}x: {last:,.0f} against {plain:,.0f} images/s")


if __name__ == "__main__":
    main()
