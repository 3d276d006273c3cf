"""tune-resources: real probes of a tiny sweep, what is made of their numbers, and a file that keeps its comments."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from ibray import tune_resources
from ibray.cli import app
from ibray.errors import UserError
from ibray.probe import Measured, Request, prepare, shortened
from ibray.spec import load_spec
from ibray.tune_resources import Machine, as_said, dearest, run_probes, tuned, tuned_training
from ibray.yaml_block import replace_block
from ibray.yaml_file import parse_yaml

TRAINING = {"epochs": 2, "snapshots": [2], "batch_size": 64, "lr": 0.001}
SWEEP = """\
name: tiny   # a comment
dataset: {name: digits16, per_class: 20, test_per_class: 10}
attack: [none, badnets]
architecture: small_cnn
training: {epochs: 2, snapshots: [2], batch_size: 64}
resources:
  # of the old machine
  train: {cpu: 7, gpu: 1}

# what is estimated
mi: {protocol: certified, draws: 4}
"""
GPU, CORES = Machine(4, 80 * 2**30), Machine(4, 0)


@pytest.fixture
def request_of(tiny, data_dir):
    """Make the request of a probe."""

    def make(kind, members=1):
        spec = tiny(architecture="small_cnn", training=TRAINING)
        settings = spec.mi.settings() if kind == "mi" else {}
        return Request(kind, spec.cells()[1].to_dict(), settings, 1, members, 0.05, str(data_dir))

    return make


@pytest.mark.parametrize(("kind", "members", "units"), [("train", 1, 200), ("train", 3, 600), ("mi", 1, 1)])
def test_a_probe_works(request_of, tmp_path, kind, members, units):
    work = prepare(request_of(kind, members), tmp_path)
    assert [work(), work()] == [units, units]


def test_probes_of_mi_take_fewer_images_and_shorter_critics(tiny):
    settings = tiny().mi.settings()
    short = shortened(settings, 5)
    assert short["max_samples"] == 5 and settings["max_samples"] is None
    (before,), (after,) = settings["protocols"], short["protocols"]
    for quantity, values in before["settings"].items():
        assert after["settings"][quantity] == {**values, "max_epochs": 2}
        assert values["max_epochs"] == 3


class Scripted:
    """Probes with known results: (kind, side by side, members) -> units a second, or None where it fails."""

    def __init__(self, cell, per_second, peak_mb=100.0):
        self.cell, self.per_second, self.peak_mb, self.asked = cell, per_second, peak_mb, []

    def __call__(self, kind, side_by_side, threads, members=1):
        self.asked.append((side_by_side, threads, members))
        speed = self.per_second.get((side_by_side, members))
        return None if speed is None else Measured(speed, self.peak_mb)


@pytest.mark.parametrize(
    ("machine", "speeds", "peak_mb", "found", "asked"),
    [
        (GPU, {1: 10, 2: 19, 4: 30}, 100, {"gpu": 0.25}, [(1, 2), (2, 2), (4, 2)]),
        (GPU, {1: 10, 2: 19, 4: 19.5}, 100, {"gpu": 0.5}, [(1, 2), (2, 2), (4, 2)]),
        (GPU, {1: 10, 2: 10.1, 4: 9}, 100, {"gpu": 1}, [(1, 2), (2, 2), (4, 2)]),
        (GPU, {1: 10, 2: 19}, 100, {"gpu": 0.5}, [(1, 2), (2, 2), (4, 2)]),  # four together: out of memory
        (GPU, {1: 10, 2: 19, 4: 30}, 30_000, {"gpu": 0.5}, [(1, 2), (2, 2)]),  # four are not even tried
        (CORES, {1: 10, 2: 19, 4: 30}, 100, {"cpu": 1}, [(1, 4), (2, 2), (4, 1)]),
        (CORES, {1: 10, 2: 9, 4: 8}, 100, {"cpu": 4}, [(1, 4), (2, 2), (4, 1)]),
        (Machine(3, 0), {1: 10, 2: 19, 4: 30}, 100, {"cpu": 1}, [(1, 3), (2, 1)]),
    ],
)
def test_the_most_work_together_wins_if_more_at_once_is_worth_it(tiny, machine, speeds, peak_mb, found, asked):
    spec = tiny(resources={"train": {"cpu": 2, "gpu": 1}})
    probe = Scripted(spec.cells()[0], {(count, 1): speed for count, speed in speeds.items()}, peak_mb)
    assert tuned(spec, "train", probe, machine)[0] == found
    assert [each[:2] for each in probe.asked] == asked


def test_what_cannot_run_alone_is_said(tiny):
    spec = tiny()
    with pytest.raises(UserError, match="'train' cannot run here"):
        tuned(spec, "train", Scripted(spec.cells()[0], {}), GPU)


@pytest.mark.parametrize(("packed", "pack"), [(13, 3), (11.9, "auto"), (None, "auto")])
def test_networks_are_packed_where_that_is_worth_it(tiny, packed, pack):
    spec = tiny(architecture="small_cnn", resources={"train": {"cpu": 2, "gpu": 1, "pack": 2}})
    probe = Scripted(spec.cells()[0], {(1, 1): 10, (2, 1): 9, (4, 1): 8, (1, 3): packed})
    assert tuned_training(spec, probe, GPU, alike=3) == {"gpu": 1, "pack": pack}
    assert probe.asked[-1] == (1, 2, 3)


def test_a_network_that_cannot_be_packed_is_not_probed_packed(tiny):
    spec = tiny(architecture="vit_tiny")
    probe = Scripted(spec.cells()[0], {(1, 1): 10})
    assert tuned_training(spec, probe, GPU, alike=4) == {"gpu": 1}
    assert {members for *_, members in probe.asked} == {1}


def test_what_is_written_says_cpu_and_gpu_both(tiny):
    """`train: {cpu: 1}` alone would ask for no GPU, where no `resources` at all ask for one."""
    assert as_said(tiny(), "train", {"cpu": 2, "pack": "auto"}) == {"cpu": 2, "gpu": 1}
    assert as_said(tiny(), "mi", {"gpu": 0.5}) == {"cpu": 1, "gpu": 0.5}


def test_the_dearest_cell_is_probed_without_a_surrogate(tiny, data_dir):
    spec = tiny(attack="lc", architecture=["small_cnn", "resnet10_8"])
    cell = dearest(spec, spec.cells(), data_dir)
    assert (cell.architecture.name, cell.attack.name) == ("resnet10_8", "none")


def test_only_the_block_changes():
    resources = {"train": {"cpu": 1, "gpu": 0.5}, "mi": {"cpu": 1, "gpu": 0.25}}
    new = replace_block(SWEEP, "resources", resources, "tiny.yaml")
    kept, lines = SWEEP.splitlines(), new.splitlines()
    assert lines[:5] == kept[:5] and lines[-3:] == kept[-3:]
    assert lines[5:9] == [
        "  # of the old machine",
        "resources:",
        "  train: {cpu: 1, gpu: 0.5}",
        "  mi: {cpu: 1, gpu: 0.25}",
    ]
    assert replace_block(new, "resources", resources, "tiny.yaml") == new
    without = "name: a\nseed: 0"
    assert parse_yaml(replace_block(without, "resources", resources, "x"), "x")["resources"] == resources


@pytest.mark.parametrize("text", ["{name: a, resources: {train: {cpu: 1}}}\n", "name: a\n...\n---\nname: b\n"])
def test_a_file_that_cannot_be_edited_by_lines_is_left_alone(text):
    with pytest.raises(UserError, match=r"x\.yaml: .*by hand"):
        replace_block(text, "resources", {"train": {"cpu": 1}}, "x.yaml")


def test_real_probes_side_by_side(request_of):
    results = run_probes([request_of("train")] * 2)
    assert [each.per_second > 0 and each.peak_mb > 50 for each in results] == [True, True]


def test_a_probe_that_fails_says_why(tmp_path, request_of):
    broken = request_of("train")
    broken = replace(broken, cell={**broken.cell, "dataset": {"name": "nowhere"}})
    assert "nowhere" in run_probes([broken])


def test_the_command_prints_and_writes(tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(tune_resources, "this_machine", lambda: Machine(1, 0))
    file = tmp_path / "tiny.yaml"
    file.write_text(SWEEP)
    command = ["tune-resources", str(file), "--seconds", "0.1", "--data-dir", str(data_dir)]
    monkeypatch.setattr(tune_resources, "fits_into_a_pack", lambda cell: False)
    result = CliRunner().invoke(app, [*command, "--write"], catch_exceptions=False)
    assert result.exit_code == 0 and "train: 1 at once, 1 thread each: " in result.output
    spec = load_spec(file)
    assert (spec.resources.train.cpu, spec.resources.train.gpu, spec.resources.mi.cpu) == (1, 1, 1)
    assert "# what is estimated" in file.read_text()
    assert (
        yaml.safe_load(file.read_text())["resources"]
        == yaml.safe_load(result.output.rpartition("yaml:\n")[2])["resources"]
    )


def test_without_write_the_file_stays(tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr(tune_resources, "run_probes", lambda requests: [Measured(1.0, 100.0) for _ in requests])
    file = tmp_path / "tiny.yaml"
    file.write_text(SWEEP)
    tune_resources.tune_resources(file, data_dir=data_dir, seconds=1, write=False, console=Console())
    assert file.read_text() == SWEEP
