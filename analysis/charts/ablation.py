"""What the noise sigma and the poison ratio do to scores and to mutual information."""

from __future__ import annotations

from typing import Literal

import altair as alt
import pandas as pd

from analysis.charts.lines import (
    QUANTITY_TITLES,
    band_note,
    band_tooltip,
    coloured,
    legend_pick,
    line_panel,
    number_column,
    over_seeds,
    rule_at,
    seeds_note,
    stroke_legend,
)
from analysis.charts.style import BASELINE_COLOUR, ROLE_COLOURS, attack_colours, grid, sized
from analysis.labels import attack_label
from analysis.trajectories import CLEAN_CLASS, LAYER, XT, subset_roles

SCORES = {"score": "stealth score", "s_xt": "S of I(X;T)", "s_ty": "S of I(T;Ŷ)"}
AXIS_TITLES = {"sigma": "noise σ", "poison_ratio": "poison ratio"}
FORMATS = {"sigma": "~g", "poison_ratio": "~%"}
CLEAN_CLASSES = "clean classes (mean)"
Axis = Literal["sigma", "poison_ratio"]


def ablation(scores: pd.DataFrame, axis: Axis) -> alt.ConcatChart | None:
    """Score and its two parts over sigma or the poison ratio, a line per attack, ± one sd over seeds.

    Over the poison ratio the score of clean models ('none') is a dashed rule: the baseline.

    Args:
        scores: rows of the view `stealth` of one dataset, architecture and estimate (and one sigma or one ratio, the
            axis that is not drawn): `attack`, `poison_ratio`, `ratio_of`, `sigma`, `seed`, `score`, `s_xt`, `s_ty`.
        axis: 'sigma' or 'poison_ratio'.

    Returns:
        None where no attack has a score.
    """
    scores = scores[number_column(scores, "score").notna()]
    baseline = scores[scores["attack"] == "none"] if axis == "poison_ratio" else scores.iloc[:0]
    scores = scores.drop(baseline.index)
    if scores.empty:
        return None
    scores = scores.assign(label=_labels(scores, axis))
    pick = legend_pick("attack")
    colour = coloured("attack", attack_colours(scores["attack"]), stroke_legend())
    panels = []
    for name, title in SCORES.items():
        points = over_seeds(scores, ["attack", "label", axis], name)
        if points.empty:
            continue
        floor = number_column(baseline, name).dropna()
        top = float(pd.concat([points[name], points["high"], floor]).max()) * 1.05 or 1.0
        bottom = min(0.0, float(points[[name, "low"]].min().min()))
        below = [rule_at(floor.mean(), "y", BASELINE_COLOUR)] if len(floor) else []
        tooltip = band_tooltip(name, alt.Tooltip("label:N", title="attack"), _tip(axis), unit=title)
        scale = alt.Scale(domain=[bottom, top])
        chart = line_panel(
            points,
            _x(points, axis),
            (name, title, scale),
            colour,
            pick,
            owner=not panels,
            tooltip=tooltip,
            detail="label",  # lines of one attack under several ratios have its colour
            below=below,
        )
        panels.append(sized(chart, width=250, height=220))
    note = [f"{seeds_note(scores)} Lower is stealthier."]
    note += ["Dashed rule: mean of models without an attack."] * bool(len(baseline))
    return grid(panels, f"Stealth score over the {AXIS_TITLES[axis]}", note, 3, color="shared")


def ablation_mi(rows: pd.DataFrame, axis: Axis) -> alt.ConcatChart | None:
    """I(X;T) in nats at the last snapshot over sigma or the poison ratio, a line per subset role, a panel per attack.

    Args:
        rows: rows of the view `trajectories` of one dataset, architecture and estimate: `run_id`, `attack`,
            `poison_ratio`, `ratio_of`, `target_class`, `sigma`, `seed`, `quantity`, `layer`, `epoch`, `subset`, `nats`
            and the columns of intervals. Clean classes are averaged.
        axis: 'sigma' or 'poison_ratio'.

    Returns:
        None where there is no estimate.
    """
    rows = rows[(rows["quantity"] == XT) & (rows["layer"] == LAYER)]
    rows = rows[number_column(rows, "nats").notna()]
    if axis == "poison_ratio":
        rows = rows[rows["attack"] != "none"]
    if rows.empty:
        return None
    rows = rows[rows["epoch"] == rows.groupby("run_id")["epoch"].transform("max")]
    roles = subset_roles(rows).replace(CLEAN_CLASS, CLEAN_CLASSES)
    palette = {**ROLE_COLOURS, CLEAN_CLASSES: BASELINE_COLOUR}
    rows = rows.assign(role=roles, label=_labels(rows, axis))[roles.isin(list(palette))]
    if rows.empty:
        return None
    values = ["nats", "ci_low", "ci_high", "lower_bound", "upper_bound", "n"]
    rows = rows.assign(**{name: number_column(rows, name) for name in values})
    each = rows.groupby(["label", axis, "role", "run_id", "seed"], as_index=False)[values].mean()
    points = over_seeds(each, ["label", axis, "role"])
    shown = {name: colour for name, colour in palette.items() if (points["role"] == name).any()}
    colour = coloured("role", shown, stroke_legend())
    pick = legend_pick("role")
    title = f"{QUANTITY_TITLES[XT]}, nats"
    top = float(points[["nats", "high"]].max().max()) * 1.05 or 1.0
    panels = []
    for label, part in points.groupby("label"):
        tooltip = band_tooltip("nats", alt.Tooltip("role:N", title="subset"), _tip(axis))
        scale = alt.Scale(domain=[min(0.0, float(points[["nats", "low"]].min().min())), top])
        chart = line_panel(
            part, _x(points, axis), ("nats", title, scale), colour, pick, owner=not panels, tooltip=tooltip
        )
        panels.append(sized(chart, width=250, height=200, title=label))
    first = rows.iloc[0]
    note = [f"Estimate: {first['estimator']}, {first['protocol']}. {band_note(each, points)}"]
    return grid(panels, f"I(X;T) at the last snapshot over the {AXIS_TITLES[axis]}", note, 3, color="shared")


def _labels(rows: pd.DataFrame, axis: Axis) -> list[str]:
    """What makes a line: the attack, without the ratio where that is the axis."""
    if axis == "sigma":
        named = ["attack", "poison_ratio", "ratio_of"]
        labels = {tuple(row): attack_label(row) for _, row in rows[named].drop_duplicates().iterrows()}
        return [labels[key] for key in rows[named].itertuples(index=False, name=None)]
    of = rows["ratio_of"].eq("target_class")
    return (rows["attack"] + of.map({True: " (of the target class)", False: ""})).tolist()


def _x(points: pd.DataFrame, axis: Axis) -> alt.X:
    values = tuple(sorted(float(v) for v in points[axis].unique()))
    logarithmic = axis == "poison_ratio" and values[0] > 0
    kind = {"type": "log"} if logarithmic else {"type": "linear", "zero": False}
    scale = alt.Scale(nice=False, padding=12, **kind)
    # An axis' own format rounds to its steps.
    text = f"format(datum.value, '{FORMATS[axis]}')"
    labels = alt.Axis(values=values, labelExpr=text, grid=False, labelOverlap="greedy")
    return alt.X(f"{axis}:Q", title=AXIS_TITLES[axis], scale=scale, axis=labels)


def _tip(axis: Axis) -> alt.Tooltip:
    return alt.Tooltip(f"{axis}:Q", title=AXIS_TITLES[axis], format=FORMATS[axis])
