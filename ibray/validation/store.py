"""validation.duckdb: written once, at the end of a suite, whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ibray import __version__
from ibray.store import now
from ibray.validation.checks import Row
from ibray.validation.problems import Problem

DATABASE = "validation.duckdb"
SCHEMA_VERSION = 1


def save(directory: Path, rows: Iterable[Row], problems: Iterable[Problem], suite: str) -> Path:
    """Write the rows as directory/validation.duckdb, in place of an earlier one; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / DATABASE
    new = directory / f".{DATABASE}.new"
    for left in (new, new.with_name(f"{new.name}.wal")):
        left.unlink(missing_ok=True)
    facts = {"schema_version": SCHEMA_VERSION, "ibray_version": __version__, "created": now(), "suite": suite}
    names = ("name", "description", "source", "truth", "dims")
    with duckdb.connect(str(new)) as con:
        con.begin()
        con.execute(resources.files("ibray.validation").joinpath("schema.sql").read_text())
        _insert(con, "meta", ({"key": key, "value": str(value)} for key, value in facts.items()))
        _insert(con, "problems", ({name: getattr(problem, name) for name in names} for problem in problems))
        _insert(con, "validation", (_without_nan(asdict(row)) for row in rows))
        con.commit()
    new.rename(path)
    return path


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    schema = con.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema
    con.register("new_rows", pa.Table.from_pylist(list(rows), schema=schema))
    con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
    con.unregister("new_rows")


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
