"""How fast networks are trained: ours, a plain PyTorch loop, and BackdoorBench's style of loop, in one run.

    python benchmarks/train_speed.py [--architecture resnet10_8] [--width 8] [--batch 64] [--threads 2]
    python benchmarks/train_speed.py --device cuda --architecture resnet18 --batch 256 --images 50000

Random images of CIFAR's shape. Every contender lives in a process of its own, with glibc's malloc as it is and as
ibray sets it (ibray/malloc.py), and trains one epoch when it is its turn, so that a busy moment of the machine hits
all of them; the first epoch of each is not counted. On a busy machine images per CPU second say more: with one thread
they hardly depend on who else is there (with several, waiting for each other counts as work).

"side by side" is what a sweep does on a CPU: as many trainings as threads, one thread each, their images added up.
FLOPs are those of convolutions and matrix products, the matrix rate is that of a large product of matrices of the
same run, float32 on CPUs and bfloat16 on GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from ibray.malloc import GLIBC_TUNABLES

PAPER_IMAGES = 120 * 50_000  # 120 epochs of CIFAR-10
TUNABLES = {"default": "", "tuned": GLIBC_TUNABLES}
MATRIX = "matrix product"


@dataclass(frozen=True)
class Contender:
    """What one line of the table measures: `copies` processes that take their turn together."""

    loop: str
    malloc: str
    threads: int
    copies: int = 1

    def __str__(self) -> str:
        if self.copies > 1:
            return f"{self.loop}, {self.copies} side by side"
        return f"{self.loop}, {self.malloc} malloc"


@dataclass
class Measured:
    """Work per second and per CPU second, one number per round, and the processes' peak memory, added up, in MiB."""

    rates: list[float]
    cpu_rates: list[float]
    memory_mb: float = 0.0


class Child:
    """A process that does its work once for every line it is sent."""

    def __init__(self, contender: Contender, options: list[str]):
        command = [sys.executable, __file__, *options, "--child", contender.loop, "--threads", str(contender.threads)]
        environment = {**os.environ, "GLIBC_TUNABLES": TUNABLES[contender.malloc], "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended: {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(contenders: list[Contender], options: list[str], rounds: int) -> tuple[dict[Contender, Measured], dict]:
    """Let every contender do its work once per round, in turn; also returns what the children say of themselves."""
    children = {each: [Child(each, options) for _ in range(each.copies)] for each in contenders}
    about: dict = {}
    for child in [child for group in children.values() for child in group]:
        about.update(child.answer())
    measured = {each: Measured([], []) for each in contenders}
    try:
        for turn in range(rounds + 1):
            for contender, group in children.items():
                started = time.perf_counter()
                for child in group:
                    child.start()
                answers = [child.answer() for child in group]
                if turn:
                    seconds = time.perf_counter() - started
                    work, cpu = (sum(answer[key] for answer in answers) for key in ("work", "cpu_s"))
                    measured[contender].rates.append(work / seconds)
                    measured[contender].cpu_rates.append(work / cpu)
                measured[contender].memory_mb = sum(answer["memory_mb"] for answer in answers)
    finally:
        for child in [child for group in children.values() for child in group]:
            child.close()
    return measured, about


def main() -> None:
    arguments = parse()
    if arguments.child:
        import train_speed_child

        train_speed_child.serve(arguments)
        return
    contenders = choose(arguments)
    options = [*sys.argv[1:]]
    measured, about = measure(contenders, options, arguments.rounds)
    print(f"{about['versions']}, {platform.processor() or platform.machine()}, {time.strftime('%Y-%m-%d')}")
    print(f"{about['device']}; {vars(arguments)}")
    matrix = next(statistics.median(result.rates) for each, result in measured.items() if each.loop == MATRIX)
    print(f"matrix rate {matrix / 1e9:,.0f} GFLOP/s; {about['flop'] / 1e6:.1f} MFLOP an image, forward and backward")
    print("ours is faster by, per second and per CPU second; images/s (range); images per CPU second; peak memory;")
    print("120 epochs of CIFAR-10, extrapolated; FLOP/s as a share of the matrix rate")
    first = measured[contenders[0]]
    for each, result in measured.items():
        if each.loop == MATRIX:
            continue
        rate, cpu_rate = statistics.median(result.rates), statistics.median(result.cpu_rates)
        faster, thriftier = statistics.median(first.rates) / rate, statistics.median(first.cpu_rates) / cpu_rate
        print(
            f"{each!s:30} {faster:5.2f}x {thriftier:5.2f}x {rate:7,.0f} ({min(result.rates):,.0f} to "
            f"{max(result.rates):,.0f}) {cpu_rate:7,.0f} {result.memory_mb:6,.0f} MiB "
            f"{PAPER_IMAGES / rate / 3600:6.2f} h {rate * about['flop'] / matrix:6.1%}"
        )


def choose(arguments: argparse.Namespace) -> list[Contender]:
    """Ours as a user gets it comes first: everything is compared with it."""
    threads = arguments.threads
    loops = ["ours", "plain", "backdoorbench"]
    if arguments.device == "cuda":
        extra = ["ours-bfloat16", "ours-bfloat16-compiled"]
        return [Contender(loop, "tuned", threads) for loop in [extra[0], loops[0], extra[1], *loops[1:], MATRIX]]
    chosen = [Contender(loop, malloc, threads) for malloc in ("tuned", "default") for loop in loops]
    if arguments.compiled:
        chosen.insert(1, Contender("ours-compiled", "tuned", threads))
    if threads > 1:
        chosen.append(Contender("ours", "tuned", 1, copies=threads))
    return [*chosen, Contender(MATRIX, "tuned", threads)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--architecture", default="resnet10_8")
    parser.add_argument("--width", type=int, help="default: the architecture's")
    parser.add_argument("--sigma", type=float, default=0.4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=1920, help="of an epoch")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--workers", type=int, default=4, help="loader processes of the BackdoorBench style")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compiled", action="store_true", help="on a CPU: also ours under torch.compile")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
