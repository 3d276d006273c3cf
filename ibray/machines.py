"""What processors, memory and GPUs are busy with: of this machine, or of all nodes of a cluster."""

from __future__ import annotations

import csv
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

NODE_SECONDS = 5.0  # how long a node of a cluster is waited for
GPU_QUERY = "--query-gpu=name,utilization.gpu,memory.used,memory.total"
SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class GpuUse:
    """One GPU; None for what its driver does not tell."""

    name: str
    percent: float | None
    memory_gib: float | None
    memory_total_gib: float | None


@dataclass(frozen=True)
class Use:
    """One machine at one moment."""

    host: str
    cores: int
    cpu_percent: float
    memory_gib: float
    memory_total_gib: float
    gpus: tuple[GpuUse, ...]


def use_of_this_machine() -> Use:
    """Measure for a fifth of a second."""
    memory = psutil.virtual_memory()
    return Use(
        host=socket.gethostname(),
        cores=psutil.cpu_count() or 1,
        cpu_percent=psutil.cpu_percent(SAMPLE_SECONDS),
        memory_gib=(memory.total - memory.available) / 2**30,
        memory_total_gib=memory.total / 2**30,
        gpus=tuple(gpus()),
    )


def use_of_cluster() -> list[Use]:
    """Every node of the Ray cluster that this process is connected to; one that does not answer is left out."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    measure = ray.remote(use_of_this_machine)
    asked = [
        measure.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"]
    ]
    answered, silent = ray.wait(asked, num_returns=len(asked), timeout=NODE_SECONDS)
    for each in silent:
        ray.cancel(each)
    return sorted(_answers(answered), key=lambda use: use.host)


def _answers(references: Iterable) -> Iterable[Use]:
    import ray

    for reference in references:
        try:
            yield ray.get(reference)
        except ray.exceptions.RayError:  # the node went away while it was asked: spot machines do
            continue


def gpus() -> list[GpuUse]:
    """The GPUs of this machine by nvidia-smi, which needs no memory of theirs, as torch would; none without it."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    asked = [command, GPU_QUERY, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=NODE_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # installed without a driver, or a driver that hangs
        return []
    rows = csv.reader(answer.splitlines(), skipinitialspace=True)
    return [
        GpuUse(name, _number(percent), _gib(used), _gib(total)) for name, percent, used, total in rows
    ]


def _number(text: str) -> float | None:
    """A number of nvidia-smi's, which writes [N/A] for what it cannot have."""
    try:
        return float(text)
    except ValueError:
        return None


def _gib(mebibytes: str) -> float | None:
    number = _number(mebibytes)
    return None if number is None else number / 2**10
