"""Every query of analysis/README.md runs, and those that a plausible sweep has rows for return some."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "analysis"))

from synthetic_results import fill_plausibly, insert, open_database  # noqa: E402

README = (ROOT / "analysis" / "README.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", README, re.S)
WITHOUT_ROWS = ("WHERE reason IS NOT NULL", "status = 'failed'")  # a sweep in which all went well has none


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme") / "results.duckdb"
    with open_database(path) as con:
        fill_plausibly(con)
        bounds = "'certified' AS protocol, 'c' AS settings, nats + 1 AS lower_bound, 9 AS upper_bound"
        con.execute(f"INSERT INTO estimates SELECT * REPLACE ({bounds}) FROM estimates WHERE protocol = 'paper'")
        con.execute("UPDATE estimates SET nats = ceiling WHERE epoch = 5 AND subset = '0'")
        about = {"run_id": "badnets-0", "epoch": 5, "subset": "0", "layer": "T", "settings": "c"}
        insert(con, "tau_half", [{**about, "tau_half": 1.5, "low": 1.2, "high": 1.9, "rms": 0.8, "n": 500, "draws": 8}])
        insert(
            con, "class_losses", [{"run_id": "badnets-0", "epoch": 5, "subset": "0", "train_loss": 0.1, "n": 500}]
        )
    return path


def test_there_are_twelve():
    assert len(QUERIES) == 12


@pytest.mark.parametrize("query", QUERIES, ids=range(1, len(QUERIES) + 1))
def test_each_runs(database, query):
    with duckdb.connect(str(database), read_only=True) as con:
        rows = con.execute(query).fetchall()
    assert bool(rows) != any(clause in query for clause in WITHOUT_ROWS)


def test_it_names_every_view(database):
    with duckdb.connect(str(database), read_only=True) as con:
        views = {name for (name,) in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}
    assert views == set(re.findall(r"^\| `(\w+)` \|", README.split("## Twelve questions")[0], re.M))
