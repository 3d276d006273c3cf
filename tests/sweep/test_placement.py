"""Trials that find no room are refused at once, on a cluster too: on real ones of two nodes, in processes of their own.

The instance of Ray that other tests share is of the test process, which can be connected to one alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cluster_file import FILLED_IN
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from ibray.node_types import read_node_types
from ibray.placement import bundles_of, fits

pytestmark = pytest.mark.ray

CLUSTER = """
import itertools, json, os, sys
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
from ibray.check_cluster import check_cluster
from ibray.ray_runner import trial_resources
from ibray.errors import UserError
from ibray.spec import parse_spec
import ray
from ray.cluster_utils import Cluster

head = json.loads(sys.argv[2])
memory = 100 * 2**20
cluster = Cluster(
    initialize_head=True, shutdown_at_exit=True,
    head_node_args={"num_cpus": 2, "object_store_memory": memory, "include_dashboard": False, **head},
)
cluster.add_node(num_cpus=4, object_store_memory=memory)
ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
answers = []
for spec in map(parse_spec, json.loads(sys.argv[1]), itertools.repeat("tiny.yaml")):
    said = []
    try:
        resources = trial_resources(spec, True, said.append)
        answer = {"bundles": {stage: each.bundles for stage, each in resources.items()}}
    except UserError as error:
        answer = {"refused": str(error)}
    answers.append({**answer, "said": said})
checks = [[check.name, check.result] for check in check_cluster(spec, cluster.address)]  # ends the connection
print(json.dumps([answers, checks]))
cluster.shutdown()
"""


@pytest.fixture
def on_cluster(tiny):
    """On a cluster of 2 and 4 CPUs whose head is started so: what becomes of trials with each of these resources,
    and what the doctor says about the last."""

    def ask(*resources: dict, **head) -> tuple[list[dict], list[list[str]]]:
        specs = [tiny(resources=each).resolved() for each in resources]
        command = [sys.executable, "-c", CLUSTER, json.dumps(specs), json.dumps(head)]
        env = {**os.environ, "RAY_FAKE_CLUSTER": "1"}  # for Ray's pretended provider of machines
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return ask


@pytest.fixture
def cluster_file(tmp_path):
    """A cluster file with one type of workers besides the head's; what is given replaces its keys."""

    def write(**worker):
        types = {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "big": {"resources": {"CPU": 16, "GPU": 2}, "node_config": {}, "max_workers": 1, **worker},
        }
        config = {
            **FILLED_IN,
            "cluster_name": "pretended",
            "max_workers": 2,
            "provider": {"type": "fake_multinode", "head_node_id": FAKE_HEAD_NODE_ID},
            "available_node_types": types,
            "head_node_type": "ray.head.default",
        }
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    return write


def test_without_an_autoscaler_a_trial_that_no_node_has_room_for_is_refused(on_cluster):
    (large, fitting), checks = on_cluster({"mi": {"cpu": 6}}, {"train": {"cpu": 4, "gpu": 1}})
    expected = (
        "resources.mi: a trial asks for 6 CPU and 0 GPU, but the cluster's nodes have at most 4 CPU and 0 GPU, and no "
        "autoscaler adds others; lower resources.mi.cpu or .gpu"
    )
    assert large == {"refused": expected, "said": []}
    assert fitting["bundles"]["train"] == [{"CPU": 4}] and fitting["said"] == []  # no GPU anywhere: CPUs alone
    assert checks == [["cluster", "ok"], ["trials", "ok"]]


def test_what_the_autoscaler_may_add_counts(on_cluster, cluster_file):
    (fitting, large), checks = on_cluster(
        {"mi": {"cpu": 16, "gpu": 2}}, {"mi": {"cpu": 17}}, autoscaling_config=cluster_file()
    )
    assert fitting["bundles"]["mi"] == [{"CPU": 16, "GPU": 2}] and fitting["said"] == []
    assert "its autoscaler adds only big with 16 CPU and 2 GPU" in large["refused"]
    assert checks == [["cluster", "ok"], ["trials", "failed"]]


def test_where_it_cannot_be_known_the_trial_waits_and_that_is_said(on_cluster):
    (answer,), checks = on_cluster({"mi": {"cpu": 64, "gpu": 0.5}}, no_monitor=True)
    assert answer["bundles"]["mi"] == [{"CPU": 64, "GPU": 0.5}]
    assert "resources.mi: a trial asks for 64 CPU and 0.5 GPU" in answer["said"][-1]
    assert "cannot be known" in answer["said"][-1]
    assert checks == [["cluster", "ok"], *([["trials", "warning"]] * len(answer["said"]))]


@pytest.mark.parametrize(
    ("worker", "types"),
    [
        ({}, {"big": {"CPU": 16, "GPU": 2}}),
        ({"resources": {}}, None),  # left to the provider
        ({"max_workers": 0}, None),
    ],
)
def test_the_node_types_of_a_cluster_file(cluster_file, worker, types):
    assert read_node_types(Path(cluster_file(**worker))) == types


def test_a_file_that_is_gone_says_nothing(tmp_path):
    assert read_node_types(tmp_path / "gone.yaml") is None


def test_one_node_must_have_room_for_the_whole_bundle(tiny):
    nodes = [{"CPU": 8}, {"CPU": 1, "GPU": 1}]
    assert not fits({"CPU": 2, "GPU": 1}, nodes) and fits({"CPU": 1, "GPU": 1}, nodes)
    spec = tiny(resources={"train": {"cpu": 2, "gpu": 1}})
    assert bundles_of(spec, nodes)["train"] == {"CPU": 2, "GPU": 1}
    assert bundles_of(spec, nodes[:1])["train"] == {"CPU": 2, "GPU": 0}
