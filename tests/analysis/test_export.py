"""Tables and views as files."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import db
from analysis.export import export, main


def test_every_table_and_view_is_a_file_with_its_rows(plausible):
    out = export(plausible, "parquet")
    assert out == plausible / "export"
    with db.read(plausible) as con:
        for name in ("runs", "estimates", "stealth", "table1"):
            ((count,),) = con.execute(f"SELECT count(*) FROM {name}").fetchall()
            assert len(pd.read_parquet(out / f"{name}.parquet")) == count > 0
        names = con.execute("SELECT count(*) FROM duckdb_tables() WHERE NOT internal").fetchall()[0][0]
        views = con.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchall()[0][0]
    assert len(list(out.iterdir())) == names + views


def test_a_second_export_replaces_the_first_whatever_its_format(plausible):
    export(plausible, "parquet")
    out = export(plausible, "csv")
    assert {path.suffix for path in out.iterdir()} == {".csv"}
    assert list(pd.read_csv(out / "runs.csv")["attack"])
    assert [path.name for path in plausible.iterdir() if path.name.startswith(".export")] == []


def test_other_files_are_left_alone(plausible, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("precious")
    with pytest.raises(db.AnalysisError, match=r"thesis\.tex, which no export made"):
        export(plausible, "csv", tmp_path / "notes")
    assert (tmp_path / "notes" / "thesis.tex").read_text() == "precious"


def test_what_is_wrong_is_said(plausible, tmp_path, capsys):
    with pytest.raises(db.AnalysisError, match="choose one of parquet, csv"):
        export(plausible, "xlsx")
    assert main([str(tmp_path / "nowhere"), "csv"]) == 2 and "no results database" in capsys.readouterr().err
    assert main([str(plausible)]) == 2
    assert main([str(plausible), "csv", str(tmp_path / "here")]) == 0
