"""cluster.yaml passes Ray's own validator, and what that validator lets through is checked here."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

FILE = Path(__file__).parents[2] / "cluster.yaml"
# Keys of an EC2 RunInstances request that this file uses; Ray passes node_config on unread, typos included.
EC2_KEYS = {"InstanceType", "BlockDeviceMappings", "InstanceMarketOptions"}


@pytest.fixture
def cluster():
    return yaml.safe_load(FILE.read_text())


def test_ray_accepts_it(cluster):
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(cluster))


def test_node_configs_hold_known_keys_only(cluster):
    for node in cluster["available_node_types"].values():
        assert node["node_config"].keys() <= EC2_KEYS


def test_workers_are_spot_and_start_at_zero_the_head_is_not_spot(cluster):
    types = cluster["available_node_types"]
    worker, head = types["gpu_worker"], types[cluster["head_node_type"]]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["min_workers"] == 0 and worker["max_workers"] <= cluster["max_workers"]
    assert "InstanceMarketOptions" not in head["node_config"]


def test_the_dashboard_listens_on_the_head_alone(cluster):
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])


def test_every_node_installs_this_checkout(cluster):
    assert cluster["file_mounts"] == {"~/ibray": "."}
    assert "pip install --quiet ~/ibray" in cluster["setup_commands"]
