"""How fast triggers are put on: ours, and a per-image NumPy loop over the same images, in one run.

    python benchmarks/trigger_speed.py [--threads 2] [--images 10000]

Random uint8 images of 32x32; an attack that differs in training is timed there. The loop gets a twentieth of the
images, as its time for each does not depend on their number. Of three rounds in turn the median counts.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from naive_triggers import NAIVE, RANDOM

from ibray.attacks import get_attack

ROUNDS = 3


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {platform.machine()}, {time.strftime('%Y-%m-%d')}, {vars(arguments)}")
    images = torch.randint(0, 256, (arguments.images, 3, 32, 32), dtype=torch.uint8)
    few = images[: max(1, arguments.images // 20)].permute(0, 2, 3, 1).contiguous().numpy()
    for name, build in NAIVE.items():
        attack = get_attack(name)
        ours = attack.trigger_in_training if name == "adap_blend" else attack.trigger
        naive = build(attack)
        if name not in RANDOM:
            same = ours(images[: len(few)]).permute(0, 2, 3, 1).numpy().astype(int)
            assert abs(same - np.stack([naive(image) for image in few])).max() <= 1, name
        ours(images)
        fast, slow = [], []
        for _ in range(ROUNDS):
            fast.append(arguments.images / seconds(lambda ours=ours: ours(images)))
            slow.append(len(few) / seconds(lambda naive=naive: [naive(image) for image in few]))
        quick, loop = statistics.median(fast), statistics.median(slow)
        print(f"{name:10} {quick / loop:6.1f}x  ours {quick:9,.0f} images/s  loop {loop:8,.0f} images/s")


if __name__ == "__main__":
    main()
