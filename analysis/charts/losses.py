"""Training loss of each class and of the backdoor images."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from analysis.charts.lines import (
    WHOLE,
    band_tooltip,
    epoch_tooltip,
    legend_pick,
    line_panel,
    line_scales,
    named_lines,
    number_column,
    over_seeds,
    seeds_note,
)
from analysis.charts.style import PANEL_WIDTH, setting_title, sized, styled


def class_losses(rows: pd.DataFrame) -> alt.LayerChart | None:
    """Training loss in nats, on a logarithmic axis, of every labelled class and of the backdoor images over the epochs.

    Args:
        rows: rows of the table `class_losses` with the axes of `runs`, all of one configuration: `epoch`, `subset`,
            `target_class`, `seed`, `train_loss` and the axes.

    Returns:
        None where no row has a loss.
    """
    rows = rows[(rows["subset"] != WHOLE) & number_column(rows, "train_loss").notna()]
    if rows.empty:
        return None
    points = named_lines(over_seeds(rows, ["subset", "target_class", "epoch"], "train_loss"))
    positive = points.loc[points["train_loss"] > 0, "train_loss"]
    logarithmic = len(positive) == len(points)
    if logarithmic:  # mean less sd may not be positive, and has no place on the axis then
        points["low"] = points["low"].clip(lower=float(positive.min()) / 2)
    colour, dash = line_scales(points)
    axis = alt.Axis(format="d", tickMinStep=1, grid=False)
    x = alt.X("epoch:Q", title="epoch", axis=axis, scale=alt.Scale(nice=False))
    scale = alt.Scale(type="log" if logarithmic else "linear", nice=False, domain=_domain(points, logarithmic))
    chart = line_panel(
        points,
        x,
        ("train_loss", "training loss, nats", scale),
        colour,
        legend_pick("line"),
        owner=True,
        tooltip=band_tooltip("train_loss", *epoch_tooltip(), digits=".4g"),
        dash=dash,
        dot=10,  # there are many epochs
    )
    title = alt.Title(setting_title(rows), subtitle=[f"{seeds_note(rows)} Label as trained on."])
    return styled(sized(chart, width=PANEL_WIDTH, title=title))


def _domain(points: pd.DataFrame, logarithmic: bool) -> list[float]:
    values = pd.concat([points["train_loss"], points["low"], points["high"]]).dropna().to_numpy()
    low, high = float(np.min(values)), float(np.max(values))
    return [low / 1.1, high * 1.1] if logarithmic else [min(0.0, low), high * 1.05 or 1.0]
