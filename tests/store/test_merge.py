"""Results of two machines become one sweep: the union, no key twice, and numbers that differ are never mixed."""

from __future__ import annotations

import shutil

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from analysis import db
from ibray.cli import app
from ibray.errors import UserError
from ibray.merge import merge
from ibray.sweep import Options, run_sweep, sweep
from ibray.workspace import locked

TABLES = ("epochs", "class_losses", "estimates", "mi_curves", "noise_ladder", "tau_half", "examples", "perceptual")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory, data_dir, tiny):
    """Directories of seed 0, of seeds 0 and 1, and of seed 1 whose estimates were not made."""
    root = tmp_path_factory.mktemp("machines")
    run_sweep(tiny(seed=0), root / "first", inline=True, data_dir=data_dir)
    run_sweep(tiny(seed=[0, 1]), root / "both", inline=True, data_dir=data_dir)
    run_sweep(tiny(seed=1), root / "half", inline=True, data_dir=data_dir, stages=["train"])
    return root


@pytest.fixture
def machines(sweeps, tmp_path):
    """Copies of them, to be changed."""
    return shutil.copytree(sweeps, tmp_path / "machines")


def rows(directory, table: str) -> list[tuple]:
    clocks = {"epochs": "EXCLUDE (seconds, images_per_s)", "estimates": "EXCLUDE (seconds)"}.get(table, "")
    with db.read(directory) as con:
        return con.execute(f"SELECT * {clocks} FROM {table} ORDER BY ALL").fetchall()


def statuses(directory) -> list[tuple]:
    with db.read(directory) as con:
        return con.execute("SELECT status, count(*) FROM stages GROUP BY ALL ORDER BY ALL").fetchall()


def change(directory, sql: str) -> None:
    with duckdb.connect(str(directory / "results.duckdb")) as con:
        con.execute(sql)


def test_the_union_is_what_one_sweep_would_have_written(machines, tiny, data_dir):
    out = merge([machines / "first", machines / "half"], machines / "union").directory
    assert [len(rows(out, table)) for table in ("runs", "sweeps")] == [4, 2]
    assert rows(out, "epochs") == rows(machines / "both", "epochs")
    # Going on computes what the second machine left, from its snapshots and without training anything.
    outcome = sweep(tiny(seed=[0, 1]), out, Options(inline=True, data_dir=data_dir), Console(quiet=True))
    assert (outcome.missing, outcome.to_do) == (0, 5)
    assert {table: rows(out, table) for table in TABLES} == {table: rows(machines / "both", table) for table in TABLES}
    assert sweep(tiny(seed=[0, 1]), out, Options(inline=True, data_dir=data_dir), Console(quiet=True)).to_do == 0


def test_equal_rows_are_no_conflict_and_stand_once(machines):
    out = merge([machines / "first", machines / "both"], machines / "union").directory
    assert {table: rows(out, table) for table in TABLES} == {table: rows(machines / "both", table) for table in TABLES}
    assert statuses(out) == statuses(machines / "both")


def test_done_wins_over_half_done_whichever_comes_first(machines):
    change(machines / "first", "UPDATE stages SET status = 'running' WHERE stage = 'mi'")
    for order in (["first", "both"], ["both", "first"]):
        out = merge([machines / name for name in order], machines / "-".join(order)).directory
        assert statuses(out) == statuses(machines / "both")
        assert {row[0] for row in rows_of_status(out)} == {"done"}


def rows_of_status(directory) -> list[tuple]:
    with db.read(directory) as con:
        return con.execute("SELECT DISTINCT status FROM runs").fetchall()


def test_numbers_that_differ_are_refused_by_name_and_nothing_is_left(machines):
    change(machines / "first", "UPDATE epochs SET train_loss = 9 WHERE epoch = 2")
    with pytest.raises(UserError) as refused:
        merge([machines / "first", machines / "both"], machines / "union")
    told = str(refused.value)
    for words in ("2 run(s)", "badnets 0.1", "seed 0", "epochs epoch=2", "train_loss=9.0", "against", "--prefer DIR"):
        assert words in told
    assert sorted(path.name for path in machines.iterdir()) == ["both", "first", "half"]


@pytest.mark.parametrize("preferred", ["first", "both"])
def test_what_is_preferred_is_taken_whole(machines, preferred):
    change(machines / "first", "UPDATE epochs SET train_loss = 9 WHERE epoch = 2")
    change(machines / "first", "DELETE FROM estimates WHERE epoch = 3")
    change(machines / "first", "UPDATE stages SET status = 'queued' WHERE stage = 'mi' AND unit = 3")
    out = merge([machines / "both", machines / "first"], machines / "union", prefer=machines / preferred).directory
    with db.read(out) as con:
        of_seed_0 = "run_id IN (SELECT run_id FROM runs WHERE seed = 0)"
        changed = con.execute(f"SELECT count(*) FROM epochs WHERE train_loss = 9 AND {of_seed_0}").fetchone()
        late = con.execute(f"SELECT count(*) > 0 FROM estimates WHERE epoch = 3 AND {of_seed_0}").fetchone()
        queued = con.execute(f"SELECT count(*) FROM stages WHERE status = 'queued' AND {of_seed_0}").fetchone()
    assert (changed, late, queued) == (((2,), (False,), (2,)) if preferred == "first" else ((0,), (True,), (0,)))


def test_a_third_directory_cannot_settle_what_it_does_not_have(machines):
    shutil.copytree(machines / "first", machines / "other")
    change(machines / "other", "UPDATE epochs SET train_loss = 9 WHERE epoch = 2")
    with pytest.raises(UserError, match="it has none of these runs"):
        merge([machines / n for n in ("first", "other", "half")], machines / "union", prefer=machines / "half")


def test_snapshots_come_along_as_links_or_not_at_all(machines):
    merge([machines / "first", machines / "half"], machines / "with")
    merge([machines / "first", machines / "half"], machines / "without", artifacts=False)
    made = {path.relative_to(machines / "with" / "snapshots") for path in (machines / "with" / "snapshots").rglob("*")}
    wanted = {path.relative_to(each) for n in ("first", "half") for each in [machines / n / "snapshots"]
              for path in each.rglob("*")}  # fmt: skip
    assert made == wanted and not (machines / "without" / "snapshots").exists()
    weights = next((machines / "with" / "snapshots").rglob("*.safetensors"))
    assert weights.stat().st_nlink == 2


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["first"], {}, "two or more"),
        (["first", "first"], {}, "different sweep directories"),
        (["first", "nowhere"], {}, "not a sweep's directory"),
        (["first", "both"], {"out": "half"}, "is there already"),
        (["first", "both"], {"prefer": "half"}, "--prefer"),
        (["first", "both"], {"name": "../up"}, "name"),
    ],
)
def test_what_cannot_be_merged_is_told(machines, names, options, words):
    settings = {**options, **({"prefer": machines / options["prefer"]} if "prefer" in options else {})}
    out = machines / settings.pop("out", "union")
    with pytest.raises(UserError, match=words):
        merge([machines / name for name in names], out, **settings)


def test_a_running_sweep_and_an_older_database_are_refused(machines):
    with locked(machines / "first"), pytest.raises(UserError, match="a sweep is running in it"):
        merge([machines / "first", machines / "both"], machines / "union")
    change(machines / "first", "UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    with pytest.raises(UserError, match="run `ibray sweep"):
        merge([machines / "first", machines / "both"], machines / "union")


def test_sweeps_of_different_names_need_a_new_one(machines):
    path = machines / "half" / "sweep.yaml"
    path.write_text(path.read_text().replace("name: tiny", "name: other"))
    arguments = ["merge", str(machines / "first"), str(machines / "half"), "-o", str(machines / "union")]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, UserError) and "--name" in str(refused.exception)
    done = CliRunner().invoke(app, [*arguments, "--name", "study"])
    assert done.exit_code == 0 and str(machines / "union") in done.output
    assert (machines / "union" / "sweep.yaml").read_text().startswith("name: study")
