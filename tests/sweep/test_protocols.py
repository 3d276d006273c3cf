"""Several protocols, all quantities and all layers in a sweep: what they write, and that growing one adds the rest."""

from __future__ import annotations

import pytest
from rows import doubled, numbers, query

from ibray.mi.quantities import QUANTITIES
from ibray.sweep import run_sweep

DATA = {"name": "digits16", "per_class": 40, "test_per_class": 10}


@pytest.fixture
def sweep(tmp_path, data_dir):
    """Run a spec inline in a directory of this name; returns the database."""
    return lambda spec, out="out": run_sweep(spec, tmp_path / out, inline=True, data_dir=data_dir)


@pytest.fixture
def one_run(tiny):
    """badnets alone, one snapshot; keyword arguments lie over `mi`."""

    def make(**mi):
        settings = {**tiny().resolved()["mi"], "draws": 4, **mi}
        return tiny(
            dataset=DATA, attack="badnets", training={"epochs": 2, "snapshots": [2], "batch_size": 32}, mi=settings
        )

    return make


BOTH = ["paper", {"name": "certified", "max_draws": 8}]


def test_a_grown_sweep_computes_what_is_new_and_equals_a_fresh_one(sweep, one_run):
    database = sweep(one_run(protocol="paper"))
    first = query(database, "SELECT * FROM estimates ORDER BY ALL")
    grown = one_run(protocol=BOTH, quantities=list(QUANTITIES), layers="all")
    database = sweep(grown)
    assert set(first) < set(query(database, "SELECT * FROM estimates"))  # to the second: nothing was done again
    assert doubled(database) == {}
    fresh = sweep(grown, "fresh")
    assert numbers(database) == numbers(fresh)
    again = query(database, "SELECT count(*), max(seconds) FROM estimates")
    assert query(sweep(grown), "SELECT count(*), max(seconds) FROM estimates") == again


def test_what_certified_rows_say(sweep, one_run):
    database = sweep(one_run(protocol=BOTH, quantities=list(QUANTITIES)))
    rows = query(database, "SELECT DISTINCT quantity, layer, protocol, estimator FROM mi WHERE protocol <> 'paper'")
    assert set(rows) == {
        ("I(X;T)", "T", "certified", "channel"), ("I(X;T)", "T", "closed", "channel"),
        ("I(T;Yhat)", "T", "certified", "channel"),
        ("I(X;Yhat)", "output", "certified", "channel"), ("I(X;Yhat)", "output", "closed", "channel"),
        ("I(X;B)", "input", "certified", "plugin"), ("I(B;Y)", "input", "certified", "plugin"),
        ("I(B;Yhat)", "output", "certified", "channel"),
    }  # fmt: skip
    wrong = """SELECT * FROM estimates WHERE protocol <> 'paper' AND (status <> 'done' OR lower_bound IS NULL
        OR nats <> lower_bound OR upper_bound < lower_bound OR ci_low > nats OR ci_high < nats)"""
    assert query(database, wrong) == []
    # 10% of 400 images: H(0.1), and its closed form with 1/10 of the labels of each class (paper.md)
    whole = "SELECT round(nats, 4) FROM mi WHERE subset = 'whole' AND protocol = 'certified' AND quantity = '{}'"
    assert query(database, whole.format("I(X;B)")) == [(0.3251,)]
    assert query(database, whole.format("I(B;Y)")) == [(0.1936,)]
    assert query(database, "SELECT count(*) FROM tau_half") == [(8,)]  # the subsets, `whole` among them
    assert query(database, "SELECT count(*), count(DISTINCT tau) FROM noise_ladder") == [(56, 7)]
    # a bound of I(X;T) alone has no stealth score
    assert query(database, "SELECT DISTINCT protocol FROM stealth ORDER BY 1") == [("certified",), ("paper",)]


def test_all_layers(sweep, one_run):
    database = sweep(one_run(protocol="paper", layers="all"))
    layers = query(database, "SELECT layer, count(*) FROM mi GROUP BY 1 ORDER BY 1")
    assert layers == [("T", 14), ("block1", 14), ("block2", 14), ("block3", 14)]  # 7 subsets, 2 quantities
    differ = "SELECT count(DISTINCT nats) FROM mi WHERE subset = '0' AND quantity = 'I(X;T)'"
    assert query(database, differ) == [(4,)]


def test_an_estimator_that_trains_nothing(sweep, one_run):
    protocols = [{"name": "direct", "estimator": "ksg", "k": 2}, {"name": "direct", "estimator": "hsic"}]
    database = sweep(one_run(protocol=protocols))
    rows = query(database, "SELECT DISTINCT estimator, protocol, status, count(*) FROM mi GROUP BY ALL ORDER BY 1")
    assert rows == [("hsic", "direct", "done", 14), ("ksg", "direct", "done", 14)]


def test_without_noise_nothing_is_certified(sweep, one_run, tiny):
    spec = one_run(protocol={"name": "certified", "max_draws": 4})
    silent = type(spec).model_validate({**spec.resolved(), "sigma": 0.0})
    database = sweep(silent)
    rows = query(database, "SELECT DISTINCT quantity, status, nats FROM mi WHERE subset = '0' ORDER BY 1")
    assert rows == [("I(T;Yhat)", "failed", None), ("I(X;T)", "failed", None)]
    errors = query(database, "SELECT error FROM mi WHERE subset = '0' ORDER BY quantity")
    assert "singular" in errors[0][0] and "T has no noise" in errors[1][0]
