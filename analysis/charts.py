"""The figures: a DataFrame in, an Altair chart out."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from analysis.labels import attack_label, setting_label
from analysis.trajectories import CLEAN_CLASS, TY, XT, subset_roles

# Okabe and Ito's palette, readable with every common colour blindness and on white as on near-black.
ROLE_COLOURS = {"all": "#009E73", "backdoor": "#D55E00", "clean": "#3B8FD4", "sample": "#CC79A7"}
CLEAN_CLASS_GREYS = ("#6f6f6f", "#9a9a9a", "#b9b9b9")
CLEAN_CLASS_DASHES = ([6, 2], [2, 2], [8, 2, 2, 2])
DRAWING_ORDER = ("other", CLEAN_CLASS, "sample", "clean", "all", "backdoor")  # the last lies on top
METRIC_COLOURS = {"train accuracy": "#9a9a9a", "test accuracy": "#3B8FD4", "attack success": "#D55E00"}
BASELINE_COLOUR = "#8a8a8a"
BAR_COLOUR, DOT_COLOUR, INTERVAL_COLOUR = "#3B8FD4", "#E69F00", "#D55E00"
FONT = "Helvetica Neue, Arial, sans-serif"
PANEL_WIDTH, PANEL_HEIGHT = 400, 270


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
    return _styled(
        alt.hconcat(
            *panels, spacing=30, title=alt.Title(_title(rows), subtitle=_interval_note(rows, points))
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


def _title(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"{attack_label(first)} · {setting_label(first)}"


def _interval_note(rows: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    seeds = rows["seed"].nunique()
    if seeds > 1:
        band = f"Mean of {seeds} seeds; band: ± one standard deviation over seeds."
    elif points["low"].notna().any():
        band = "One seed; band: the estimate's 95 % interval over images."
    else:
        band = "One seed, no interval."
    first = rows.iloc[0]
    rule = "Dashed rule: the estimator's ceiling."
    return [f"Estimate: {first['estimator']}, {first['protocol']}. {band}", rule]


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
        "epoch:Q", title="epoch", scale=_epoch_scale(points["epoch"]), axis=_epoch_axis(points["epoch"])
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
    band = _band(points, x, alt.Y("low:Q", title=title), colour, faded)
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
    return alt.layer(*ceiling, *band, line, point).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)


def _band(points: pd.DataFrame, x: alt.X, y: alt.Y, colour: alt.Color, faded: alt.When) -> list[alt.Chart]:
    """The area from `low` to `high`; no layer where no point has both, as Vega warns of empty ones."""
    known = points.dropna(subset=["low", "high"])
    opacity = faded.then(alt.value(0.18)).otherwise(alt.value(0.02))
    area = alt.Chart(known).mark_area().encode(x=x, y=y, y2="high:Q", color=colour, opacity=opacity)
    return [area] if len(known) else []


def _epoch_scale(epochs: pd.Series) -> alt.Scale:
    """Logarithmic, as snapshots crowd at the start; symlog where a snapshot precedes training."""
    return alt.Scale(type="symlog" if (epochs < 1).any() else "log", nice=False)


def _epoch_axis(epochs: pd.Series) -> alt.Axis:
    values = sorted(int(epoch) for epoch in epochs.unique())
    return alt.Axis(values=values, format="d", grid=False, labelOverlap="greedy")


def stealth_bars(scores: pd.DataFrame) -> alt.VConcatChart:
    """Mean score per attack, one dot per seed, an interval of ± one sd where there are two seeds or more.

    One panel for each setting (dataset, architecture, sigma) and estimate; all share the scale of scores.

    Args:
        scores: rows of the view `stealth` (at least one with a score; those without are left out).
    """
    scores = scores[scores["score"].notna()].copy()
    scores["attack_name"] = scores.apply(attack_label, axis=1)
    scores["panel"] = scores.apply(
        lambda row: f"{setting_label(row)} · {row['estimator']}, {row['protocol']}", axis=1
    )
    several = scores.groupby("panel")["settings"].transform("nunique") > 1
    scores["panel"] = scores["panel"].mask(
        several, scores["panel"] + " · settings " + scores["settings"].str[:8]
    )
    variants = scores.groupby(["panel", "attack_name"])["configuration"].transform("nunique") > 1
    scores["attack_name"] = scores["attack_name"].mask(
        variants, scores["attack_name"] + " · " + scores["configuration"]
    )
    scale = alt.Scale(domain=[0, float(scores["score"].max()) * 1.1 or 1.0], nice=True)
    panels = [_score_panel(rows, scale).properties(title=name) for name, rows in scores.groupby("panel")]
    note = "Bar: mean over seeds; dots: seeds; line: ± one standard deviation (two seeds or more)."
    subtitle = [note, "Grey: no attack. Classes differ by themselves, so this is not 0."]
    return _styled(alt.vconcat(*panels, title=alt.Title("Stealth score of each attack", subtitle=subtitle)))


def _score_panel(scores: pd.DataFrame, scale: alt.Scale) -> alt.LayerChart:
    means = scores.groupby(["attack_name", "attack"], as_index=False).agg(
        score=("score", "mean"),
        sd=("score", "std"),
        seeds=("score", "size"),
        s_xt=("s_xt", "mean"),
        s_ty=("s_ty", "mean"),
    )
    means["low"], means["high"] = means["score"] - means["sd"], means["score"] + means["sd"]
    y = alt.Y("attack_name:N", sort=means.sort_values("score")["attack_name"].tolist(), title=None)
    x = alt.X("score:Q", title="stealth score (lower is stealthier)", scale=scale)
    fill = (
        alt.when("datum.attack == 'none'").then(alt.value(BASELINE_COLOUR)).otherwise(alt.value(BAR_COLOUR))
    )
    tooltip = [alt.Tooltip("attack_name:N", title="attack")]
    tooltip += [alt.Tooltip(f"{column}:Q", format=".4f") for column in ("score", "sd", "s_xt", "s_ty")]
    bars = (
        alt.Chart(means)
        .mark_bar(height={"band": 0.62})
        .encode(x, y, color=fill, tooltip=[*tooltip, "seeds:Q"])
    )
    intervals = alt.Chart(means.dropna(subset="sd")).mark_rule(strokeWidth=2.5, color=INTERVAL_COLOUR)
    dots = alt.Chart(scores).mark_point(
        filled=True, size=45, color=DOT_COLOUR, stroke="#333333", strokeWidth=0.8, opacity=1
    )
    baseline = alt.Chart(means[means["attack"] == "none"]).mark_rule(strokeDash=[4, 4], color=BASELINE_COLOUR)
    layers = [
        bars,
        intervals.encode(alt.X("low:Q"), y, x2="high:Q"),
        dots.encode(x, y, tooltip=[alt.Tooltip("score:Q", format=".4f"), "seed:Q"]),
        baseline.encode(x),
    ]
    return alt.layer(*(layer for layer in layers if len(layer.data))).properties(
        width=560, height=alt.Step(30)
    )


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
        legend=alt.Legend(
            title=None, orient="bottom", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
        ),
    )
    x = alt.X("epoch:Q", axis=alt.Axis(format="d", tickMinStep=1, grid=False))
    base = alt.Chart(points).encode(x=x, color=colour)
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("rate:Q", title="share of images", axis=alt.Axis(format=".0%"), scale=scale)
    faded = alt.when(pick)
    visible = faded.then(alt.value(1)).otherwise(alt.value(0.12))
    tooltip = [
        "metric:N",
        "epoch:Q",
        alt.Tooltip("rate:Q", format=".1%"),
        alt.Tooltip("sd:Q", format=".1%"),
        "seeds:Q",
    ]
    mark = alt.layer(
        *_band(points, x, alt.Y("low:Q", title="share of images", scale=scale), colour, faded),
        base.mark_line(strokeWidth=2).encode(y=y, opacity=visible),
        base.mark_point(filled=True, size=18).encode(y=y, opacity=visible, tooltip=tooltip).add_params(pick),
    )
    return _styled(mark.properties(width=PANEL_WIDTH, height=PANEL_HEIGHT - 60, title=_title(epochs)))


def _styled(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """Readable sizes; no colours, so that a page can set those for light and dark."""
    return (
        chart.configure(font=FONT)
        .configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal")
        .configure_legend(columns=4, labelFontSize=12, labelLimit=240, symbolLimit=60)
        .configure_header(labelFontSize=13, labelFontWeight="bold", labelLimit=600)
        .configure_title(anchor="start", fontSize=14, subtitleFontSize=12, subtitlePadding=6)
        .configure_view(strokeOpacity=0.25)
    )
