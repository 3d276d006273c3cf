"""What charts of subsets over epochs share: means over seeds, the names, colours and dashes of lines, and one panel."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from analysis.charts.style import (
    CLEAN_CLASS_DASHES,
    CLEAN_CLASS_GREYS,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    ROLE_COLOURS,
    band,
    opacity_if,
)
from analysis.trajectories import CLEAN_CLASS, TY, XT, subset_roles

WHOLE = "whole"  # the subset of all images, no part of the class-wise figures
QUANTITY_TITLES = {XT: "I(X;T)", TY: "I(T;Ŷ)"}
DRAWING_ORDER = ("other", CLEAN_CLASS, "sample", "clean", "all", "backdoor")  # the last lies on top
FADED = 0.12
BOUNDS_SHADE = 0.08  # bands of bounds are wide and lie over each other


def number_column(rows: pd.DataFrame, name: str) -> pd.Series:
    """Floats, NaN where missing, infinite or where there is no such column."""
    values = rows[name] if name in rows else pd.Series(np.nan, index=rows.index)
    return pd.to_numeric(values, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


def has_bounds(rows: pd.DataFrame) -> bool:
    """Whether any row has both proven bounds."""
    return bool((number_column(rows, "lower_bound").notna() & number_column(rows, "upper_bound").notna()).any())


def over_seeds(rows: pd.DataFrame, keys: Sequence[str], value: str = "nats") -> pd.DataFrame:
    """Mean, `sd`, `seeds` (how many) and the band `low` to `high` for each combination of `keys`.

    The band is from `lower_bound` to `upper_bound` where any row has both (means over seeds); else mean -+ sd of two
    or more seeds; else `ci_low` to `ci_high` of the only one; NaN where there is none of these.
    """
    known = rows.assign(
        **{name: number_column(rows, name) for name in (value, "ci_low", "ci_high", "lower_bound", "upper_bound", "n")}
    )
    points = (
        known.dropna(subset=value)
        .groupby(list(keys), as_index=False)
        .agg(
            **{value: (value, "mean")},
            sd=(value, "std"),
            seeds=("seed", "nunique"),
            ci_low=("ci_low", "mean"),
            ci_high=("ci_high", "mean"),
            lower=("lower_bound", "mean"),
            upper=("upper_bound", "mean"),
            images=("n", "min"),
        )
    )
    if has_bounds(rows):
        return points.assign(low=points["lower"], high=points["upper"])
    if rows["seed"].nunique() > 1:
        return points.assign(low=points[value] - points["sd"], high=points[value] + points["sd"])
    return points.assign(low=points["ci_low"], high=points["ci_high"])


def band_note(rows: pd.DataFrame, points: pd.DataFrame) -> str:
    """What lines and bands of `over_seeds` are, in words."""
    seeds = rows["seed"].nunique()
    shown = f"Mean of {seeds} seeds" if seeds > 1 else "One seed"
    if has_bounds(rows):
        return f"{shown}; line: proven lower bound; band: from the proven lower to the proven upper bound."
    if points["low"].notna().any():
        return seeds_note(rows, "One seed; band: the estimate's 95 % interval over images.")
    return seeds_note(rows)


def seeds_note(rows: pd.DataFrame, single: str = "One seed, no interval.") -> str:
    """What lines and bands are where only the spread over seeds is drawn; `single` is said of one seed."""
    seeds = rows["seed"].nunique()
    return f"Mean of {seeds} seeds; band: ± one standard deviation over seeds." if seeds > 1 else single


def named_lines(points: pd.DataFrame) -> pd.DataFrame:
    """With `role` and `line` ('0 backdoor' for a subset of the target class, 'class 1' for a clean class), in drawing
    order."""
    roles = subset_roles(points)
    names = (
        points["subset"]
        .where(roles != CLEAN_CLASS, "class " + points["subset"])
        .mask(roles == "all", points["subset"] + " all")
        .str.replace("_", " ")
    )
    named = points.assign(role=roles, line=names)
    return named.sort_values("role", key=lambda role: role.map(DRAWING_ORDER.index), kind="stable")


def line_names(points: pd.DataFrame) -> tuple[list[str], list[str], list[list[int]]]:
    """Lines in the legend's order with colours and dashes: a role has its colour in every figure, clean classes are
    dashed greys.

    Args:
        points: as `named_lines` gives them.
    """
    lines = points.drop_duplicates("line")[["line", "role", "subset"]]
    target = lines[lines["role"].isin(ROLE_COLOURS)].sort_values("role")
    classes = lines[~lines["role"].isin(ROLE_COLOURS)].sort_values(
        "subset", key=lambda s: pd.to_numeric(s, errors="coerce")
    )
    colours = [ROLE_COLOURS[role] for role in target["role"]]
    colours += [CLEAN_CLASS_GREYS[i % 3] for i in range(len(classes))]
    dashes = [[1, 0]] * len(target) + [CLEAN_CLASS_DASHES[i % 3] for i in range(len(classes))]
    return [*target["line"], *classes["line"]], colours, dashes


def line_scales(points: pd.DataFrame) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dash of `line`, for points as `named_lines` gives them."""
    names, colours, dashes = map(tuple, line_names(points))
    return (
        alt.Color("line:N", legend=stroke_legend(), scale=alt.Scale(domain=names, range=colours)),
        alt.StrokeDash("line:N", legend=stroke_legend(), scale=alt.Scale(domain=names, range=dashes)),
    )


def stroke_legend() -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)


def dot_legend(**more) -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", symbolType="circle", symbolOpacity=1, **more)


def coloured(field: str, colours: dict[str, str], legend: alt.Legend) -> alt.Color:
    """Fixed colours by name, in the order of the legend."""
    scale = alt.Scale(domain=tuple(colours), range=tuple(colours.values()))
    return alt.Color(f"{field}:N", legend=legend, scale=scale)


def legend_pick(field: str) -> tuple[alt.Parameter, alt.When, alt.OpacityValue]:
    """A selection bound to the legend of `field`, its condition, and the opacity that fades what is not picked.

    Add the selection to a layer that has the legend's colours: Vega-Lite binds by these. One panel of a figure has it.
    """
    pick = alt.selection_point(fields=[field], bind="legend")
    picked = alt.when(pick)
    return pick, picked, opacity_if(picked, 1, FADED)


def line_panel(
    points: pd.DataFrame,
    x: alt.X,
    y: tuple[str, str, alt.Scale],
    colour: alt.Color,
    pick: tuple[alt.Parameter, alt.When, alt.OpacityValue],
    *,
    owner: bool,
    tooltip: Sequence[alt.Tooltip],
    dash: alt.StrokeDash | None = None,
    detail: str | None = None,
    shade: float = 0.18,
    dot: int = 36,
    below: Sequence[alt.Chart] = (),
) -> alt.LayerChart:
    """Lines with points over bands from `low` to `high`.

    Args:
        points: rows with what x, colour and tooltip name.
        y: the column, the axis title and the scale.
        pick: as `legend_pick` gives it; `owner` where this panel is the one to hold it.
        detail: a column that keeps lines of one colour apart.
        shade: opacity of the bands.
        dot: area of a point in pixels.
        below: layers to draw first.
    """
    param, picked, opacity = pick
    field, title, scale = y
    vertical = alt.Y(f"{field}:Q", title=title, scale=scale)
    base = alt.Chart(points).encode(x=x, y=vertical, color=colour, opacity=opacity)
    line = base.mark_line(strokeWidth=2)
    dots = base.mark_point(filled=True, size=dot).encode(tooltip=list(tooltip))
    areas = band(points, x, alt.Y("low:Q", title=title, scale=scale), colour, picked, shade)
    layers = [*areas, line if dash is None else line.encode(strokeDash=dash)]
    layers.append(dots.add_params(param) if owner else dots)
    if detail is not None:
        layers = [layer.encode(detail=alt.Detail(f"{detail}:N")) for layer in layers]
    return alt.layer(*below, *layers, width=PANEL_WIDTH, height=PANEL_HEIGHT)


def band_tooltip(value: str, *first: alt.Tooltip, unit: str = "nats", digits: str = ".3f") -> list[alt.Tooltip]:
    """The tooltip of a point of `over_seeds`."""
    return [
        *first,
        alt.Tooltip(f"{value}:Q", format=digits, title=unit),
        alt.Tooltip("low:Q", format=digits, title="band from"),
        alt.Tooltip("high:Q", format=digits, title="band to"),
        alt.Tooltip("seeds:Q"),
    ]


def epoch_tooltip() -> list[alt.Tooltip]:
    return [alt.Tooltip("line:N", title="subset"), alt.Tooltip("epoch:Q")]


def rule_at(value: float, channel: str, colour: str, dash: Sequence[int] = (4, 4)) -> alt.Chart:
    """A dashed rule across a panel at one value of x or y."""
    mark = alt.Chart(pd.DataFrame({"at": [float(value)]})).mark_rule(strokeDash=list(dash), color=colour)
    return mark.encode(alt.X("at:Q") if channel == "x" else alt.Y("at:Q"))
