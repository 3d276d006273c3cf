"""analysis.db: reading beside a writer, and saying on one line what is wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from synthetic_results import open_database

from analysis.db import AnalysisError, read

# Opens, writes the same number into two tables in one transaction, closes, pauses; counts its lock failures.
WRITER = """
import duckdb, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
end, writes, refused, longest = time.monotonic() + seconds, 0, 0, 0.0
print("ready", flush=True)
while time.monotonic() < end:
    start = time.monotonic()
    while True:
        try:
            con = duckdb.connect(path)
            break
        except duckdb.IOException:
            refused += 1
            time.sleep(0.005)
    longest = max(longest, time.monotonic() - start)
    con.execute("BEGIN")
    con.execute("INSERT INTO meta VALUES ('a', '1')")
    con.execute("INSERT INTO meta VALUES ('b', '1')")
    con.execute("COMMIT")
    con.close()
    writes += 1
    time.sleep(0.02)
print(writes, refused, longest)
"""


def writer(path: Path, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "results.duckdb"
    open_database(path).close()
    return path


def test_reads_succeed_and_are_consistent_beside_a_writer(database):
    process = writer(database, 6.0)
    counts = []
    while process.poll() is None:
        with read(database) as con:
            query = "SELECT count(*) FILTER (key = 'a'), count(*) FILTER (key = 'b') FROM meta"
            a, b = con.execute(query).fetchone()
            assert a == b
            counts.append(a)
    writes, _, longest = process.stdout.read().split()
    assert len(counts) > 5 and counts == sorted(counts) and counts[-1] > counts[0]
    assert int(writes) > 5 and float(longest) < 2


def test_an_open_reader_does_not_block_the_writer(database):
    with read(database):
        process = writer(database, 0.3)
        writes, refused, _ = process.communicate(timeout=30)[0].split()
    assert int(writes) > 0 and int(refused) == 0


def test_a_file_locked_for_too_long_is_an_error(database):
    hold = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        start = time.monotonic()
        with pytest.raises(AnalysisError, match="locked"), read(database, patience=0.3):
            pass
        assert time.monotonic() - start < 5
        process.stdin.close()


def test_rows_of_a_killed_writer_are_seen(database):
    die = (
        "import duckdb, os, sys; con = duckdb.connect(sys.argv[1]);"
        "con.execute(\"INSERT INTO meta VALUES ('late', '1')\"); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", die, str(database)], check=False).returncode == 9
    assert database.with_name("results.duckdb.wal").exists()
    with read(database.parent) as con:
        assert con.execute("SELECT count(*) FROM meta WHERE key = 'late'").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO meta VALUES ('x', '1')",
        "DROP VIEW stealth",
        "COPY meta TO '{}/out.csv'",
        "SELECT * FROM read_text('{}/secret.txt')",
        "SELECT * FROM '{}/secret.csv'",
        "ATTACH '{}/other.duckdb'",
        "SET enable_external_access = true",
    ],
)
def test_sql_can_neither_write_nor_reach_other_files(database, statement):
    for name in ("secret.txt", "secret.csv"):
        (database.parent / name).write_text("a,b\n1,2\n")
    with read(database) as con, pytest.raises(duckdb.Error):
        con.execute(statement.format(database.parent)).fetchall()
    assert not (database.parent / "out.csv").exists()


def test_the_copy_is_removed(database):
    with read(database) as con:
        ((copy,),) = con.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchall()
        assert Path(copy).exists() and Path(copy) != database
    assert not Path(copy).parent.exists()


def test_what_is_wrong_is_said_on_one_line(tmp_path):
    (tmp_path / "text.duckdb").write_text("not a database" * 500)
    (tmp_path / "empty.duckdb").touch()
    duckdb.connect(tmp_path / "other.duckdb").close()
    with open_database(tmp_path / "newer.duckdb") as con:
        con.execute("UPDATE meta SET value = '99'")
    with open_database(tmp_path / "older.duckdb") as con:
        con.execute("UPDATE meta SET value = '1'")
    with open_database(tmp_path / "silent.duckdb") as con:
        con.execute("DELETE FROM meta")
    expected = {
        "": "no results database at",
        "nowhere.duckdb": "no results database at",
        "text.duckdb": "not a valid DuckDB database",
        "empty.duckdb": "not a valid DuckDB database",
        "other.duckdb": "not one of ibray's",
        "newer.duckdb": "schema version 99",
        "older.duckdb": "run `ibray sweep` with it once",
        "silent.duckdb": "no schema_version",
    }
    for name, words in expected.items():
        with pytest.raises(AnalysisError, match=words) as caught, read(tmp_path / name):
            pass
        assert "\n" not in str(caught.value)
