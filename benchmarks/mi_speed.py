"""One training step of InfoNCE: every pair materialised (the paper's procedure) against ibray's exact form.

    python benchmarks/mi_speed.py [--device cpu|cuda] [--threads 1] [--steps 20]

Both take a full step (gather the batch, forward, backward, clipping, AdamW) on the same sizes, in turn and in
one process, so the ratio stands on a noisy machine too; times are medians. Materialising gigabytes makes the
naive step depend on how malloc returns memory, so on Linux the script runs itself a second time with
GLIBC_TUNABLES that keep freed memory and use huge pages.
"""

import argparse
import datetime
import math
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from naive_infonce import naive_critic, naive_terms

from ibray.mi.critic import ConcatCritic
from ibray.mi.pairs import infonce_loss

TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=17179869184:glibc.malloc.trim_threshold=17179869184"
)
# quantity: Dx, Dy, B, K, learning rate
CASES = {"I(X;T)": (3072, 512, 128, 512, 3e-4), "I(T;Yhat)": (512, 10, 512, 256, 5e-4)}


def step_of(kind: str, case: tuple, device: torch.device):
    """A function that takes one training step."""
    dx, dy, b, k, lr = case
    rng = torch.Generator(device).manual_seed(0)
    x = torch.rand(2000, dx, generator=rng, device=device)
    y = torch.randn(2000, dy, generator=rng, device=device)
    if kind == "naive":
        critic = naive_critic(dx, dy).to(device)
    else:
        critic = ConcatCritic(dx, dy, 128, torch.Generator().manual_seed(0)).to(device)
    optimiser = torch.optim.AdamW(critic.parameters(), lr=lr, weight_decay=1e-4, fused=True)

    def step():
        images = torch.randperm(2000, generator=rng, device=device)[:b]
        indices = torch.randint(b, (b, k), generator=rng, device=device)
        if kind == "naive":
            loss = -naive_terms(critic, x[images], y[images], indices).mean()
        else:
            loss, _ = infonce_loss(critic, x[images], y[images], indices)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(critic.parameters(), 5.0)
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def measure(steps: int, device: torch.device) -> None:
    # One thread on a shared machine: time of the process, which waiting for the core is not part of.
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    for quantity, case in CASES.items():
        dx, dy, b, k, _ = case
        times = {"naive": [], "ibray": []}
        peaks = {kind: peak_memory(kind, quantity, device) for kind in times}
        taken = {kind: step_of(kind, case, device) for kind in times}
        for step in taken.values():
            step()  # warm up
        for i in range(steps):
            for kind, repeats in (("ibray", 3), ("naive", 1 if i < max(3, steps // 5) else 0)):
                for _ in range(repeats):
                    started = clock()
                    taken[kind]()
                    times[kind].append(clock() - started)
        naive, ours = (1e3 * statistics.median(times[kind]) for kind in ("naive", "ibray"))
        print(
            f"{quantity:10} Dx {dx} Dy {dy} B {b} K {k}: naive {naive:7.1f} ms ({peaks['naive']:5.0f} MB), "
            f"ibray {ours:6.2f} ms ({peaks['ibray']:3.0f} MB), {naive / ours:.1f}x",
            flush=True,
        )


def peak_memory(kind: str, quantity: str, device: torch.device) -> float:
    """MB one step adds to the peak, in a process of its own, because a process's peak never falls again."""
    if device.type == "cpu" and sys.platform != "linux":
        return math.nan
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_growth, kind, quantity, str(device)).result()


def _growth(kind: str, quantity: str, device: str) -> float:
    on_gpu = device != "cpu"

    def peak() -> float:
        if on_gpu:
            return torch.cuda.max_memory_allocated(device) / 1e6
        status = Path("/proc/self/status").read_text()  # getrusage would count the parent's peak too
        return float(status.split("VmHWM:")[1].split()[0]) / 1e3

    torch.set_num_threads(1)
    # A tiny step first: code paged in on a first use is not working memory.
    step_of(kind, (8, 8, 4, 2, 1e-3), torch.device(device))()
    step = step_of(kind, CASES[quantity], torch.device(device))
    before = peak()
    step()
    return peak() - before


def processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--steps", type=int, default=20, help="rounds of 3 ibray steps, a naive one in some")
    parser.add_argument("--tuned", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if not args.tuned:
        print(
            f"torch {torch.__version__}, {processor(device)}, {args.threads} thread(s), "
            f"{datetime.date.today()}, full training step"
        )
    print("tuned malloc:" if args.tuned else "default malloc:", flush=True)
    measure(args.steps, device)
    if device.type == "cpu" and sys.platform == "linux" and not args.tuned:
        tuned = {**os.environ, "GLIBC_TUNABLES": TUNABLES}
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--tuned"], env=tuned, check=True)


if __name__ == "__main__":
    main()
