"""What the certified estimates cost and where they put the truth: accuracy, coverage, time and memory in one run.

    python benchmarks/certified_mi.py [--threads 1] [--large 50000]

Times are CPU seconds of the process, without making the samples. Memory is the peak of a process of its own, samples
and libraries included.
"""

from __future__ import annotations

import argparse
import math
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ibray.mi.bounds import over_images, pair_terms
from ibray.mi.channel import known_noise_ty
from ibray.mi.noise_draws import XTEstimates, hold_out, known_noise_xt
from ibray.mi.noise_ladder import noise_ladder

SIGMA = 0.4


def last_layer(nats: float, n: int, draws: int, features: int, outputs: int, seed: int = 0) -> tuple:
    """t, logits, weight, bias, sigma with I(T; Yhat) = nats; a fifth of the variance of T is its own noise."""
    rng = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(outputs, features, generator=rng), torch.randn(outputs, generator=rng)
    t = torch.randn(n, draws, features, generator=rng).mul_(math.sqrt(0.2))
    t += math.sqrt(0.8) * torch.randn(n, 1, features, generator=rng)
    t *= SIGMA * math.sqrt(math.exp(2 * nats / outputs) - 1)
    logits = [(d + SIGMA * torch.randn(n, features, generator=rng)) @ weight.T + bias for d in t.unbind(1)]
    return t, torch.stack(logits, 1), weight, bias, SIGMA


def features(n: int, draws: int, d: int, seed: int = 0) -> Tensor:
    """Draws of T around image means whose variances decay like those of a network's features."""
    rng = torch.Generator().manual_seed(seed)
    spread = (6 * torch.arange(1, d + 1.0) ** -1.2).sqrt()
    return torch.randn(n, draws, d, generator=rng).add_(spread * torch.randn(n, 1, d, generator=rng))


def both_bounds(t: Tensor) -> XTEstimates:
    return known_noise_xt(hold_out(t))


def timed(work: Callable[[], object]) -> tuple[object, float]:
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def report_brackets() -> None:
    print("\nLinear-Gaussian network, d 10, n 5000, nats: one draw of known means; I(T;Yhat) with 8 draws of T")
    for nats in (2, 4, 4.5, 6):
        rng = torch.Generator().manual_seed(0)
        means = math.sqrt(math.exp(2 * nats / 10) - 1) * torch.randn(5000, 1, 10, generator=rng)
        terms, seconds = timed(partial(pair_terms, means + torch.randn(means.shape, generator=rng), means))
        lower, upper = (over_images(each) for each in terms)
        print(f"  {nats}: [{lower.value:.3f}, {upper.value:.3f}] error {lower.error:.3f}, {seconds:.2f} s", end="; ")
        ty, seconds = timed(partial(known_noise_ty, *last_layer(nats, 5000, 8, 512, 10)))
        gap = ty.upper_bound - ty.lower_bound
        print(f"[{ty.lower_bound:.3f}, {ty.upper_bound:.3f}] gap {gap:.3f}", end=", ")
        print(f"error {ty.standard_error:.3f}, {seconds:.2f} s")


def report_coverage() -> None:
    print("\nIntervals that hold the truth, of 50 seeds, n 1000, 4 draws")
    for nats, outputs in ((0.5, 4), (2, 4), (2, 10), (4, 10)):
        estimates = [known_noise_ty(*last_layer(nats, 1000, 4, 16, outputs, seed)) for seed in range(50)]
        held = sum(e.ci_low < nats < e.ci_high for e in estimates)
        lower = torch.tensor([e.raw for e in estimates])
        error = sum(e.standard_error for e in estimates) / 50
        print(
            f"  {nats} nats, {outputs} outputs: {held}; lower bound {lower.mean() - nats:+.3f} of the truth, "
            f"spread {lower.std():.3f}, standard error {error:.3f}"
        )


def report_xt() -> None:
    print("\nI(X;T), n 5000, 512 features, 8 draws")
    t = features(5000, 8, 512)
    held, first = timed(lambda: hold_out(t))
    estimates, second = timed(lambda: known_noise_xt(held))
    ladder, third = timed(lambda: noise_ladder(held))
    print(f"  draws {first:.2f} s + both bounds {second:.2f} s; ladder of {len(ladder.taus)} rungs {third:.2f} s")
    print(f"  closed {estimates.closed.raw:.3f}, certified {estimates.certified.raw:.3f}")
    rng = torch.Generator().manual_seed(1)
    shuffled = torch.stack([each[torch.randperm(5000, generator=rng)] for each in t.unbind(1)], 1)
    null = both_bounds(shuffled)
    print(f"  shuffled draws: closed {null.closed.raw:.3f}, certified {null.certified.raw:.3f}")
    standard = both_bounds((t - t.mean((0, 1))) / t.std((0, 1)))
    print(f"  standardised T moves closed by {standard.closed.raw - estimates.closed.raw:+.1e}")


def large(what: str, n: int) -> None:
    """One estimate at size n: prints its time and the process's peak memory, before and in all."""
    if what == "I(T;Yhat)":
        work = partial(known_noise_ty, *last_layer(4, n, 8, 512, 10))
    else:
        work = partial(both_bounds, features(n, 8, 512))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, seconds = timed(work)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  {what}: peak {after / 2**20:.2f} GiB, of that {before / 2**20:.2f} before it began; {seconds:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", type=int, default=50_000, help="images of the measurement of memory")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        large(arguments.child, arguments.large)
        return
    print(f"torch {torch.__version__}, {platform.machine()}, {time.strftime('%Y-%m-%d')}, {vars(arguments)}")
    report_brackets()
    report_coverage()
    report_xt()
    print(f"\nMemory at n {arguments.large}, 512 features, 8 draws, 10 outputs", flush=True)
    for what in ("I(T;Yhat)", "I(X;T)"):
        subprocess.run([sys.executable, *sys.argv, "--child", what], check=True)


if __name__ == "__main__":
    main()
