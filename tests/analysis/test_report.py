"""The report of whole, partial, empty and failed databases, as files and in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from synthetic_results import fill_plausibly, insert, mi_row, open_database, run_row

from analysis import charts
from analysis.charts.style import CLEAN_CLASS_GREYS, ROLE_COLOURS
from analysis.db import AnalysisError
from analysis.report import build_report, main
from analysis.trajectories import mi_rows

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Appended to a copy of the page. It notes what the browser fetched, which chart containers are empty, and how
# many lines of a figure keep their colour once an entry of its legend is clicked: one in each of two panels.
PROBE = """<script>
drawing.then(async () => {
  const fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
  document.body.dataset.fetched = fetched.filter((name) => !/^(data|blob):/.test(name)).join(" ");
  document.body.dataset.empty = containers.filter((c) => !c.querySelector("svg, canvas")).length;
  document.body.dataset.overflow = document.documentElement.scrollWidth > innerWidth;
  const chart = containers.find((c) => c.dataset.figure.startsWith("trajectories-badnets"));
  const entry = chart.querySelectorAll(".role-legend-label text")[1];
  for (const kind of ["pointerdown", "mousedown", "pointerup", "mouseup", "click"])
    entry.dispatchEvent(new MouseEvent(kind, { bubbles: true, view: window }));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const lines = [...chart.querySelectorAll(".mark-line path")];
  document.body.dataset.picked = lines.filter((line) => (line.getAttribute("opacity") ?? "1") === "1").length;
});
</script></body>"""


def browse(page: Path, scratch: Path, width: int = 1280) -> tuple[dict[str, str], list[str]]:
    """Data attributes of <body> once all charts are drawn and the probe has run, and the console's complaints."""
    probed = scratch / "probed.html"
    before, after = page.read_text(encoding="utf-8").rsplit("</body>", 1)  # the viewer's code holds others
    probed.write_text(before + PROBE + after, encoding="utf-8")
    return browse_plainly(probed, scratch, width)


def browse_plainly(page: Path, scratch: Path, width: int = 1280) -> tuple[dict[str, str], list[str]]:
    """Data attributes of <body> once all charts are drawn, and the console's complaints."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={scratch / 'profile'}",
        "--enable-logging=stderr", "--v=0",
        f"--window-size={width},900",
        "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    body = re.search(r"<body([^>]*)>", done.stdout).group(1)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body)), console


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> Path:
    """A directory with the report of six finished runs."""
    directory = tmp_path_factory.mktemp("reported")
    with open_database(directory / "results.duckdb") as con:
        fill_plausibly(con)
    build_report(directory)
    return directory


@pytest.fixture
def small(tmp_path) -> Path:
    """A directory whose database holds one seed of two attacks."""
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con, attacks=("badnets", "blend"), seeds=(0,))
    return tmp_path


def page_of(directory: Path) -> str:
    return build_report(directory).read_text(encoding="utf-8")


def test_the_page_stands_alone_and_is_small(reported):
    page = (reported / "report" / "index.html").read_text(encoding="utf-8")
    assert len(page) < 6e6
    assert page.count("</script>") == 3
    # Outside of the viewer's own code nothing points to another host.
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#|figures/|tables/)[^\"]*", markup)
    assert not re.findall(r"url\(|@import", markup)
    assert page.count("data:image/png;base64,") == 2 * 3 * 4


def test_every_figure_and_table_is_a_file(reported):
    page = (reported / "report" / "index.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="((?:figures|tables)/[^"]+)"', page))
    figures = {Path(name).stem for name in linked if name.startswith("figures/")}
    assert {f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png", "pdf")} <= linked
    kinds = Counter(name.split("-")[0] for name in figures)
    of_the_sweep = dict.fromkeys(("stealth", "table1", "tradeoff", "work"), 1)
    assert kinds == of_the_sweep | dict.fromkeys(("learning", "trajectories", "plane", "classes"), 3)
    for name in linked:
        assert (reported / "report" / name).stat().st_size > 0
    assert not list((reported / "report").glob("*.tmp"))


def test_the_sql_shown_gives_the_rows_of_the_figure(reported):
    page = (reported / "report" / "index.html").read_text(encoding="utf-8")
    name = re.search(r'data-figure="(trajectories-blend[^"]+)"', page).group(1)
    sql = re.search(rf"tables/{re.escape(name)}\.csv.*?<pre>(.*?)</pre>", page, re.DOTALL).group(1)
    with duckdb.connect(reported / "results.duckdb", read_only=True) as con:
        rows = con.execute(sql.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")).df()
    assert len(rows) == len(pd.read_csv(reported / "report" / "tables" / f"{name}.csv")) == 2 * 4 * 7 * 2


def test_the_summary_is_made_of_the_numbers(reported):
    page = (reported / "report" / "index.html").read_text(encoding="utf-8")
    with duckdb.connect(reported / "results.duckdb", read_only=True) as con:
        sql = "SELECT attack, score FROM table1 WHERE attack <> 'none' ORDER BY score"
        (best, lowest), (worst, highest) = con.execute(sql).fetchall()
    assert re.search(r"6 runs in 3 configurations \([^)]+ · σ 0\.4\): 6 done\.", page)
    assert re.search(f"stealthiest attack is {best} .*? score of {lowest:.3f}", page)
    assert re.search(f"least stealthy is {worst} .*? with {highest:.3f}", page)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on this machine")
@pytest.mark.parametrize("width", [1280, 500])  # a headless window is never narrower than 500
def test_in_a_browser_every_chart_is_drawn_without_complaint_or_network(reported, tmp_path, width):
    body, console = browse(reported / "report" / "index.html", tmp_path, width)
    assert console == []
    assert body == {"drawn": "16", "fetched": "", "empty": "0", "overflow": "false", "picked": "2"}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on this machine")
def test_one_seed_without_intervals_and_hostile_text_draw_without_complaint(tmp_path):
    evil = "</script><script>console.error('broken')</script>\" onload='x'"
    with open_database(tmp_path / "results.duckdb") as con:
        fill_plausibly(con, attacks=("badnets", "blend"), seeds=(0,))
        con.execute("UPDATE runs SET dataset = $1, architecture = $1", [evil])
        con.execute("UPDATE estimates SET protocol = $1, ci_low = NULL, ci_high = NULL, ceiling = NULL", [evil])
        con.execute("UPDATE examples SET label = $1", [evil])
        con.execute("UPDATE runs SET attack_params = $1", [json.dumps({"pattern": evil})])
        con.execute("DELETE FROM estimates WHERE run_id = 'blend-0' AND quantity = 'I(T;Yhat)'")
        insert(con, "runs", [run_row("failed", status="failed", error=evil)])
    body, console = browse(build_report(tmp_path), tmp_path)
    assert console == []
    assert (int(body["drawn"]) >= 8, body["empty"]) == (True, "0")


def test_an_empty_database_says_so(tmp_path):
    open_database(tmp_path / "results.duckdb").close()
    page = page_of(tmp_path)
    assert "holds no runs yet" in page and "No sweep has been recorded" in page


def test_a_partial_database_shows_what_there_is_and_names_the_rest(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        con.execute("UPDATE runs SET status = 'running' WHERE attack = 'blend'")
        con.execute("DELETE FROM estimates WHERE run_id = 'blend-1' OR (run_id = 'blend-0' AND epoch > 5)")
        con.execute("DELETE FROM estimates WHERE run_id LIKE 'none%'")
        con.execute("UPDATE runs SET status = 'queued' WHERE attack = 'none'")
        con.execute("DELETE FROM epochs WHERE run_id LIKE 'none%'")
    page = page_of(plausible)
    assert re.search(r"6 runs in 3 configurations \([^)]+\): 2 done, 2 running, 2 queued\.", page)
    assert "Runs not done: 4 of 6 (2 running, 2 queued)." in page
    assert "run status: running (1)" in page
    assert "Configurations without a finished training: 1 of 3." in page
    assert "Configurations without mutual information: 1 of 3." in page
    assert "scores have no baseline" in page
    assert page.count('data-figure="trajectories-') == 2 and 'data-figure="stealth"' in page


def test_more_epochs_than_a_page_can_carry_are_thinned_and_that_is_said(tmp_path):
    epochs, subsets = 600, [str(subset) for subset in range(10)]
    with open_database(tmp_path / "results.duckdb") as con:
        insert(con, "runs", [run_row("long")])
        losses = [(epoch, subset) for epoch in range(1, epochs + 1) for subset in subsets]
        insert(con, "class_losses", [
            {"run_id": "long", "epoch": epoch, "subset": subset, "train_loss": 1 / epoch, "n": 5}
            for epoch, subset in losses
        ])  # fmt: skip
    page = page_of(tmp_path)
    assert re.search(r"500 of 600 epochs are drawn, the CSV has all\.", page)
    (csv,) = (tmp_path / "report" / "tables").glob("losses-*.csv")
    assert len(pd.read_csv(csv)) == len(losses)


def test_failures_are_listed_with_their_messages(tmp_path):
    with open_database(tmp_path / "results.duckdb") as con:
        insert(con, "runs", [run_row(f"r{i}", status="failed", error="CUDA out of memory") for i in range(2)])
        insert(con, "stages", [
            {"run_id": "r0", "stage": "train", "unit": 0, "settings": "s", "status": "failed", "attempts": 3,
             "seconds": 2.0, "error": "CUDA out of memory in layer <4>"}
        ])  # fmt: skip
        insert(con, "estimates", [mi_row("r1", 5, "0", "I(X;T)", None, status="failed", error="no images")])
    page = page_of(tmp_path)
    assert re.search(r"2 runs in 1 configuration \([^)]+\): 2 failed\.", page)
    assert "CUDA out of memory in layer &lt;4&gt;" in page
    assert "I(X;T) of 0 at epoch 5" in page and "no images" in page
    assert "No training has finished" in page and "No run has a stealth score yet." in page


def test_a_second_report_replaces_the_first(small):
    build_report(small)
    with duckdb.connect(small / "results.duckdb") as con:
        con.execute("DELETE FROM runs WHERE attack = 'blend'")
    assert main([str(small)]) == 0
    assert list((small / "report").glob("*/*badnets*"))
    assert not list((small / "report").glob("*/*blend*"))


def test_the_command_line_says_what_is_wrong(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: no results database at {tmp_path / 'results.duckdb'}\n"
    assert main([]) == 2
    with pytest.raises(AnalysisError):
        build_report(tmp_path)


def test_bands_are_over_seeds_only_from_two_seeds_on(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        rows = mi_rows(con).query("attack == 'badnets'")
    two = charts.trajectories(rows).to_dict()
    one = charts.trajectories(rows[rows["seed"] == 0]).to_dict()
    bare = charts.trajectories(rows[rows["seed"] == 0].assign(ci_low=None, ci_high=None)).to_dict()
    assert "standard deviation over seeds" in two["title"]["subtitle"][0]
    assert "interval over images" in one["title"]["subtitle"][0]
    assert "no interval" in bare["title"]["subtitle"][0]
    point = rows.query("subset == '0' and epoch == 5 and quantity == 'I(X;T)'")["nats"]
    (drawn,) = [
        row for data in two["datasets"].values() for row in data
        if row.get("line") == "0 all" and row["epoch"] == 5 and row["quantity"] == "I(X;T)"
    ]  # fmt: skip
    assert drawn["nats"] == pytest.approx(point.mean())
    assert drawn["high"] - drawn["nats"] == pytest.approx(point.std())


def test_colours_follow_the_role_whatever_the_target(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        rows = mi_rows(con).query("attack == 'badnets'")
    moved = rows.assign(
        target_class=5,
        subset=rows["subset"].where(rows["role"] == "clean class", "5" + rows["subset"].str[1:]),
    )
    for frame, target in ((rows, 0), (moved, 5)):
        scale = charts.trajectories(frame).to_dict()["hconcat"][0]["layer"][-1]["encoding"]["color"]["scale"]
        colours = dict(zip(scale["domain"], scale["range"], strict=True))
        assert colours[f"{target} backdoor"] == ROLE_COLOURS["backdoor"]
        assert colours["class 1"] == CLEAN_CLASS_GREYS[0]
