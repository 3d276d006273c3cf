"""What large pages for the C heap are worth: training images/s with glibc's defaults and with ours, in one run.

    python benchmarks/malloc_speed.py [--architecture resnet18] [--width 16] [--batch 256] [--threads 1]

Each setting is timed in processes of its own, in turn, because glibc reads its settings when a process starts.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

import torch

from ibray.malloc import GLIBC_TUNABLES
from ibray.models import get_model

ROUNDS = 3


def images_per_second(arguments: argparse.Namespace) -> float:
    """Training steps of a noisy network on random 32x32 images, after two to warm up; the process's own time."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = get_model(arguments.architecture, num_classes=10, sigma=0.4, width=arguments.width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    images, labels = torch.rand(arguments.batch, 3, 32, 32), torch.randint(10, (arguments.batch,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    for _ in range(2):
        step()
    started = time.perf_counter()
    for _ in range(arguments.steps):
        step()
    return arguments.steps * arguments.batch / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(images_per_second(arguments))
        return
    print(f"torch {torch.__version__}, {platform.libc_ver()}, {time.strftime('%Y-%m-%d')}, {vars(arguments)}")
    speeds: dict[str, list[float]] = {"default": [], "tuned": []}
    for _ in range(ROUNDS):
        for name, tunables in [("default", ""), ("tuned", GLIBC_TUNABLES)]:
            command = [sys.executable, __file__, *sys.argv[1:], "--child"]
            environment = {**os.environ, "GLIBC_TUNABLES": tunables}
            printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            speeds[name].append(float(printed))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"tuned / default: {medians['tuned'] / medians['default']:.2f}x")
    for name, values in speeds.items():
        print(f"{name:8} {medians[name]:7.0f} images/s  (of {', '.join(f'{value:.0f}' for value in values)})")


if __name__ == "__main__":
    main()
