"""The commands as a user meets them: help that is complete and instant, lists, imports, and the dry run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest
import typer

import ibray as package
from ibray import cli, store
from ibray.attacks import ATTACKS
from ibray.datasets import DATASETS
from ibray.mi import ESTIMATORS
from ibray.models import MODELS
from ibray.workspace import DATABASE

ROOT = Path(__file__).parents[2]


def leaves(command, words=()) -> dict[str, str]:
    """Every command of the real app, as typed after `ibray`, with its whole help text; a group if it works alone."""
    subcommands = getattr(command, "commands", {})
    found = {name: text for word, sub in subcommands.items() for name, text in leaves(sub, (*words, word)).items()}
    if not subcommands or command.invoke_without_command:
        found[" ".join(words)] = command.help or ""
    return found


COMMANDS = leaves(typer.main.get_command(cli.app))


def examples(command: str) -> list[list[str]]:
    """The words of the examples in a command's help, without `ibray`."""
    return [shlex.split(line)[1:] for line in re.findall(r"Example: (ibray .*)", COMMANDS[command])]


def test_version_in_a_process_of_its_own():
    done = subprocess.run([sys.executable, "-m", "ibray", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ibray {package.__version__}\n" and done.stderr == ""


def test_help_is_instant():
    seconds = []  # of the processor: other programs on the machine do not count
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-m", "ibray", "--help"], capture_output=True, check=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5


def test_without_a_command_the_help_is_shown(ibray):
    result = ibray()
    assert all(command.split()[0] in result.out + result.err for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(ibray, command):
    result = ibray(*command.split(), "--help")
    assert result.code == 0 and COMMANDS[command].strip().splitlines()[0][:30] in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_of_itself(command):
    found = examples(command)
    assert found and all(words[: len(command.split())] == command.split() for words in found)


def test_the_example_of_sweep_works(ibray, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in examples("sweep"):
        result = ibray(*words, "--dry-run")
        assert (result.code, result.err) == (0, "")


# Lists


@pytest.mark.parametrize(
    ("command", "names"),
    [("attacks", ATTACKS), ("datasets", DATASETS), ("models", MODELS), ("estimators", ESTIMATORS)],
    ids=["attacks", "datasets", "models", "estimators"],
)
def test_a_list_names_everything_there_is(ibray, command, names):
    result = ibray(command)
    assert (result.code, result.err) == (0, "")
    first_words = [line.split()[0] for line in result.out.splitlines() if line[:1].strip()]
    assert [name for name in names if name not in first_words] == []


def test_attacks_show_parameters_and_presets(ibray):
    text = " ".join(ibray("attacks").out.split())
    assert "size 5" in text and "checkerboard" in text


def test_the_schema_is_json_and_knows_every_key(ibray, tiny):
    schema = json.loads(ibray("schema").out)
    assert schema["properties"].keys() == tiny().resolved().keys()


# Importing images


@pytest.fixture
def npz(tmp_path) -> Path:
    """Six grey images in three classes."""
    images = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8)
    labels = np.array([0, 1, 2, 0, 1, 2])
    np.savez(tmp_path / "mine.npz", train_x=images, train_y=labels, test_x=images[:3], test_y=labels[:3])
    return tmp_path / "mine.npz"


def test_imported_images_are_listed(ibray, npz, tmp_path):
    cache = ("--data-dir", tmp_path / "cache")
    result = ibray("data", "import", "mine", npz, *cache)
    assert result.out == "mine: 6 training and 3 test images, 3 classes of 3x8x8\n"
    (line,) = [line for line in ibray("datasets", *cache).out.splitlines() if line.startswith("mine ")]
    assert line.split()[:4] == ["mine", "imported", "imported", "3x8x8"]  # origin and status


def test_a_second_import_of_the_name_needs_overwrite(ibray, npz, tmp_path):
    words = ("data", "import", "mine", npz, "--data-dir", tmp_path / "cache")
    assert ibray(*words).code == 0
    refused = ibray(*words)
    assert refused.code == 2 and "dataset 'mine' exists already" in refused.err
    assert ibray(*words, "--overwrite").code == 0


# Dry run


def test_a_dry_run_prints_every_cell_and_what_is_missing(ibray, sweep_file, tiny, tmp_path):
    result = ibray("sweep", sweep_file, "--out", tmp_path / "out", "--dry-run")
    assert (result.code, result.err) == (0, "")
    for cell in tiny().cells():
        (line,) = [line for line in result.out.splitlines() if line.startswith(cell.run_id)]
        tasks = 3 if cell.attack.name == "none" else 4  # a training, two snapshots, and how visible the trigger is
        assert cell.attack.name in line and f"{tasks} of {tasks}" in line
    assert "train: 2 of 2 tasks to run" in result.out and "mi: 4 of 4 tasks to run" in result.out
    assert f"2 cells, output in {tmp_path / 'out'}" in result.out


def line_of(result, start: str) -> str:
    """The one line of the output that starts like this."""
    (line,) = [line for line in result.out.splitlines() if line.startswith(start)]
    return line


def test_a_dry_run_estimates_hours_and_disk_and_names_what_it_assumes(ibray, sweep_file, tmp_path):
    words = ("sweep", sweep_file, "--out", tmp_path / "out", "--dry-run")
    fast, slow = ibray(*words), ibray(*words, "--tflops", "0.000001")
    assert "2.4 GFLOP at 10 TFLOP/s" in line_of(fast, "train: 2 of 2") and "at 10 TFLOP/s" in line_of(fast, "mi: ")
    # 3 epochs x (2 x (3 x 200 + 100) + 90) images x 0.547 MFLOP at 1 MFLOP/s
    assert "about 0.68 hours of trials, 0.68 GPU-hours, 2.4 GFLOP at 1e-06 TFLOP/s" in line_of(slow, "train: 2 of 2")
    assert "GPU-hours" in line_of(slow, "in all about ") and "1e-06 TFLOP/s" in line_of(slow, "assumed: ")
    assert " in 4 snapshots" in line_of(slow, "disk: about ") and "per running trial" in line_of(slow, "disk: ")


def test_a_dry_run_knows_the_work_of_a_dataset_that_is_not_in_the_cache(ibray, sweep_file, tmp_path):
    words = ("sweep", sweep_file, "--out", tmp_path / "out", "--set", "dataset=svhn", "--dry-run")
    result = ibray(*words)
    assert (result.code, result.err) == (0, "")
    assert "FLOP at 10 TFLOP/s" in line_of(result, "mi: 4 of 4")
    assert line_of(result, "dataset svhn: ") == "dataset svhn: not in the cache yet; the sweep downloads it first"


def test_a_dry_run_of_a_new_sweep_writes_nothing(ibray, sweep_file, tmp_path, contents):
    before = contents(tmp_path)
    ibray("sweep", sweep_file, "--out", tmp_path / "out", "--dry-run")
    assert contents(tmp_path) == before


def test_a_dry_run_of_a_half_done_sweep_says_what_is_left_and_writes_nothing(ibray, sweep_file, half_done, contents):
    before = contents(half_done)
    result = ibray("sweep", sweep_file, "--out", half_done, "--dry-run")
    # Its snapshots are not on disk, so the done training would run again.
    assert line_of(result, "train: 2 of 2 tasks to run").endswith("hours of trials, measured on a CPU")
    assert line_of(result, "mi: 4 of 4 tasks to run").endswith("TFLOP/s")
    assert contents(half_done) == before


def test_a_directory_whose_sweep_was_killed_while_making_it_is_taken_up_again(ibray, sweep_file, tmp_path):
    (tmp_path / "out" / "logs").mkdir(parents=True)
    for name in (".lock", "logs/sweep.log", ".sweep.yaml.u3k9"):  # the last is what an atomic write leaves half-way
        (tmp_path / "out" / name).touch()
    result = ibray("sweep", sweep_file, "--out", tmp_path / "out", "--dry-run")
    assert (result.code, result.err) == (0, "")


# Reading a sweep


def test_status_counts_and_shows_errors_as_they_are(ibray, half_done):
    result = ibray("status", half_done)
    assert (result.code, result.err) == (0, "")
    assert "1 failed" in result.out
    assert "OSError: [Errno 28] no space for [weights] in '[/disk]'" in result.out


def test_status_of_a_sweep_that_runs_again_counts_from_its_own_start(ibray, half_done):
    columns = "sweep_id, name, started, finished, cells, spec, ibray_version, versions, host, machine"
    with duckdb.connect(str(half_done / DATABASE)) as con:
        for hours_ago, finished in [(3, store.now() - timedelta(hours=2)), (1, None)]:
            started = store.now() - timedelta(hours=hours_ago)
            values = f"SELECT '{hours_ago}', 'tiny', ?, ?, 2, '{{}}', '0', '{{}}', 'here', '{{}}'"
            con.execute(f"INSERT INTO sweeps ({columns}) {values}", [started, finished])
    facts = json.loads(ibray("status", half_done, "--json").out)
    assert 3600 <= facts["elapsed_seconds"] < 3700


def test_status_shows_why_a_surrogate_failed_although_it_is_no_run(ibray, half_done):
    writer = store.Store(half_done / DATABASE, interval=3600)
    key = store.StageKey("0123456789abcdef", "surrogate", 0, "settings")
    writer.begin(key)
    writer.fail(key, "OSError: no room for the surrogate")
    writer.close()
    assert "OSError: no room for the surrogate" in ibray("status", half_done).out


def test_status_as_json(ibray, half_done):
    facts = json.loads(ibray("status", half_done, "--json").out)
    assert facts["runs"] == {"failed": 1, "running": 1} and not facts["running"]
    train = next(stage for stage in facts["stages"] if stage["stage"] == "train")
    assert (train["done"], train["failed"]) == (1, 1)
    assert facts["errors"][0]["error"] == "OSError: [Errno 28] no space for [weights] in '[/disk]'"


@pytest.mark.parametrize(
    ("form", "expected"),
    [("csv", "n,word\n2,a\n"), ("json", '[{"n":2,"word":"a"}]\n'), ("table", "n  word  \n2  a     \n")],
)
def test_sql_prints_rows_in_every_format(ibray, half_done, form, expected):
    assert ibray("sql", half_done, "SELECT count(*) AS n, 'a' AS word FROM runs", "--format", form).out == expected


@pytest.mark.parametrize("text", ["[/disk]", "[weights]", "a [bold]b"])
def test_sql_prints_text_that_looks_like_markup_as_it_is(ibray, half_done, text):
    result = ibray("sql", half_done, f"SELECT '{text}' AS text")
    assert result.out.splitlines()[1].strip() == text
