"""Every way to get it wrong: exit code 2, one short message that says what, where and what is allowed, nothing changed.

The cases run in this process; two at the end are real processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from ibray import store
from ibray.workspace import DATABASE, enter_output


@pytest.fixture
def workplace(tmp_path, tiny, sweep_file, monkeypatch) -> Path:
    """A directory with everything a user can point at by mistake; it is the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("ours", "newer"):
        enter_output(tmp_path / name, tiny())
        store.create(tmp_path / name / DATABASE)
    with duckdb.connect(str(tmp_path / "newer" / DATABASE)) as con:
        con.execute("UPDATE meta SET value = '99'")
    enter_output(tmp_path / "theirs", tiny(name="theirs"))
    for name in ("empty", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "notes.txt").write_text("hello\n")
    (tmp_path / "text.npz").write_text("hello\n")
    np.savez(tmp_path / "cut.npz", train_x=np.zeros((9, 8, 8), np.uint8))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:200])
    np.savez(tmp_path / "part.npz", train_x=np.zeros((9, 8, 8), np.uint8))
    return tmp_path


SWEEP = ["sweep", "tiny.yaml", "--out", "new"]

# what is typed after `ibray` -> what the message must contain
SPEC = {
    "unknown key": ([*SWEEP, "--set", "sigm=0.4"], ["tiny.yaml: sigm: unknown key", "did you mean 'sigma'?"]),
    "wrong type": ([*SWEEP, "--set", "training.epochs=ten"], ["tiny.yaml: training.epochs: 'ten'", "whole number"]),
    "ratio 0": ([*SWEEP, "--set", "poison_ratio=0"], ["tiny.yaml: poison_ratio", "between 0 and 1"]),
    "ratio 1.5": ([*SWEEP, "--set", "poison_ratio=1.5"], ["tiny.yaml: poison_ratio", "1.5", "between 0 and 1"]),
    "unknown attack": ([*SWEEP, "--set", "attack=badnet"], ["tiny.yaml: attack", "did you mean 'badnets'?"]),
    "empty grid": ([*SWEEP, "--set", "exclude=[{seed: 0}]"], ["exclude: the grid is empty, every cell is dropped"]),
    "infinite sigma": ([*SWEEP, "--set", "sigma=.inf"], ["tiny.yaml: sigma", "inf"]),
    "label-consistent ratio above the class": (
        [*SWEEP, "--set", "attack={name: lc, poison_ratio: 1.5}"],
        ["tiny.yaml: attack.poison_ratio", "1.5", "between 0 and 1"],
    ),
    "unknown stage": ([*SWEEP, "--stage", "trian"], ["unknown stage 'trian'", "did you mean 'train'?"]),
    "text as weights": ([*SWEEP, "--lpips-weights", "text.npz"], ["text.npz: is not an .npz file"]),
    "malformed --set": ([*SWEEP, "--set", "epochs"], ["--set epochs: write it as key=value"]),
    "--set that is not YAML": ([*SWEEP, "--set", "seed=[1"], ["--set seed=[1", "not valid YAML"]),
    "no such file": (["sweep", "tin.yaml"], ["tin.yaml: No such file", "sweeps/quickstart.yaml"]),
    "a directory as file": (["sweep", "photos"], ["photos: Is a directory", "sweeps/quickstart.yaml"]),
    "a picture as file": (["sweep", "photos/cat.jpg"], ["cat.jpg: not a text file"]),
}

DATA = {
    "unknown dataset": ([*SWEEP, "--set", "dataset=digit16"], ["'digit16'", "did you mean 'digits16'?", "cifar10"]),
    "too many images": (
        [*SWEEP, "--set", "dataset={name: digits16, per_class: 9999}"],
        ["per_class: 9999", "'digits16' has only 139", "the largest value allowed is 139"],
    ),
    "patch too large": ([*SWEEP, "--set", "attack={name: badnets, size: 99}"], ["badnets", "size", "16 x 16 images"]),
    "class that is not there": (
        [*SWEEP, "--set", "target_class=11", "--set", "attack=badnets"],
        ["target_class: class 11 does not exist", "0..9"],
    ),
    "ratio of no image": ([*SWEEP, "--set", "poison_ratio=0.001"], ["poison_ratio: 0.001 of 200", "no image"]),
}

# Of a dataset that would have to be downloaded, which these tests cannot: what is wrong is known without it.
PUBLISHED = {
    "patch too large": (["attack={name: badnets, size: 33}"], ["badnets on dataset svhn: size", "32 x 32 images"]),
    "target in its sources": (
        ["attack={name: badnets, label_policy: source_specific, source_classes: [0, 1]}"],
        ["badnets on dataset svhn: source_classes: 0 is the target class"],
    ),
    "pieces that do not fit": (
        ["attack={name: adap_blend, pieces: 9}"], ["adap_blend on dataset svhn: pieces", "got 9"],
    ),
    "more cover images than there are": (
        ["attack={name: wanet, cross_ratio: 12}"], ["wanet on dataset svhn: poison_ratio: 0.1 of 40000", "48000 more"],
    ),
    "no image of the target class": (
        ["attack={name: lc, poison_ratio: 0.0001}"], ["lc on dataset svhn: poison_ratio: 0.0001 of 4000 images of"],
    ),
    "no such surrogate": (
        ["attack={name: lc, surrogate: resnet81}"], ["attack lc: surrogate: unknown architecture", "did you mean"],
    ),
    "window that does not fit": (["attack={name: ftrojan, window: 5}"], ["ftrojan on dataset svhn: window: 5", "32 x"]),
    "alpha above 1": (["attack={name: blend, alpha: 1.5}"], ["blend on dataset svhn: alpha", "[0,1]", "1.5"]),
    "class that is not there": (["target_class=10"], ["target_class: class 10 does not exist", "0..9"]),
    "ratio of no image": (["poison_ratio=0.00001"], ["poison_ratio: 1e-05 of 40000", "no image"]),
    "ratio of no image, uneven classes": (["poison_ratio=0.00001", "dataset=gtsrb"], ["1e-05 of 26640", "no image"]),
    "too many images": (
        ["dataset={name: svhn, per_class: 4001}"],
        ["per_class: 4001 images of each class", "'svhn' has 40000", "at most 4000"],
    ),
}
BEFORE_DOWNLOAD = {
    f"{' '.join([name, 'before the download', *flag])}": (
        [*SWEEP, *flag, *(word for one in ["dataset=svhn", *assignments] for word in ("--set", one))],
        ["tiny.yaml: ", *parts],
    )
    for name, (assignments, parts) in PUBLISHED.items()
    for flag in ([], ["--dry-run"])
}

OUTPUT = {
    "another sweep's": (["sweep", "tiny.yaml", "--out", "theirs"], ["--out theirs", "'theirs', not 'tiny'", "choose"]),
    "not a sweep's": (["sweep", "tiny.yaml", "--out", "photos"], ["--out photos: not empty", "choose a new one"]),
    "a file": (["sweep", "tiny.yaml", "--out", "notes.txt"], ["--out notes.txt", "is a file; choose a directory"]),
    "below a file": (["sweep", "tiny.yaml", "--out", "notes.txt/a/b"], ["notes.txt is a file; choose a directory"]),
    "made by newer code": (["sweep", "tiny.yaml", "--out", "newer"], ["newer/results.duckdb", "schema 99", "upgrade"]),
    "dry run of another's": (["sweep", "tiny.yaml", "--out", "theirs", "--dry-run"], ["'theirs', not 'tiny'"]),
}

DRY_RUN = {
    f"--tflops {value}": ([*SWEEP, "--dry-run", "--tflops", value], [f"--tflops {value}: give", "one GPU sustains"])
    for value in ("0", "-1", "inf", "nan")
}

IMPORT = {
    "missing npz": (["data", "import", "mine", "nope.npz"], ["nope.npz: there is no such file", "train_x, train_y"]),
    "text as npz": (["data", "import", "mine", "text.npz"], ["text.npz: is not an .npz file", "train_x, train_y"]),
    "truncated npz": (["data", "import", "mine", "cut.npz"], ["cut.npz: is not an .npz file, or is cut short"]),
    "npz without labels": (["data", "import", "mine", "part.npz"], ["part.npz: key 'train_y' is missing", "test_y"]),
    "name of a built-in": (["data", "import", "digits16", "part.npz"], ["'digits16' comes with ibray", "another name"]),
    "name with a path": (["data", "import", "../mine", "part.npz"], ["'../mine' is not allowed", "a-z, 0-9"]),
}

SHOW = {
    "unknown attack": (["attacks", "show", "--attack", "badnet"], ["'badnet'", "did you mean 'badnets'?"]),
    "unknown dataset": (["attacks", "show", "--dataset", "digit16"], ["'digit16'", "did you mean 'digits16'?"]),
    "no such weights": (["attacks", "show", "--lpips-weights", "nope.npz"], ["nope.npz: there is no such file"]),
    "text as weights": (["attacks", "show", "--lpips-weights", "text.npz"], ["text.npz: is not an .npz file"]),
    "other weights": (["attacks", "show", "--lpips-weights", "part.npz"], ["key 'conv0.weight' is missing"]),
    "a picture of another kind": (["attacks", "show", "--out", "a.jpg"], ["--out a.jpg", "ending in .png"]),
}

READING = {
    **{
        f"{command} {where}": ([command, where, *more], ["no results database at ", where])
        for command, more in [("status", []), ("sql", ["SELECT 1"]), ("report", [])]
        for where in ("empty", "nowhere")
    },
    "status of a file": (["status", "notes.txt"], ["notes.txt", "not a valid DuckDB database"]),
    "status of newer code": (["status", "newer"], ["newer/results.duckdb has schema version 99", "update ibray"]),
    "sql that writes": (["sql", "ours", "DELETE FROM runs"], ["DELETE", "read-only"]),
    "sql that drops": (["sql", "ours", "DROP TABLE runs"], ["DROP", "read-only"]),
    "sql to a file": (["sql", "ours", "COPY runs TO 'runs.csv'"], ["runs.csv", "disabled"]),
    "sql with a typo": (["sql", "ours", "SELEC 1"], ["syntax error", "SELEC"]),
    "sql of no table": (["sql", "ours", "SELECT * FROM run"], ["run does not exist", "runs"]),
    "sql of no column": (["sql", "ours", "SELECT atack FROM runs"], ["atack", "attack"]),
    "sql of nothing": (["sql", "ours", ""], ["the query returns no rows"]),
    "unknown format": (["sql", "ours", "SELECT 1", "--format", "xml"], ["--format xml", "table, csv, json"]),
    "unknown option": (["sql", "ours", "SELECT 1", "--formt", "csv"], ["--formt", "--format"]),
    "unknown command": (["swep", "tiny.yaml"], ["swep", "sweep"]),
    "missing argument": (["sweep"], ["FILE"]),
}

CASES = SPEC | DATA | BEFORE_DOWNLOAD | OUTPUT | DRY_RUN | IMPORT | SHOW | READING


def check_message(message: str, parts: list[str]) -> None:
    assert [part for part in parts if part not in message] == []
    assert "Traceback" not in message and len(message) < 700 and len(message.splitlines()) <= 7


@pytest.mark.parametrize(("words", "parts"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_explained_and_nothing_changes(ibray, workplace, contents, words, parts):
    before = contents(workplace)
    result = ibray(*words)
    assert (result.code, result.out) == (2, "")
    check_message(result.err, parts)
    assert contents(workplace) == before


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_refused(ibray, workplace, contents):
    (workplace / "empty").chmod(0o555)
    before = contents(workplace)
    result = ibray("sweep", "tiny.yaml", "--out", "empty/new")
    assert result.code == 2
    check_message(result.err, ["--out empty/new", "cannot be written", "permissions"])
    assert contents(workplace) == before


def test_a_picture_in_place_of_the_sweep_of_an_output_directory_is_refused(ibray, workplace):
    (workplace / "photos" / "sweep.yaml").write_bytes(b"\xff\xd8\xff")
    result = ibray("sweep", "tiny.yaml", "--out", "photos")
    assert result.code == 2
    check_message(result.err, ["--out photos: not empty and not a sweep's directory"])


def test_a_damaged_database_is_refused_by_name_at_once(ibray, workplace):
    database = workplace / "ours" / DATABASE
    content = bytearray(database.read_bytes())
    content[5000] ^= 0xFF
    content[9000] ^= 0xFF
    database.write_bytes(content)
    for words in (["sweep", "tiny.yaml", "--out", "ours"], ["status", "ours"]):
        result = ibray(*words)
        assert result.code == 2
        check_message(result.err, ["ours/results.duckdb", "orrupt"])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["sweep", "tiny.yaml", "--set", "poison_ratio=1.5"], ["ibray: tiny.yaml: poison_ratio", "between 0 and 1"]),
        (["status", "nowhere"], ["ibray: no results database at nowhere"]),
    ],
    ids=["sweep", "status"],
)
def test_a_mistake_in_a_process_of_its_own(workplace, contents, words, parts):
    before = contents(workplace)
    done = subprocess.run([sys.executable, "-m", "ibray", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    check_message(done.stderr, parts)
    assert contents(workplace) == before
