"""A sweep on a cluster without a single worker: Ray's own autoscaler adds them, and takes them away when it is done."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import duckdb
import pytest
import yaml
from cluster_file import FILLED_IN
from ray._private.services import get_node_ip_address

pytestmark = pytest.mark.ray

ENVIRONMENT = {
    **os.environ, "RAY_AUTH_MODE": "disabled", "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}  # fmt: skip
WORKERS = 2
# Prints how many workers there are, as often as it changes.
WATCH = """
import sys, time, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
before = None
while True:
    now = sum(node["Alive"] for node in ray.nodes()) - 1
    if now != before:
        print(now, flush=True)
    before = now
    time.sleep(0.3)
"""


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """A head without CPUs and an autoscaler that may add workers of one CPU; ends with all of its processes."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    address = f"{get_node_ip_address()}:{port}"
    worker = {"CPU": 1, "object_store_memory": 80 * 2**20}
    config = {
        **FILLED_IN,
        "cluster_name": "fake",
        "max_workers": WORKERS,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "launch_multiple": True,
            "use_node_id_as_ip": True,  # all of these nodes have one address
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": WORKERS},
        },
    }
    (tmp_path / "cluster.json").write_text(json.dumps(config))
    start = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=0",
        "--object-store-memory=100000000", "--include-dashboard=false",
        f"--autoscaling-config={tmp_path / 'cluster.json'}",
    ]  # fmt: skip
    with (tmp_path / "head.log").open("wb") as log:
        head = subprocess.Popen(start, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex((address.rpartition(":")[0], port)) == 0:
                    break
            if head.poll() is not None:
                pytest.skip(f"ray start failed here: {(tmp_path / 'head.log').read_text()[-400:]}")
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()


def test_workers_come_for_a_sweep_and_go_when_it_is_done(address, tiny, tmp_path, data_dir):
    spec = tiny(seed=[0, 1, 2], mi={**tiny().resolved()["mi"], "quantities": ["I(X;T)"]})
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(spec.resolved()))
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCH, address], env=ENVIRONMENT, stdout=(tmp_path / "workers.txt").open("w")
    )
    try:
        where = ["--out", "out", "--data-dir", str(data_dir), "--address", address]
        command = [sys.executable, "-m", "ibray", "sweep", "tiny.yaml", "--no-report", *where]
        subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, check=True, timeout=240)

        def seen() -> list[int]:
            return [int(line) for line in (tmp_path / "workers.txt").read_text().split()]

        for _ in range(600):
            if len(seen()) > 1 and seen()[-1] == 0:
                break
            time.sleep(0.1)
    finally:
        watcher.kill()
        watcher.wait()
    # On a busy machine Ray may take a worker for lost and start another one before the first is gone.
    assert seen()[0] == 0 and max(seen()) >= WORKERS and seen()[-1] == 0
    with duckdb.connect(tmp_path / "out" / "results.duckdb", read_only=True) as con:
        assert con.execute("SELECT DISTINCT status FROM runs").fetchall() == [("done",)]
        # The second worker may come when the first has done it all; the head has no CPU to do it with.
        assert con.execute("SELECT count(DISTINCT node) > 0 FROM stages").fetchall() == [(True,)]
