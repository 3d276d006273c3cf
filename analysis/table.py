"""A table on its way to the page and to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd


@dataclass(frozen=True)
class Table:
    """Rows ready to read; `data` is what the CSV holds, `sql` what gave it. `name` is unique and a file name."""

    name: str
    header: list[str]
    rows: list[list[str]]
    data: pd.DataFrame
    sql: str

    def export(self, tables: Path) -> Path:
        """Write NAME.csv into `tables`; its path."""
        path = tables / f"{self.name}.csv"
        write_csv(self.data, path)
        return path


def write_csv(rows: pd.DataFrame, path: Path) -> None:
    """The rows with a header, missing values empty; by DuckDB, as pandas takes a minute for those of a large sweep."""
    with duckdb.connect(config={"pandas_analyze_sample": 0}) as connection:  # a column may hold numbers and then text
        connection.from_df(rows).write_csv(str(path), header=True)


def plain_table(name: str, data: pd.DataFrame, sql: str) -> Table:
    """The rows as they are, numbers with four digits, '-' for what is missing."""
    body = [[cell(value) for value in row] for row in data.itertuples(index=False)]
    return Table(name, list(data.columns), body, data, sql)


def cell(value: object) -> str:
    """One value as text."""
    if pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
