"""Maps of T by t-SNE: the paper's Figs. 4 and 8."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.lines import WHOLE, coloured, dot_legend, legend_pick, line_names, named_lines, number_column
from analysis.charts.style import grid, opacity_if, sized

SIZE = 250


def tsne_panels(points: pd.DataFrame) -> alt.ConcatChart | None:
    """One map per epoch, coloured by the part that a subset plays. Axes of a t-SNE have no unit.

    Args:
        points: a row per image and epoch of one run: `epoch`, `subset`, `target_class`, `x`, `y`; where there, `phase`
            names the epoch's phase. Pass the epochs to draw (early, compression, convergence).

    Returns:
        None where there is no point.
    """
    points = points[points["subset"] != WHOLE]
    points = points.assign(x=number_column(points, "x").round(2), y=number_column(points, "y").round(2))
    points = points.dropna(subset=["x", "y"])
    if points.empty:
        return None
    points = named_lines(points)
    names, colours, _ = line_names(points)
    pick = legend_pick("line")
    colour = coloured("line", dict(zip(names, colours, strict=True)), dot_legend(symbolSize=80))
    panels = []
    for epoch, part in points.groupby("epoch"):
        phase = f" · {part['phase'].iloc[0]}" if "phase" in part and part["phase"].notna().all() else ""
        panels.append(sized(_map(part, colour, pick, owner=not panels), title=f"epoch {epoch}{phase}"))
    note = ["A point is a training image. Near points are alike in T; distances between groups and axes mean nothing."]
    return grid(panels, "T of single images, by t-SNE", note, 3, color="shared")


def _map(points: pd.DataFrame, colour: alt.Color, pick, *, owner: bool) -> alt.Chart:
    param, picked, _ = pick
    plain = alt.Axis(labels=False, ticks=False, grid=False, domain=False)
    opacity = opacity_if(picked, 0.75, 0.04)
    chart = (
        alt.Chart(points[["x", "y", "line", "epoch"]])
        .mark_point(filled=True, size=14)
        .encode(
            alt.X("x:Q", title="t-SNE 1", axis=plain, scale=alt.Scale(zero=False, padding=8)),
            alt.Y("y:Q", title="t-SNE 2", axis=plain, scale=alt.Scale(zero=False, padding=8)),
            color=colour,
            opacity=opacity,
            tooltip=[alt.Tooltip("line:N", title="subset")],
        )
        .properties(width=SIZE, height=SIZE)
    )
    return chart.add_params(param) if owner else chart
