"""Two sweeps compared, as a table by hand and as a page in a browser."""

from __future__ import annotations

import shutil

import duckdb
import numpy as np
import pandas as pd
import pytest
from synthetic_results import fill_plausibly, open_database
from test_report import CHROMIUM, browse_plainly

from analysis.compare import AXES, ESTIMATE, NUMBERS, build_comparison, compare, main
from analysis.db import AnalysisError


def scores(**changes) -> pd.DataFrame:
    axes = {"dataset": "cifar10", "attack": "badnets", "poison_ratio": 0.1, "ratio_of": "train_set", "target_class": 0,
            "architecture": "resnet18", "sigma": 0.4, "estimator": "infonce", "protocol": "paper"}  # fmt: skip
    numbers = {name: value for key in NUMBERS for name, value in ((key, 0.5), (f"{key}_sd", 0.02))}
    return pd.DataFrame([{**axes, "seeds": 4, **numbers, **changes}])


@pytest.fixture
def two(tmp_path):
    """Two sweep directories, the second without blend and with other numbers."""
    directories = []
    for name, attacks in (("first", ("none", "badnets", "blend")), ("second", ("none", "badnets"))):
        (tmp_path / name).mkdir()
        with open_database(tmp_path / name / "results.duckdb") as con:
            fill_plausibly(con, attacks=attacks)
            con.execute("UPDATE sweeps SET name = $1", [name])
            if name == "second":
                con.execute("UPDATE estimates SET nats = nats * 2 WHERE subset = '0_backdoor'")
        directories.append(tmp_path / name)
    return directories


def test_differences_and_their_errors_by_hand():
    """Means 0.5 and 0.6 of 4 seeds each, sd 0.02 and 0.04: error sqrt(0.0004 / 4 + 0.0016 / 4) = 0.02236."""
    (row,) = compare(scores(), scores(score=0.6, score_sd=0.04)).to_dict("records")
    assert row["found"] == "both" and row["score_difference"] == pytest.approx(0.1)
    assert row["score_error"] == pytest.approx(0.0223607, abs=1e-6)


def test_one_seed_has_no_error_and_other_axes_no_partner():
    one = compare(scores(), scores(seeds=1, score_sd=np.nan))
    assert np.isnan(one["score_error"]).all() and one["score_difference"].notna().all()
    apart = compare(scores(), scores(sigma=0.1))
    assert sorted(apart["found"]) == ["first only", "second only"] and apart["score_difference"].isna().all()
    assert {*AXES, *ESTIMATE} <= set(apart.columns)


def test_the_page_says_what_moved(two):
    page = build_comparison(*two)
    assert page == two[0] / "report" / "compared-with-second.html"
    text = page.read_text(encoding="utf-8")
    assert "2 pairs of configuration and estimate have a score in both" in text and "1 in first only" in text
    assert "The score moves most for badnets 10 %" in text
    table = pd.read_csv(two[0] / "report" / "tables" / "compared-with-second.csv")
    assert sorted(table["found"]) == ["both", "both", "first only"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on this machine")
def test_it_draws_without_complaint(two, tmp_path):
    body, console = browse_plainly(build_comparison(*two), tmp_path)
    assert console == [] and body["drawn"] == "1"


def test_nothing_in_common_and_the_same_twice(two, capsys):
    with duckdb.connect(str(two[1] / "results.duckdb")) as con:
        con.execute("UPDATE runs SET sigma = 0.1")
    assert "No configuration has a score in both." in build_comparison(*two).read_text(encoding="utf-8")
    with pytest.raises(AnalysisError, match="are the same"):
        build_comparison(two[0], two[0])
    shutil.rmtree(two[1])
    assert main([str(two[0]), str(two[1])]) == 2 and "no results database" in capsys.readouterr().err
