"""How much the ranking of attacks depends on choices that the paper leaves open."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.lines import number_column
from analysis.charts.style import BAR_COLOUR, BASELINE_COLOUR, INTERVAL_COLOUR, opacity_if, styled


def sensitivity(table: pd.DataFrame) -> alt.LayerChart | None:
    """Kendall's tau of each ranking with the default one: a dot per combination of options, a line at their mean.

    Args:
        table: `option` (what a line of the chart is called; several rows may share one), `tau` (-1 to 1), and where
            there `detail` (the other options, for the tooltip) and `low`, `high`: the interval of tau.

    Returns:
        None where there is no tau.
    """
    table = table.assign(**{name: number_column(table, name) for name in ("tau", "low", "high")}).dropna(subset="tau")
    if table.empty:
        return None
    means = table.groupby("option", as_index=False).agg(tau=("tau", "mean"), rankings=("tau", "size"))
    order = means.sort_values("tau", ascending=False, kind="stable")["option"].tolist()
    axis = alt.Axis(labelLimit=230, grid=True)
    y = alt.Y("option:N", sort=order, title=None, axis=axis, scale=alt.Scale(domain=order))
    scale = alt.Scale(domain=[min(-0.05, float(table[["tau", "low"]].min().min()) - 0.05), 1.05], nice=False)
    title = "Kendall's τ with the default ranking"
    x = alt.X("tau:Q", title=title, scale=scale)
    tooltip = [alt.Tooltip("option:N"), alt.Tooltip("tau:Q", format=".3f", title="τ")]
    tooltip += [alt.Tooltip("detail:N")] if "detail" in table else []
    pick = alt.selection_point(fields=["option"], on="pointerover", clear="pointerout")
    opacity = opacity_if(alt.when(pick, empty=True), 0.75, 0.2)
    known = table.dropna(subset=["low", "high"])
    rule = alt.Chart(known).mark_rule(strokeWidth=1.5, color=BAR_COLOUR, opacity=0.6)
    several = means[means["rankings"] > 1]
    tick = alt.Chart(several).mark_tick(thickness=3, height=16, color=INTERVAL_COLOUR)
    dots = alt.Chart(table).mark_point(filled=True, size=70, color=BAR_COLOUR)
    ends = alt.Chart(pd.DataFrame({"tau": [0.0, 1.0]})).mark_rule(strokeDash=[4, 4], color=BASELINE_COLOUR)
    layers = [ends.encode(x)]
    if len(known):
        layers.append(rule.encode(alt.X("low:Q", title=title, scale=scale), y, x2="high:Q"))
    layers.append(dots.encode(x, y, opacity=opacity, tooltip=tooltip).add_params(pick))
    if len(several):
        layers.append(tick.encode(x, y, tooltip=[*tooltip[:2], alt.Tooltip("rankings:Q")]))
    note = ["Dot: a ranking under one combination of options; 1: the order of the default, 0: unrelated to it."]
    note += ["Orange: mean of the option."] * bool(len(several))
    heading = alt.Title("How much the ranking moves between options", subtitle=note)
    return styled(alt.layer(*layers, width=420, height=alt.Step(24), title=heading))
