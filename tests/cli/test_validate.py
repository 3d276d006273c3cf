"""`ibray validate` as a user runs it: the quick suite, what it leaves, and its exit codes."""

from __future__ import annotations

import re
from types import SimpleNamespace

import duckdb
import numpy as np
import pytest

from analysis.db import AnalysisError
from analysis.validation import build_validation
from ibray.mi import MIEstimate
from ibray.validation import command, suite
from ibray.validation.contenders import Contender

pytestmark = pytest.mark.timeout(1200)  # a minute on a machine with nothing else to do


def query(out, sql: str) -> list[tuple]:
    with duckdb.connect(str(out / "validation.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What the quick suite leaves, run once."""
    from typer.testing import CliRunner

    from ibray.cli import app

    out = tmp_path_factory.mktemp("validation") / "quick"
    chosen = ["channel", "ksg", "plugin", "infonce/population", "infonce/paper"]  # the other critics are alike
    named = [word for name in chosen for word in ("--estimator", name)]
    result = CliRunner().invoke(app, ["validate", "--quick", *named, "--out", str(out)])
    return SimpleNamespace(code=result.exit_code, text=result.output, out=out)


def test_the_quick_suite_holds(quick):
    assert quick.code == 0, quick.text
    assert query(quick.out, "SELECT count(*) FROM validation WHERE passed")[0][0] > 40
    assert query(quick.out, "SELECT count(*) FROM validation WHERE NOT passed") == [(0,)]


def test_it_prints_values_and_counts(quick):
    assert re.search(r"^paper gaussian +2\.919 ", quick.text, re.M)
    assert re.search(r"^bracket +channel/certified +\d+ +0 +0 ", quick.text, re.M)
    assert quick.text.rstrip().endswith(str(quick.out / "validation.html"))


def test_every_check_is_in_the_database(quick):
    checks = {name for (name,) in query(quick.out, 'SELECT DISTINCT "check" FROM validation')}
    assert checks == {"truth", "bracket", "null", "rescaling", "subsample", "fano", "dpi", "coverage"}
    judged = "SELECT count(*) FROM validation WHERE protocol = 'paper' AND passed IS NOT NULL"
    assert query(quick.out, judged) == [(0,)]
    described = "SELECT count(*) FROM validation WHERE problem NOT IN (SELECT name FROM problems)"
    assert query(quick.out, described) == [(0,)]


def test_the_page_needs_no_network(quick):
    page = (quick.out / "validation.html").read_text()
    assert "Bias of each estimator" in page and "connect-src" not in page
    assert not re.search(r'(src|href)="?https?:', page)


def test_the_page_needs_a_database(tmp_path):
    with pytest.raises(AnalysisError):
        build_validation(tmp_path)


def answer(nats: float) -> Contender:
    """An estimator that says the same of everything."""

    def run(sample, seed):
        return MIEstimate(
            nats=nats, ci_low=nats, ci_high=nats, lower_bound=None, upper_bound=None, ceiling=None, n=len(sample),
            negatives=None, estimator="fake", protocol="direct", critic_epochs=None, seconds=0.0,
        )  # fmt: skip

    return Contender("fake", "direct", run)


def test_an_estimator_that_answers_0_ends_with_exit_code_1(ibray, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "contenders", lambda names, quick: [answer(0.0)])
    result = ibray("validate", "--quick", "--out", tmp_path)
    assert result.code == 1 and re.search(r"^\d+ failed:", result.out, re.M)
    failed = query(tmp_path, 'SELECT DISTINCT "check" FROM validation WHERE NOT passed')
    assert ("truth",) in failed and ("null",) not in failed


def test_ctrl_c_keeps_the_rows_there_are(ibray, tmp_path, monkeypatch):
    whole = suite.run

    def interrupted(*arguments):
        for count, row in enumerate(whole(*arguments)):
            if count == 4:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(suite, "run", interrupted)
    assert ibray("validate", "--quick", "--estimator", "plugin", "--out", tmp_path).code == 130
    assert query(tmp_path, "SELECT count(*) FROM validation") == [(4,)]


def test_samples_of_ones_own(ibray, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2))
    np.savez(tmp_path / "mine.npz", x=x, y=x[:, :1] + rng.normal(size=(500, 1)))
    result = ibray("validate", "--estimator", "ksg", "--data", tmp_path / "mine.npz", "--out", tmp_path / "out")
    assert result.code == 0
    rows = query(tmp_path / "out", 'SELECT "check", truth, passed FROM validation')
    assert sorted(rows) == [("null", 0.0, True), ("rescaling", None, True), ("subsample", None, True)]
    assert (tmp_path / "out" / "validation.html").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--estimator", "kgs"], "unknown estimator 'kgs'"),
        (["--estimator", "hsic"], "surrogate"),
        (["--estimator", "ksg/paper"], "no protocol 'paper'"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--data", "missing.npz"], "expected an .npz with the arrays x and y"),
    ],
)
def test_bad_input_is_refused_in_one_line(ibray, tmp_path, words, says):
    result = ibray("validate", "--quick", "--out", tmp_path / "out", *words)
    assert result.code == 2 and says in result.err and result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
