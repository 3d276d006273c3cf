"""I(X;T) and I(T;Yhat) over training: the paper's Fig. 3."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from analysis.charts.lines import (
    BOUNDS_SHADE,
    QUANTITY_TITLES,
    WHOLE,
    band_note,
    band_tooltip,
    epoch_tooltip,
    has_bounds,
    legend_pick,
    line_panel,
    line_scales,
    named_lines,
    number_column,
    over_seeds,
)
from analysis.charts.style import BASELINE_COLOUR, epoch_axis, epoch_scale, opacity_if, setting_title, styled

PHASE_SHADES = (0.06, 0.16)  # opacities, in turn
PHASE_COLOUR = "#808080"


def trajectories(rows: pd.DataFrame, phases: pd.DataFrame | None = None) -> alt.HConcatChart | None:
    """The layout of the paper's Fig. 3: I(X;T) and I(T;Yhat) of every subset over the epochs, in nats.

    Bands are the proven bounds where the estimate has them, else ± one sd over seeds, else the interval of one seed.

    Args:
        rows: rows of the view `trajectories` of one configuration under one estimate (all its seeds): `quantity`,
            `subset`, `target_class`, `epoch`, `seed`, `nats`, `ci_low`, `ci_high`, `lower_bound`, `upper_bound`,
            `ceiling` (nats), `n`, `estimator`, `protocol` and the axes. The subset 'whole' is left out.
        phases: to be shaded: `phase` (name), `first` and `last` (epochs; missing where there is no such phase;
            `first_epoch` and `last_epoch` do as well).

    Returns:
        None where no row has a value.
    """
    rows = rows[rows["quantity"].isin(list(QUANTITY_TITLES)) & (rows["subset"] != WHOLE)]
    rows = rows[number_column(rows, "nats").notna()]
    if rows.empty:
        return None
    points = named_lines(over_seeds(rows, ["quantity", "subset", "target_class", "epoch"]))
    ceilings = rows[np.isfinite(number_column(rows, "ceiling"))].groupby(["quantity", "ceiling"], as_index=False)
    ceilings = ceilings["subset"].agg(lambda subsets: ", ".join(sorted(set(subsets))))
    colour, dash = line_scales(points)
    pick = legend_pick("line")
    panels = []
    for quantity in [q for q in QUANTITY_TITLES if (points["quantity"] == q).any()]:
        here = points[points["quantity"] == quantity]
        x = alt.X("epoch:Q", title="epoch", scale=epoch_scale(here["epoch"]), axis=epoch_axis(here["epoch"]))
        panels.append(
            line_panel(
                here,
                x,
                ("nats", f"{QUANTITY_TITLES[quantity]}, nats", alt.Scale(zero=True)),
                colour,
                pick,
                owner=not panels,  # the legend is shared, so one panel holds what is bound to it
                tooltip=[*band_tooltip("nats", *epoch_tooltip()), alt.Tooltip("images:Q")],
                dash=dash,
                shade=BOUNDS_SHADE if has_bounds(rows) else 0.18,
                below=[*_shades(phases, here["epoch"], x), *_ceilings(ceilings[ceilings["quantity"] == quantity])],
            )
        )
    first = rows.iloc[0]
    note = [f"Estimate: {first['estimator']}, {first['protocol']}. {band_note(rows, points)}"]
    note += ["Dashed rule: the estimator's ceiling."] * bool(len(ceilings))
    note += ["Shaded: phases of training."] * bool(_shades(phases, rows["epoch"], alt.X()))
    shared = alt.Resolve(scale=alt.ScaleResolveMap(color="shared", strokeDash="shared"))
    header = alt.Title(setting_title(rows), subtitle=note)
    return styled(alt.hconcat(*panels, spacing=30, title=header, resolve=shared))


def _ceilings(ceilings: pd.DataFrame) -> list[alt.Chart]:
    rule = (
        alt.Chart(ceilings)
        .mark_rule(strokeDash=[4, 4], strokeWidth=1.5, color=BASELINE_COLOUR)
        .encode(
            y=alt.Y("ceiling:Q"),
            tooltip=[alt.Tooltip("ceiling:Q", format=".2f", title="ceiling, nats"), alt.Tooltip("subset:N")],
        )
    )
    return [rule] if len(ceilings) else []


def _shades(phases: pd.DataFrame | None, epochs: pd.Series, x: alt.X) -> list[alt.Chart]:
    """A band for each phase, up to half-way to its neighbours, with its name above the panel in one of two lines."""
    if phases is None:
        return []
    found = phases.rename(columns={"first_epoch": "first", "last_epoch": "last"})[["phase", "first", "last"]]
    found = found.astype({"first": float, "last": float}).dropna().sort_values(["first", "last"])
    if found.empty or epochs.min() == epochs.max():
        return []
    start, end = found["first"].clip(lower=epochs.min()), found["last"].clip(upper=epochs.max())
    # Half-way on an axis that is logarithmic.
    between = np.expm1((np.log1p(end.to_numpy()[:-1]) + np.log1p(start.to_numpy()[1:])) / 2)
    spans = pd.DataFrame(
        {
            "phase": found["phase"].to_numpy(),
            "from": [start.iloc[0], *between],
            "to": [*between, end.iloc[-1]],
            "row": np.arange(len(found)) % 2,
        }
    )
    spans["middle"] = np.expm1((np.log1p(spans["from"]) + np.log1p(spans["to"])) / 2)
    base = alt.Chart(spans)
    tooltip = [alt.Tooltip("phase:N"), alt.Tooltip("from:Q", format=".3g"), alt.Tooltip("to:Q", format=".3g")]
    shade = opacity_if(alt.when("datum.row == 1"), PHASE_SHADES[1], PHASE_SHADES[0])
    left, middle = x.copy(), x.copy()
    left.shorthand, middle.shorthand = "from:Q", "middle:Q"
    return [
        base.mark_rect(color=PHASE_COLOUR).encode(x=left, x2=alt.X2("to:Q"), opacity=shade, tooltip=tooltip),
        base.mark_text(fontSize=11, baseline="bottom", dy={"expr": "datum.row == 1 ? -15 : -3"}).encode(
            x=middle, y=alt.value(0), text=alt.Text("phase:N")
        ),
    ]
