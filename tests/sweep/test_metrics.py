"""What Prometheus can read of a sweep: scraped from Ray's own exporter while the writer works."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray

SCRAPE = """
import sys, time, urllib.request
from pathlib import Path
import ray
from ibray.ray_runner import start_ray, start_store
from ibray.store import StageKey

NUMBERS = dict.fromkeys(["images_per_s", "lr", "seconds", "test_acc", "test_loss", "train_acc", "train_loss"], 0.0)
port = int(sys.argv[2])
ray.init(address="local", num_cpus=1, _metrics_export_port=port, include_dashboard=False, log_to_driver=False,
         _system_config={"metrics_report_interval_ms": 500}, object_store_memory=100 * 2**20)
store, _ = start_store(Path(sys.argv[1]))
for unit, how in enumerate(["done", "done", "failed", "running"]):
    key = StageKey("run", "mi", unit, "settings")
    store.begin(key)
    if how == "done":
        store.finish(key, {"epochs": [{"run_id": "run", "epoch": unit, **NUMBERS}]})
    elif how == "failed":
        store.fail(key, "RuntimeError: on purpose")
for _ in range(120):
    time.sleep(0.5)
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    if "ray_ibray_units" in page and "ray_ibray_failures" in page:
        break
print("\\n".join(line for line in page.splitlines() if line.startswith("ray_ibray")))
store.close()
"""


def exporter_is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("aiohttp_cors", "prometheus_client", "opencensus"))


@pytest.mark.skipif(not exporter_is_installed(), reason="Ray's exporter needs ray[default]")
def test_prometheus_reads_units_rows_and_failures(tmp_path):
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    run = subprocess.run(
        [sys.executable, "-c", SCRAPE, str(tmp_path / "results.duckdb"), str(port)],
        capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    values = {}
    for line in run.stdout.splitlines():
        name, _, labels = line.partition("{")
        labels, _, value = labels.partition("} ")
        pairs = dict(pair.split("=") for pair in labels.split(","))
        about = [pairs[key].strip('"') for key in ("stage", "status", "table") if key in pairs]
        values[(name.removesuffix("_total"), *about)] = float(value)
    assert values[("ray_ibray_units", "mi", "done")] == 2
    assert values[("ray_ibray_units", "mi", "failed")] == 1
    assert values[("ray_ibray_units", "mi", "running")] == 1
    assert values[("ray_ibray_rows_written", "epochs")] == 2
    assert values[("ray_ibray_failures", "mi")] == 1
