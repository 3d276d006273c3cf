"""`ibray logs`: a cell is found by id or by words, and all that is known about it is shown."""

from __future__ import annotations

import pytest
from rich.console import Console

from ibray import store
from ibray.logs import print_logs
from ibray.sweep import run_sweep
from ibray.sweep_log import records_about
from ibray.workspace import DATABASE, enter_output


@pytest.fixture(scope="module")
def swept(tmp_path_factory, tiny, data_dir):
    """A sweep of three cells, of which the training of badnets, seed 1, failed twice; and its spec."""
    spec = tiny(seed=[0, 1], exclude=[{"attack": "none", "seed": 1}], retries=1)
    out = tmp_path_factory.mktemp("logs") / "out"
    enter_output(out, spec)
    (out / "snapshots").mkdir()
    (out / "snapshots" / broken(spec).run_id).write_text("in the way")
    run_sweep(spec, out, inline=True, data_dir=data_dir, stages=["train", "mi"])
    return spec, out


def broken(spec):
    (cell,) = [cell for cell in spec.cells() if (cell.attack.name, cell.seed) == ("badnets", 1)]
    return cell


def test_without_a_cell_it_lists_those_that_failed_and_how_to_see_more(ibray, swept):
    spec, out = swept
    result = ibray("logs", out)
    assert (result.code, result.err) == (0, "")
    lines = [line for line in result.out.splitlines() if line.startswith(broken(spec).run_id)]
    assert len(lines) == 1 and str(broken(spec)) in lines[0] and "train " in lines[0] and "Error: " in lines[0]
    assert f"ibray logs {out} {broken(spec).run_id}" in result.out


@pytest.mark.parametrize("words", [["badnets", "seed=1"], ["badnets seed=1"], ["status=failed"], ["failed"]])
def test_a_failed_cell_by_words(ibray, swept, words):
    spec, out = swept
    result = ibray("logs", out, *words)
    assert (result.code, result.err) == (0, "")
    run_id = broken(spec).run_id
    assert result.out.startswith(f"run {run_id}: {broken(spec)}\n")
    units = [line.split() for line in result.out.splitlines()]
    assert ["train", "0", "failed", "2"] in [words[:4] for words in units]
    assert result.out.count("Traceback (most recent call last)") == 1  # the last attempt's, whole
    assert "not run: stage 'train' of the same run failed" in result.out
    assert f"ERROR failed: train: {broken(spec)} ({run_id}): " in result.out
    others = [cell.run_id for cell in spec.cells() if cell.run_id != run_id]
    assert not any(other in result.out for other in others)


def test_a_done_cell_by_the_beginning_of_its_id(ibray, swept):
    spec, out = swept
    cell = spec.cells()[0]
    result = ibray("logs", out, cell.run_id[:7].upper())
    assert result.out.startswith(f"run {cell.run_id}") and "Traceback" not in result.out
    assert "Last epoch written" in result.out and f"INFO done: mi of epoch 3: {cell} ({cell.run_id})" in result.out


@pytest.mark.parametrize("word", ["size=5", "training.lr=0.050", "architecture=resnet10_8", "resnet10_8", "digits16"])
def test_words_about_settings_match_too(ibray, swept, word):
    assert ibray("logs", swept[1], "badnets", "seed=0", word).code == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["badnets"], ["CELL badnets: 2 cells match: ", "seed 0", "seed 1", "add words"]),
        (["wanet"], ["CELL wanet: no cell matches; there are: ", "badnets", "none"]),
        (["seed=one"], ["CELL seed=one: no cell matches"]),
        (["sed=1"], ["CELL sed=: unknown key 'sed': did you mean 'seed'?", "poison_ratio"]),
    ],
)
def test_a_cell_that_is_not_clear_is_refused_with_what_there_is(ibray, swept, words, parts):
    result = ibray("logs", swept[1], *words)
    assert (result.code, result.out) == (2, "") and result.err.count("\n") == 1
    assert [part for part in parts if part not in result.err] == []


def test_a_sweep_without_failures_says_so(ibray, tiny, tmp_path):
    enter_output(tmp_path / "out", tiny())
    store.create(tmp_path / "out" / DATABASE)
    assert "no cell has failed" in ibray("logs", tmp_path / "out").out
    assert "no cell matches; there are: none yet" in ibray("logs", tmp_path / "out", "badnets").err


def test_a_surrogate_is_found_by_its_id(ibray, half_done):
    writer = store.Store(half_done / DATABASE, interval=3600)
    key = store.StageKey("0123456789abcdef", "surrogate", 0, "settings")
    writer.begin(key)
    writer.fail(key, "OSError: no [room]\n\nTraceback: here")
    writer.close()
    assert "0123456789abcdef  surrogate" in ibray("logs", half_done).out
    result = ibray("logs", half_done, "0123")
    assert "the clean network of" in result.out and "OSError: no [room]\n\nTraceback: here" in result.out


def test_long_lines_are_not_broken(half_done, tmp_path, capsys):
    writer = store.Store(half_done / DATABASE, interval=3600)
    key = store.StageKey("0123456789abcdef", "surrogate", 0, "settings")
    writer.fail(key, "E: " + "x" * 300)
    writer.close()
    print_logs(half_done, ["0123"], Console(width=80, markup=False))
    assert "x" * 300 in capsys.readouterr().out


def test_the_log_is_searched_by_run_by_trial_and_by_words(tmp_path):
    time = "2026-01-01 00:00:00,000"
    (tmp_path / "sweep.log").write_text(
        f"{time} INFO started: train as trial train_ab12: digits none seed 1 (run1)\n"
        f"{time} ERROR Trial train_ab12 failed\nTraceback:\n  \x1b[36mit\x1b[39m broke\n"
        f"{time} INFO done: train: digits none seed 1\n"
        f"{time} INFO done: train: digits none seed 12\n"
        f"{time} INFO done: train: digits none seed 1 (run2)\n"
    )
    found = [each.removeprefix(time) for each in records_about(tmp_path / "sweep.log", "run1", "digits none seed 1")]
    assert found == [
        " INFO started: train as trial train_ab12: digits none seed 1 (run1)",
        " ERROR Trial train_ab12 failed\nTraceback:\n  it broke",
        " INFO done: train: digits none seed 1",
    ]
    assert list(records_about(tmp_path / "nowhere.log", "run1", "digits")) == []
