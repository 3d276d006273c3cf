"""I(X;T) and I(T;Yhat) over training: the paper's Fig. 3."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from analysis.charts.style import (
    BASELINE_COLOUR,
    CLEAN_CLASS_DASHES,
    CLEAN_CLASS_GREYS,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    ROLE_COLOURS,
    band,
    epoch_axis,
    epoch_scale,
    setting_title,
    styled,
)
from analysis.trajectories import CLEAN_CLASS, TY, XT, subset_roles

DRAWING_ORDER = ("other", CLEAN_CLASS, "sample", "clean", "all", "backdoor")  # the last lies on top


def trajectories(rows: pd.DataFrame) -> alt.HConcatChart:
    """The layout of the paper's Fig. 3: I(X;T) and I(T;Yhat) of every subset over the epochs.

    Args:
        rows: rows of the view `trajectories` of one configuration under one estimate (all its seeds).
    """
    rows = rows[rows["quantity"].isin([XT, TY])]
    points = _over_seeds(rows, ["quantity", "subset", "target_class", "epoch"])
    points["line"] = _line_names(points)
    points = points.sort_values(
        "subset", key=lambda s: subset_roles(points).map(DRAWING_ORDER.index), kind="stable"
    )
    ceilings = rows[np.isfinite(rows["ceiling"].astype(float))].groupby(
        ["quantity", "ceiling"], as_index=False
    )
    ceilings = ceilings["subset"].agg(lambda subsets: ", ".join(sorted(set(subsets))))
    colour, dash = _line_scales(points)
    pick = alt.selection_point(fields=["line"], bind="legend")
    titles = {XT: "I(X;T), nats", TY: "I(T;Ŷ), nats"}
    panels = []
    for quantity in [q for q in titles if (points["quantity"] == q).any()]:
        here = points[points["quantity"] == quantity]
        rules = ceilings[ceilings["quantity"] == quantity]
        owned = [] if panels else [pick]  # the legend is shared, so one panel holds what is bound to it
        panels.append(_information_panel(here, rules, titles[quantity], colour, dash, pick, owned))
    return styled(
        alt.hconcat(
            *panels, spacing=30, title=alt.Title(setting_title(rows), subtitle=_interval_note(rows, points))
        ).resolve_scale(color="shared", strokeDash="shared")
    )


def _over_seeds(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """nats: mean over seeds; low, high: mean -+ sd of two or more seeds, the estimate's interval of one."""
    points = rows.groupby(keys, as_index=False).agg(
        nats=("nats", "mean"),
        sd=("nats", "std"),
        seeds=("seed", "nunique"),
        ci_low=("ci_low", "mean"),
        ci_high=("ci_high", "mean"),
        images=("n", "min"),
    )
    if rows["seed"].nunique() > 1:
        points["low"], points["high"] = points["nats"] - points["sd"], points["nats"] + points["sd"]
    else:
        points["low"], points["high"] = points["ci_low"].astype(float), points["ci_high"].astype(float)
    return points


def _interval_note(rows: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    seeds = rows["seed"].nunique()
    if seeds > 1:
        drawn = f"Mean of {seeds} seeds; band: ± one standard deviation over seeds."
    elif points["low"].notna().any():
        drawn = "One seed; band: the estimate's 95 % interval over images."
    else:
        drawn = "One seed, no interval."
    first = rows.iloc[0]
    rule = "Dashed rule: the estimator's ceiling."
    return [f"Estimate: {first['estimator']}, {first['protocol']}. {drawn}", rule]


def _line_names(points: pd.DataFrame) -> pd.Series:
    """'0 backdoor' for a subset of the target class, 'class 1' for a clean class."""
    return (
        points["subset"]
        .where(subset_roles(points) != CLEAN_CLASS, "class " + points["subset"])
        .mask(subset_roles(points) == "all", points["subset"] + " all")
        .str.replace("_", " ")
    )


def _line_scales(points: pd.DataFrame) -> tuple[alt.Color, alt.StrokeDash]:
    """The same colour for the same role in every figure; clean classes are dashed greys."""
    lines = points.assign(role=subset_roles(points)).drop_duplicates("line")[["line", "role", "subset"]]
    target = lines[lines["role"].isin(ROLE_COLOURS)].sort_values("role")
    classes = lines[~lines["role"].isin(ROLE_COLOURS)].sort_values("subset", key=_class_order)
    names = [*target["line"], *classes["line"]]
    colours = [ROLE_COLOURS[role] for role in target["role"]]
    colours += [CLEAN_CLASS_GREYS[i % 3] for i in range(len(classes))]
    dashes = [[1, 0]] * len(target) + [CLEAN_CLASS_DASHES[i % 3] for i in range(len(classes))]
    legend = alt.Legend(
        title=None, orient="bottom", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
    )
    return (
        alt.Color("line:N", legend=legend, scale=alt.Scale(domain=names, range=colours)),
        alt.StrokeDash("line:N", legend=legend, scale=alt.Scale(domain=names, range=dashes)),
    )


def _class_order(subsets: pd.Series) -> pd.Series:
    return pd.to_numeric(subsets, errors="coerce")


def _information_panel(
    points: pd.DataFrame,
    ceilings: pd.DataFrame,
    title: str,
    colour: alt.Color,
    dash: alt.StrokeDash,
    pick: alt.Parameter,
    owned: list[alt.Parameter],
) -> alt.LayerChart:
    x = alt.X(
        "epoch:Q", title="epoch", scale=epoch_scale(points["epoch"]), axis=epoch_axis(points["epoch"])
    )
    faded = alt.when(pick)
    tooltip = [
        alt.Tooltip("line:N", title="subset"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("nats:Q", format=".3f", title="nats"),
        alt.Tooltip("low:Q", format=".3f", title="band from"),
        alt.Tooltip("high:Q", format=".3f", title="band to"),
        alt.Tooltip("seeds:Q"),
        alt.Tooltip("images:Q", title="images"),
    ]
    base = alt.Chart(points).encode(x=x, color=colour)
    visible = faded.then(alt.value(1)).otherwise(alt.value(0.12))
    y = alt.Y("nats:Q", title=title, scale=alt.Scale(zero=True))
    area = band(points, x, alt.Y("low:Q", title=title), colour, faded)
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash, opacity=visible)
    point = base.mark_point(filled=True, size=42).encode(y=y, opacity=visible, tooltip=tooltip)
    point = point.add_params(*owned)  # on the layer itself: Vega-Lite binds a legend by the layer's colours
    rule = (
        alt.Chart(ceilings)
        .mark_rule(strokeDash=[4, 4], strokeWidth=1.5, color=BASELINE_COLOUR)
        .encode(
            y="ceiling:Q",
            tooltip=[alt.Tooltip("ceiling:Q", format=".2f", title="ceiling, nats"), alt.Tooltip("subset:N")],
        )
    )
    ceiling = [rule] if len(ceilings) else []
    return alt.layer(*ceiling, *area, line, point).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)
