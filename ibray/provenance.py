"""What produced a number: versions, commit, machine. Stored with every sweep and every run."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import ibray

PACKAGES = (
    "torch", "torchvision", "ray", "duckdb", "numpy", "scikit-learn", "opentsne", "pandas", "altair", "safetensors",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python, ibray and the packages whose behaviour shows in the numbers."""
    installed = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "ibray": ibray.__version__,
        **{name: installed[name] for name in PACKAGES if name in installed},
    }


def git_state() -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout this code runs from; (None, None) for an installed package."""
    source = Path(ibray.__file__).parent
    if not (source.parent / ".git").exists():
        return None, None
    try:
        sha = _git(source, "rev-parse", "HEAD")
        return sha, bool(_git(source, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):  # no git on this machine, or no commit yet
        return None, None


def _git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@lru_cache
def code() -> dict[str, Any]:
    """Which ibray this process runs, on which packages: columns of `stages`."""
    sha, dirty = git_state()
    return {
        "ibray_version": ibray.__version__,
        "git_sha": sha,
        "git_dirty": dirty,
        "versions": json.dumps(versions()),
    }


@lru_cache
def device_facts(device: torch.device) -> dict[str, Any]:
    """Where this process computes: columns of `stages`."""
    if device.type != "cuda":
        return {"host": host(), "device": "cpu", "driver": None}
    return {"host": host(), "device": torch.cuda.get_device_name(device), "driver": gpu_driver()}


def host() -> str:
    """This machine's name, as stored with what it computed."""
    return socket.gethostname()


def gpu_driver() -> str | None:
    """The version of the NVIDIA driver, None where nvidia-smi is not there to tell it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return told.strip().splitlines()[0] if told.strip() else None


def machine() -> dict[str, Any]:
    """Processor, cores, memory and GPUs of this machine."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.platform(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
