"""What a sweep has done, and where its time went."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.lines import coloured, dot_legend, legend_pick, number_column
from analysis.charts.style import BAR_COLOUR, STATUS_COLOURS, grid

UNITS = (("h", 3600), ("min", 60), ("s", 1))
WIDTH, STEP = 330, 28


def sweep_overview(stages: pd.DataFrame) -> alt.ConcatChart | None:
    """Units of work by stage and status, and the time that each stage took.

    Args:
        stages: rows of the table `stages` (a row per unit of work): `stage`, `status` (done, running, queued, failed),
            `seconds` (missing where it has not finished) and, where there, `started`, by which stages are ordered.

    Returns:
        None where there is no row.
    """
    if stages.empty:
        return None
    stages = stages.assign(seconds=number_column(stages, "seconds"))
    order = _order(stages)
    counts = stages.groupby(["stage", "status"], as_index=False).agg(cells=("status", "size"))
    counts["share"] = counts["cells"] / counts.groupby("stage")["cells"].transform("sum")
    statuses = [*STATUS_COLOURS, *sorted(set(counts["status"]) - set(STATUS_COLOURS))]
    counts["rank"] = counts["status"].map(statuses.index)
    palette = {s: STATUS_COLOURS.get(s, "#CC79A7") for s in statuses if (counts["status"] == s).any()}
    pick, _, opacity = legend_pick("status")
    y = alt.Y("stage:N", sort=order, title=None)
    size = {"width": WIDTH, "height": alt.Step(STEP)}
    bars = (
        alt.Chart(counts, title="units of work by status")
        .mark_bar(height={"band": 0.7})
        .encode(
            alt.X("cells:Q", title="units (a run, or a snapshot of a run)", axis=alt.Axis(tickMinStep=1, format="d")),
            y,
            color=coloured("status", palette, dot_legend(symbolSize=100)),
            order="rank:Q",
            opacity=opacity,
            tooltip=["stage:N", "status:N", "cells:Q", alt.Tooltip("share:Q", format=".0%")],
        )
        .add_params(pick)
        .properties(**size)
    )
    times = stages.groupby("stage", as_index=False).agg(
        total=("seconds", "sum"), mean=("seconds", "mean"), longest=("seconds", "max"), timed=("seconds", "count")
    )
    times = times[times["timed"] > 0]
    panels = [bars]
    if len(times):
        name, seconds = next((u for u in UNITS if times["total"].max() >= 2 * u[1]), UNITS[-1])
        times["time"] = times["total"] / seconds
        tooltip = ["stage:N", alt.Tooltip("timed:Q", title="units timed")]
        tooltip += [alt.Tooltip("time:Q", format=".3g", title=f"total, {name}")]
        tooltip += [alt.Tooltip(f"{k}:Q", format=".3g", title=f"{k} per unit, s") for k in ("mean", "longest")]
        base = alt.Chart(times, title="time by stage").encode(y=y, tooltip=tooltip)
        scale = alt.Scale(domain=[0, float(times["time"].max()) * 1.18 or 1.0], nice=False)
        x = alt.X("time:Q", title=f"total time over all units, {name}", scale=scale)
        bar = base.mark_bar(height={"band": 0.7}, color=BAR_COLOUR).encode(x)
        text = base.mark_text(align="left", dx=4, fontSize=12).encode(x, text=alt.Text("time:Q", format=".3~g"))
        panels.append(alt.layer(bar, text, **size))
    done, failed = (int((stages["status"] == status).sum()) for status in ("done", "failed"))
    note = [f"{len(stages)} units of work: {done} done, {failed} failed, {len(stages) - done - failed} open."]
    return grid(panels, "What the sweep did", note, 2)


def _order(stages: pd.DataFrame) -> list[str]:
    """By the start of their first unit; those not begun come last."""
    if "started" not in stages:
        return sorted(stages["stage"].unique())
    starts = pd.to_datetime(stages["started"]).groupby(stages["stage"]).min()
    return starts.sort_values(kind="stable", na_position="last").index.tolist()
