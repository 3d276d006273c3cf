"""`ibray sql`: one read-only query, printed as a table, CSV or JSON."""

from __future__ import annotations

from pathlib import Path

import duckdb
from rich.console import Console

from analysis import db
from ibray.errors import UserError
from ibray.terminal import frame_table

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
        console.print(frame_table(frame))
