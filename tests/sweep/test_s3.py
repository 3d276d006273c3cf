"""A sweep on Ray whose snapshots go to a real S3 server, over HTTP, from every worker process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from rows import numbers
from upath import UPath

from ibray.snapshots import Snapshots

pytestmark = pytest.mark.ray

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'ibray[s3]'")
server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")


@pytest.fixture
def s3(monkeypatch):
    """A bucket on a server of this machine, found by its environment as a real one is."""
    there = server.ThreadedMotoServer(port=0)
    there.start()
    host, port = there.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    UPath("s3://bucket").mkdir()
    yield "s3://bucket/sweeps/tiny"
    there.stop()


def test_workers_write_to_s3_and_the_database_is_published_there(s3, tiny, tmp_path, data_dir):
    spec = tiny()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(spec.resolved()))
    command = ["sweep", "tiny.yaml", "--out", s3, "--no-report", "--data-dir", str(data_dir.resolve())]
    subprocess.run([sys.executable, "-m", "ibray", *command], cwd=tmp_path, check=True, timeout=240)
    out = tmp_path / "results" / "tiny"
    assert all(Snapshots(UPath(s3), cell.run_id).has(3) for cell in spec.cells())
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes((UPath(s3) / "results.duckdb").read_bytes())
    assert numbers(copy) == numbers(out / "results.duckdb") and not (out / "snapshots").exists()
