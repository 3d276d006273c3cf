"""The cluster files pass Ray's own validator, what that lets through is checked here, and the page's commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
# Keys of an EC2 RunInstances, or a Compute Engine instances.insert request that the files use; Ray passes
# node_config on unread, typos included.
KEYS = {
    "cluster.yaml": {"ImageId", "InstanceType", "BlockDeviceMappings", "InstanceMarketOptions", "IamInstanceProfile"},
    "cluster-gcp.yaml": {"machineType", "disks", "scheduling", "metadata", "serviceAccounts"},
}
PAGE = (ROOT / "docs" / "cluster.md").read_text()


@pytest.fixture(params=KEYS)
def name(request):
    return request.param


@pytest.fixture
def cluster(name):
    return yaml.safe_load((ROOT / name).read_text())


def test_ray_accepts_it(cluster):
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(cluster))


def test_node_configs_hold_known_keys_only(name, cluster):
    for node in cluster["available_node_types"].values():
        assert node["node_config"].keys() <= KEYS[name]


def test_workers_are_spot_and_start_at_zero_the_head_is_not_spot(name, cluster):
    types = cluster["available_node_types"]
    worker, head = types["gpu_worker"], types[cluster["head_node_type"]]
    key, spot = {
        "cluster.yaml": ("InstanceMarketOptions", {"MarketType": "spot"}),
        "cluster-gcp.yaml": ("scheduling", [{"preemptible": True}, {"onHostMaintenance": "TERMINATE"}]),
    }[name]
    assert worker["node_config"][key] == spot and key not in head["node_config"]
    assert worker["min_workers"] == 0 and worker["max_workers"] <= cluster["max_workers"]


def test_workers_may_write_to_the_object_store(name, cluster):
    key = {"cluster.yaml": "IamInstanceProfile", "cluster-gcp.yaml": "serviceAccounts"}[name]
    assert cluster["available_node_types"]["gpu_worker"]["node_config"][key]


def test_the_container_has_the_installed_ray_and_a_python_that_ibray_takes(cluster):
    version, python = re.fullmatch(r"rayproject/ray:([\d.]+)-py(\d+)-gpu", cluster["docker"]["image"]).groups()
    assert version == ray.__version__ and int(python[1:]) >= 11


def test_the_dashboard_listens_on_the_head_alone(cluster):
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])


def test_every_node_installs_this_checkout_with_its_object_store(name, cluster):
    extra = {"cluster.yaml": "s3", "cluster-gcp.yaml": "gcs"}[name]
    assert cluster["file_mounts"] == {"/home/ray/ibray": "."}
    assert cluster["setup_commands"] == [f'pip install --quiet "/home/ray/ibray[{extra}]"']


def commands() -> list[list[str]]:
    """Every line of the page's shell blocks, and what `ray exec` and `ray job submit` run over there."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    found = [shlex.split(line) for line in lines]
    inner = [word for words in found for word in words if word.startswith("cd ~/ibray && ")]
    return found + [shlex.split(word.removeprefix("cd ~/ibray && ")) for word in inner]


def parse(command: click.Command, words: list[str]) -> None:
    """Raises click's error if these words are not what the command takes."""
    context = click.Context(command, resilient_parsing=False)
    command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("words", [c for c in commands() if c[0] == "ray"], ids=" ".join)
def test_ray_knows_the_pages_commands(words):
    scripts = pytest.importorskip("ray.scripts.scripts")
    command, rest = scripts.cli, words[1:]
    while isinstance(command, click.Group):
        if rest[0] == "job" and "job" not in command.commands:
            pytest.skip("`ray job` needs ray[default]")
        command, rest = command.commands[rest[0]], rest[1:]
    parse(command, rest)


@pytest.mark.parametrize("words", [c for c in commands() if c[0] == "ibray"], ids=" ".join)
def test_ibray_knows_the_pages_commands(words):
    import typer

    from ibray.cli import app

    command = typer.main.get_command(app).commands[words[1]]
    parse(command, words[2:])
    for word in words[2:]:
        assert not word.endswith(".yaml") or (ROOT / word).exists()


def test_the_page_has_commands_of_both_and_the_files_it_names_exist():
    assert len([c for c in commands() if c[0] == "ray"]) >= 10
    assert len([c for c in commands() if c[0] == "ibray"]) >= 6
    for named in re.findall(r"`(cluster[\w-]*\.yaml)`", PAGE):
        assert (ROOT / named).exists()
