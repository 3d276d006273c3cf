"""A chart on its way to the page and to files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import altair as alt
import pandas as pd
import vl_convert

# vl-convert names Vega-Lite versions by major and minor: v6.4.1 -> 6.4
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
PNG_SCALE = 2


def plain_values(data: pd.DataFrame) -> dict[str, list[dict]]:
    """A frame of numbers and text as Vega-Lite's records; Altair's own way, column by column, takes much longer.

    Raises:
        MaxRowsError: more than 5,000 rows, too many for a page.
    """
    alt.limit_rows(data)
    return {"values": json.loads(data.to_json(orient="records", double_precision=15, date_format="iso"))}


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
            return self.chart.to_dict(validate=False)

    @property
    def note(self) -> str:
        """The chart's subtitle, which the page shows as text."""
        title = self.spec["title"]
        return " ".join(title.get("subtitle", [])) if isinstance(title, dict) else ""

    def export(self, figures: Path, tables: Path) -> list[Path]:
        """Write NAME.svg, .png and .pdf into `figures`, NAME.csv into `tables`; the paths written."""
        svg = vl_convert.vegalite_to_svg(self.spec, vl_version=VEGA_LITE)
        paths = [*(figures / f"{self.name}.{kind}" for kind in ("svg", "png", "pdf")), tables / f"{self.name}.csv"]
        paths[0].write_text(svg, encoding="utf-8")
        paths[1].write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
        paths[2].write_bytes(vl_convert.svg_to_pdf(svg))
        self.rows.to_csv(paths[3], index=False)
        return paths


def viewer_script() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script that needs no network."""
    return vl_convert.javascript_bundle(vl_version=VEGA_LITE).replace("</script", "<\\/script")


def script_json(value: object) -> str:
    """JSON that may stand inside a <script> element whatever text it holds."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
