"""Both quantities of each subset over training, a small panel per subset."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.lines import (
    QUANTITY_TITLES,
    WHOLE,
    band_note,
    band_tooltip,
    coloured,
    legend_pick,
    line_names,
    line_panel,
    named_lines,
    number_column,
    over_seeds,
    stroke_legend,
)
from analysis.charts.style import QUANTITY_COLOURS, QUANTITY_DASHES, epoch_axis, epoch_scale, grid, setting_title, sized


def class_panels(rows: pd.DataFrame) -> alt.ConcatChart | None:
    """Small multiples: I(X;T) and I(T;Yhat) in nats over the epochs, one panel per subset on the same scales.

    Args:
        rows: as for `trajectories`.

    Returns:
        None where no row has a value.
    """
    rows = rows[rows["quantity"].isin(list(QUANTITY_TITLES)) & (rows["subset"] != WHOLE)]
    rows = rows[number_column(rows, "nats").notna()]
    if rows.empty:
        return None
    points = named_lines(over_seeds(rows, ["quantity", "subset", "target_class", "epoch"]))
    points["measure"] = points["quantity"].map(QUANTITY_TITLES)
    shown = [name for name in QUANTITY_COLOURS if (points["measure"] == name).any()]
    colour = coloured("measure", {name: QUANTITY_COLOURS[name] for name in shown}, stroke_legend())
    dash = alt.StrokeDash(
        "measure:N",
        legend=stroke_legend(),
        scale=alt.Scale(domain=tuple(shown), range=tuple(QUANTITY_DASHES[name] for name in shown)),
    )
    pick = legend_pick("measure")
    x = alt.X("epoch:Q", title="epoch", scale=epoch_scale(points["epoch"]), axis=epoch_axis(points["epoch"]))
    top = float(points[["nats", "high"]].max().max())
    bottom = min(0.0, float(points[["nats", "low"]].min().min()))
    scale = alt.Scale(domain=[bottom, max(top, bottom + 0.1)])
    panels = []
    for name in line_names(points)[0]:
        here = points[points["line"] == name]
        chart = line_panel(
            here,
            x,
            ("nats", "nats", scale),
            colour,
            pick,
            owner=not panels,
            tooltip=band_tooltip("nats", alt.Tooltip("measure:N"), alt.Tooltip("epoch:Q")),
            dash=dash,
        )
        panels.append(sized(chart, width=220, height=150, title=name))
    first = rows.iloc[0]
    note = [f"Estimate: {first['estimator']}, {first['protocol']}. {band_note(rows, points)}"]
    return grid(panels, setting_title(rows), note, 3, color="shared", strokeDash="shared")
