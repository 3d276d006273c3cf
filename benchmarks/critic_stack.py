"""Microseconds per step and critic when S critics of the paper's recipe are trained together, and the arithmetic floor.

    python benchmarks/critic_stack.py [--device cuda] [--critics 1 4 16] [--steps 200]

A step is everything between two batches: gathering, forward, backward, clipping, AdamW; on a GPU replayed from a CUDA
graph. The floor is the time of the three products of all pairs' hidden units (S x B B x H by H x H), measured in the
same run as plain bmm: what is left when launches, gathering and element-wise work cost nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from mi_speed import CASES, processor

from ibray.mi.critic_epochs import CriticEpochs
from ibray.mi.critic_stack import CriticStack
from ibray.mi.infonce import InfoNCESettings
from ibray.mi.samples import PairedSamples

IMAGES, HIDDEN = 2000, 128


def seconds(work: Callable[[], object], steps: int, device: torch.device) -> float:
    """Median time of one call over five rounds."""
    rounds = []
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(steps):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        rounds.append((time.perf_counter() - started) / steps)
    return statistics.median(rounds)


def measure(quantity: str, critics: int, bf16: bool, steps: int, device: torch.device) -> None:
    dx, dy, batch, negatives, rate = CASES[quantity]
    rng = torch.Generator(device).manual_seed(0)
    samples = [
        PairedSamples(
            torch.rand(IMAGES, 1, dx, generator=rng, device=device),
            torch.randn(IMAGES, 1, dy, generator=rng, device=device),
        )
        for _ in range(critics)
    ]
    options = InfoNCESettings(batch=batch, negatives=negatives, learning_rate=rate, hidden=HIDDEN)
    with torch.no_grad():
        stack = CriticStack(samples, options, list(range(critics)), bf16)
        stack.learning_rates = [rate] * critics
        # One batch over and over: drawing the next is the epochs' work, which is done an epoch at a time.
        step = {s: next(CriticEpochs(each, options, s).batches()) for s, each in enumerate(samples)}
        for _ in range(5):
            stack.step(step)  # warms up, and on a GPU records the graph
        taken = seconds(lambda: stack.step(step), steps, device)
        kind = torch.bfloat16 if bf16 else torch.float32
        pairs = torch.randn(critics, batch**2, HIDDEN, dtype=kind, device=device)
        square = torch.randn(critics, HIDDEN, HIDDEN, dtype=kind, device=device)
        floor = seconds(lambda: (pairs @ square, pairs @ square, pairs.mT @ pairs), steps, device)
    print(
        f"{quantity:10} {critics:3} critics, {'bf16' if bf16 else 'fp32'}: {1e6 * taken / critics:9.1f} us a critic "
        f"and step, floor {1e6 * floor / critics:8.1f} us, {floor / taken:.0%} of it",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--critics", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(f"torch {torch.__version__}, {processor(device)}, {time.strftime('%Y-%m-%d')}")
    for quantity in CASES:
        for critics in arguments.critics:
            for bf16 in (False, True):
                measure(quantity, critics, bf16, arguments.steps, device)


if __name__ == "__main__":
    main()
