"""The page of `ibray validate`: one HTML file that opens without a network; `python -m analysis.validation DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import duckdb
import pandas as pd

from analysis.charts.style import styled
from analysis.db import AnalysisError
from analysis.page import write_page

DATABASE_NAME, PAGE_NAME = "validation.duckdb", "validation.html"
# Okabe and Ito's palette, as in charts/style.py.
VERDICT_COLOURS = {"held": "#009E73", "failed": "#D55E00", "informational": "#9a9a9a"}
LARGEST_COLOURED_BIAS = 1.0  # nats

ROWS = "SELECT *, estimator || '/' || protocol AS contender FROM validation ORDER BY rowid"
PROBLEMS = "SELECT name, description, source, truth, dims FROM problems ORDER BY rowid"
META = "SELECT key, value FROM meta"


def build_validation(directory: Path | str) -> Path:
    """Write directory/validation.html from directory/validation.duckdb; its path.

    Raises:
        AnalysisError: the directory holds no such database.
    """
    directory = Path(directory)
    source = directory / DATABASE_NAME
    if not source.is_file():
        raise AnalysisError(f"no validation database at {source}")
    try:
        with duckdb.connect(str(source), read_only=True) as con:
            rows, problems = con.execute(ROWS).df(), con.execute(PROBLEMS).df()
            meta = dict(con.execute(META).fetchall())
    except duckdb.Error as error:
        raise AnalysisError(f"cannot read {source}: {str(error).splitlines()[0]}") from error
    rows["verdict"] = rows["passed"].map(_verdict, na_action=None)
    order = {name: place for place, name in enumerate(problems["name"])}
    rows = rows.sort_values("problem", key=lambda names: names.map(order), kind="stable")
    specs = {name: chart.to_dict() for name, chart in _charts(rows).items()}
    failed = rows[rows["verdict"] == "failed"]
    return write_page(
        directory / PAGE_NAME,
        "validation.html.j2",
        specs,
        meta=meta,
        counts=rows["verdict"].value_counts().to_dict(),
        seconds=float(rows["seconds"].sum()),
        failed=[_failure(row) for _, row in failed.iterrows()],
        problems=problems.to_dict("records"),
        figures=list(specs),
    )


def _verdict(passed: object) -> str:
    if pd.isna(passed):
        return "informational"
    return "held" if passed else "failed"


def _failure(row: pd.Series) -> list[str]:
    numbers = ("-" if pd.isna(row[name]) else f"{row[name]:.4g}" for name in ("nats", "truth", "error", "limit"))
    return [row["check"], row["problem"], row["contender"], *numbers, row["detail"] or ""]


def _charts(rows: pd.DataFrame) -> dict[str, alt.TopLevelMixin]:
    """Name -> chart, those for which there are rows."""
    truths = rows[rows["check"] == "truth"]
    charts = {"Checks": checks_chart(rows)}
    gaps = rows[rows["check"] == "gap"]
    if len(gaps):
        charts = {"The paper's values beside the proven bounds": gap_chart(gaps), **charts}
    if truths["error"].notna().any():
        charts = {"Bias of each estimator on each problem": bias_chart(truths), **charts}
        charts["Estimate against truth, Gaussian samples"] = calibration_chart(truths)
    return charts


def bias_chart(truths: pd.DataFrame) -> alt.LayerChart:
    """A cell for each problem and estimator: its bias, mean over seeds, in nats; framed where it is beyond the limit.

    Args:
        truths: rows of the check `truth` with `contender` and `verdict`.
    """
    cells = truths.groupby(["problem", "contender", "truth", "dims", "verdict"], as_index=False, sort=False).agg(
        bias=("error", "mean"), nats=("nats", "mean"), limit=("limit", "first"), seeds=("seed", "nunique")
    )
    cells = cells.dropna(subset="bias")
    cells["coloured"] = cells["bias"].clip(-LARGEST_COLOURED_BIAS, LARGEST_COLOURED_BIAS)
    order = truths.drop_duplicates("problem")["problem"].tolist()
    across = alt.Axis(orient="top", labelAngle=-25)
    x = alt.X("contender:N", sort=truths["contender"].unique().tolist(), title=None, axis=across)
    y = alt.Y("problem:N", sort=order, title=None, axis=alt.Axis(labelLimit=260), scale=alt.Scale(paddingInner=0.06))
    ends = [-LARGEST_COLOURED_BIAS, 0, LARGEST_COLOURED_BIAS]
    scale = alt.Scale(domain=ends, range=["#3B8FD4", "#f4f4f2", "#E69F00"])
    tooltip = [
        "problem:N", "contender:N", "verdict:N", "seeds:Q",
        alt.Tooltip("truth:Q", format=".4f"), alt.Tooltip("nats:Q", format=".4f"),
        alt.Tooltip("bias:Q", format="+.4f"), alt.Tooltip("limit:Q", format=".2f"),
    ]  # fmt: skip
    base = alt.Chart(cells).encode(x=x, y=y)
    colour = alt.Color("coloured:Q", scale=scale, legend=alt.Legend(title="bias, nats", orient="right"))
    red, none = alt.value(VERDICT_COLOURS["failed"]), alt.value("transparent")
    frame = alt.when("datum.verdict == 'failed'").then(red).otherwise(none)
    faded = alt.when("datum.verdict == 'informational'").then(alt.value(0.45)).otherwise(alt.value(1))
    squares = base.mark_rect(strokeWidth=2.5).encode(color=colour, stroke=frame, opacity=faded, tooltip=tooltip)
    numbers = base.mark_text(fontSize=11).encode(text=alt.Text("bias:Q", format="+.2f"))
    note = ["Blue reads too little, orange too much. Framed: beyond its limit. Pale: measured, not judged."]
    return styled(
        alt.layer(squares, numbers).properties(
            width=alt.Step(92), height=alt.Step(19), title=alt.Title("Bias, nats, mean over seeds", subtitle=note)
        )
    )


def calibration_chart(truths: pd.DataFrame) -> alt.FacetChart:
    """The estimate over the truth for pairs of Gaussians, a line per number of features, a panel per estimator."""
    points = truths[truths["problem"].str.startswith("gaussian")].dropna(subset="nats")
    points = points.groupby(["contender", "dims", "truth", "problem"], as_index=False, sort=False)["nats"].mean()
    top = float(points["truth"].max()) if len(points) else 1.0
    scale = alt.Scale(domain=[0, top * 1.05])
    line = alt.Chart(points).mark_line(point=alt.OverlayMarkDef(size=40, filled=True)).encode(
        alt.X("truth:Q", title="truth, nats", scale=scale),
        alt.Y("nats:Q", title="estimate, nats", scale=scale),
        alt.Color("dims:O", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(title="features", orient="bottom")),
        tooltip=["problem:N", alt.Tooltip("truth:Q", format=".3f"), alt.Tooltip("nats:Q", format=".3f")],
    )  # fmt: skip
    diagonal = alt.Chart(points).mark_line(strokeDash=[4, 4], color="#8a8a8a", strokeWidth=1.5)
    diagonal = diagonal.encode(alt.X("truth:Q"), alt.Y("truth:Q"))
    return styled(
        alt.layer(diagonal, line)
        .properties(width=240, height=200)
        .facet(facet=alt.Facet("contender:N", title=None, sort=points["contender"].unique().tolist()), columns=3)
        .properties(title=alt.Title("Estimate against truth", subtitle=["Dashed: where they agree."]))
    )


def gap_chart(gaps: pd.DataFrame) -> alt.TopLevelMixin:
    """The paper's value and the proven bounds over the epochs, a panel per run, subset and quantity.

    Args:
        gaps: rows of the check `gap`: nats with ci_low and ci_high, and lower_bound and upper_bound of the same truth.
    """
    panels = gaps["run_id"] + ", subset " + gaps["subset"] + ", " + gaps["quantity"]
    rows = gaps.assign(panel=panels, top=gaps["upper_bound"].fillna(gaps["lower_bound"]))
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1))
    tooltip = ["panel:N", "epoch:Q", "n:Q", "detail:N"]
    proven, paper = "proven bounds", "paper, 95% over images"
    key = alt.Color(
        "series:N",
        scale=alt.Scale(domain=[proven, paper], range=["#0072B2", "#D55E00"]),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    base = alt.Chart(rows)
    bounds = base.transform_calculate(series=f"'{proven}'")
    band = bounds.mark_rule(strokeWidth=5, opacity=0.45).encode(
        x, alt.Y("lower_bound:Q", title="nats"), alt.Y2("top:Q"), key, tooltip=tooltip
    )
    floor = bounds.mark_tick(thickness=3, width=14, orient="horizontal").encode(
        x, alt.Y("lower_bound:Q"), key, tooltip=tooltip
    )
    values = base.transform_calculate(series=f"'{paper}'")
    spread = values.mark_rule().encode(x, alt.Y("ci_low:Q"), alt.Y2("ci_high:Q"), key)
    line = values.mark_line(point=True).encode(x, alt.Y("nats:Q"), key, tooltip=tooltip)
    note = ["Bars go from the bound below to the bound above; a tick alone where no bound above is known."]
    return styled(
        alt.layer(band, floor, spread, line)
        .properties(width=380, height=160)
        .facet(facet=alt.Facet("panel:N", title=None, sort=sorted(rows["panel"].unique())), columns=2)
        .properties(title=alt.Title("The paper's values and the proven bounds, nats", subtitle=note))
    )


def checks_chart(rows: pd.DataFrame) -> alt.FacetChart:
    """How many rows of each check held, failed, or only inform, a panel per estimator."""
    counts = rows.groupby(["check", "contender", "verdict"], as_index=False, sort=False).size()
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=list(VERDICT_COLOURS), range=list(VERDICT_COLOURS.values())),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    bars = alt.Chart(counts).mark_bar(height={"band": 0.7}).encode(
        alt.X("size:Q", title="rows", axis=alt.Axis(tickMinStep=1)),
        alt.Y("check:N", sort=rows["check"].unique().tolist(), title=None),
        colour,
        tooltip=["check:N", "contender:N", "verdict:N", alt.Tooltip("size:Q", title="rows")],
    )  # fmt: skip
    panels = alt.Facet("contender:N", title=None, sort=rows["contender"].unique().tolist())
    return styled(
        bars.properties(width=240, height=alt.Step(19))
        .facet(facet=panels, columns=3)
        .resolve_scale(x="independent")
        .properties(title=alt.Title("What each estimator was asked, and whether it held"))
    )


def main(arguments: list[str]) -> int:
    """The command line: one argument, the directory of a validation."""
    if len(arguments) != 1:
        print("usage: python -m analysis.validation DIR", file=sys.stderr)
        return 2
    try:
        print(build_validation(Path(arguments[0])))
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
