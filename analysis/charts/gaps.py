"""How far the paper's estimate lies from what is proven, over training."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.lines import (
    QUANTITY_TITLES,
    WHOLE,
    band_tooltip,
    coloured,
    legend_pick,
    line_panel,
    over_seeds,
    rule_at,
    stroke_legend,
)
from analysis.charts.style import BASELINE_COLOUR, CLEAN_CLASS_GREYS, ROLE_COLOURS, epoch_axis, epoch_scale, grid, sized
from analysis.trajectories import CLEAN_CLASS, against_certified, subset_roles

COLOURS = {**ROLE_COLOURS, CLEAN_CLASS: CLEAN_CLASS_GREYS[0]}


def gap_over_epochs(rows: pd.DataFrame) -> alt.ConcatChart | None:
    """Estimate of protocol `paper` less the certified lower bound, in nats, over the epochs; a panel per quantity.

    A line per role: the mean over runs of the mean over a run's subsets, ± one sd over runs where there are two or
    more. Below 0 the estimate lies under what is proven.

    Args:
        rows: as for `estimator_comparison`, with `seed`; of one configuration or several.

    Returns:
        None where no estimate of protocol `paper` has a certified partner.
    """
    rows = rows[(rows["subset"] != WHOLE) & rows["protocol"].isin(["paper", "certified"])]
    pairs = against_certified(rows)
    pairs["role"] = subset_roles(pairs)
    pairs = pairs[pairs["role"].isin(list(COLOURS))]
    if pairs.empty:
        return None
    runs = pairs.groupby(["quantity", "role", "epoch", "run_id"], as_index=False)["gap"].mean()
    points = over_seeds(runs.assign(seed=runs["run_id"]), ["quantity", "role", "epoch"], "gap")
    points = points.rename(columns={"seeds": "runs"})
    shown = {role: colour for role, colour in COLOURS.items() if (points["role"] == role).any()}
    colour = coloured("role", shown, stroke_legend())
    pick = legend_pick("role")
    panels = []
    for quantity in [q for q in QUANTITY_TITLES if (points["quantity"] == q).any()]:
        here = points[points["quantity"] == quantity]
        x = alt.X("epoch:Q", title="epoch", scale=epoch_scale(here["epoch"]), axis=epoch_axis(here["epoch"]))
        tooltip = band_tooltip("gap", alt.Tooltip("role:N", title="subset"), alt.Tooltip("epoch:Q"), unit="gap, nats")
        tooltip[-1] = alt.Tooltip("runs:Q")
        title = "paper − certified lower bound, nats"
        chart = line_panel(
            here,
            x,
            ("gap", title, alt.Scale(zero=True)),
            colour,
            pick,
            owner=not panels,
            tooltip=tooltip,
            below=[rule_at(0, "y", BASELINE_COLOUR)],
        )
        panels.append(sized(chart, width=340, height=230, title=QUANTITY_TITLES[quantity]))
    several = runs["run_id"].nunique()
    drawn = "One run, no interval."
    if several > 1:
        drawn = f"Mean of {several} runs; band: ± one standard deviation over runs."
    note = [f"{drawn} Above 0 the estimate claims more than is proven, below 0 less."]
    return grid(panels, "The paper's estimate less the certified lower bound", note, 2, color="shared")
