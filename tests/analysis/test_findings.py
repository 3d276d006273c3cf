"""The parts of the report about the whole sweep: what they say with much, little and nothing in the database."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_results import fill_plausibly, insert, open_database, run_row

from analysis import db, findings
from analysis.findings import ablation_part, bounds_part, claims_part, sensitivity_part, table1_part, tradeoff_part
from analysis.stealth import stealth_intervals
from analysis.trajectories import mi_rows


@pytest.fixture
def several(tmp_path):
    """Three attacks and a clean baseline, two seeds, with certified bounds above the paper's values."""
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con, attacks=("none", "badnets", "blend", "wanet"))
        bounds = "'certified' AS protocol, 'channel' AS estimator, 'c' AS settings, nats + 1 AS nats, "
        bounds += "nats + 1 AS lower_bound, nats + 2 AS upper_bound, nats + 0.9 AS ci_low, nats + 2.1 AS ci_high, "
        bounds += "6.2 AS ceiling"
        con.execute(f"INSERT INTO estimates SELECT * REPLACE ({bounds}) FROM estimates WHERE protocol = 'paper'")
    return tmp_path


def words(part) -> str:
    return " ".join(part.sentences)


def test_every_part_has_its_figures_and_words(several):
    with db.read(several) as con:
        parts = {part.anchor: part for part in findings.findings(con, mi_rows(con))}
    assert list(parts) == ["claims", "table1", "sensitivity", "tradeoff", "bounds", "ablations"]
    assert "Under infonce (paper)" in words(parts["claims"]) and "Under channel (certified)" in words(parts["claims"])
    assert [table.name for table in parts["claims"].tables] == ["claims"]
    assert len(parts["table1"].figures) == 2 and "rows of ours have one in the paper" in words(parts["table1"])
    assert "median Kendall" in words(parts["sensitivity"]) and len(parts["sensitivity"].figures) == 1
    assert len(parts["tradeoff"].figures) == 2  # an estimate each
    assert "400 of 400 values of infonce (paper) lie outside" in words(parts["bounds"])
    assert {figure.name for figure in parts["bounds"].figures} == {"estimators", "gaps"}
    assert "nothing to compare" in words(parts["ablations"]) and not parts["ablations"].blocks
    names = [block.name for part in parts.values() for block in part.blocks]
    assert len(names) == len(set(names))


def test_nothing_at_all_is_said_in_words(tmp_path):
    open_database(tmp_path / "results.duckdb").close()
    with db.read(tmp_path) as con:
        parts = list(findings.findings(con, mi_rows(con)))
    assert all(part.sentences and not part.figures for part in parts)


def test_one_run_has_nothing_to_be_ranked_against(tmp_path):
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con, attacks=("badnets",), seeds=(0,))
    with db.read(tmp_path) as con:
        mi = mi_rows(con)
        assert "no ranking to compare" in words(sensitivity_part(mi))
        part = tradeoff_part(con, stealth_intervals(mi, resamples=10))
        assert "Fewer than three attacks" in words(part) and not part.blocks
        assert table1_part(stealth_intervals(mi, resamples=10)).figures  # badnets at 10 % is in the paper


def test_no_match_with_the_papers_table(tmp_path):
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con, attacks=("badnets",), seeds=(0,))
        con.execute("UPDATE runs SET dataset = 'digits16'")
    with db.read(tmp_path) as con:
        part = table1_part(stealth_intervals(mi_rows(con), resamples=10))
        assert "No runs here to test C1," in words(claims_part(con))
    assert words(part) == "No attack, dataset and ratio of the paper's Table I has a score here."


def test_two_sigmas_are_an_ablation(tmp_path):
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con, attacks=("badnets", "blend"))
        con.execute("UPDATE runs SET sigma = 0.1 WHERE seed = 1")
    with db.read(tmp_path) as con:
        part = ablation_part(con)
    assert [figure.name.split("-")[1:3] for figure in part.figures] == [["sigma", "score"], ["sigma", "mi"]]


def test_a_large_sweep_draws_what_a_page_can_carry(several, monkeypatch):
    monkeypatch.setattr(findings, "FIGURES_PER_PART", 1)
    with db.read(several) as con:
        part = tradeoff_part(con, stealth_intervals(mi_rows(con), resamples=10))
    assert len(part.figures) == 1 and "1 more are not drawn" in part.note


def test_ceilings_are_not_failures(tmp_path):
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con, attacks=("badnets",), seeds=(0,))
        con.execute("UPDATE estimates SET nats = ceiling - 0.1 WHERE epoch = 5 AND quantity = 'I(X;T)'")
        insert(con, "runs", [run_row("idle", attack="blend", status="queued")])
    with db.read(tmp_path) as con:
        part = bounds_part(con, mi_rows(con))
    assert "0 failed" in words(part) and "values lie at their estimator's ceiling" in words(part)
    table = next(table for table in part.tables if table.name == "bounds")
    assert isinstance(table.data, pd.DataFrame) and np.isfinite(table.data["worst_margin"]).all()
