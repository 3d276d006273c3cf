"""The noise ladder: how much noise it takes to undo what T knows of X."""

from __future__ import annotations

import altair as alt
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
    rule_at,
    seeds_note,
)
from analysis.charts.style import BASELINE_COLOUR, epoch_axis, epoch_scale, grid, setting_title, sized, styled

TAU = "τ, in between-image RMS of T"
Z95 = 1.96


def noise_ladder(rows: pd.DataFrame) -> alt.ConcatChart | None:
    """I(X; T + τZ) in nats over τ, a line per subset, at the first, middle and last epoch on one scale.

    Args:
        rows: rows of the table `noise_ladder` with the axes of `runs`, all of one configuration: `epoch`, `subset`,
            `target_class`, `seed`, `tau`, `nats`, `ceiling` (log n), and `standard_error` for the band of one seed.

    Returns:
        None where there is no row with a value.
    """
    rows = rows[(rows["subset"] != WHOLE) & number_column(rows, "nats").notna()]
    if rows.empty:
        return None
    epochs = sorted(rows["epoch"].unique())
    epochs = sorted({epochs[0], epochs[len(epochs) // 2], epochs[-1]})
    rows = rows[rows["epoch"].isin(epochs)]
    nats, error = number_column(rows, "nats"), number_column(rows, "standard_error")
    rows = rows.assign(ci_low=nats - Z95 * error, ci_high=nats + Z95 * error)
    points = named_lines(over_seeds(rows, ["subset", "target_class", "epoch", "tau"]))
    colour, dash = line_scales(points)
    pick = legend_pick("line")
    taus = sorted(float(t) for t in points["tau"].unique())
    x = alt.X(
        "tau:Q",
        title=TAU,
        scale=alt.Scale(type="symlog", constant=0.25, nice=False),
        axis=alt.Axis(values=taus, grid=False, labelOverlap="greedy", labelExpr="format(datum.value, '~g')"),
    )
    ceilings = sorted(set(number_column(rows, "ceiling").dropna().round(6)))
    top = max([float(points[["nats", "high"]].max().max()), *ceilings]) * 1.04
    scale = alt.Scale(domain=[min(0.0, float(points[["nats", "low"]].min().min())), top or 1.0], nice=False)
    tooltip = band_tooltip("nats", *epoch_tooltip(), alt.Tooltip("tau:Q", title="τ"))
    panels = []
    for epoch in epochs:
        chart = line_panel(
            points[points["epoch"] == epoch],
            x,
            ("nats", "I(X; T + τZ), nats", scale),
            colour,
            pick,
            owner=not panels,
            tooltip=tooltip,
            dash=dash,
            below=[rule_at(ceiling, "y", BASELINE_COLOUR) for ceiling in ceilings],
        )
        panels.append(sized(chart, width=250, height=220, title=f"epoch {epoch}"))
    note = [f"Certified lower bounds. {_band(rows, points)}", "Dashed: log n of the subsets. Z is Gaussian noise."]
    return grid(panels, setting_title(rows), note, 3, color="shared", strokeDash="shared")


def tau_half(rows: pd.DataFrame) -> alt.LayerChart | None:
    """The noise τ that halves I(X;T) over the epochs, a line per subset. Higher: T tells images apart more robustly.

    Args:
        rows: rows of the table `tau_half` with the axes of `runs`, all of one configuration: `epoch`, `subset`,
            `target_class`, `seed`, `tau_half`, `low`, `high` (in between-image RMS of T).

    Returns:
        None where no ladder is crossed.
    """
    rows = rows[(rows["subset"] != WHOLE) & number_column(rows, "tau_half").notna()]
    if rows.empty:
        return None
    rows = rows.assign(ci_low=number_column(rows, "low"), ci_high=number_column(rows, "high"))
    points = named_lines(over_seeds(rows, ["subset", "target_class", "epoch"], "tau_half"))
    colour, dash = line_scales(points)
    chart = line_panel(
        points,
        alt.X("epoch:Q", title="epoch", scale=epoch_scale(points["epoch"]), axis=epoch_axis(points["epoch"])),
        ("tau_half", "τ½, in between-image RMS of T", alt.Scale(zero=True)),
        colour,
        legend_pick("line"),
        owner=True,
        tooltip=band_tooltip("tau_half", *epoch_tooltip(), unit="τ½"),
        dash=dash,
    )
    note = [f"The noise at which I(X; T + τZ) crosses half of log n. {_band(rows, points)}"]
    return styled(sized(chart, title=alt.Title(setting_title(rows), subtitle=note)))


def _band(rows: pd.DataFrame, points: pd.DataFrame) -> str:
    if points["low"].notna().any():
        return seeds_note(rows, "One seed; band: ± 1.96 standard errors.")
    return seeds_note(rows)
