"""The stealth score of each attack."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.style import BAR_COLOUR, BASELINE_COLOUR, DOT_COLOUR, INTERVAL_COLOUR, styled
from analysis.labels import attack_label, setting_label


def stealth_bars(scores: pd.DataFrame) -> alt.VConcatChart:
    """Mean score per attack, one dot per seed, an interval of ± one sd where there are two seeds or more.

    One panel for each setting (dataset, architecture, sigma) and estimate; all share the scale of scores.

    Args:
        scores: rows of the view `stealth` (at least one with a score; those without are left out).
    """
    scores = scores[scores["score"].notna()].copy()
    scores["attack_name"] = scores.apply(attack_label, axis=1)
    scores["panel"] = scores.apply(lambda row: f"{setting_label(row)} · {row['estimator']}, {row['protocol']}", axis=1)
    several = scores.groupby("panel")["settings"].transform("nunique") > 1
    scores["panel"] = scores["panel"].mask(several, scores["panel"] + " · settings " + scores["settings"].str[:8])
    variants = scores.groupby(["panel", "attack_name"])["configuration"].transform("nunique") > 1
    scores["attack_name"] = scores["attack_name"].mask(
        variants, scores["attack_name"] + " · " + scores["configuration"]
    )
    scale = alt.Scale(domain=[0, float(scores["score"].max()) * 1.1 or 1.0], nice=True)
    panels = [_score_panel(rows, scale).properties(title=name) for name, rows in scores.groupby("panel")]
    note = "Bar: mean over seeds; dots: seeds; line: ± one standard deviation (two seeds or more)."
    subtitle = [note, "Grey: no attack. Classes differ by themselves, so this is not 0."]
    return styled(alt.vconcat(*panels, title=alt.Title("Stealth score of each attack", subtitle=subtitle)))


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
    axis = alt.Axis(labelOverlap="parity", labelSeparation=8, labelFlush=False)
    x = alt.X("score:Q", title="stealth score (lower is stealthier)", scale=scale, axis=axis)
    fill = alt.when("datum.attack == 'none'").then(alt.value(BASELINE_COLOUR)).otherwise(alt.value(BAR_COLOUR))
    tooltip = [alt.Tooltip("attack_name:N", title="attack")]
    tooltip += [alt.Tooltip(f"{column}:Q", format=".4f") for column in ("score", "sd", "s_xt", "s_ty")]
    bars = (
        alt.Chart(means)
        .mark_bar(height={"band": 0.62})
        .encode(x, y, color=fill, tooltip=[*tooltip, alt.Tooltip("seeds:Q")])
    )
    intervals = alt.Chart(means.dropna(subset="sd")).mark_rule(strokeWidth=2.5, color=INTERVAL_COLOUR)
    dots = alt.Chart(scores).mark_point(
        filled=True, size=45, color=DOT_COLOUR, stroke="#333333", strokeWidth=0.8, opacity=1
    )
    baseline = alt.Chart(means[means["attack"] == "none"]).mark_rule(strokeDash=[4, 4], color=BASELINE_COLOUR)
    layers = [
        bars,
        intervals.encode(alt.X("low:Q", axis=axis), y, x2=alt.X2("high:Q")),
        dots.encode(x, y, tooltip=[alt.Tooltip("score:Q", format=".4f"), alt.Tooltip("seed:Q")]),
        baseline.encode(x),
    ]
    return alt.layer(*(layer for layer in layers if len(layer.data))).properties(width=560, height=alt.Step(30))
