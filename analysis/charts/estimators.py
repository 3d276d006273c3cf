"""Estimates against what is proven about the same T."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from analysis.charts.lines import QUANTITY_TITLES, WHOLE, coloured, dot_legend, legend_pick, number_column, rule_at
from analysis.charts.style import BASELINE_COLOUR, CLEAN_CLASS_GREYS, ROLE_COLOURS, grid, sized
from analysis.trajectories import CLEAN_CLASS, against_certified, subset_roles

SIZE = 300
COLOURS = {**ROLE_COLOURS, CLEAN_CLASS: CLEAN_CLASS_GREYS[0]}


def estimator_comparison(rows: pd.DataFrame) -> alt.ConcatChart | None:
    """Every estimate against the certified lower bound of the same run, epoch, subset and quantity, in nats.

    On the diagonal both agree; below it the estimate lies under what is proven. Shaded is where the estimator cannot
    go (above its ceiling) and where the bound cannot (beyond log n of the largest subset).

    Args:
        rows: rows of the view `trajectories` under several protocols, `certified` among them: `run_id`, `epoch`,
            `subset`, `target_class`, `quantity`, `layer`, `estimator`, `protocol`, `nats`, `lower_bound`,
            `upper_bound`, `ceiling`, `n`.

    Returns:
        A panel per quantity and estimate; None where no estimate has a certified partner.
    """
    pairs = against_certified(rows[rows["subset"] != WHOLE])
    pairs["role"] = subset_roles(pairs)
    pairs = pairs[pairs["role"].isin(list(COLOURS))]
    if pairs.empty:
        return None
    pairs["estimate"] = pairs["estimator"] + ", " + pairs["protocol"]
    shown = {role: colour for role, colour in COLOURS.items() if (pairs["role"] == role).any()}
    colour = coloured("role", shown, dot_legend(symbolSize=80))
    pick = legend_pick("role")
    panels = []
    for quantity in [*QUANTITY_TITLES, *sorted(set(pairs["quantity"]) - set(QUANTITY_TITLES))]:
        for estimate, part in pairs[pairs["quantity"] == quantity].groupby("estimate"):
            title = f"{QUANTITY_TITLES.get(quantity, quantity)} · {estimate}"
            panels.append(sized(_panel(part, colour, pick, owner=not panels), title=title))
    below = int((pairs["gap"] < 0).sum())
    note = [
        "Line: both agree. Shaded: beyond the estimator's ceiling (above), beyond log n of the largest subset (right).",
        f"{below} of {len(pairs)} estimates lie below the proven lower bound.",
    ]
    return grid(panels, "Estimates against the certified lower bound", note, 2, color="shared")


def _panel(pairs: pd.DataFrame, colour: alt.Color, pick, *, owner: bool) -> alt.LayerChart:
    param, _, opacity = pick
    values = pairs[["certified", "nats"]]
    ceiling = number_column(pairs, "ceiling").max()
    most = np.log(number_column(pairs, "n").max())  # nobody tells n images apart with more
    lowest = min(0.0, float(values.min().min()))
    # A limit far beyond all values would only squeeze them.
    highest = float(values.max().max())
    limits = [limit for limit in (ceiling, most) if np.isfinite(limit) and limit < 1.6 * highest + 0.5]
    end = max([highest, *limits]) + 0.07 * (max([highest, *limits]) - lowest or 1.0)
    scale = alt.Scale(domain=[lowest, end], nice=False)
    x = alt.X("certified:Q", title="certified lower bound, nats", scale=scale, axis=alt.Axis(tickCount=6))
    y = alt.Y("nats:Q", title="estimate, nats", scale=scale, axis=alt.Axis(tickCount=6))
    layers = []
    for channel, limit in (("y", ceiling), ("x", most)):
        if limit in limits:
            area = alt.Chart(pd.DataFrame({"from": [float(limit)], "to": [end]}))
            area = area.mark_rect(color=BASELINE_COLOUR, opacity=0.2)
            start = {"x": alt.X("from:Q", scale=scale), "y": alt.Y("from:Q", scale=scale)}[channel]
            layers += [area.encode(**{channel: start, f"{channel}2": "to:Q"}), rule_at(limit, channel, BASELINE_COLOUR)]
    diagonal = alt.Chart(pd.DataFrame({"certified": [lowest, end], "nats": [lowest, end]}))
    layers.append(diagonal.mark_line(color=BASELINE_COLOUR, strokeWidth=1.5).encode(x, y))
    tooltip = ["subset:N", "role:N", "epoch:Q"] + [alt.Tooltip("attack:N")] * ("attack" in pairs)
    tooltip += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("nats", "certified", "certified_upper", "gap")]
    columns = ["subset", "role", "epoch", "nats", "certified", "certified_upper", "gap"]
    columns += ["attack"] * ("attack" in pairs)
    dots = alt.Chart(pairs[columns]).mark_point(filled=True, size=45)
    dots = dots.encode(x, y, color=colour, opacity=opacity, tooltip=tooltip)
    return alt.layer(*layers, dots.add_params(param) if owner else dots, width=SIZE, height=SIZE)
