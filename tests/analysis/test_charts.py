"""Every chart on synthetic rows: a valid spec with all rows, a bound legend, honest intervals, an SVG, a browser."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
import synthetic_rows as rows
import vl_convert
from test_report import CHROMIUM, browse

from analysis import charts
from analysis.charts.style import CLEAN_CLASS_GREYS, ROLE_COLOURS
from analysis.charts.tradeoff import spread
from analysis.figures import VEGA_LITE, Figure
from analysis.page import write_page
from analysis.table import Table
from analysis.trajectories import against_certified

LAYERS = ("block1", "block2", "T", "output")
# name -> (chart of the rows, rows of those seeds); charts that know no seeds ignore the argument
CHARTS = {
    "trajectories-badnets": (lambda r: charts.trajectories(r, rows.PHASES), rows.mi),
    "trajectories-certified": (charts.trajectories, lambda *s: rows.mi(*s, protocol="certified")),
    "plane": (charts.information_plane, rows.mi),
    "plane-layers": (charts.information_plane, lambda *s: rows.mi(*s, layers=LAYERS)),
    "classes": (charts.class_panels, rows.mi),
    "table1": (charts.table1_heatmap, lambda *s: rows.paper_table()),
    "tradeoff": (charts.tradeoff_scatter, lambda *s: rows.tradeoff()),
    "tsne": (charts.tsne_panels, lambda *s: rows.embedding()),
    "ablation-sigma": (lambda r: charts.ablation(r, "sigma"), rows.scores),
    "ablation-ratio": (
        lambda r: charts.ablation(r, "poison_ratio"),
        lambda *s: rows.scores(*s).query("sigma == 0.4"),
    ),
    "ablation-mi-sigma": (lambda r: charts.ablation_mi(r, "sigma"), rows.ablated_mi),
    "ablation-mi-ratio": (
        lambda r: charts.ablation_mi(r, "poison_ratio"),
        lambda *s: rows.ablated_mi(*s).query("sigma == 0.4"),
    ),
    "estimators": (charts.estimator_comparison, rows.both_protocols),
    "gaps": (charts.gap_over_epochs, rows.both_protocols),
    "losses": (charts.class_losses, rows.losses),
    "overview": (charts.sweep_overview, lambda *s: rows.stages()),
    "ladder": (charts.noise_ladder, rows.ladder),
    "tau-half": (charts.tau_half, rows.halves),
    "sensitivity": (charts.sensitivity, lambda *s: rows.rankings()),
}
OVER_SEEDS = (
    "trajectories-badnets", "classes", "ablation-sigma", "ablation-ratio", "ablation-mi-sigma", "gaps", "losses",
    "ladder", "tau-half",
)  # fmt: skip
NO_LEGEND = ("table1", "sensitivity")  # a gradient; nothing to tell apart by colour


@cache
def drawn(name: str, *seeds) -> alt.TopLevelMixin:
    chart, data = CHARTS[name]
    return chart(data(*seeds))


@cache
def spec_of(name: str, *seeds) -> dict:
    return drawn(name, *seeds).to_dict()


def parts(spec: dict) -> list[dict]:
    """The spec and all views in it."""
    inner = [view for key in ("concat", "hconcat", "layer") for view in spec.get(key, [])]
    return [spec, *(part for view in inner for part in parts(view))]


def marks(spec: dict, kind: str) -> list[dict]:
    return [p for p in parts(spec) if isinstance(p.get("mark"), dict) and p["mark"]["type"] == kind]


def data_of(spec: dict, part: dict) -> list[dict]:
    """The rows of a layer, whether named there or on a view that holds it."""
    for outer in reversed(parts(spec)):
        if part in parts(outer) and "data" in outer:
            return spec["datasets"][outer["data"]["name"]]
    raise AssertionError("a mark without data")


@pytest.mark.parametrize("name", CHARTS)
def test_it_is_a_valid_chart_with_a_bound_legend_and_no_empty_layer(name):
    spec = spec_of(name)
    assert all(len(data) for data in spec["datasets"].values())
    bound = [p for p in spec.get("params", []) if p.get("bind") == "legend"]
    assert len(bound) == (name not in NO_LEGEND)
    assert isinstance(spec["title"]["subtitle"], list)
    assert all(p["width"] <= 420 for p in parts(spec) if isinstance(p.get("width"), int))
    titles = [
        encoding["title"] for p in parts(spec) for channel, encoding in p.get("encoding", {}).items()
        if channel in ("x", "y") and encoding.get("title")
    ]  # fmt: skip
    assert titles or name == "table1"
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    assert svg.count("<path") > 10 and "NaN" not in svg and "undefined" not in svg


@pytest.mark.parametrize("name", CHARTS)
def test_it_is_drawn_from_one_seed_and_not_at_all_from_no_rows(name):
    chart, data = CHARTS[name]
    assert "<path" in vl_convert.vegalite_to_svg(spec_of(name, (0,)), vl_version=VEGA_LITE)
    assert chart(data().iloc[:0]) is None


@pytest.mark.parametrize("name", OVER_SEEDS)
def test_one_seed_has_no_band(name):
    chart, data = CHARTS[name]
    missing = dict.fromkeys(("ci_low", "ci_high", "low", "high", "standard_error"))
    assert marks(chart(data((0, 1))).to_dict(), "area")
    single = data((0,)).assign(**missing)
    if name == "gaps":  # over runs
        single = single[single["run_id"] == single["run_id"].iloc[0]]
    spec = chart(single).to_dict()
    assert not marks(spec, "area")
    said = spec["title"]["subtitle"][0]
    assert "One seed, no interval" in said or "One run, no interval" in said


def test_every_row_is_a_mark():
    def points(name: str) -> int:
        spec = spec_of(name)
        return sum(len(data_of(spec, mark)) for mark in marks(spec, "point"))

    lines = len(rows.EPOCHS) * len(rows.SUBSETS)
    assert points("trajectories-badnets") == points("classes") == 2 * lines  # the missing one has other seeds
    assert points("plane") == lines and points("plane-layers") == 4 * lines
    assert points("tsne") == len(rows.embedding()) - 1
    assert points("ladder") == 3 * len(rows.SUBSETS) * 7
    assert points("tau-half") == lines and points("losses") == 40 * 5
    assert points("ablation-sigma") == 3 * 3 * (1 + 3 * 3)
    assert points("ablation-ratio") == 3 * 3 * 3
    assert points("ablation-mi-sigma") == 4 * 2 * 5
    assert points("estimators") == 3 * 2 * lines - 1
    assert points("gaps") == 2 * len(rows.EPOCHS) * 5
    assert points("tradeoff") == 5 * 6 - 1
    assert points("sensitivity") == 24
    heat = spec_of("table1")
    assert sum(len(data_of(heat, mark)) for mark in marks(heat, "rect")) == 2 * 5 * 3
    bars = spec_of("overview")
    counts = data_of(bars, marks(bars, "bar")[0])
    assert sum(row["cells"] for row in counts) == len(rows.stages())


def test_bands_of_proven_bounds_reach_from_one_to_the_other():
    data = rows.mi((0,), protocol="certified")
    spec = charts.trajectories(data).to_dict()
    assert "from the proven lower to the proven upper bound" in spec["title"]["subtitle"][0]
    row = data.query("subset == '1' and epoch == 5 and quantity == 'I(X;T)'").iloc[0]
    (point,) = [
        d for d in data_of(spec, marks(spec, "area")[0])
        if (d["subset"], d["epoch"], d["quantity"]) == ("1", 5, "I(X;T)")
    ]  # fmt: skip
    assert (point["low"], point["high"]) == pytest.approx((row["lower_bound"], row["upper_bound"]))


def test_phases_tile_the_axis_and_one_that_was_not_found_is_left_out():
    found = rows.PHASES.assign(first=[1, 10, None, 80], last=[5, 10, None, 120])
    spec = charts.trajectories(rows.mi(), found).to_dict()
    spans = data_of(spec, marks(spec, "rect")[0])
    assert [s["phase"] for s in spans] == ["early learning", "transition", "convergence"]
    assert spans[0]["from"] == 1 and spans[-1]["to"] == 120
    assert all(a["to"] == b["from"] for a, b in pairwise(spans))
    assert 5 < spans[0]["to"] < 10 and all(s["from"] < s["to"] for s in spans)
    none = found.assign(first=None, last=None)
    assert not marks(charts.trajectories(rows.mi(), none).to_dict(), "rect")


def test_the_whole_set_is_no_line_of_class_wise_figures():
    for name in ("trajectories-badnets", "classes", "plane"):
        spec = spec_of(name)
        assert not [row for data in spec["datasets"].values() for row in data if row.get("subset") == "whole"]


def test_roles_have_the_same_colour_in_every_figure():
    by_role = ("trajectories-badnets", "plane", "tsne", "estimators", "gaps", "ladder", "losses", "ablation-mi-sigma")
    for name in by_role:
        scales = [p["encoding"]["color"]["scale"] for p in marks(spec_of(name), "point")]
        colours = dict(zip(scales[0]["domain"], scales[0]["range"], strict=True))
        backdoor = next(colour for line, colour in colours.items() if "backdoor" in line)
        assert backdoor == ROLE_COLOURS["backdoor"], name
        if "class 1" in colours:
            assert colours["class 1"] == CLEAN_CLASS_GREYS[0]
    assert len({str(scale) for scale in scales}) == 1


def test_the_gap_is_the_estimate_less_the_highest_lower_bound():
    data = pd.DataFrame({
        "run_id": "r", "epoch": 1, "subset": ["0", "0", "0", "1"], "quantity": "I(X;T)", "layer": "T",
        "protocol": ["paper", "certified", "certified", "paper"], "nats": [3.0, 1.0, 2.0, 5.0],
        "lower_bound": [None, 1.0, 2.0, None], "upper_bound": [None, 4.0, 3.5, None],
    })  # fmt: skip
    (pair,) = against_certified(data).to_dict("records")
    assert (pair["certified"], pair["certified_upper"], pair["gap"]) == (2.0, 3.5, 1.0)


def test_labels_that_would_overlap_are_moved_apart():
    values = pd.Series([0.5, 0.51, 0.52, 0.9], index=[3, 1, 2, 0])
    moved = spread(values, 0.1)
    assert moved[[3, 1, 2]].tolist() == pytest.approx([0.41, 0.51, 0.61]) and moved[0] == 0.9
    assert spread(pd.Series([1.0, 1.0, 0.0]), 0.5).tolist() == [0.75, 1.25, 0.0]


def test_infinite_and_missing_values_leave_no_trace():
    data = rows.mi()
    data.loc[data["epoch"] == 5, "nats"] = np.inf
    spec = charts.trajectories(data).to_dict()
    assert {row["epoch"] for row in data_of(spec, marks(spec, "point")[0])} == set(rows.EPOCHS) - {5}
    assert charts.class_panels(data.assign(nats=np.nan)) is None
    assert charts.estimator_comparison(rows.mi()) is None and charts.gap_over_epochs(rows.mi()) is None
    assert charts.tradeoff_scatter(rows.tradeoff().assign(score=None)) is None
    unmeasured = charts.tradeoff_scatter(rows.tradeoff().assign(lpips=None)).to_dict()
    assert "Not measured: lpips." in unmeasured["title"]["subtitle"]


def gallery(path: Path) -> Path:
    """The report's own page with every chart and nothing else."""
    figures = [Figure(name, name, drawn(name), pd.DataFrame(), "SELECT") for name in CHARTS]
    empty = Table("none", [], [], pd.DataFrame(), "SELECT")
    tables = dict.fromkeys(("results", "scores", "visibility", "stages", "failures"), empty)
    specs = {figure.name: figure.spec for figure in figures}
    return write_page(path, "report.html.j2", specs, **tables, overview=figures, sources={}, configurations=[])


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on this machine")
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser_every_chart_is_drawn_fits_and_has_a_legend_that_picks(tmp_path, width):
    body, console = browse(gallery(tmp_path / "gallery.html"), tmp_path, width)
    assert console == []
    assert body == {"drawn": str(len(CHARTS)), "fetched": "", "empty": "0", "overflow": "false", "picked": "2"}
