"""One HTML file that says what a sweep found; `python -m analysis.report DIR` builds it."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd

from analysis import charts, db, queries
from analysis.configuration import configuration_part
from analysis.convert import Converter
from analysis.figures import Figure
from analysis.findings import findings
from analysis.labels import configuration_labels, duration, number, pretty_json, shared_setting
from analysis.page import write_page
from analysis.summary import STATUSES, summary
from analysis.table import Table, cell, plain_table
from analysis.trajectories import mi_rows
from analysis.triggers import EXAMPLE_IMAGES, TRIGGER, Trigger, distinct_triggers, gallery

FAILURES_SHOWN = 50
ROWS_SHOWN = 40
RUNS_SHOWN = 200
CONFIGURATIONS_DRAWN, OF_MANY_DRAWN = 24, 6
"""Configurations with a section of their own, all or the first of more: a page of hundreds would not open."""


def build_report(directory: Path | str, *, reload_seconds: int | None = None) -> Path:
    """Write `directory/report/index.html` with figures/ and tables/ beside it; its path.

    reload_seconds: how often the page loads itself again in a browser; None for never.

    Raises:
        AnalysisError: the directory holds no database that this code can read.
    """
    directory = Path(directory)
    report = directory / "report"
    with db.read(directory) as connection, Converter() as converter:
        files = _Files(report, converter)
        page = _collect(connection, files)
        ((name,),) = connection.execute("SELECT max_by(name, started) FROM sweeps").fetchall()
    files.remove_others()
    return write_page(
        report / "index.html",
        "report.html.j2",
        {figure.name: figure.spec for figure in files.figures},
        **page,
        name=name or directory.resolve().name,
        reload_seconds=reload_seconds,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


class _Files:
    """The files of figures and tables, written while the report is worked out."""

    def __init__(self, report: Path, converter: Converter):
        self.figures: list[Figure] = []
        self._folders = report / "figures", report / "tables"
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
        self._written: set[Path] = set()
        self._converter = converter

    def add(self, blocks: Iterable[Figure | Table]) -> None:
        for block in blocks:
            if isinstance(block, Figure):
                self.figures.append(block)
                self._written.update(block.export(self._converter, *self._folders))
            else:
                self._written.add(block.export(self._folders[1]))

    def remove_others(self) -> None:
        """Remove the files of an earlier report that are no longer in this one."""
        kinds = {".svg", ".png", ".pdf", ".csv"}
        for path in (path for folder in self._folders for path in folder.iterdir()):
            if path.suffix in kinds and path not in self._written:
                path.unlink()


def _collect(connection: duckdb.DuckDBPyConnection, files: _Files) -> dict:
    """Everything the template shows; figures and tables go to `files` as they are made."""

    def rows(sql: str) -> pd.DataFrame:
        return connection.execute(sql).df()

    counts = dict(rows(queries.RUN_COUNTS).itertuples(index=False))
    configurations = rows(queries.CONFIGURATIONS)
    configurations["label"] = [] if configurations.empty else configuration_labels(configurations)
    results = rows(queries.RESULTS).merge(configurations[["configuration", "label"]], on="configuration")
    scores, estimates = rows(queries.STEALTH), rows(queries.ESTIMATES)
    overview = []
    if scores["score"].notna().any():
        caption = "Stealth score (paper, Eqs. 5 and 6)"
        overview.append(Figure("stealth", caption, charts.stealth_bars(scores), scores, queries.STEALTH))
    visibility, examples_sql = rows(queries.TRIGGERS), queries.trigger_examples(EXAMPLE_IMAGES)
    triggers = gallery(distinct_triggers(configurations), visibility, rows(examples_sql))
    units = rows(queries.UNITS)
    work = charts.sweep_overview(units)
    of_work = [Figure("work", "Units of work by stage, and their time", work, units, queries.UNITS)] if work else []
    tables = {
        "results": _results_table(results),
        "scores": plain_table("stealth-per-run", scores, queries.STEALTH),
        "visibility": plain_table("triggers", visibility, queries.TRIGGERS),
        "stages": _stages_table(rows(queries.STAGES)),
        "failures": plain_table("failures", rows(queries.FAILURES), queries.FAILURES),
    }
    files.add([*overview, *of_work, *tables.values()])
    many = len(configurations) > CONFIGURATIONS_DRAWN
    drawn = configurations.head(OF_MANY_DRAWN if many else CONFIGURATIONS_DRAWN)
    sections, parts = [], []
    for _, row in drawn.iterrows():
        sections.append(configuration_part(row, estimates, triggers.get(tuple(row[TRIGGER])), rows))
        files.add(sections[-1].figures)
    for part in findings(connection, mi_rows(connection)):
        parts.append(part)
        files.add(part.blocks)
    sweeps = rows(queries.SWEEPS)
    (seeds,) = rows(queries.SEEDS)["seeds"]
    return tables | {
        "summary": summary(counts, results, scores, shared_setting(configurations)),
        "missing": _missing(counts, scores, estimates, configurations, triggers.values()),
        "overview": overview,
        "triggers": list(triggers.values()),
        "parts": parts,
        "rows_shown": ROWS_SHOWN,
        "runs_shown": RUNS_SHOWN,
        "work": of_work,
        "configurations": sections,
        "left_out": len(configurations) - len(drawn),
        "sweeps": [_sweep(row) for _, row in sweeps.iterrows()],
        "seeds": seeds if isinstance(seeds, str) else "-",
        "failures_shown": FAILURES_SHOWN,
        "examples_sql": examples_sql,
        "sources": {"Configurations": queries.CONFIGURATIONS, "Sweeps": queries.SWEEPS},
    }


def _missing(
    counts: dict[str, int],
    scores: pd.DataFrame,
    estimates: pd.DataFrame,
    configurations: pd.DataFrame,
    triggers: Collection[Trigger],
) -> list[str]:
    """What this report would show if the database held it."""
    missing = []
    if unfinished := {status: n for status, n in counts.items() if status != "done"}:
        listed = ", ".join(f"{unfinished[s]} {s}" for s in STATUSES if s in unfinished)
        missing.append(f"Runs not done: {sum(unfinished.values())} of {sum(counts.values())} ({listed}).")
    untrained = int(configurations["test_acc"].isna().sum())
    if untrained:
        missing.append(f"Configurations without a finished training: {untrained} of {len(configurations)}.")
    without = len(set(configurations["configuration"]) - set(estimates["configuration"]))
    if without:
        missing.append(f"Configurations without mutual information: {without} of {len(configurations)}.")
    if unmeasured := sum(not trigger.measured for trigger in triggers):
        missing.append(f"Triggers without PSNR, SSIM and LPIPS (stage perceptual): {unmeasured} of {len(triggers)}.")
    if unseen := sum(not trigger.strips for trigger in triggers):
        missing.append(f"Triggers without example images: {unseen} of {len(triggers)}.")
    if len(configurations) and scores["score"].isna().all():
        missing.append("No stealth score, so no chart of scores.")
    if len(configurations) and not ((configurations["attack"] == "none") & (configurations["done"] > 0)).any():
        missing.append("No finished run without an attack, so scores have no baseline to be read against.")
    return missing


def _results_table(results: pd.DataFrame) -> Table:
    several = len(results[["estimator", "protocol", "settings"]].dropna().drop_duplicates()) > 1
    header = [
        "configuration",
        "runs done",
        "test accuracy",
        "attack success",
        "S I(X;T)",
        "S I(T;Ŷ)",
        "score",
    ]
    body = []
    for _, row in results.iterrows():
        estimate = f" · {row['estimator']}, {row['protocol']}" if several and pd.notna(row["estimator"]) else ""
        body.append([
            row["label"] + estimate,
            f"{row['done']} / {row['runs']}",
            number(row["test_acc"], row["test_acc_sd"], digits=1, percent=True),
            number(row["asr"], row["asr_sd"], digits=1, percent=True),
            number(row["s_xt"]),
            number(row["s_ty"]),
            number(row["score"], row["score_sd"]),
        ])  # fmt: skip
    return Table("results", header, body, results, queries.RESULTS)


def _stages_table(stages: pd.DataFrame) -> Table:
    header = [
        "stage",
        "done",
        "failed",
        "open",
        "total time",
        "mean time",
        "peak memory, MB",
        "device",
        "host",
    ]
    body = [
        [
            row["stage"], str(row["done"]), str(row["failed"]), str(row["open"]), duration(row["seconds"]),
            duration(row["mean_seconds"]), number(row["peak_memory_mb"], digits=0),
            cell(row["devices"]), cell(row["hosts"]),
        ]
        for _, row in stages.iterrows()
    ]  # fmt: skip
    return Table("stages", header, body, stages, queries.STAGES)


def _sweep(row: pd.Series) -> dict:
    """One call of `ibray sweep`: facts as (name, value), and its file as resolved."""
    dirty = " with uncommitted changes" if row["git_dirty"] is True else ""
    code = "-" if pd.isna(row["git_sha"]) else f"{row['git_sha'][:12]}{dirty}"
    finished = "not finished" if pd.isna(row["finished"]) else f"{row['finished']:%Y-%m-%d %H:%M} UTC"
    facts = {
        "started": f"{row['started']:%Y-%m-%d %H:%M} UTC",
        "finished": finished,
        "duration": duration(row["seconds"]),
        "cells": str(row["cells"]),
        "ibray": f"{row['ibray_version']}, commit {code}",
        "host": row["host"],
        "machine": _one_line(row["machine"]),
        "versions": _one_line(row["versions"]),
    }
    return {"name": row["name"], "facts": facts, "spec": pretty_json(row["spec"])}


def _one_line(text: str) -> str:
    """A JSON object as 'key value, key value'."""
    value = json.loads(text)
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{key} {item}" for key, item in value.items() if item not in (None, [], ""))


def main(arguments: list[str]) -> int:
    """The command line: one argument, the directory of a sweep."""
    if len(arguments) != 1:
        print("usage: python -m analysis.report DIR", file=sys.stderr)
        return 2
    try:
        print(build_report(Path(arguments[0])))
    except db.AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
