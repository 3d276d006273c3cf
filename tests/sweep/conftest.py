"""Real Ray for the tests: one instance of two CPUs and two pretended GPUs, to schedule fractions without one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def ray_cluster():
    """Ray as a user has it, started here so that several sweeps share it."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    import ibray.ray_runner  # sets what Ray reads when it is imported

    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        namespace=ibray.ray_runner.NAMESPACE,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
