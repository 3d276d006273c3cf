"""The report's gallery of triggers: what it says is what the database holds, and what lacks is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from synthetic_results import example_rows, insert, open_database, perceptual_rows, run_row

from analysis.labels import trigger_labels
from analysis.queries import trigger_examples
from analysis.report import build_report


def shown(directory: Path) -> tuple[str, dict[str, list]]:
    """The report's page, and by the label of each trigger in it its rows of cells (value, small print)."""
    edit(directory, "DELETE FROM epochs", "DELETE FROM estimates")  # figures that no test here looks at take seconds
    page = build_report(directory).read_text(encoding="utf-8")
    gallery = page.split('id="triggers"')[1].split("</section>")[0]
    triggers = {}
    for text in gallery.split('class="trigger"')[1:]:
        rows = text.split("<tr>")[2:]
        label = re.search("<h3>(.*?)</h3>", text).group(1)
        triggers[label] = [re.findall(r"<td>([^<]*)(?:<small>([^<]*)</small>)?</td>", row) for row in rows]
    return page, triggers


def edit(directory: Path, *statements: str) -> None:
    with duckdb.connect(directory / "results.duckdb") as con:
        for statement in statements:
            con.execute(statement)


def test_the_numbers_are_those_of_the_view(plausible):
    _, triggers = shown(plausible)
    with duckdb.connect(plausible / "results.duckdb") as con:
        rows = con.execute("SELECT * FROM triggers ORDER BY images").df()
    assert list(triggers) == ["badnets", "blend"] and len(rows) == 4
    for label, (test, train) in triggers.items():
        _, trained = rows[rows["attack"] == label].itertuples()
        # Both seeds see the same test images, so their values agree and the interval is over images.
        assert test == [
            ("test", "500 images, 2 runs"), ("25.00", "24.75 to 25.25"), ("0.9800", "0.9702 to 0.9898"), ("-", "")
        ]  # fmt: skip
        assert train == [
            ("train", "500 images, 2 runs"),
            (f"{trained.psnr:.2f}", f"± {trained.psnr_sd:.2f}"),
            (f"{trained.ssim:.4f}", f"± {trained.ssim_sd:.4f}"),
            ("-", ""),
        ]
        assert (trained.n, trained.runs, np.isnan(trained.lpips)) == (500, 2, True)


def test_the_csv_holds_what_the_sql_shown_gives(plausible):
    page, _ = shown(plausible)
    sql = page.split("tables/triggers.csv")[1].split("<pre>")[1].split("</pre>")[0].split(";")[0]
    with duckdb.connect(plausible / "results.duckdb") as con:
        rows = con.execute(sql.replace("&#39;", "'")).df()
    assert len(rows) == 2 * 2 * 3
    csv = pd.read_csv(plausible / "report" / "tables" / "triggers.csv")
    pd.testing.assert_frame_equal(rows, csv, check_dtype=False)


def test_runs_that_differ_in_anything_else_share_a_trigger(plausible):
    rng = np.random.default_rng(1)
    with duckdb.connect(plausible / "results.duckdb") as con:
        others = [{"architecture": "vgg16"}, {"sigma": 0.1}, {"poison_ratio": 0.01}, {"seed": 2}]
        for number, other in enumerate([*others, {"attack_params": '{"alpha": 0.1}'}]):
            insert(con, "runs", [run_row(f"r{number}", attack="blend", **other)])
            insert(con, "perceptual", perceptual_rows(f"r{number}", rng))
    page, triggers = shown(plausible)
    assert {label: rows[0][0] for label, rows in triggers.items()} == {
        "badnets": ("test", "500 images, 2 runs"),
        "blend": ("test", "500 images, 6 runs"),
        "blend · alpha 0.1": ("test", "500 images, 1 run"),
    }
    assert re.findall('id="trigger-(.)"', page) == ["1", "2", "3"]
    # Every configuration points to the row of its trigger.
    for label, configurations in {"badnets": 1, "blend": 4, "blend · alpha 0.1": 1}.items():
        (anchor,) = re.findall(rf'id="(trigger-.)">\s*<h3>{label}</h3>', page)
        assert page.count(f'<a href="#{anchor}">{label}</a>') == configurations


def test_one_run_has_the_interval_over_images_or_none(plausible):
    edit(
        plausible,
        "DELETE FROM runs WHERE seed = 1",
        "UPDATE perceptual SET value = 30, ci_low = 29, ci_high = 31, n = 1 WHERE metric = 'psnr'",
        "UPDATE perceptual SET ci_low = NULL, ci_high = NULL WHERE metric = 'ssim'",
    )
    _, triggers = shown(plausible)
    for _, psnr, ssim, _ in triggers["badnets"]:
        assert psnr == ("30.00", "29.00 to 31.00")
        assert ssim[1] == ""


def test_runs_that_differ_by_rounding_agree(plausible):
    edit(plausible, "UPDATE perceptual SET value = value + 1e-6 WHERE run_id LIKE '%-1' AND images = 'test'")
    _, triggers = shown(plausible)
    assert triggers["blend"][0][1] == ("25.00", "24.75 to 25.25")


def test_a_mean_is_over_the_runs_that_have_a_value(plausible):
    edit(plausible, "UPDATE perceptual SET value = 0.25 WHERE run_id = 'blend-1' AND metric = 'lpips'")
    _, triggers = shown(plausible)
    assert [row[3] for row in triggers["blend"]] == [("0.2500", "")] * 2
    lpips = pd.read_csv(plausible / "report" / "tables" / "triggers.csv").query("metric == 'lpips'")
    assert lpips.groupby("attack")["runs"].unique().to_dict() == {"badnets": [0], "blend": [1]}


def test_without_numbers_the_images_stay_and_the_rest_is_named(plausible):
    edit(plausible, "DELETE FROM perceptual", "DELETE FROM examples WHERE run_id LIKE 'blend%'")
    page, triggers = shown(plausible)
    assert triggers == {"badnets": [], "blend": []}
    assert page.count("Not measured yet.") == 2 and page.count("No images yet.") == 1
    assert "Triggers without PSNR, SSIM and LPIPS (stage perceptual): 2 of 2." in page
    assert "Triggers without example images: 1 of 2." in page
    assert page.count("data:image/png;base64,") == 3 * 4


def test_a_sweep_without_attacks_has_no_trigger(plausible):
    edit(plausible, "DELETE FROM runs WHERE attack <> 'none'")
    page, triggers = shown(plausible)
    assert triggers == {} and "Triggers without" not in page


def test_examples_are_of_one_run_and_of_the_same_images_where_possible(tmp_path):
    rng = np.random.default_rng(0)
    first = {"badnets-0": 0, "badnets-1": 100, "blend-1": 100}  # image of each run
    with open_database(tmp_path / "results.duckdb") as con:
        for run_id, image in first.items():
            attack, seed = run_id.split("-")
            insert(con, "runs", [run_row(run_id, attack=attack, seed=int(seed))])
            rows = example_rows(run_id, rng)
            insert(con, "examples", [row | {"image": row["image"] + image} for row in rows])
        chosen = con.execute(trigger_examples(3)).df()
        # With nothing in common it is the lowest seed, then the largest ratio.
        con.execute("DELETE FROM runs WHERE attack = 'blend'")
        alone = con.execute(trigger_examples(3)).df()
        con.execute("UPDATE runs SET seed = 0, poison_ratio = if(run_id = 'badnets-1', 0.5, 0.1)")
        largest = con.execute(trigger_examples(3)).df()
    assert chosen["run_id"].unique().tolist() == ["badnets-1", "blend-1"]
    for _, rows in chosen.groupby("run_id"):
        assert rows["image"].tolist() == [100] * 3 + [107] * 3 + [114] * 3
    assert alone["run_id"].unique().tolist() == ["badnets-0"]
    assert largest["run_id"].unique().tolist() == ["badnets-1"]


def test_a_label_names_what_tells_a_trigger_from_others_of_its_attack():
    rows = [
        ("cifar10", "badnets", {"size": 3, "colour": [1.0, 0.0, 0.0], "corner": "top-left"}),
        ("cifar10", "badnets", {"size": 3, "colour": "checkerboard", "corner": "top-left"}),
        ("cifar10", "wanet", {"k": 4}),
    ]
    triggers = pd.DataFrame(rows, columns=["dataset", "attack", "attack_params"])
    triggers["attack_params"] = triggers["attack_params"].map(json.dumps)
    labels = ["badnets · colour [1.0, 0.0, 0.0]", "badnets · colour checkerboard", "wanet"]
    assert trigger_labels(triggers).tolist() == labels
    triggers.loc[1, "dataset"] = "svhn"
    assert trigger_labels(triggers).tolist() == [f"{a} · {b}" for a, b in zip(labels, triggers["dataset"], strict=True)]
