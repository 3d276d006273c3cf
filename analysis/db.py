"""Reading results.duckdb while another process may be writing it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

SCHEMA_VERSION = 3
DATABASE_NAME = "results.duckdb"
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.1  # seconds between two tries on a locked file, which a writer leaves for 0.5


class AnalysisError(Exception):
    """Something the reader can put right; the message is one line."""


@contextmanager
def read(
    path_or_dir: Path | str, *, patience: float = 10.0, writes_files: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to a private copy of a results database, removed at exit.

    A DuckDB reader blocks the writer for as long as it is open, so the file itself is open only while it
    is copied; a query of minutes then never holds up a running sweep. SQL run on the connection can neither
    read nor write any other file, unless `writes_files`.

    Args:
        path_or_dir: the database file, or the directory that holds `results.duckdb`.
        patience: seconds to keep trying while a writer has the file locked.
        writes_files: whether SQL may read and write other files: never where people's own SQL is run.

    Raises:
        AnalysisError: no such file, not a results database, written by newer or older code, or locked for too long.
    """
    source = Path(path_or_dir)
    if source.is_dir():
        source = source / DATABASE_NAME
    if not source.is_file():
        raise AnalysisError(f"no results database at {source}")
    with tempfile.TemporaryDirectory(prefix="ibray-read-") as scratch:
        copy = Path(scratch) / DATABASE_NAME
        copy_database(source, copy, patience)
        config = {"enable_external_access": str(writes_files).lower()}
        with duckdb.connect(copy, read_only=True, config=config) as connection:
            connection.execute("SET enable_progress_bar = false")  # it draws over what the caller prints
            _check_schema(connection, source)
            yield connection


def copy_database(source: Path, copy: Path, patience: float) -> None:
    """Copy a database, with its write-ahead log if it has one, while nobody writes it.

    Raises:
        AnalysisError: it stays locked for `patience` seconds, or cannot be read.
    """
    with _open_read_only(source, patience):
        # The log goes first. POSIX drops all of a process's locks on a file as soon as the process closes
        # any descriptor of it, so copying the database itself also ends our hold on it.
        log = _write_ahead_log(source)
        if log.exists():
            shutil.copyfile(log, _write_ahead_log(copy))
        shutil.copyfile(source, copy)


def _write_ahead_log(database: Path) -> Path:
    return database.with_name(database.name + ".wal")


def _open_read_only(path: Path, patience: float) -> duckdb.DuckDBPyConnection:
    deadline, pause = time.monotonic() + patience, FIRST_PAUSE
    while True:
        try:
            return duckdb.connect(path, read_only=True)
        except duckdb.Error as error:
            if not _is_locked(error):
                raise AnalysisError(f"cannot read {path}: {_first_line(error)}") from error
            if time.monotonic() + pause > deadline:
                raise AnalysisError(f"{path} stayed locked by a writer for {patience:g} s") from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _is_locked(error: duckdb.Error) -> bool:
    """Whether waiting helps: a writer in another process, or in another thread of this one."""
    return "Could not set lock" in str(error) or "different configuration" in str(error)


def _check_schema(connection: duckdb.DuckDBPyConnection, source: Path) -> None:
    try:
        # fetchall, as a result that is not read to its end keeps the connection busy
        rows = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
    except duckdb.CatalogException as error:
        raise AnalysisError(f"{source} is a DuckDB database, but not one of ibray's: no table meta") from error
    if len(rows) != 1 or not rows[0][0].isdigit():
        raise AnalysisError(f"{source} does not say which schema it has: no schema_version in meta")
    version = int(rows[0][0])
    if version > SCHEMA_VERSION:
        raise AnalysisError(f"{source} has schema version {version}, this code reads {SCHEMA_VERSION}: update ibray")
    if version < SCHEMA_VERSION:
        raise AnalysisError(
            f"{source} has schema version {version}, this code reads {SCHEMA_VERSION}: "
            "run `ibray sweep` with it once, which brings it up to date"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
