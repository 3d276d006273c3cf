"""`ibray validate DIR`: the checks on a finished sweep's own snapshots."""

from __future__ import annotations

import duckdb
import pytest
from typer.testing import CliRunner

from ibray.cli import app
from ibray.errors import UserError
from ibray.spec import parse_spec
from ibray.sweep import run_sweep
from ibray.validation.snapshots import check_snapshots

CERTIFIED = {"name": "certified", "max_draws": 8}


@pytest.fixture(scope="module")
def swept(tmp_path_factory, data_dir):
    """A sweep of one run with two snapshots under the paper's recipe and proven bounds."""
    critic = {"batch": 16, "negatives": 16, "hidden": 16, "max_epochs": 3, "report_last": 2}
    spec = parse_spec(
        {
            "name": "tiny",
            "dataset": {"name": "digits16", "per_class": 40, "test_per_class": 10},
            "attack": "badnets",
            "architecture": {"name": "resnet10_8", "width": 4},
            "training": {"epochs": 3, "snapshots": [1, 3], "batch_size": 32, "lr": 0.05},
            "mi": {"protocol": ["paper", CERTIFIED], "ixt": critic, "ity": critic},
        },
        "tiny.yaml",
    )
    out = tmp_path_factory.mktemp("swept") / "out"
    run_sweep(spec, out, inline=True, data_dir=data_dir)
    return out


def rows_of(out, data_dir, *, quick):
    told: list[str] = []
    return list(check_snapshots(out, data_dir, quick, told.append)), told


def test_quick_looks_at_the_last_snapshot_and_trains_nothing(swept, data_dir):
    rows, told = rows_of(swept, data_dir, quick=True)
    assert {row.epoch for row in rows} == {3} and {text.split("subset ")[1] for text in told} == {"0", "1", "whole"}
    checks = {row.check for row in rows}
    assert checks == {"gap", "null", "rescaling", "dpi", "fano"}
    assert [row for row in rows if row.passed is False] == []
    nulls = [row for row in rows if row.check == "null"]
    assert len(nulls) == 9 and all(row.nats <= 0.05 and row.truth == 0 for row in nulls)
    gaps = [row for row in rows if row.check == "gap"]
    assert all(row.protocol == "paper" and row.passed is None and row.lower_bound is not None for row in gaps)
    assert {row.quantity for row in gaps} == {"I(X;T)", "I(T;Yhat)"}


def test_all_of_it_compares_with_trained_critics(swept, data_dir):
    rows, _ = rows_of(swept, data_dir, quick=False)
    assert {row.epoch for row in rows} == {1, 3}
    dominance = [row for row in rows if row.check == "dominance"]
    assert len(dominance) == 6 and all(row.passed for row in dominance)
    trained = {(row.protocol, row.passed) for row in rows if row.check == "null" and row.estimator == "infonce"}
    assert ("paper", None) in trained and ("population", True) in trained


def test_the_command_leaves_a_database_and_a_page(swept, data_dir, tmp_path):
    arguments = ["validate", str(swept), "--quick", "--data-dir", str(data_dir), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with duckdb.connect(str(tmp_path / "validation.duckdb"), read_only=True) as con:
        assert con.execute("SELECT value FROM meta WHERE key = 'suite'").fetchall() == [("snapshots",)]
        (found,) = con.execute("SELECT count(*) FROM validation WHERE epoch = 3 AND run_id IS NOT NULL").fetchall()
    assert found[0] > 20
    assert "What holds on the snapshots" in (tmp_path / "validation.html").read_text(encoding="utf-8")


def test_what_cannot_be_checked_is_said(swept, data_dir, tmp_path):
    with pytest.raises(UserError, match=r"there is no results\.duckdb"):
        rows_of(tmp_path, data_dir, quick=True)
    with pytest.raises(UserError, match="are not for the snapshots of a sweep"):
        CliRunner().invoke(app, ["validate", str(swept), "--estimator", "ksg"], catch_exceptions=False)
