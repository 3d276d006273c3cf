"""Does a trigger that the eye misses hide in the network as well? The paper's Fig. 10."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from analysis.charts.lines import coloured, dot_legend, legend_pick, number_column
from analysis.charts.style import attack_colours, grid, opacity_if
from analysis.labels import attack_label

METRICS = {
    "lpips": "LPIPS (higher is more visible)",
    "psnr": "PSNR, dB (lower is more visible)",
    "ssim": "SSIM (lower is more visible)",
    "asr": "attack success rate",
    "test_acc": "test accuracy",
}
RATES = ("asr", "test_acc")
WIDTH, HEIGHT = 250, 230
LABEL_GAP = 13  # pixels between the lines of two labels


def tradeoff_scatter(points: pd.DataFrame) -> alt.ConcatChart | None:
    """The stealth score against LPIPS, PSNR, SSIM, attack success and accuracy, a panel for each that was measured.

    Args:
        points: a row per attacked configuration (one estimate): `attack`, `score` (0 to 1, lower is stealthier),
            any of `lpips`, `psnr` (dB), `ssim`, `asr`, `test_acc` (fractions), and where known `label` (else made from
            `poison_ratio` and `ratio_of`), `score_low`, `score_high` and `METRIC_low`, `METRIC_high`.

    Returns:
        None where no point has both a score and a metric.
    """
    points = points.copy()
    if "label" not in points:
        points["label"] = [attack_label(row) for _, row in points.iterrows()]
    points = points.assign(**{name: number_column(points, name) for name in ("score", "score_low", "score_high")})
    points = points[points["score"].notna()]
    shown = [name for name in METRICS if number_column(points, name).notna().any()]
    if not shown:
        return None
    pick = legend_pick("attack")
    colour = coloured("attack", attack_colours(points["attack"]), dot_legend())
    top = float(points[["score", "score_high"]].max().max()) * 1.08 or 1.0
    panels = []
    for name in shown:
        panels.append(_panel(points, name, top, colour, pick, owner=not panels))
    note = ["Lower scores are stealthier in the network."]
    if points["score_low"].notna().any():
        note.append("Bars: intervals of the score.")
    if missing := [name for name in METRICS if name not in shown]:
        note.append(f"Not measured: {', '.join(missing)}.")
    return grid(panels, "Stealth score against visibility, attack success and accuracy", note, 3, color="shared")


def _panel(points: pd.DataFrame, metric: str, top: float, colour: alt.Color, pick, *, owner: bool) -> alt.LayerChart:
    param, picked, opacity = pick
    here = points.assign(
        value=number_column(points, metric),
        low=number_column(points, f"{metric}_low"),
        high=number_column(points, f"{metric}_high"),
    ).dropna(subset="value")
    extent = here[["value", "low", "high"]].to_numpy()
    left, right = float(np.nanmin(extent)), float(np.nanmax(extent))
    margin = 0.08 * (right - left) or 0.02 * abs(right) or 0.1
    here["side"] = np.where(here["value"] > (left + right) / 2, -1, 1)  # labels point to the middle
    # Labels of one side that would overlap are moved apart.
    here["label_at"] = here["score"]
    for _, part in here.groupby("side"):
        here.loc[part.index, "label_at"] = spread(part["score"], LABEL_GAP * top / HEIGHT)
    x_axis = {
        "title": METRICS[metric],
        "scale": alt.Scale(domain=[left - margin, right + margin], nice=False),
        "axis": alt.Axis(format="~%" if metric in RATES else "", tickCount=4, labelOverlap="greedy", labelSeparation=8),
    }
    x = alt.X("value:Q", **x_axis)
    title = "stealth score"
    scale = alt.Scale(domain=[0, top])
    y = alt.Y("score:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    base = alt.Chart(here)
    tooltip = [alt.Tooltip("label:N", title="attack"), alt.Tooltip("value:Q", format=".4g", title=metric)]
    tooltip += [alt.Tooltip(f"{name}:Q", format=".4f") for name in ("score", "score_low", "score_high")]
    dots = base.mark_point(filled=True, size=80).encode(x, y, color=colour, opacity=opacity, tooltip=tooltip)
    text = {"align": {"expr": "datum.side > 0 ? 'left' : 'right'"}, "dx": {"expr": "8 * datum.side"}}
    label_y = alt.Y("label_at:Q", title=title, scale=scale)
    labels = base.mark_text(fontSize=11, baseline="middle", **text).encode(
        x, label_y, text=alt.Text("label:N"), opacity=opacity
    )
    bars = []
    faint = opacity_if(picked, 0.6, 0.05)
    known = here.dropna(subset=["score_low", "score_high"])
    if len(known):
        vertical = alt.Y("score_low:Q", title=title, scale=scale)
        rule = alt.Chart(known).mark_rule(strokeWidth=1.5)
        bars.append(rule.encode(x, vertical, y2=alt.Y2("score_high:Q"), color=colour, opacity=faint))
    known = here.dropna(subset=["low", "high"])
    if len(known):
        rule = alt.Chart(known).mark_rule(strokeWidth=1.5)
        horizontal = alt.X("low:Q", **x_axis)
        bars.append(rule.encode(horizontal, y, x2=alt.X2("high:Q"), color=colour, opacity=faint))
    layers = [*bars, labels, dots.add_params(param) if owner else dots]
    return alt.layer(*layers, width=WIDTH, height=HEIGHT)


def spread(values: pd.Series, gap: float) -> pd.Series:
    """Values moved as little as this takes, upwards and downwards alike, until neighbours are `gap` apart.

    >>> spread(pd.Series([1.0, 0.0, 1.0]), 1.0).tolist()
    [1.0, 0.0, 2.0]
    """
    ordered = values.sort_values(kind="stable")
    groups: list[list[float]] = []  # mean and size of runs of labels that touch
    for value in ordered:
        groups.append([float(value), 1])
        while len(groups) > 1:
            (below, m), (above, n) = groups[-2:]
            if above - below >= gap * (m + n) / 2 - 1e-12:
                break
            groups[-2:] = [[(m * below + n * above) / (m + n), m + n]]
    placed = [mean + gap * (i - (n - 1) / 2) for mean, n in groups for i in range(n)]
    return pd.Series(placed, index=ordered.index).reindex(values.index)
