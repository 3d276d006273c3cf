"""Two sweeps beside each other: the same configurations in both, and how far their numbers differ.

`ibray report A B`, or `python -m analysis.compare A B`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

from analysis import db
from analysis.charts.style import BAR_COLOUR, BASELINE_COLOUR, INTERVAL_COLOUR, styled
from analysis.convert import Converter
from analysis.figures import Figure
from analysis.labels import attack_label, number, setting_label
from analysis.page import write_page
from analysis.table import Table

AXES = ["dataset", "attack", "poison_ratio", "ratio_of", "target_class", "architecture", "sigma"]
ESTIMATE = ["estimator", "protocol"]
NUMBERS = {"score": "stealth score", "s_xt": "S I(X;T)", "s_ty": "S I(T;Ŷ)", "test_acc": "test accuracy", "asr": "ASR"}

# The hash of a configuration holds training settings and parameters; two sweeps are compared by what people name.
SCORES = """\
SELECT
    dataset, attack, poison_ratio, ratio_of, target_class, architecture, sigma, estimator, protocol,
    count(*) AS seeds, avg(score) AS score, stddev_samp(score) AS score_sd, avg(s_xt) AS s_xt,
    stddev_samp(s_xt) AS s_xt_sd, avg(s_ty) AS s_ty, stddev_samp(s_ty) AS s_ty_sd, avg(test_acc) AS test_acc,
    stddev_samp(test_acc) AS test_acc_sd, avg(asr) AS asr, stddev_samp(asr) AS asr_sd
FROM stealth LEFT JOIN final_epochs USING (run_id)
WHERE score IS NOT NULL
GROUP BY ALL ORDER BY ALL"""


def compare(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """One row per configuration and estimate that is in either sweep.

    Args:
        first, second: rows of `SCORES`.

    Returns:
        `AXES`, `ESTIMATE`, and for each of `NUMBERS`: NAME_a, NAME_b, NAME_difference (b less a) and NAME_error, the
        standard error of the difference where both have two seeds or more, else NaN; seeds_a, seeds_b; `found`:
        'both', 'first only' or 'second only'.
    """
    keys = [*AXES, *ESTIMATE]
    table = first.merge(second, on=keys, how="outer", suffixes=("_a", "_b"), indicator="found")
    for name in NUMBERS:
        table[f"{name}_difference"] = table[f"{name}_b"] - table[f"{name}_a"]
        variances = sum(table[f"{name}_sd_{side}"].astype(float) ** 2 / table[f"seeds_{side}"] for side in "ab")
        table[f"{name}_error"] = np.sqrt(variances.astype(float))
    table["found"] = (
        table["found"].astype(str).map({"both": "both", "left_only": "first only", "right_only": "second only"})
    )
    return table


def build_comparison(first: Path | str, second: Path | str) -> Path:
    """Write first/report/compared-with-NAME.html, with the chart and table beside it; its path.

    Raises:
        AnalysisError: a directory holds no database that this code can read, or both are the same.
    """
    directories = [Path(first), Path(second)]
    if directories[0].resolve() == directories[1].resolve():
        raise db.AnalysisError(f"{first}: the two sweeps to compare are the same")
    rows, names = [], []
    for directory in directories:
        with db.read(directory) as con:
            rows.append(con.execute(SCORES).df())
            ((name,),) = con.execute("SELECT max_by(name, started) FROM sweeps").fetchall()
        names.append(name or directory.resolve().name)
    if names[0] == names[1]:
        names = [f"{name} ({directory})" for name, directory in zip(names, directories, strict=True)]
    table = compare(*rows)
    report = directories[0] / "report"
    slug = f"compared-with-{directories[1].resolve().name}"
    figures = []
    both = table[table["found"] == "both"]
    if len(both):
        caption = f"Stealth scores of {names[0]} and {names[1]}"
        figures.append(Figure(slug, caption, score_scatter(both, names), both, SCORES))
    shown = _table(slug, table, names)
    for folder in ("figures", "tables"):
        (report / folder).mkdir(parents=True, exist_ok=True)
    with Converter() as converter:
        for figure in figures:
            figure.export(converter, report / "figures", report / "tables")
    shown.export(report / "tables")
    return write_page(
        report / f"{slug}.html",
        "compare.html.j2",
        {figure.name: figure.spec for figure in figures},
        names=names,
        directories=[str(directory) for directory in directories],
        counts=table["found"].value_counts().to_dict(),
        sentences=_sentences(both),
        figures=figures,
        table=shown,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def score_scatter(table: pd.DataFrame, names: Sequence[str]) -> alt.LayerChart:
    """The score in one sweep over the score in the other, a point per configuration and estimate, ± one sd over seeds.

    Args:
        table: rows of `compare` that both sweeps have.
        names: what the two sweeps are called.
    """
    points = table.assign(
        label=[f"{attack_label(row)} · {setting_label(row)}" for _, row in table.iterrows()],
        estimate=table["estimator"] + ", " + table["protocol"],
        **{f"{end}_{side}": table[f"score_{side}"] + sign * table[f"score_sd_{side}"]
           for side in "ab" for end, sign in (("low", -1), ("high", 1))},
    )  # fmt: skip
    top = 1.1 * float(np.nanmax(points[["score_a", "score_b", "high_a", "high_b"]].to_numpy(dtype=float)))
    scale = alt.Scale(domain=[0, top or 1.0])
    x = alt.X("score_a:Q", title=f"score in {names[0]}", scale=scale)
    y = alt.Y("score_b:Q", title=f"score in {names[1]}", scale=scale)
    ends = pd.DataFrame({"score_a": [0.0, top], "score_b": [0.0, top]})
    diagonal = alt.Chart(ends).mark_line(strokeDash=[4, 4], color=BASELINE_COLOUR).encode(x, y)
    tooltip = ["label:N", "estimate:N", *(alt.Tooltip(f"score_{side}:Q", format=".3f") for side in "ab"),
               "seeds_a:Q", "seeds_b:Q"]  # fmt: skip
    dots = alt.Chart(points).mark_point(filled=True, size=70, color=BAR_COLOUR, opacity=1).encode(
        x, y, shape=alt.Shape("estimate:N", title=None, legend=alt.Legend(orient="bottom")), tooltip=tooltip
    )  # fmt: skip
    layers = [diagonal]
    across, up = points.dropna(subset=["low_a", "high_a"]), points.dropna(subset=["low_b", "high_b"])
    if len(across):
        rule = alt.Chart(across).mark_rule(color=INTERVAL_COLOUR)
        layers.append(rule.encode(alt.X("low_a:Q", scale=scale), alt.X2("high_a:Q"), y))
    if len(up):
        rule = alt.Chart(up).mark_rule(color=INTERVAL_COLOUR)
        layers.append(rule.encode(x, alt.Y("low_b:Q", scale=scale), alt.Y2("high_b:Q")))
    note = ["A point per configuration and estimate. Dashed: where they agree. Lines: ± one sd over two seeds or more."]
    title = alt.Title("Stealth scores of two sweeps", subtitle=note)
    return styled(alt.layer(*layers, dots).properties(width=400, height=400, title=title))


def _sentences(both: pd.DataFrame) -> list[str]:
    if both.empty:
        return ["No configuration has a score in both."]
    moved = both.loc[both["score_difference"].abs().idxmax()]
    label = f"{attack_label(moved)} · {setting_label(moved)} ({moved['estimator']}, {moved['protocol']})"
    sentences = [f"The score moves most for {label}: by {number(moved['score_difference'], moved['score_error'])}."]
    sure = both[both["score_difference"].abs() > 2 * both["score_error"]]
    known = int(both["score_error"].notna().sum())
    if known:
        sentences.append(f"{len(sure)} of {known} scores differ by more than two standard errors.")
    if known < len(both):
        sentences.append(f"{len(both) - known} have a single seed somewhere, so nobody knows whether they differ.")
    return sentences


def _table(name: str, table: pd.DataFrame, names: Sequence[str]) -> Table:
    header = ["configuration", "estimate", "seeds"]
    header += [f"{title}, {which}" for title in NUMBERS.values() for which in (*names, "difference")]
    body = []
    for _, row in table.iterrows():
        seeds = "/".join("-" if pd.isna(row[f"seeds_{side}"]) else f"{row[f'seeds_{side}']:.0f}" for side in "ab")
        cells = [f"{attack_label(row)} · {setting_label(row)}", f"{row['estimator']}, {row['protocol']}", seeds]
        for key in NUMBERS:
            cells += [number(row[f"{key}_{side}"], row[f"{key}_sd_{side}"]) for side in "ab"]
            cells.append(number(row[f"{key}_difference"], row[f"{key}_error"]))
        body.append(cells)
    return Table(name, header, body, table, SCORES)


def main(arguments: list[str]) -> int:
    """The command line: the directories of two sweeps."""
    if len(arguments) != 2:
        print("usage: python -m analysis.compare DIR DIR", file=sys.stderr)
        return 2
    try:
        print(build_comparison(*arguments))
    except db.AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
