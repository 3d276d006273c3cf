"""`ibray sql`: one read-only query, printed as a table, CSV or JSON."""

from __future__ import annotations

import math
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from analysis import db
from ibray.errors import UserError

FORMATS = ("table", "csv", "json")


def print_query(directory: Path, query: str, output: str, console: Console) -> None:
    """Run a query on a copy of the database and print its rows.

    Raises:
        UserError: the SQL is wrong or would write, or the format is unknown.
    """
    if output not in FORMATS:
        raise UserError(f"--format {output}: choose one of {', '.join(FORMATS)}")
    with db.read(directory) as con:
        try:
            answer = con.sql(query)
            frame = None if answer is None else answer.df()
        except duckdb.Error as error:
            raise UserError(str(error).strip()) from None
    if frame is None:
        raise UserError(f"the query returns no rows: {query!r}; ask with SELECT ...")
    if output == "csv":
        print(frame.to_csv(index=False), end="")
    elif output == "json":
        print(frame.to_json(orient="records", date_format="iso"))
    else:
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name, kind in frame.dtypes.items():
            table.add_column(str(name), justify="right" if kind.kind in "iuf" else "left", overflow="fold")
        for row in frame.itertuples(index=False):
            table.add_row(*(_cell(value) for value in row))
        console.print(table)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
