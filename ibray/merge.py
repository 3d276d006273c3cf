"""`ibray merge A B -o C`: the results of several machines as one sweep directory.

A row stands for its key (`store.KEYS`). Rows that two directories share must agree in everything but clocks and
machines; then the union is what one sweep would have written. Where they do not, the networks are different ones, and
a run is taken whole from the directory that is preferred, never mixed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import yaml

from ibray import store
from ibray.errors import UserError
from ibray.files import write_atomic
from ibray.spec import parse_spec
from ibray.workspace import DATABASE, SPEC, is_locked, owner_of

# What a clock decides, of the tables whose other columns must agree.
CLOCKS = {"epochs": ("seconds", "images_per_s"), "estimates": ("seconds",)}
RESULTS = tuple(name for name in store.KEYS if name not in ("sweeps", "runs", "stages"))
CONFLICTS_SHOWN = 5
ARTIFACTS = ("snapshots", "checkpoints")


@dataclass(frozen=True)
class Merged:
    """What came of a merge: cells, and units of work that are done and that are not."""

    directory: Path
    cells: int
    done: int
    open: int


@dataclass(frozen=True)
class Conflict:
    """A row that two directories have differently."""

    run_id: str
    table: str
    first: int
    second: int
    key: str
    values: str


def merge(
    sources: Sequence[Path], out: Path, *, prefer: Path | None = None, name: str | None = None, artifacts: bool = True
) -> Merged:
    """Union sweep directories into a new one, which `ibray sweep`, `report`, `status` and `sql` take like any other.

    Args:
        sources: two directories or more; the sweep file of the first, under the common name, becomes the new one's.
        out: absent or empty; it appears when everything is in it.
        prefer: one of the sources: whole runs of it win where numbers differ.
        name: of the new sweep; needed where the sources' names differ.
        artifacts: take snapshots and checkpoints along, as hard links where the file system allows.

    Raises:
        UserError: a source is not a finished sweep directory of this version, numbers differ and nothing is preferred,
            or `out` is in use.
    """
    sources = [Path(source) for source in sources]
    name = _check(sources, out, prefer, name)
    ordered = sorted(sources, key=lambda source: prefer is not None and source.resolve() != prefer.resolve())
    beside = out.absolute().with_name(f".{out.absolute().name}.{uuid.uuid4().hex[:8]}")
    beside.mkdir(parents=True)
    try:
        store.create(beside / DATABASE)
        with store.connect(beside / DATABASE) as con:
            for position, source in enumerate(ordered):
                con.execute(f"ATTACH {_text(str(source / DATABASE))} AS s{position} (READ_ONLY)")
            con.begin()
            _settle_conflicts(con, ordered, prefer)
            _union(con, len(ordered))
            con.commit()
            dropped = set(con.execute("SELECT source, run_id FROM dropped").fetchall())
            merged = Merged(out, *con.execute(COUNTS).fetchone())
            con.execute("DROP TABLE dropped")
        spec = yaml.safe_load((sources[0] / SPEC).read_text())
        write_atomic(beside / SPEC, yaml.safe_dump({**spec, "name": name}, sort_keys=False).encode())
        if artifacts:
            for position, source in enumerate(ordered):
                _take_artifacts(source, beside, {run_id for of, run_id in dropped if of == position})
        if out.exists():
            out.rmdir()  # empty, as was checked
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return merged


COUNTS = """
SELECT (SELECT count(*) FROM runs), count(*) FILTER (status = 'done'), count(*) FILTER (status <> 'done') FROM stages"""


def _check(sources: Sequence[Path], out: Path, prefer: Path | None, name: str | None) -> str:
    """The new sweep's name."""
    if len({source.resolve() for source in sources}) != len(sources) or len(sources) < 2:
        raise UserError("merge: give two or more different sweep directories")
    if prefer is not None and prefer.resolve() not in {source.resolve() for source in sources}:
        raise UserError(f"--prefer {prefer}: give one of {', '.join(map(str, sources))}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: is there already; choose a new directory")
    names = {}
    for source in sources:
        names[source] = owner_of(source)
        if names[source] is None or not (source / DATABASE).exists():
            raise UserError(f"{source}: not a sweep's directory, which has {SPEC} and {DATABASE}")
        if is_locked(source):
            raise UserError(f"{source}: a sweep is running in it; wait until it ends, or stop it with Ctrl-C")
        with store.connect(source / DATABASE) as con:
            version = store.check_version(con, source / DATABASE)
        if version < store.SCHEMA_VERSION:
            raise UserError(
                f"{source}: its database has schema {version}, this ibray writes {store.SCHEMA_VERSION}; run "
                f"`ibray sweep {source / SPEC} --out {source}` once, which brings it up to date"
            )
    if name is None and len(set(names.values())) > 1:
        told = ", ".join(f"{source} is '{of}'" for source, of in names.items())
        raise UserError(f"--name: the sweeps have different names ({told}); name the new one")
    chosen = name or names[sources[0]]
    parse_spec({**yaml.safe_load((sources[0] / SPEC).read_text()), "name": chosen}, "--name")  # which may be no path
    return chosen


def _settle_conflicts(con: duckdb.DuckDBPyConnection, ordered: Sequence[Path], prefer: Path | None) -> None:
    """Fill the table `dropped` with the runs that are not taken from a source; refuse what is not settled by it."""
    con.execute("CREATE TABLE dropped (source INTEGER, run_id VARCHAR)")
    conflicts = [
        conflict
        for second in range(len(ordered))
        for first in range(second)
        for table in RESULTS
        for conflict in _conflicts(con, table, first, second)
    ]
    settled = {each.run_id for each in conflicts if prefer is not None and each.first == 0}
    open_ones = [each for each in conflicts if each.run_id not in settled]
    if open_ones:
        raise UserError(_explain(con, open_ones, ordered, prefer))
    rows = [(source, run_id) for run_id in sorted(settled) for source in range(1, len(ordered))]
    if rows:
        con.executemany("INSERT INTO dropped VALUES (?, ?)", rows)


def _conflicts(con: duckdb.DuckDBPyConnection, table: str, first: int, second: int) -> list[Conflict]:
    """Rows of keys that both have, which one has and the other has not."""
    keys = store.KEYS[table]
    columns = [name for name in _columns(con, table) if name not in CLOCKS.get(table, ())]
    listed, using = ", ".join(columns), ", ".join(keys)
    others = [name for name in columns if name not in keys and name != "png"]
    shown = ", ' ', ".join(f"'{name}=', {name}" for name in others)
    key = ", ' ', ".join(f"'{name}=', {name}" for name in keys if name not in ("run_id", "settings")) or "''"
    sql = f"""
        WITH a AS (SELECT {listed} FROM s{first}.{table} SEMI JOIN s{second}.{table} USING ({using})),
            b AS (SELECT {listed} FROM s{second}.{table} SEMI JOIN s{first}.{table} USING ({using})),
            odd AS (
                SELECT 0 AS which, * FROM (SELECT * FROM a EXCEPT ALL SELECT * FROM b)
                UNION ALL SELECT 1, * FROM (SELECT * FROM b EXCEPT ALL SELECT * FROM a)
            )
        SELECT run_id, concat({key}), string_agg(concat({shown}), ' against ' ORDER BY which)
        FROM odd GROUP BY {using} ORDER BY {using}"""
    return [Conflict(run_id, table, first, second, key, values) for run_id, key, values in con.execute(sql).fetchall()]


def _explain(
    con: duckdb.DuckDBPyConnection, conflicts: Sequence[Conflict], ordered: Sequence[Path], prefer: Path | None
) -> str:
    runs = {each.run_id for each in conflicts}
    lines = [f"numbers of {len(runs)} run(s) differ, so these are different networks:"]
    for each in conflicts[:CONFLICTS_SHOWN]:
        cell = con.execute(
            f"SELECT concat_ws(' ', dataset, attack, poison_ratio, architecture, 'sigma', sigma, 'seed', seed) "
            f"FROM s{each.first}.runs WHERE run_id = ?",
            [each.run_id],
        ).fetchone()
        which = cell[0] if cell else "surrogate"
        where = f"{ordered[each.first]} and {ordered[each.second]}"
        values = each.values if len(each.values) < 400 else f"{each.values[:400]} ..."
        lines.append(f"  {each.table} {each.key} of {each.run_id} ({which}), {where}: {values}")
    if len(conflicts) > CONFLICTS_SHOWN:
        lines.append(f"  and {len(conflicts) - CONFLICTS_SHOWN} more")
    told = "it has none of these runs; merge the others first" if prefer else "say whose runs to take: --prefer DIR"
    return "\n".join([*lines, told])


def _union(con: duckdb.DuckDBPyConnection, count: int) -> None:
    """Every row of every source but the dropped runs, each key from the first source that has it."""
    for table in (*RESULTS, "runs", "sweeps"):
        using = ", ".join(store.KEYS[table])
        for source in range(count):
            kept = "" if table == "sweeps" else f"ANTI JOIN (FROM dropped WHERE source = {source}) USING (run_id)"
            con.execute(
                f"INSERT INTO {table} BY NAME SELECT * FROM (FROM s{source}.{table} {kept}) "
                f"ANTI JOIN (SELECT {using} FROM {table}) USING ({using})"
            )
    union = " UNION ALL BY NAME ".join(
        f"SELECT {source} AS source, * FROM (FROM s{source}.stages "
        f"ANTI JOIN (FROM dropped WHERE source = {source}) USING (run_id))"
        for source in range(count)
    )
    con.execute(f"""
        INSERT INTO stages BY NAME
        SELECT * EXCLUDE (source) REPLACE (CASE status WHEN 'running' THEN 'queued' ELSE status END AS status)
        FROM ({union})
        QUALIFY row_number() OVER (
            PARTITION BY {", ".join(store.KEYS["stages"])}
            ORDER BY CASE status WHEN 'done' THEN 0 WHEN 'failed' THEN 1 ELSE 2 END, source
        ) = 1""")
    store.refresh_runs(con, {run_id for (run_id,) in con.execute("SELECT run_id FROM runs").fetchall()})


def _columns(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [column[0] for column in con.execute(f"SELECT * FROM {table} LIMIT 0").description]


def _take_artifacts(source: Path, target: Path, dropped: set[str]) -> None:
    for kind in ARTIFACTS:
        for directory in sorted((source / kind).glob("*")):
            if directory.is_dir() and directory.name not in dropped:
                shutil.copytree(directory, target / kind / directory.name, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """A hard link, which costs no disk, or a copy on another file system; what is there already stays.

    Files of a sweep are replaced by renaming, so what happens to one name leaves the other alone.
    """
    if Path(target).exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
