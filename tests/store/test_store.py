"""The database and its single writer: what is put is there, once, whoever else reads, writes, or dies."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import pytest
from batches import batch, epoch, losses, size
from hypothesis import given, settings
from hypothesis import strategies as st

from ibray import store
from ibray.errors import UserError
from ibray.plan import run_row
from ibray.store import StageKey, Store
from ibray.workspace import check_output, enter_output

KILLS = 10
WRITER = Path(__file__).with_name("batches.py")


def query(path, sql: str) -> list[tuple]:
    """Rows of one query."""
    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute(sql).fetchall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.duckdb"


@pytest.fixture
def quiet(path):
    """A store that writes only when it is told to."""
    made = Store(path, interval=3600)
    yield made
    made.close()


# The file


def test_creating_twice_changes_nothing(path):
    store.create(path)
    with duckdb.connect(str(path)) as con:
        con.execute("INSERT INTO meta VALUES ('mine', 'kept')")
    store.create(path)
    assert query(path, "SELECT * FROM meta ORDER BY 1") == [("mine", "kept"), ("schema_version", "3")]


def test_the_database_of_older_code_is_brought_up_to_date(path):
    store.create(path)
    with duckdb.connect(str(path)) as con:
        con.execute("UPDATE meta SET value = '1'")
        con.execute("ALTER TABLE perceptual DROP COLUMN images")
        con.execute("DROP VIEW triggers")
    store.create(path)
    assert query(path, "FROM meta") == [("schema_version", "3")]
    assert query(path, "SELECT images FROM triggers") == []


def test_the_database_of_newer_code_is_refused_and_left_as_it_is(path):
    store.create(path)
    with duckdb.connect(str(path)) as con:
        con.execute("UPDATE meta SET value = '99'")
        con.execute("DROP VIEW mi")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"newer ibray \(schema 99, this one writes 3\); upgrade ibray or choose"):
        store.create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"hello", b"hello\n" * 9999], ids=["empty", "short", "long"])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"results\.duckdb.* not a valid DuckDB database"):
        store.create(path)
    assert path.read_bytes() == content


def test_a_damaged_database_is_refused_by_name(path):
    store.create(path)
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    content[9000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"results\.duckdb"):
        store.create(path)


def test_a_word_in_the_path_is_not_taken_for_a_locked_file(tmp_path):
    path = tmp_path / "blocks" / "results.duckdb"  # b-lock-s
    path.parent.mkdir()
    path.write_text("hello\n" * 9999)
    with pytest.raises(UserError, match="not a valid DuckDB database"), store.connect(path, patience=0.5):
        pass


def test_a_database_of_something_else_is_refused_and_left_as_it_is(path):
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE accounts (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"results\.duckdb.* not one of ibray's"):
        store.create(path)
    assert path.read_bytes() == before


CREATOR = """
import os, random, signal, sys, time
from pathlib import Path
from ibray.store import create

moments = random.Random(20261121)
for directory in sys.argv[1:]:
    if child := os.fork():
        time.sleep(moments.uniform(0.005, 0.06))
        os.kill(child, signal.SIGKILL)
        os.wait()
    else:
        create(Path(directory) / "results.duckdb")
        os._exit(0)
"""


def test_sigkill_while_the_database_is_created_does_not_hinder_the_next_sweep(tmp_path, tiny):
    spec, directories = tiny(), [tmp_path / str(number) for number in range(30)]
    for directory in directories:
        enter_output(directory, spec)
    subprocess.run([sys.executable, "-c", CREATOR, *map(str, directories)], check=True, timeout=120)
    created = 0
    for directory in directories:
        check_output(directory, spec)
        store.create(directory / "results.duckdb")
        created += query(directory / "results.duckdb", "SELECT count(*) FROM meta") == [(1,)]
    assert created == len(directories)


# put and flush


def test_what_is_put_is_in_the_file_after_flush_and_not_before(quiet, path):
    quiet.put({"epochs": [epoch("a", 1)]})
    assert query(path, "SELECT count(*) FROM epochs") == [(0,)]
    quiet.flush()
    assert query(path, "SELECT run_id, epoch FROM epochs") == [("a", 1)]


def test_rows_get_into_the_file_without_being_flushed(path):
    writer = Store(path, interval=0.05)
    writer.put({"epochs": [epoch("a", 1)]})
    deadline = time.monotonic() + 20
    found = []
    while not found and time.monotonic() < deadline:
        time.sleep(0.1)
        with store.connect(path) as con:
            found = con.execute("SELECT run_id FROM epochs").fetchall()
    writer.close()
    assert found == [("a",)]


def test_close_writes_what_is_left(path):
    writer = Store(path, interval=3600)
    writer.put({"epochs": [epoch("a", 1)]})
    writer.close()
    assert query(path, "SELECT count(*) FROM epochs") == [(1,)]


def test_fewer_rows_of_a_key_replace_more(quiet, path):
    for rows in (5, 2):
        quiet.put({"class_losses": losses("a", 1, 0.5, rows)})
        quiet.flush()
    assert query(path, "SELECT subset FROM class_losses ORDER BY 1") == [("0",), ("1",)]


def test_an_unknown_column_is_refused_at_once_and_nothing_of_the_call_is_kept(quiet, path):
    with pytest.raises(KeyError, match="table epochs has no column colour"):
        quiet.put({"class_losses": losses("a", 1, 0.5, 1), "epochs": [{**epoch("a", 1), "colour": "red"}]})
    quiet.flush()
    assert query(path, "SELECT (SELECT count(*) FROM epochs), (SELECT count(*) FROM class_losses)") == [(0, 0)]


keys = st.tuples(st.sampled_from("abc"), st.integers(0, 2))
batches = st.dictionaries(keys, st.tuples(st.floats(0, 1), st.integers(1, 3)), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(batches, st.booleans()), max_size=10))
def test_any_sequence_of_puts_and_flushes_is_a_dictionary(steps):
    model: dict[tuple, tuple] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "results.duckdb"
        writer = Store(path, interval=3600)
        for batch, flush in steps:
            writer.put({"class_losses": [row for key, (loss, n) in batch.items() for row in losses(*key, loss, n)]})
            model |= batch
            if flush:
                writer.flush()
        writer.close()
        columns = "run_id, epoch, min(train_loss), max(train_loss), count(*)"
        written = query(path, f"SELECT {columns} FROM class_losses GROUP BY ALL")
    assert {(run_id, epoch): (loss, loss, n) for (run_id, epoch), (loss, n) in model.items()} == {
        row[:2]: row[2:] for row in written
    }


# Stages and runs


@pytest.fixture
def cell(tiny):
    return tiny().cells()[0]


@pytest.fixture
def stages(quiet, cell):
    """Two stages of one run, queued."""
    keys = [StageKey(cell.run_id, "train", 0, "s"), StageKey(cell.run_id, "mi", 3, "t")]
    queued = [{**key._asdict(), "status": "queued", "attempts": 0} for key in keys]
    quiet.put({"runs": [run_row(cell)], "stages": queued})
    return keys


def state(quiet) -> tuple:
    """(status of the run, its error, [status of every stage])."""
    quiet.flush()
    ((status, error),) = query(quiet.path, "SELECT status, error FROM runs")
    return status, error, [row[0] for row in query(quiet.path, "SELECT status FROM stages ORDER BY stage DESC")]


def test_a_run_is_queued_before_any_stage_begins(quiet, stages):
    assert state(quiet) == ("queued", None, ["queued", "queued"])


def test_a_run_is_running_from_the_first_stage_to_the_last(quiet, stages):
    train, mi = stages
    quiet.begin(train)
    assert state(quiet) == ("running", None, ["running", "queued"])
    quiet.finish(train, {})
    assert state(quiet) == ("running", None, ["done", "queued"])
    quiet.begin(mi)
    assert state(quiet) == ("running", None, ["done", "running"])


def test_a_run_is_done_when_all_its_stages_are(quiet, stages, path):
    for key in stages:
        quiet.begin(key, host="here", device="cpu")
        quiet.finish(key, {}, seconds=2.0)
    assert state(quiet) == ("done", None, ["done", "done"])
    facts = "SELECT seconds, host, device, finished >= started FROM runs"
    assert query(path, facts) == [(4.0, "here", "cpu", True)]


def test_a_run_fails_with_the_reason_of_its_first_failed_stage(quiet, stages):
    train, mi = stages
    quiet.begin(train)
    quiet.fail(train, "out of memory")
    quiet.fail(mi, "not run")
    assert state(quiet) == ("failed", "out of memory", ["failed", "failed"])


def test_a_second_attempt_that_works_clears_the_failure_and_is_counted(quiet, stages, path):
    train, _ = stages
    quiet.begin(train)
    quiet.fail(train, "out of memory")
    assert state(quiet)[0] == "failed"
    quiet.begin(train)
    quiet.finish(train, {})
    assert state(quiet) == ("running", None, ["done", "queued"])
    assert query(path, "SELECT attempts, error FROM stages WHERE stage = 'train'") == [(2, None)]


def test_a_stage_that_is_lost_while_running_has_failed(quiet, stages):
    quiet.begin(stages[0])
    quiet.lost(stages[0], "the worker died")
    assert state(quiet) == ("failed", "the worker died", ["failed", "queued"])


def test_a_stage_that_said_how_it_ended_is_not_lost(quiet, stages):
    train, mi = stages
    quiet.begin(train)
    quiet.finish(train, {})
    quiet.lost(train, "the worker died")
    quiet.begin(mi)
    quiet.fail(mi, "its own words")
    quiet.lost(mi, "the worker died")
    assert state(quiet) == ("failed", "its own words", ["done", "failed"])


def test_a_writer_that_forgot_the_beginning_still_notes_the_end(path, quiet, stages):
    quiet.begin(stages[0])
    quiet.flush()
    successor = Store(path, interval=3600)
    successor.finish(stages[0], {"epochs": [epoch(stages[0].run_id, 1)]})
    successor.close()
    assert query(path, "SELECT status, attempts FROM stages WHERE stage = 'train'") == [("done", 1)]


# Others at the same file


def test_threads_that_put_at_once_lose_nothing(path):
    writer = Store(path, interval=0.01)

    def put_many(name: str) -> None:
        for number in range(100):
            writer.put({"epochs": [epoch(name, number)], "class_losses": losses(name, number, 0.5, 2)})
            if number % 25 == 0:
                writer.flush()

    threads = [threading.Thread(target=put_many, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert query(path, "SELECT count(*), count(DISTINCT (run_id, epoch)) FROM epochs") == [(400, 400)]
    assert query(path, "SELECT count(*) FROM class_losses") == [(800,)]


READER = """
import sys, time, duckdb
with duckdb.connect(sys.argv[1], read_only=True):
    print("open", flush=True)
    time.sleep(1.5)
"""


def test_a_reader_in_another_process_delays_the_writer_and_loses_nothing(quiet, path):
    reader = subprocess.Popen([sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "open\n"
    quiet.put({"epochs": [epoch("a", 1)]})
    started = time.monotonic()
    quiet.flush()
    waited = time.monotonic() - started
    assert reader.wait(timeout=30) == 0
    reader.stdout.close()
    assert waited > 0.5
    assert query(path, "SELECT run_id FROM epochs") == [("a",)]


def test_rows_that_could_not_be_written_are_written_later_and_newer_ones_win(quiet, path, tmp_path):
    path.rename(tmp_path / "away")
    path.write_text("not a database")
    quiet.put({"epochs": [epoch("a", 1, 0.1), epoch("b", 1, 0.1)]})
    with pytest.raises(UserError, match="not a valid DuckDB database"):
        quiet.flush()
    (tmp_path / "away").rename(path)
    quiet.put({"epochs": [epoch("a", 1, 0.2)]})
    quiet.flush()
    assert query(path, "SELECT run_id, train_loss FROM epochs ORDER BY 1") == [("a", 0.2), ("b", 0.1)]


# SIGKILL in mid-write

WHOLE = """
SELECT m.run_id, m.train_loss, count(l.subset), count(DISTINCT l.subset), count(DISTINCT l.train_loss),
    any_value(l.train_loss)
FROM epochs m FULL JOIN class_losses l USING (run_id, epoch) GROUP BY m.run_id, m.train_loss
"""


def test_sigkill_in_mid_write_leaves_every_batch_whole_or_absent(path):
    store.create(path)
    moments, last = random.Random(20261121), 0
    reached = []
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, WRITER, str(path), str(last)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "imported\n"
        time.sleep(moments.uniform(0.05, 0.7))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        successor = Store(path, interval=3600)  # it opens ...
        written = query(path, WHOLE)
        for run_id, marker, rows, subsets, values, value in written:
            assert (rows, subsets, values, value) == (size(int(marker)), rows, 1, marker), f"{run_id} is torn"
        assert len({run_id for run_id, *_ in written}) == len(written), "a key stands there twice"
        last = int(max((marker for _, marker, *_ in written), default=last)) + 1
        reached.append(last)
        successor.put(batch(last))  # ... and goes on
        successor.close()
        assert (f"k{last % 5}", float(last)) in {row[:2] for row in query(path, WHOLE)}
    assert len(set(reached)) > KILLS // 2, "the writer was killed before it wrote anything"
