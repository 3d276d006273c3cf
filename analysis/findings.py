"""The parts of the report that are about the whole sweep: Table I, claims, sensitivity, trade-off, bounds, ablations.

Each function returns a `Part`, with what it lacks in words where there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import duckdb
import numpy as np
import pandas as pd

from analysis import charts
from analysis.bounds import SQL as BOUNDS_SQL
from analysis.bounds import bounds, bounds_summary
from analysis.claims import SUPPORTED, claims
from analysis.figures import Figure
from analysis.labels import count, number, setting_label, slug
from analysis.sensitivity import OPTIONS, moves_by_option, sensitivity
from analysis.stealth import stealth_intervals
from analysis.table import Table, plain_table
from analysis.table1 import KEYS, table1, table1_agreement
from analysis.tradeoff import SQL as TRADEOFF_SQL
from analysis.tradeoff import rank_correlations, tradeoff
from analysis.trajectories import against_certified

T = TypeVar("T")

MI_SQL = "SELECT * FROM trajectories"
LAST_SQL = """
SELECT * FROM trajectories WHERE layer = 'T' AND quantity = 'I(X;T)' AND isfinite(nats)
QUALIFY epoch = max(epoch) OVER (PARTITION BY run_id, estimator, protocol, settings)""".lstrip()
SETTING = ["dataset", "architecture", "sigma", "target_class"]
ESTIMATE = ["estimator", "protocol", "settings"]
RESAMPLED_SERIES = 400_000
"""Resamples of the scores' intervals times runs and estimates: at most 1000 of each."""
SENSITIVITY_SERIES = 400
"""Runs times estimates beyond which the choice of clean classes is not among the options that are combined."""
FIGURES_PER_PART = 8
POINTS_DRAWN = 6_000


@dataclass(frozen=True)
class Part:
    """One section of the report.

    Attributes:
        anchor, title: where it is, and its heading.
        sentences: what it says, made of the numbers.
        blocks: figures and tables, in order.
        note: how to read it.
    """

    anchor: str
    title: str
    sentences: list[str] = field(default_factory=list)
    blocks: list[Figure | Table] = field(default_factory=list)
    note: str = ""

    @property
    def figures(self) -> list[Figure]:
        return [block for block in self.blocks if isinstance(block, Figure)]

    @property
    def tables(self) -> list[Table]:
        return [block for block in self.blocks if isinstance(block, Table)]


def findings(connection: duckdb.DuckDBPyConnection, mi: pd.DataFrame) -> Iterator[Part]:
    """Every part, in the order of the page, each as soon as it is known. mi: all rows of the view `trajectories`."""
    series = len(mi[["run_id", *ESTIMATE]].drop_duplicates())
    # A large sweep has less to say about each of its rows: the report stays a matter of seconds.
    resamples = int(np.clip(RESAMPLED_SERIES // max(1, series), 50, 1000))
    yield claims_part(connection)
    intervals = stealth_intervals(mi, resamples=resamples)
    yield table1_part(intervals)
    yield sensitivity_part(mi, clean_classes=None if series <= SENSITIVITY_SERIES else [None])
    yield tradeoff_part(connection, intervals)
    yield bounds_part(connection, mi)
    yield ablation_part(connection)


def claims_part(connection: duckdb.DuckDBPyConnection) -> Part:
    """Which of the paper's findings hold, under which estimate."""
    rows = claims(connection)
    sentences = []
    for (estimator, protocol), verdicts in rows[rows["seeds"] > 0].groupby(["estimator", "protocol"])["verdict"]:
        counts = verdicts.value_counts()
        told = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in (SUPPORTED, "contradicted", "undecided"))
        sentences.append(f"Under {estimator} ({protocol}): {told}.")
    untested = sorted(set(rows["claim"]) - set(rows.loc[rows["seeds"] > 0, "claim"]), key=lambda c: int(c[1:]))
    if untested:
        sentences.append(f"No runs here to test {', '.join(untested)}.")
    tested = rows[rows["seeds"] > 0].assign(estimate=lambda r: [_estimate_label(row) for _, row in r.iterrows()])
    setting = _only(tested["setting"])
    estimates = sorted(tested["estimate"].unique())
    # The verdicts first: on a phone the rest scrolls.
    header = ["claim", "what the paper found", *estimates, "seeds"]
    body = []
    for _, same in tested.groupby(["claim", "setting"], sort=False, dropna=False):
        first = same.iloc[0]
        cells = {row["estimate"]: _verdict(row) for _, row in same.iterrows()}
        told = "" if setting else f" [{first['setting']}]"
        body.append([f"{first['claim']} ({first['source']})", first["statement"] + told,
                     *(cells.get(estimate, "-") for estimate in estimates), str(first["seeds"])])  # fmt: skip
    if setting:
        sentences.append(f"Judged on {setting}.")
    note = (
        "A finding is a list of conditions on numbers of the database. It is supported if the 95 % interval of every "
        "one lies above 0, contradicted if one lies below, else undecided; the effect shown is that of the most "
        "contrary condition. The predicates, the rows they used and what limits each verdict are in the CSV."
    )
    table = Table("claims", header, body, rows, "-- analysis/claims.py, from the views trajectories, stealth, triggers")
    return Part("claims", "Which of the paper's findings hold here", sentences, [table] if body else [], note)


def _estimate_label(row: pd.Series) -> str:
    return "-" if row["estimator"] is None else f"{row['estimator']}, {row['protocol']}"


def _only(values: pd.Series) -> str | None:
    """The value that all have in common, None where they differ or are missing."""
    distinct = values.unique()
    return distinct[0] if len(distinct) == 1 and isinstance(distinct[0], str) else None


def _verdict(row: pd.Series) -> str:
    """'contradicted: -1.87 nats [-2.01, -1.73]'; an end that proven bounds leave open is none."""
    if pd.isna(row["effect"]):
        return row["verdict"]
    ends = row[["ci_low", "ci_high"]].astype(float)
    low, high = ("…" if np.isinf(end) else f"{end:.3g}" for end in ends)
    interval = "" if ends.isna().any() else f" [{low}, {high}]"
    return f"{row['verdict']}: {row['effect']:.3g} {row['unit'] or ''}".rstrip() + interval


def table1_part(intervals: pd.DataFrame) -> Part:
    """Our scores beside the paper's Table I, and how far the rankings agree."""
    table = table1(intervals)
    both = table[table["score"].notna() & table["paper_score"].notna()]
    if both.empty:
        return Part("table1", "Table I", ["No attack, dataset and ratio of the paper's Table I has a score here."])
    blocks: list[Figure | Table] = []
    keys = [key for key in ("architecture", "sigma", "target_class", *ESTIMATE) if key in table]
    note = (
        "The paper trains ResNet-18 on all images for 120 epochs; scores of smaller runs need not agree in height. "
        "Rank agreement: 1 is the same order, 0 none. Its interval is over our scores' own intervals."
    )
    matched = [
        (key, rows)
        for key, rows in table.groupby(keys, sort=True, dropna=False)
        if (rows["score"].notna() & rows["paper_score"].notna()).any()
    ]
    drawn, note = _drawn(matched, note)
    for key, rows in drawn:
        named = dict(zip(keys, key, strict=True))
        told = f"{named['architecture']}, σ {named['sigma']:g}, {named['estimator']}, {named['protocol']}"
        chart = charts.table1_heatmap(rows)
        name = f"table1-{slug(told)}-{named['settings'][:8]}"
        blocks.append(Figure(name, f"Table I, ours and the paper's: {told}", chart, rows, MI_SQL))
    agreement = table1_agreement(table)
    agreement = agreement[agreement["n"] > 0]
    header = ["estimate", "dataset", "statistic", "value", "95 % interval", "rows", "why there is none"]
    body = [
        [f"{row['estimator']}, {row['protocol']}, {row['architecture']}, σ {row['sigma']:g}", row["dataset"],
         row["statistic"], number(row["value"]), f"{number(row['low'])} to {number(row['high'])}", str(row["n"]),
         row["reason"] or ""]
        for _, row in agreement.iterrows()
    ]  # fmt: skip
    blocks.append(Table("table1-agreement", header, body, agreement, MI_SQL))
    matched_rows = len(both.drop_duplicates([*KEYS, *(key for key in keys if key not in ESTIMATE)]))
    told = f"{count(matched_rows, 'row')} of ours {'has' if matched_rows == 1 else 'have'} one in the paper."
    return Part("table1", "Table I", [told], blocks, note)


def sensitivity_part(mi: pd.DataFrame, clean_classes: list | None = None) -> Part:
    """How far the ranking of attacks moves with the choices that the paper leaves open.

    clean_classes: as for `analysis.sensitivity.sensitivity`.
    """
    rows = sensitivity(mi, clean_classes=clean_classes)
    compared = rows[rows["tau"].notna()]
    if compared.empty:
        reasons = rows["reason"].dropna().unique() if len(rows) else []
        why = f": {'; '.join(reasons[:3])}" if len(reasons) else ""
        return Part("sensitivity", "How much the choices matter", [f"There is no ranking to compare{why}."])
    moves = moves_by_option(rows)
    share = float((compared["tau"] < 0.5).mean())
    same = compared.merge(
        rows.loc[rows["is_default"], [*SETTING, "stealthiest"]], on=SETTING, suffixes=("", "_default")
    )
    agree = same["stealthiest"] == same["stealthiest_default"]
    sentences = [
        f"{count(len(compared), 'combination')} of options: the median Kendall τ with the default ranking is "
        f"{compared['tau'].median():.2f}, and {100 * share:.0f} % are below 0.5.",
        f"The stealthiest attack is the default's in {100 * agree.mean():.0f} % of them.",
    ]
    blocks: list[Figure | Table] = []
    note = (
        "Every combination of normalisation, epochs, subsets, clean classes and estimate ranks the attacks anew. A "
        "score whose ranking moves with a choice that nobody has argued for is not evidence."
    )
    drawn, note = _drawn(compared.groupby(SETTING), note)
    for panel, here in drawn:
        label = setting_label(dict(zip(SETTING, panel, strict=True)))
        long = pd.concat(
            [here.assign(option=f"{name}: " + here[name].astype(str), detail=_options_text(here)) for name in OPTIONS
             if name != "settings" and here[name].nunique(dropna=False) > 1]
            or [here.assign(option="as it is", detail=_options_text(here))]
        )  # fmt: skip
        medians = long.groupby("option", as_index=False)["tau"].agg(
            tau="median", low=lambda tau: tau.quantile(0.1), high=lambda tau: tau.quantile(0.9)
        )
        chart = charts.sensitivity(medians)
        caption = f"Rank agreement with the default, by option: {label} (dot: median, line: middle 80 %)"
        blocks.append(Figure(f"sensitivity-{slug(label)}", caption, chart, here, MI_SQL))
    blocks.append(plain_table("sensitivity-by-option", moves, MI_SQL))
    return Part("sensitivity", "How much the choices matter", sentences, blocks, note)


def _drawn(groups: Iterable[T], note: str = "") -> tuple[list[T], str]:
    """The first groups, of which a page can carry figures, and the note with the number of the others."""
    groups = list(groups)
    left_out = len(groups) - FIGURES_PER_PART
    more = f" {left_out} more are not drawn: their numbers are in the database." if left_out > 0 else ""
    return groups[:FIGURES_PER_PART], note + more


def _options_text(rows: pd.DataFrame) -> pd.Series:
    shown = [name for name in OPTIONS if name != "settings"]
    return rows[shown].astype(str).agg(", ".join, axis=1)


def tradeoff_part(connection: duckdb.DuckDBPyConnection, intervals: pd.DataFrame) -> Part:
    """Stealth in the network against stealth to the eye, attack success and accuracy."""
    rows = tradeoff(connection)
    rows = rows[rows["score"].notna()]
    title = "Seen by the eye, seen in the network"
    if rows.empty:
        return Part("tradeoff", title, ["No attack has a score."])
    ends = intervals[["configuration", *ESTIMATE, "score_low", "score_high"]]
    rows = rows.merge(ends, on=["configuration", *ESTIMATE], how="left")
    blocks: list[Figure | Table] = []
    note = "A lower score is stealthier in the network; so is a lower LPIPS to the eye, or a higher PSNR or SSIM."
    several = [group for group in rows.groupby([*SETTING, *ESTIMATE]) if len(group[1]) > 1]
    drawn, note = _drawn(several, note)
    for key, here in drawn:
        named = dict(zip([*SETTING, *ESTIMATE], key, strict=True))
        chart = charts.tradeoff_scatter(here)
        if chart is not None:
            told = f"{setting_label(named)} · {named['estimator']}, {named['protocol']}"
            name = f"tradeoff-{slug(told)}-{named['settings'][:8]}"
            blocks.append(Figure(name, f"Stealth score against visibility: {told}", chart, here, TRADEOFF_SQL))
    correlations = rank_correlations(rows)
    known = correlations[correlations["correlation"].notna()]
    by = [*SETTING, "level", *ESTIMATE, "metric", "n"]
    where = [f"{setting_label(row)} · {row['level']} ratio" for _, row in known.iterrows()]
    several_settings = len(set(where)) > 1
    header = [*["setting"] * several_settings, "estimate", "metric", "Spearman's ρ", "Kendall's τ", "attacks"]
    body = []
    for _, same in known.assign(where=where).groupby(by, sort=False):
        first, of = same.iloc[0], same.set_index("method")
        values = [_with_interval(of.loc[method]) if method in of.index else "-" for method in ("spearman", "kendall")]
        body.append([*[first["where"]] * several_settings, _estimate_label(first),
                     first["metric"], *values, str(first["n"])])  # fmt: skip
    sentences = []
    if known.empty:
        sentences.append("Fewer than three attacks share a setting, so there is no rank correlation.")
    for _, row in known[(known["metric"] == "lpips") & (known["method"] == "spearman")].iterrows():
        sure = row["ci_low"] > 0 or row["ci_high"] < 0
        sentences.append(
            f"{row['estimator']} ({row['protocol']}), {row['level']} ratio: Spearman's correlation of score and LPIPS "
            f"is {row['correlation']:.2f}{'' if sure else ', with an interval that holds 0'}."
        )
    blocks += [Table("tradeoff-correlations", header, body, correlations, TRADEOFF_SQL)] if body else []
    return Part("tradeoff", title, sentences, blocks, note)


def _with_interval(row: pd.Series) -> str:
    return f"{number(row['correlation'])} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def bounds_part(connection: duckdb.DuckDBPyConnection, mi: pd.DataFrame) -> Part:
    """What must hold whatever the truth is, and how far the paper's estimates lie from what is proven."""
    title = "Against proven bounds"
    table = bounds_summary(connection)
    if table.empty:
        return Part("bounds", title, ["No estimate is there to check."])
    failed = bounds(connection, only_failed=True)
    saturated, failed = failed[failed["check"] == "ceiling"], failed[failed["check"] != "ceiling"]
    checks = table.loc[table["check"] != "ceiling", ["passed", "failed", "unknown"]].to_numpy().sum()
    values = table.loc[table["check"] == "ceiling", ["passed", "failed"]].to_numpy().sum()
    sentences = [
        f"{count(int(checks), 'check')}, of which {len(failed)} failed.",
        f"{len(saturated)} of {values} values lie at their estimator's ceiling: they say “at least this much”.",
    ]
    for _, row in table[table["check"] == "certified_interval"].iterrows():
        sentences.append(
            f"{row['failed']} of {row['passed'] + row['failed']} values of {row['estimator']} ({row['protocol']}) lie "
            "outside what is proven of the same quantity."
        )
    blocks: list[Figure | Table] = []
    shown = _some_runs(mi)
    for name, caption, draw in (
        ("estimators", "Estimates beside the proven lower bound", charts.estimator_comparison),
        ("gaps", "How far estimates lie from the proven lower bound, over epochs", charts.gap_over_epochs),
    ):
        chart = draw(shown)
        if chart is not None:
            told = f"{caption}, {shown['run_id'].nunique()} of {mi['run_id'].nunique()} runs"
            pairs = against_certified(shown[shown["layer"] == "T"])
            blocks.append(Figure(name, caption if shown is mi else told, chart, pairs, MI_SQL))
    blocks.append(plain_table("bounds", table, BOUNDS_SQL))
    others = failed[failed["check"] != "certified_interval"]  # the figures show these
    if len(others):
        header = ["check", "run", "epoch", "subset", "estimate", "quantity", "should not exceed", "by"]
        body = [
            [row["check"], row["run_id"], str(row["epoch"]), row["subset"], _estimate_label(row),
             row["quantity"], f"{row['low_name']} {row['low']:.3f}, {row['high_name']} {row['high']:.3f}",
             number(-row["margin"])]
            for _, row in others.iterrows()
        ]  # fmt: skip
        blocks.append(Table("bounds-failed", header, body, failed, BOUNDS_SQL))
    note = (
        "Each check compares two numbers, of which the first should not exceed the second by more than 1.96 standard "
        "errors: entropies, Fano, data processing, ceilings, and the certified interval of the same run, epoch, subset "
        "and quantity."
    )
    return Part("bounds", title, sentences, blocks, note)


def _some_runs(mi: pd.DataFrame) -> pd.DataFrame:
    """All rows, or those of runs drawn at random until there are as many as a chart of single points can hold."""
    if len(mi) <= POINTS_DRAWN:
        return mi
    sizes = mi.groupby("run_id").size().sample(frac=1, random_state=0)
    return mi[mi["run_id"].isin(sizes.index[sizes.cumsum() <= POINTS_DRAWN])]


def ablation_part(connection: duckdb.DuckDBPyConnection) -> Part:
    """Scores and information over sigma and over the poison ratio, where there are several."""
    scores = connection.execute("SELECT * FROM stealth").df()
    blocks: list[Figure | Table] = []
    words = {"sigma": "noise", "poison_ratio": "poison ratio"}
    last = connection.execute(LAST_SQL).df()
    drawn, note = _drawn((axis, named) for axis in words for named in _ablations(scores, axis))
    for axis, named in drawn:
        told = [named["dataset"], named["architecture"], f"{named['estimator']}, {named['protocol']}"]
        label = " · ".join([*told, *([f"σ {named['sigma']:g}"] if "sigma" in named else [])])
        score_rows, mi_rows = (_where(rows, named) for rows in (scores, last))
        for kind, chart, data, sql in (
            ("score", charts.ablation(score_rows, axis), score_rows, "SELECT * FROM stealth"),
            ("mi", charts.ablation_mi(mi_rows, axis), mi_rows, LAST_SQL),
        ):
            if chart is not None:
                what = "Stealth score" if kind == "score" else "Information at the last snapshot"
                name = f"ablation-{axis}-{kind}-{slug(label)}"
                blocks.append(Figure(name, f"{what} over the {words[axis]}: {label}", chart, data, sql))
    sentences = [] if blocks else ["One sigma and one poison ratio per attack, so there is nothing to compare."]
    return Part("ablations", "Noise and poison ratio", sentences, blocks, note)


def _ablations(scores: pd.DataFrame, axis: str) -> Iterator[dict]:
    """The settings and estimates in which some attack has several values of the axis."""
    fixed = ["dataset", "architecture", *(["sigma"] if axis == "poison_ratio" else []), *ESTIMATE]
    poisoned = scores[scores["attack"] != "none"]
    for key, rows in poisoned.groupby(fixed):
        if rows.groupby("attack")[axis].nunique().max() > 1:
            yield dict(zip(fixed, key, strict=True))


def _where(rows: pd.DataFrame, named: dict) -> pd.DataFrame:
    return rows[np.logical_and.reduce([rows[name] == value for name, value in named.items()])]
