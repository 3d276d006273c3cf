"""The information plane: I(T;Yhat) against I(X;T) as training goes on."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.lines import (
    QUANTITY_TITLES,
    WHOLE,
    coloured,
    legend_pick,
    line_names,
    named_lines,
    number_column,
    stroke_legend,
)
from analysis.charts.style import BASELINE_COLOUR, LAYER_COLOURS, grid, opacity_if, setting_title, sized
from analysis.trajectories import CLEAN_CLASS, TY, XT

SIZE = 380
LAYER_SIZE = 240
LEGEND_DOTS = {"symbolType": "circle", "symbolFillColor": BASELINE_COLOUR, "symbolStrokeColor": BASELINE_COLOUR}


def information_plane(rows: pd.DataFrame) -> alt.ConcatChart | None:
    """A path over the epochs per subset, points growing with the epoch; a panel per role and colours by layer where
    there are several layers. Means over seeds; crosses are ± one sd where there are two seeds or more.

    Args:
        rows: rows of the view `trajectories` of one configuration under one estimate: `quantity`, `subset`,
            `target_class`, `layer`, `epoch`, `seed`, `nats` and the axes.

    Returns:
        None where no subset has both quantities at the same epoch.
    """
    points = _both(rows)
    if points.empty:
        return None
    layers = _layer_order(points["layer"])
    if len(layers) == 1:
        names, colours, _ = line_names(points)
        by, panels, titles = "line", [points], [""]
        palette = dict(zip(names, colours, strict=True))
        size, detail = SIZE, [alt.Detail("line:N")]
    else:
        by, size, detail = "layer", LAYER_SIZE, [alt.Detail("line:N"), alt.Detail("layer:N")]
        palette = {name: LAYER_COLOURS[i % len(LAYER_COLOURS)] for i, name in enumerate(layers)}
        panels = [part for _, part in points.groupby("role", sort=False)][::-1]
        titles = [_role_title(part) for part in panels]
    pick = legend_pick(by)
    colour = coloured(by, palette, stroke_legend())
    scales = [alt.Scale(domain=_extent(points, side), nice=True) for side in ("xt", "ty")]
    sizes = alt.Size(
        "epoch:Q",
        scale=alt.Scale(type="symlog", range=[15, 160]),
        legend=alt.Legend(title="epoch", orient="bottom", values=_some(points["epoch"]), **LEGEND_DOTS),
    )
    charts = []
    for part, title in zip(panels, titles, strict=True):
        chart = _plane(part, scales, colour, sizes, detail, pick, owner=not charts)
        charts.append(sized(chart, width=size, height=size, **({"title": title} if title else {})))
    seeds = int(points["seeds"].max())
    first = rows.iloc[0]
    note = [
        f"Estimate: {first['estimator']}, {first['protocol']}. Larger points are later epochs.",
        f"Mean of {seeds} seeds; crosses: ± one standard deviation over seeds." if seeds > 1 else "One seed.",
    ]
    return grid(charts, setting_title(rows), note, 3, color="shared", size="shared")


def _both(rows: pd.DataFrame) -> pd.DataFrame:
    """`xt`, `ty`, their `_sd` and `seeds` for every subset, layer and epoch with both quantities."""
    rows = rows[rows["quantity"].isin([XT, TY]) & (rows["subset"] != WHOLE)].copy()
    rows["nats"] = number_column(rows, "nats")
    keys = ["subset", "target_class", "layer", "epoch"]
    sides = []
    for quantity, name in ((XT, "xt"), (TY, "ty")):
        here = rows[(rows["quantity"] == quantity) & rows["nats"].notna()]
        aggregates = {name: ("nats", "mean"), f"{name}_sd": ("nats", "std"), "seeds": ("seed", "nunique")}
        sides.append(here.groupby(keys, as_index=False).agg(**aggregates))
    points = sides[0].merge(sides[1].drop(columns="seeds"), on=keys)
    for name in ("xt", "ty"):
        points[f"{name}_low"] = points[name] - points[f"{name}_sd"]
        points[f"{name}_high"] = points[name] + points[f"{name}_sd"]
    return named_lines(points)


def _plane(points, scales, colour, sizes, detail, pick, *, owner: bool) -> alt.LayerChart:
    param, picked, opacity = pick
    axis = alt.Axis(tickCount=5, labelOverlap=True)
    x_axis = {"title": f"{QUANTITY_TITLES[XT]}, nats", "scale": scales[0], "axis": axis}
    y_axis = {"title": f"{QUANTITY_TITLES[TY]}, nats", "scale": scales[1], "axis": axis}
    x, y = alt.X("xt:Q", **x_axis), alt.Y("ty:Q", **y_axis)
    base = alt.Chart(points).encode(x=x, y=y, color=colour, detail=detail, opacity=opacity)
    tooltip = [alt.Tooltip("line:N", title="subset"), alt.Tooltip("layer:N"), alt.Tooltip("epoch:Q")]
    tooltip += [
        alt.Tooltip("xt:Q", format=".3f", title=QUANTITY_TITLES[XT]),
        alt.Tooltip("ty:Q", format=".3f", title=QUANTITY_TITLES[TY]),
        alt.Tooltip("seeds:Q"),
    ]
    path = base.mark_line(strokeWidth=1.6).encode(order=alt.Order("epoch:Q"))
    dots = base.mark_point(filled=True).encode(size=sizes, tooltip=tooltip)
    known = points.dropna(subset=["xt_sd", "ty_sd"])
    faint = opacity_if(picked, 0.45, 0.04)
    cross = alt.Chart(known).mark_rule(strokeWidth=1.2).encode(color=colour, opacity=faint)
    horizontal = cross.encode(alt.X("xt_low:Q", **x_axis), y, x2=alt.X2("xt_high:Q"))
    vertical = cross.encode(x, alt.Y("ty_low:Q", **y_axis), y2=alt.Y2("ty_high:Q"))
    crosses = [horizontal, vertical] if len(known) else []
    return alt.layer(*crosses, path, dots.add_params(param) if owner else dots)


def _extent(points: pd.DataFrame, side: str) -> list[float]:
    values = pd.concat([points[side], points[f"{side}_low"], points[f"{side}_high"]]).dropna()
    margin = 0.05 * (values.max() - values.min()) or 0.1
    return [float(values.min() - margin), float(values.max() + margin)]


def _layer_order(layers: pd.Series) -> list[str]:
    """From the image to the output; T, the last hidden layer, comes just before the latter."""
    ends = {"input": 0, "T": 2, "output": 3}
    return sorted(layers.unique(), key=lambda name: (ends.get(name, 1), name))


def _role_title(points: pd.DataFrame) -> str:
    lines = points["line"].unique()
    return "clean classes" if (points["role"] == CLEAN_CLASS).all() and len(lines) > 1 else ", ".join(lines)


def _some(epochs: pd.Series) -> list[int]:
    values = sorted(int(e) for e in epochs.unique())
    return sorted({values[0], values[len(values) // 2], values[-1]})
