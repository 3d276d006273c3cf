"""Accuracy and attack success over training."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.style import PANEL_HEIGHT, PANEL_WIDTH, band, opacity_if, setting_title, sized, styled

METRIC_COLOURS = {"train accuracy": "#9a9a9a", "test accuracy": "#3B8FD4", "attack success": "#D55E00"}


def learning_curves(epochs: pd.DataFrame) -> alt.LayerChart:
    """Accuracy on training and test images and attack success over the epochs, mean ± sd over seeds.

    Args:
        epochs: rows of the table `epochs` with the axes of `runs`, all of one configuration.
    """
    columns = {"train_acc": "train accuracy", "test_acc": "test accuracy", "asr": "attack success"}
    long = epochs.rename(columns=columns).melt(
        ["epoch", "seed"], list(columns.values()), var_name="metric", value_name="rate"
    )
    long["rate"] = long["rate"].astype(float)
    points = (
        long.dropna(subset="rate")
        .groupby(["metric", "epoch"], as_index=False)
        .agg(rate=("rate", "mean"), sd=("rate", "std"), seeds=("seed", "nunique"))
    )
    points["low"] = (points["rate"] - points["sd"]).clip(0, 1)
    points["high"] = (points["rate"] + points["sd"]).clip(0, 1)
    shown = [name for name in columns.values() if (points["metric"] == name).any()]
    pick = alt.selection_point(fields=["metric"], bind="legend")
    colour = alt.Color(
        "metric:N",
        scale=alt.Scale(domain=shown, range=[METRIC_COLOURS[name] for name in shown]),
        legend=alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1),
    )
    x = alt.X("epoch:Q", axis=alt.Axis(format="d", tickMinStep=1, grid=False))
    base = alt.Chart(points).encode(x=x, color=colour)
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("rate:Q", title="share of images", axis=alt.Axis(format=".0%"), scale=scale)
    picked = alt.when(pick)
    visible = opacity_if(picked, 1, 0.12)
    tooltip = [
        "metric:N",
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("rate:Q", format=".1%"),
        alt.Tooltip("sd:Q", format=".1%"),
        alt.Tooltip("seeds:Q"),
    ]
    mark = alt.layer(
        *band(points, x, alt.Y("low:Q", title="share of images", scale=scale), colour, picked),
        base.mark_line(strokeWidth=2).encode(y=y, opacity=visible),
        base.mark_point(filled=True, size=18).encode(y=y, opacity=visible, tooltip=tooltip).add_params(pick),
    )
    return styled(sized(mark, width=PANEL_WIDTH, height=PANEL_HEIGHT - 60, title=setting_title(epochs)))
