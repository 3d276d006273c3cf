"""This machine: GPUs, processors, memory, and its clock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import torch

import ibray
from ibray.check import Check
from ibray.machines import gpus
from ibray.placement import amounts, bundles_of, homeless, refusal
from ibray.provenance import machine
from ibray.spec import SweepSpec

LITTLE_MEMORY_GIB = 4.0
CLOCK_TOLERANCE = timedelta(seconds=5)  # a shared file system has a clock of its own
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_gpus() -> Check:
    """What torch sees, beside what the driver does."""
    seen = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    by_driver = [gpu.name for gpu in gpus()]
    if torch.cuda.is_available() and seen:
        return Check("GPU", "ok", f"{', '.join(seen)}; CUDA {torch.version.cuda}")
    if not by_driver:
        return Check("GPU", "warning", "none: everything runs on the CPU", "for full sweeps take a machine with a GPU")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        advice = f"CUDA_VISIBLE_DEVICES is '{hidden}': unset it"
    elif torch.version.cuda is None:
        advice = "this torch is built without CUDA: install the build of https://pytorch.org/get-started"
    else:
        advice = f"this torch is built for CUDA {torch.version.cuda}: bring the driver up to date"
    return Check("GPU", "failed", f"the driver has {', '.join(by_driver)}, torch sees none", advice)


def check_cores_and_memory(spec: SweepSpec | None, has_cluster: bool) -> Iterator[Check]:
    """Cores and memory; with a sweep that is to run here, whether a trial of it finds room."""
    facts = machine()
    has = {"CPU": facts["cores"], "GPU": len(facts["gpus"])}
    wanting = homeless(bundles_of(spec, [has]), [has]) if spec and not has_cluster else {}
    for share, bundle in wanting.items():
        found, _, advice = refusal(share, bundle, f"this machine has {amounts(has)}").partition("; ")
        yield Check("CPU", "failed", found, advice)
    if not wanting:
        yield Check("CPU", "ok", f"{facts['cores']} cores, {facts['processor']}")
    total, free = _memory_gib()
    found = f"{free:.1f} of {total:.1f} GiB free"
    if free < LITTLE_MEMORY_GIB:
        yield Check("memory", "warning", found, "a trial takes one or two GiB: run fewer at once (resources.*.cpu)")
    else:
        yield Check("memory", "ok", found)


def _memory_gib() -> tuple[float, float]:
    """In all and free; of the container where that has a limit."""
    memory = psutil.virtual_memory()
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    total = memory.total if limit == "max" else min(memory.total, int(limit))
    return total / 2**30, min(memory.available, total) / 2**30


def check_clock(out: Path, newest_row: datetime | None, present: datetime) -> Check:
    """Whether the present is after everything that was written; all times in UTC.

    Args:
        out: the output directory, whether it is there or not.
        newest_row: of its database, without a zone.
        present: now, without a zone.
    """
    newest, what = _newest_file([Path(ibray.__file__), *out.rglob("*")])
    if newest_row is not None and newest_row > newest:
        newest, what = newest_row, "a row of the database"
    if present < newest - CLOCK_TOLERANCE:
        found = f"it is {present:%Y-%m-%d %H:%M:%S} UTC, before {what} of {newest:%Y-%m-%d %H:%M:%S}"
        return Check("clock", "failed", found, "set the clock of this machine (timedatectl set-ntp true)")
    return Check("clock", "ok", f"{present:%Y-%m-%d %H:%M:%S} UTC")


def _newest_file(paths: Iterable[Path]) -> tuple[datetime, str]:
    times = []
    for path in paths:
        try:
            times.append((path.stat().st_mtime, str(path)))
        except FileNotFoundError:  # a sweep that runs removes files too
            continue
    seconds, path = max(times)
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None), path
