"""A real `ray up`, over SSH, with Ray's provider for machines of one's own: it starts a cluster that runs a sweep.

There is no daemon: Ray's SSH goes through a command that starts sshd for this one connection, as this user, with a home
directory of the test's own.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil
import pytest
import yaml
from ray._private.services import get_node_ip_address

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")
ABSENT = [name for name in ("ssh", "ssh-keygen", "rsync") if not shutil.which(name)] + ["sshd"] * (not SSHD)
if os.getuid() == 0 and not Path("/run/sshd").exists():
    ABSENT.append("/run/sshd, which sshd wants when root starts it")
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}"),
]


@pytest.fixture
def home(tmp_path) -> Path:
    """A home directory with a key that may log in."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for name in ("key", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / ".ssh" / name], check=True)
    (home / ".ssh" / "authorized_keys").write_text((home / ".ssh" / "key.pub").read_text())
    (home / ".ssh" / "config").write_text(
        f"HostKey {home}/.ssh/host\nAuthorizedKeysFile {home}/.ssh/authorized_keys\nStrictModes no\nUsePAM no\n"
        f"PermitRootLogin yes\nSetEnv HOME={home} RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0\n"
    )
    (home / ".bashrc").write_text(f"export PATH={Path(sys.executable).parent}:$PATH\n")
    return home


@pytest.fixture
def cluster(home, tmp_path) -> Iterator[tuple[Path, str]]:
    """(cluster file, address of its head); ends with every process that was started with the test's home."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    start = (
        f"ray start --head --port={port} --num-cpus=2 --include-dashboard=false --object-store-memory=100000000 "
        "--autoscaling-config=~/ray_bootstrap_config.yaml"
    )
    file = tmp_path / "cluster.yaml"
    config = {
        "cluster_name": f"test-{port}",
        "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
        "auth": {
            "ssh_user": getpass.getuser(),
            "ssh_private_key": str(home / ".ssh" / "key"),
            "ssh_proxy_command": f"{SSHD} -i -f {home}/.ssh/config",
        },
        "file_mounts": {"~/data.txt": str(tmp_path / "data.txt")},
        "setup_commands": ["cp ~/data.txt ~/set-up.txt"],
        "head_start_ray_commands": [start],  # no `ray stop`: there may be clusters of others on this machine
        "worker_start_ray_commands": [],
    }
    (tmp_path / "data.txt").write_text("mounted")
    file.write_text(yaml.safe_dump(config))
    yield file, f"{get_node_ip_address()}:{port}"
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("HOME") == str(home) and process.pid != os.getpid():
            os.kill(process.pid, signal.SIGKILL)


def test_ray_up_starts_a_cluster_that_runs_a_sweep(cluster, home, tiny, tmp_path, data_dir):
    file, address = cluster
    up = [sys.executable, "-m", "ray.scripts.scripts", "up", "-y", "--no-config-cache", str(file)]
    subprocess.run(up, env={**ENVIRONMENT, "HOME": str(home)}, check=True, timeout=240)
    assert (home / "set-up.txt").read_text() == "mounted"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny().resolved()))
    where = ["--out", "out", "--data-dir", str(data_dir), "--address", address]
    sweep = [sys.executable, "-m", "ibray", "sweep", "tiny.yaml", "--no-report", *where]
    subprocess.run(sweep, env=ENVIRONMENT, cwd=tmp_path, check=True, timeout=240)
    with duckdb.connect(tmp_path / "out" / "results.duckdb", read_only=True) as con:
        assert con.execute("SELECT DISTINCT status FROM runs").fetchall() == [("done",)]
        assert con.execute("SELECT count(DISTINCT node) FROM stages").fetchall() == [(1,)]
