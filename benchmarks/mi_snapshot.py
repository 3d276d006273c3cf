"""All information of one snapshot at the paper's size: the authors' procedure against ibray's, from measured slices.

    python benchmarks/mi_snapshot.py [--threads 1] [--slices 3]

The job: CIFAR-10, ResNet-18, 10% poisoned, seven subsets, I(X;T) and I(T;Yhat). The authors' procedure runs the network
anew for every batch of every epoch of a critic and builds every pair; ibray draws T once, 8 times per image, and trains
the same critics in their exact form (protocol `paper`), or none at all (`certified`). What is measured: one forward
pass of a batch, one critic step of each kind, both bounds of one subset. The rest is multiplication: the whole job of
the authors' procedure would take days.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from certified_mi import features, last_layer
from mi_speed import processor, step_of

from ibray.mi.channel import known_noise_ty
from ibray.mi.infonce import PRESETS
from ibray.mi.noise_draws import hold_out, known_noise_xt
from ibray.mi.noise_ladder import noise_ladder
from ibray.models import get_model

# Images per subset of the paper's badnets at 10%, target class 0: all, backdoor, clean, sample, three clean classes.
SUBSETS = (9500, 5000, 4500, 4500, 4500, 4500, 4500)
DIFFERENT_IMAGES = 9500 + 3 * 4500
DRAWS = 8
SIZES = {"I(X;T)": (3072, 512), "I(T;Yhat)": (512, 10)}


def seconds(work: Callable[[], object], slices: int) -> float:
    """Median CPU time of the process over some runs, after one to warm up."""
    work()
    times = []
    for _ in range(slices):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slices", type=int, default=3, help="runs of each slice; the median counts")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cpu = torch.device("cpu")
    print(f"torch {torch.__version__}, {processor(cpu)}, {arguments.threads} thread(s), {time.strftime('%Y-%m-%d')}")

    model = get_model("resnet18", num_classes=10, sigma=0.4).eval()
    images = torch.rand(128, 3, 32, 32)
    with torch.inference_mode():
        forward = seconds(lambda: model(images), arguments.slices) / len(images)
    print(f"one forward pass: {1e3 * forward:.2f} ms an image")
    draws = DRAWS * DIFFERENT_IMAGES * forward

    naive, exact = 0.0, draws
    for quantity, (dx, dy) in SIZES.items():
        preset = PRESETS[quantity]
        batch, epochs = preset["batch"], preset["max_epochs"]
        case = (dx, dy, batch, preset["negatives"], preset["learning_rate"])
        steps = epochs * sum(n // batch for n in SUBSETS)
        step = {kind: seconds(step_of(kind, case, cpu), arguments.slices) for kind in ("naive", "ibray")}
        naive += steps * (step["naive"] + batch * forward)
        exact += steps * step["ibray"]
        print(f"{quantity}: {steps} steps of {1e3 * step['naive']:.0f} ms naive and {1e3 * step['ibray']:.1f} ms exact")

    n = 4500
    t, held = features(n, DRAWS, 512), None
    held = hold_out(t)
    layer = last_layer(4, n, DRAWS, 512, 10)
    bounds = seconds(
        lambda: (known_noise_xt(hold_out(t)), noise_ladder(held), known_noise_ty(*layer)), arguments.slices
    )
    certified = draws + bounds * sum(n_of / n for n_of in SUBSETS) * max(SUBSETS) / n  # some of it grows as n squared
    print(f"bounds and ladder of one subset of {n} images: {bounds:.1f} s")
    print(f"drawing T once: {draws / 3600:.2f} h")
    print(f"the snapshot: authors' {naive / 3600:.1f} h")
    print(f"  ibray, paper     {exact / 3600:7.2f} h, {naive / exact:.0f}x faster")
    print(f"  ibray, certified {certified / 3600:7.2f} h, {naive / certified:.0f}x faster, adapting M apart")


if __name__ == "__main__":
    main()
