"""A chart on its way to the page and to files."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from analysis.convert import Converter
from analysis.table import write_csv

# vl-convert names Vega-Lite versions by major and minor: v6.4.1 -> 6.4
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
ROWS_DRAWN = 5000  # of a data set, as Altair allows
DIGITS_DRAWN = 6  # significant ones: more than a tooltip shows, a third of the bytes of a double


def plain_values(data: pd.DataFrame) -> dict[str, list[dict]]:
    """A frame of numbers and text as Vega-Lite's records; Altair's own way, column by column, takes much longer.

    Of too many epochs those that are drawn are evenly spread.

    Raises:
        MaxRowsError: more than 5,000 rows, too many for a page, and not because of the epochs.
    """
    data = _thinned(data)
    alt.limit_rows(data, ROWS_DRAWN)
    rounded = data.assign(**{name: _rounded(data[name]) for name in data.select_dtypes("floating").columns})
    return {"values": json.loads(rounded.to_json(orient="records", double_precision=15, date_format="iso"))}


def _thinned(data: pd.DataFrame) -> pd.DataFrame:
    if len(data) <= ROWS_DRAWN or "epoch" not in data:
        return data
    epochs = np.sort(data["epoch"].unique())
    at_most = max(2, int(ROWS_DRAWN / data["epoch"].value_counts().max()))
    drawn = epochs[np.linspace(0, len(epochs) - 1, min(at_most, len(epochs))).astype(int)]
    return data[data["epoch"].isin(drawn)]


def _rounded(values: pd.Series) -> np.ndarray:
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = 10.0 ** (DIGITS_DRAWN - 1 - np.floor(np.log10(np.abs(numbers))))
        return np.where(np.isfinite(steps), np.round(numbers * steps) / steps, numbers)


def _with_drawn_columns(spec: dict) -> dict:
    """The specification without the columns of its data that no mark names: most of a page's bytes."""
    named: dict[str, set[str]] = defaultdict(set)
    shared = _words(spec.get("params", []))
    for view in _views_with_data(spec):
        named[view["data"]["name"]] |= _words(view) | shared
    datasets = {
        name: [{column: value for column, value in row.items() if column in named[name]} for row in rows]
        for name, rows in spec.get("datasets", {}).items()
    }
    return {**spec, "datasets": datasets}


def _words(part: object) -> set[str]:
    return set(re.findall(r"\w+", json.dumps(part, ensure_ascii=False)))


def _views_with_data(part: object) -> Iterator[dict]:
    """Every view of a specification that says which data set it draws, itself and those within it."""
    if isinstance(part, dict):
        if "name" in part.get("data", {}):
            yield part
        for key, inner in part.items():
            if key != "datasets":
                yield from _views_with_data(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _views_with_data(inner)


alt.data_transformers.register("plain", plain_values)


@dataclass(frozen=True)
class Figure:
    """A chart with its rows and the SQL that gave them; `name` is unique and a file name."""

    name: str
    caption: str
    chart: alt.TopLevelMixin
    rows: pd.DataFrame
    sql: str

    @cached_property
    def spec(self) -> dict:
        """The chart as Vega-Lite; that it is valid is for tests, since checking takes longer than all else."""
        with alt.data_transformers.enable("plain"):
            return _with_drawn_columns(self.chart.to_dict(validate=False))

    @property
    def note(self) -> str:
        """The chart's subtitle, which the page shows as text."""
        title = self.spec["title"]
        return " ".join([*(title.get("subtitle", []) if isinstance(title, dict) else []), *self._thinning()])

    def _thinning(self) -> list[str]:
        """What is said where a page cannot carry every epoch."""
        if len(self.rows) <= ROWS_DRAWN or "epoch" not in self.rows:
            return []
        datasets = self.spec.get("datasets", {}).values()
        drawn = max((len({row["epoch"] for row in rows if "epoch" in row}) for rows in datasets), default=0)
        there = self.rows["epoch"].nunique()
        return [f"{drawn} of {there} epochs are drawn, the CSV has all."] if 0 < drawn < there else []

    def export(self, converter: Converter, figures: Path, tables: Path) -> list[Path]:
        """NAME.svg, .png and .pdf in `figures` once `converter` is done, NAME.csv in `tables`; the paths."""
        write_csv(self.rows, table := tables / f"{self.name}.csv")
        return [*converter.add(self.spec, VEGA_LITE, figures / self.name), table]


def viewer_script() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script that needs no network."""
    return vl_convert.javascript_bundle(vl_version=VEGA_LITE).replace("</script", "<\\/script")


def script_json(value: object) -> str:
    """JSON that may stand inside a <script> element whatever text it holds."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
