"""Table I as a heat map: our scores beside the paper's."""

from __future__ import annotations

import altair as alt
import pandas as pd

from analysis.charts.lines import number_column
from analysis.charts.style import BASELINE_COLOUR, grid, sized
from analysis.labels import attack_label

SCORES = {"s_xt": "I(X;T)", "s_ty": "I(T;Ŷ)", "score": "score"}
SCHEME = "viridis"
ON_DARK, ON_LIGHT = "#ffffff", "#111111"  # text on either end of the scheme
TURN = 0.6  # of the range: where the scheme is light enough for dark text


def table1_heatmap(table: pd.DataFrame) -> alt.ConcatChart | None:
    """Two heat maps on one colour scale, ours and the paper's; "–" where there is no number.

    Args:
        table: a row per dataset, attack and ratio (as `analysis.table1` gives them, of one of our estimates):
            `dataset`, `attack`, `poison_ratio`, `ratio_of`, ours `s_xt`, `s_ty`, `score` and the paper's
            `paper_s_xt`, `paper_s_ty`, `paper_score` (0 to 1, lower is stealthier; NaN where missing), and where
            known `score_low`, `score_high`. The order of rows is kept.

    Returns:
        None where there is no number at all.
    """
    cells = _cells(table)
    known = cells.dropna(subset="value")
    if known.empty:
        return None
    top = float(known["value"].max())
    rows = list(dict.fromkeys(cells["row"]))
    panels = []
    for source in ("ours", "paper"):
        here = cells[cells["source"] == source]
        if len(here):
            panels.append(sized(_panel(here, rows, top), width=210, height=alt.Step(24), title=source))
    note = ["Mean distance from the clean classes, 0 to 1, in I(X;T) and I(T;Ŷ); score: mean of both. – is missing."]
    if known["low"].notna().any():
        note.append("Point at one of our scores for its interval.")
    return grid(panels, "Table I, ours and the paper's", note, 2, color="shared")


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """`row`, `column`, `source`, `value`, `low`, `high`: a row per cell of either heat map."""
    several = table["dataset"].nunique() > 1
    rows = [attack_label(row) + f" · {row['dataset']}" * several for _, row in table.iterrows()]
    parts = []
    for source, prefix in (("ours", ""), ("paper", "paper_")):
        for name, title in SCORES.items():
            part = pd.DataFrame({"row": rows, "column": title, "source": source})
            part["value"] = number_column(table, prefix + name).to_numpy()
            for end in ("low", "high"):
                part[end] = number_column(table, f"{prefix}{name}_{end}").to_numpy()
            parts.append(part)
    cells = pd.concat(parts, ignore_index=True)
    # Several of our configurations may stand for a row of the paper; the mean of them is shown.
    return cells.groupby(["source", "row", "column"], as_index=False, sort=False).mean()


def _panel(cells: pd.DataFrame, rows: list[str], top: float) -> alt.LayerChart:
    x = alt.X("column:N", sort=list(SCORES.values()), title=None, axis=alt.Axis(orient="top", labelAngle=0))
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=230), scale=alt.Scale(domain=rows))
    colour = alt.Color(
        "value:Q",
        scale=alt.Scale(scheme=SCHEME, domain=[0, top]),
        legend=alt.Legend(title="score, lower is stealthier", orient="bottom", gradientLength=130, format=".2f"),
    )
    tooltip = [alt.Tooltip("row:N", title="attack"), alt.Tooltip("column:N", title="quantity"), "source:N"]
    tooltip += [
        alt.Tooltip("value:Q", format=".4f"),
        alt.Tooltip("low:Q", format=".4f", title="interval from"),
        alt.Tooltip("high:Q", format=".4f", title="interval to"),
    ]
    known, missing = cells.dropna(subset="value"), cells[cells["value"].isna()]
    layers = []
    if len(known):
        base = alt.Chart(known).encode(x, y, tooltip=tooltip)
        ink = alt.when(f"datum.value < {TURN * top}").then(alt.value(ON_DARK)).otherwise(alt.value(ON_LIGHT))
        number = base.mark_text(fontSize=12).encode(text=alt.Text("value:Q", format=".3f"), color=ink)
        layers += [base.mark_rect().encode(color=colour), number]
    if len(missing):
        base = alt.Chart(missing).encode(x, y, tooltip=tooltip[:3])
        layers += [
            base.mark_rect(filled=False, stroke=BASELINE_COLOUR, strokeOpacity=0.4, strokeDash=[3, 3]),
            base.mark_text(fontSize=12, text="–"),
        ]
    return alt.layer(*layers)
