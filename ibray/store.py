"""results.duckdb and its single writer.

Rows are collected in memory and written in one short transaction after another, with the file closed in between,
so that readers in other processes get in. A row replaces the rows that share its key: writing twice changes nothing,
and what dies before its transaction ends is planned again by the next sweep, since a stage's rows and its `done` are
in the same transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from ibray.errors import UserError

SCHEMA_VERSION = 3
LOCK_RETRY_SECONDS = 0.02
WRITER_PATIENCE = 600.0  # seconds: whoever reads for so long has forgotten to close

Row = Mapping[str, Any]

# The columns that say which earlier rows a new row replaces.
KEYS = {
    "sweeps": ("sweep_id",),
    "runs": ("run_id",),
    "stages": ("run_id", "stage", "unit", "settings"),
    "epochs": ("run_id", "epoch"),
    "class_losses": ("run_id", "epoch"),
    "estimates": ("run_id", "epoch", "settings", "subset", "quantity", "layer"),
    "mi_curves": ("run_id", "epoch", "settings", "subset", "quantity", "layer"),
    "noise_ladder": ("run_id", "epoch", "settings", "subset", "layer"),
    "tau_half": ("run_id", "epoch", "settings", "subset", "layer"),
    "examples": ("run_id",),
    "perceptual": ("run_id",),
    "embeddings": ("run_id", "epoch"),
    "clusters": ("run_id", "epoch"),
}

# A run is what its stages are: failed if one failed, done if all are, running from the first that starts.
REFRESH_RUNS = """
UPDATE runs SET
    status = CASE WHEN s.failed > 0 THEN 'failed' WHEN s.done = s.total THEN 'done'
                  WHEN s.running + s.done > 0 THEN 'running' ELSE 'queued' END,
    error = s.error, started = s.started, finished = CASE WHEN s.done = s.total THEN s.finished END,
    seconds = s.seconds, gpu_seconds = s.gpu_seconds, peak_memory_mb = s.peak_memory_mb,
    host = s.first.host, device = s.first.device, driver = s.first.driver, node = s.first.node,
    ibray_version = s.first.ibray_version, git_sha = s.first.git_sha, git_dirty = s.first.git_dirty,
    versions = s.first.versions
FROM (
    SELECT run_id, count(*) AS total,
        count(*) FILTER (status = 'done') AS done, count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'running') AS running,
        arg_min(error, stages.started) FILTER (status = 'failed') AS error,
        min(stages.started) AS started, max(stages.finished) AS finished, sum(stages.seconds) AS seconds,
        sum(stages.gpu_seconds) AS gpu_seconds, max(stages.peak_memory_mb) AS peak_memory_mb,
        arg_min({
            host: stages.host, device: stages.device, driver: stages.driver, node: stages.node,
            ibray_version: stages.ibray_version, git_sha: stages.git_sha, git_dirty: stages.git_dirty,
            versions: stages.versions
        }, stages.started) AS first
    FROM stages SEMI JOIN changed_runs USING (run_id) GROUP BY run_id
) AS s
WHERE runs.run_id = s.run_id
"""


REQUIRED_COLUMNS = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT is_nullable AND NOT internal"


def now() -> datetime:
    """The present in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


class StageKey(NamedTuple):
    """The unit of work a row of `stages` is about: (run, stage, unit) under one settings hash."""

    run_id: str
    stage: str
    unit: int
    settings: str


@contextmanager
def connect(path: Path, *, patience: float = 60.0):
    """A read-write connection, waiting up to `patience` seconds for whoever else holds the file.

    Raises:
        UserError: the file stays locked, or is not a DuckDB database.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            connection = duckdb.connect(str(path))
            break
        except duckdb.Error as error:
            # Another process holds it, or a reader in another thread of this one.
            if "Could not set lock" not in str(error) and "different configuration" not in str(error):
                raise UserError(f"{path}: {_first_line(error)}") from None
            if time.monotonic() > deadline:
                raise UserError(
                    f"{path}: another program has held this database for {patience:.0f} s; close it and try again "
                    "(`ibray sql` and `ibray status` never hold it)"
                ) from None
            time.sleep(LOCK_RETRY_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def create(path: Path, *, patience: float = 60.0) -> None:
    """Create the database, or check that this code can write the one that is there.

    Raises:
        UserError: the database was made by newer code, stays locked for `patience` seconds, or is not a database.
    """
    if path.exists():
        with connect(path, patience=patience) as con:
            check_version(con, path)
            _make_tables(con)
            con.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(SCHEMA_VERSION)])
        return
    new = path.with_name(f".{path.name}.new")  # renamed when it is whole, whenever this process may die
    for left in (new, new.with_name(f"{new.name}.wal")):
        left.unlink(missing_ok=True)
    with connect(new) as con:
        _make_tables(con)
        con.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
    new.rename(path)


def _make_tables(con: duckdb.DuckDBPyConnection) -> None:
    con.begin()
    for script in ("schema.sql", "views.sql"):
        con.execute(resources.files("ibray").joinpath(script).read_text())
    con.commit()


def check_version(con: duckdb.DuckDBPyConnection, path: Path) -> int:
    """The schema version of a database; refuses one that is not ibray's, or whose schema is newer than this code."""
    try:
        (version,) = con.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    except (duckdb.CatalogException, TypeError):
        raise UserError(f"{path}: a DuckDB database, but not one of ibray's; choose another --out") from None
    if int(version) > SCHEMA_VERSION:
        raise UserError(
            f"{path}: written by a newer ibray (schema {version}, this one writes {SCHEMA_VERSION}); "
            "upgrade ibray or choose another --out"
        )
    return int(version)


class Store:
    """The single writer of one database: collects rows, writes them every `interval` seconds.

    Safe to call from several threads. A database that is locked or a disk that is full delays the writing; the rows
    wait in memory and are tried again until `close`. One that takes the place of a writer that died knows from the
    file which stages run or have failed.

    Args:
        path: the database, created where there is none.
        interval: seconds between two transactions.
        patience: seconds that one attempt to write waits for a locked file.
    """

    def __init__(self, path: str | Path, interval: float = 0.5, patience: float = WRITER_PATIENCE):
        self.path = Path(path)
        self.interval, self.patience = interval, patience
        self._pending: dict[str, dict[tuple, list[Row]]] = {}
        self._pending_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        create(self.path, patience=patience)
        with connect(self.path, patience=patience) as con:
            unfinished = con.sql("FROM stages WHERE status IN ('running', 'failed')").to_arrow_table().to_pylist()
            self._schemas = {table: con.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema for table in KEYS}
            self._required = {table: set() for table in KEYS}
            for table, column in con.execute(REQUIRED_COLUMNS).fetchall():
                self._required.get(table, set()).add(column)
        # The row of every stage that has begun and is not done.
        self._unfinished = {StageKey(*(row[column] for column in KEYS["stages"])): row for row in unfinished}
        self._thread = threading.Thread(target=self._write_forever, name="ibray-store", daemon=True)
        self._thread.start()

    def put(self, tables: Mapping[str, Iterable[Row]]) -> None:
        """Replace rows by key; all tables of one call are written in the same transaction.

        Raises:
            KeyError: a row has a column that its table lacks, or lacks one that it must have.
            pyarrow.ArrowException: a value is not of its column's type.
        """
        tables = {table: list(rows) for table, rows in tables.items()}
        for table, rows in tables.items():
            self._check(table, rows)
        grouped = group_by_key(tables)
        with self._pending_lock:
            for table, by_key in grouped.items():
                self._pending.setdefault(table, {}).update(by_key)

    def _check(self, table: str, rows: list[Row]) -> None:
        """Refuse here what the database would refuse later, when it would take everybody's rows down with it."""
        schema, required = self._schemas[table], self._required[table]
        for row in rows:
            if unknown := row.keys() - set(schema.names):
                raise KeyError(f"table {table} has no column {', '.join(sorted(unknown))}")
            if absent := {name for name in required if row.get(name) is None}:
                raise KeyError(f"a row of table {table} lacks {', '.join(sorted(absent))}")
        pa.Table.from_pylist(rows, schema=schema)

    def written(self, table: str, where: Row) -> set[tuple]:
        """The keys of the rows of a table in which these columns have these values, whatever waits included.

        Raises:
            UserError: the database stays locked.
        """
        self.flush()
        keys, equal = ", ".join(KEYS[table]), " AND ".join(f"{column} = ?" for column in where)
        with connect(self.path, patience=self.patience) as con:
            rows = con.execute(f"SELECT DISTINCT {keys} FROM {table} WHERE {equal}", list(where.values()))
            return set(rows.fetchall())

    def begin(self, key: StageKey, **where: Any) -> Row:
        """Note that an attempt at a stage starts; `where` names the machine and the code.

        Returns what is known of the attempt: given to `finish` and `fail`, it is in the row even if this writer dies.
        """
        attempts = self._unfinished.get(key, {}).get("attempts", 0) + 1
        known = {"attempts": attempts, "started": now(), **where}
        row = self._unfinished[key] = {**key._asdict(), "status": "running", **known}
        self.put({"stages": [row]})
        return known

    def finish(self, key: StageKey, tables: Mapping[str, Iterable[Row]], **facts: Any) -> None:
        """Write a stage's last rows and that it is done, in one transaction; `facts` are columns of `stages`."""
        self.put({**tables, "stages": [self._ended(key, status="done", error=None, **facts)]})
        self._unfinished.pop(key, None)

    def fail(self, key: StageKey, error: str, **facts: Any) -> None:
        """Note that a stage failed, and why."""
        row = self._unfinished[key] = self._ended(key, status="failed", error=error, **facts)
        self.put({"stages": [row]})

    def lost(self, key: StageKey, error: str) -> None:
        """Note that a stage's process is gone: it failed, unless it said itself how it ended.

        Raises:
            UserError: the database has to be asked and stays locked.
        """
        known = self._unfinished.get(key)
        if known["status"] == "running" if known else not self._is_done(key):
            self.fail(key, error)

    def _is_done(self, key: StageKey) -> bool:
        return bool(self.written("stages", {**key._asdict(), "status": "done"}))

    def _ended(self, key: StageKey, **facts: Any) -> dict[str, Any]:
        return {**key._asdict(), "attempts": 1, **self._unfinished.get(key, {}), "finished": now(), **facts}

    def flush(self) -> None:
        """Return when everything put so far is in the file.

        Raises:
            UserError: the database stays locked.
        """
        with self._write_lock:
            with self._pending_lock:
                batch, self._pending = self._pending, {}
            if not batch:
                return
            try:
                # Made before the file is opened, and so held: readers wait as long as it is.
                tables = {table: _as_arrow(table, rows, self._schemas[table]) for table, rows in batch.items()}
                with connect(self.path, patience=self.patience) as con:
                    _write(con, tables)
                    self.wrote(con, tables)
            except BaseException:
                with self._pending_lock:  # newer rows win over the ones that could not be written
                    for table, by_key in batch.items():
                        self._pending[table] = {**by_key, **self._pending.get(table, {})}
                raise

    def wrote(self, con: duckdb.DuckDBPyConnection, tables: Mapping[str, tuple[pa.Table, pa.Table]]) -> None:
        """Called with the keys and rows of every transaction when it is in the file, which is still open."""

    def close(self) -> None:
        """Write what is left and stop."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        self.flush()

    def _write_forever(self) -> None:
        while not self._closed:
            self._wake.wait(self.interval)
            try:
                self.flush()
            except Exception as error:
                # Locked for long, or the disk is full: the rows are still in memory, and the next round tries again.
                logging.getLogger(__name__).warning("%s: rows are waiting to be written: %s", self.path, error)


def group_by_key(tables: Mapping[str, Iterable[Row]]) -> dict[str, dict[tuple, list[Row]]]:
    """Table -> key -> its rows."""
    grouped: dict[str, dict[tuple, list[Row]]] = {}
    for table, rows in tables.items():
        for row in rows:
            key = tuple(row[column] for column in KEYS[table])
            grouped.setdefault(table, {}).setdefault(key, []).append(row)
    return grouped


def _write(con: duckdb.DuckDBPyConnection, tables: Mapping[str, tuple[pa.Table, pa.Table]]) -> None:
    """Replace rows in one transaction: of every table the keys to delete and the rows to insert."""
    con.begin()
    for table, (keys, rows) in tables.items():
        using = ", ".join(KEYS[table])
        con.register("new_keys", keys)
        con.register("new_rows", rows)
        con.execute(f"DELETE FROM {table} WHERE ({using}) IN (SELECT {using} FROM new_keys)")
        con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
        con.unregister("new_keys")
        con.unregister("new_rows")
    if "stages" in tables:
        refresh_runs(con, set(tables["stages"][0]["run_id"].to_pylist()))
    con.commit()


def refresh_runs(con: duckdb.DuckDBPyConnection, run_ids: Iterable[str]) -> None:
    """Set the status, times and error of these runs from their stages."""
    con.register("changed_runs", pa.table({"run_id": pa.array(sorted(run_ids), pa.string())}))
    con.execute(REFRESH_RUNS)
    con.unregister("changed_runs")


def _as_arrow(table: str, by_key: Mapping[tuple, list[Row]], schema: pa.Schema) -> tuple[pa.Table, pa.Table]:
    """The keys to delete and the rows to insert, typed like the table's columns."""
    keys = pa.Table.from_pylist(
        [dict(zip(KEYS[table], key, strict=True)) for key in by_key],
        schema=pa.schema([schema.field(name) for name in KEYS[table]]),
    )
    rows = [row for rows in by_key.values() for row in rows]
    present = pa.schema([schema.field(name) for name in schema.names if any(name in row for row in rows)])
    return keys, pa.Table.from_pylist(rows, schema=present)
