"""How ibray looks in a terminal: one console and one kind of table for every command."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

WIDTH_OF_A_PIPE = 400  # a file or a pipe has no width: do not cut its lines at 80


def console(**settings: Any) -> Console:
    """A console that prints text as it is: no colours guessed, no [markup] read out of data."""
    made = Console(highlight=False, markup=False, **settings)
    if not made.is_terminal:
        made.width = WIDTH_OF_A_PIPE
    return made


def plain_table(*columns: str) -> Table:
    """A table without lines, whose cells wrap."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def frame_table(frame: pd.DataFrame, digits: int = 4) -> Table:
    """The rows of a DataFrame: numbers to the right with so many significant digits, what is missing as "-"."""
    table = plain_table(*(str(name) for name in frame.columns))
    for column, kind in zip(table.columns, frame.dtypes, strict=True):
        column.justify = "right" if kind.kind in "iuf" else "left"
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value, digits) for value in row))
    return table


def _cell(value: object, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def scaled(value: float, unit: str) -> str:
    """Two digits and a prefix: 17 GB."""
    prefixes = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    factor, prefix = next((pair for pair in prefixes if value >= pair[0]), (1, ""))
    return f"{rough(value / factor)} {prefix}{unit}"


def rough(value: float) -> str:
    """Two significant digits: nobody knows it better."""
    return f"{float(f'{value:.2g}'):,g}"
