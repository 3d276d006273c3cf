"""How well trials fill two pretended GPUs: MI trials on quarters of them, and MI beside training against after it.

    python benchmarks/packing.py [naps] [overlap] [--naps 96] [--slower 1]

Trials sleep, through the whole of `ibray sweep` on a Ray that takes this machine to have two GPUs and 16 CPUs.

1. Naps of 4 to 12 s on 0.25 GPU, eight at a time: the share of the GPUs that sleeps, from the beginning of the first
   nap to that of the last, and how many slept at once at most. Ideal packing is 1.
2. Ten trainings, five of 4 s and five of 12 s, on 0.75 GPU, with four snapshots each and 2 s of MI on 0.25 GPU for
   every snapshot: the idle share of the GPUs when MI runs beside training, as ibray does it, and when it waits for the
   last training, both from the first trial to the last.

Processes that have imported everything stand ready, as the start of one takes longer than such a trial.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import duckdb
import ray
from pretended import (
    QUARTERS,
    SLOWER,
    exam_seconds,
    lesson_seconds,
    nap_seconds,
    seeds_of,
    start_ray,
    sweep_of,
    warm_up,
)

from ibray.sweep import run_sweep

GPUS, SHARE, TRAINING_SHARE = 2, 0.25, 0.75
RESOURCES = {"train": {"cpu": 1, "gpu": TRAINING_SHARE}, "mi": {"cpu": 1, "gpu": SHARE}}
LESSONS = 10
WORKERS = 16  # that stand ready
SPANS = "SELECT run_id, epoch(started), epoch(finished) FROM stages WHERE stage IN (SELECT unnest(?))"


def spans(database: Path, *stages: str) -> list[tuple[str, float, float]]:
    with duckdb.connect(str(database), read_only=True) as con:
        return con.execute(SPANS, [list(stages)]).fetchall()


def pack(naps: int, out: Path) -> None:
    spec = sweep_of(naps, resources=RESOURCES)
    seeds = seeds_of(spec.cells())
    warm_up(int(GPUS / SHARE))
    found = spans(run_sweep(spec, out, stages=["nap"]), "nap")
    slots = int(GPUS / SHARE)
    begins = sorted(begin for _, begin, _ in found)
    first, last = begins[0], begins[-1]
    most = max(sum(begin <= at < end for _, begin, end in found) for at in begins)
    slept = sum(
        nap_seconds(seeds[run_id]) * max(0.0, min(end, last) - begin) / (end - begin) for run_id, begin, end in found
    )
    share = slept / (slots * (last - first))
    print(f"{naps} naps on {slots} quarters of {GPUS} GPUs: {share:.1%} of ideal packing over {last - first:.0f} s, "
          f"{most} at once at most")  # fmt: skip


def idle_share(spans_of: list[tuple[str, float, float]], work: float) -> tuple[float, float]:
    """(share of the GPUs that nobody used, seconds) from the first trial to the last."""
    seconds = max(end for *_, end in spans_of) - min(begin for _, begin, _ in spans_of)
    return 1 - work / (GPUS * seconds), seconds


def overlap(out: Path) -> None:
    spec = sweep_of(LESSONS, resources=RESOURCES)
    lessons = TRAINING_SHARE * sum(lesson_seconds(cell.seed) for cell in spec.cells())
    work = lessons + LESSONS * len(QUARTERS) * exam_seconds() * SHARE
    warm_up(WORKERS)
    together = run_sweep(spec, out / "together", stages=["exam"])
    warm_up(WORKERS)
    run_sweep(spec, out / "apart", stages=["lesson"])
    apart = run_sweep(spec, out / "apart", stages=["exam"])
    beside, seconds = idle_share(spans(together, "lesson", "exam"), work)
    # The barrier's two phases without the pause between them, in which the second starts its workers.
    (first, first_seconds), (second, second_seconds) = (
        idle_share(spans(apart, "lesson"), lessons), idle_share(spans(apart, "exam"), work - lessons)
    )  # fmt: skip
    barrier = 1 - work / (GPUS * (first_seconds + second_seconds))
    print(f"MI beside training: {seconds:.1f} s, GPUs idle {beside:.1%}")
    print(f"MI after training:  {first_seconds:.1f} + {second_seconds:.1f} s, GPUs idle {barrier:.1%} "
          f"({first:.1%} and {second:.1%})")  # fmt: skip
    print(f"ideal: {work / GPUS:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="naps|overlap", help="default: both")
    parser.add_argument("--naps", type=int, default=96)
    parser.add_argument("--slower", type=float, default=1, help="all trials are so many times as long")
    arguments = parser.parse_args()
    os.environ[SLOWER] = str(arguments.slower)
    start_ray(cpus=16, gpus=GPUS)
    with tempfile.TemporaryDirectory() as scratch:
        if not arguments.parts or "naps" in arguments.parts:
            pack(arguments.naps, Path(scratch) / "naps")
        if not arguments.parts or "overlap" in arguments.parts:
            overlap(Path(scratch))
    ray.shutdown()


if __name__ == "__main__":
    main()
