"""How visible triggers are, as rows of a sweep: measured on the run's own images, without weights never guessed."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest
from rich.console import Console
from rows import query

from ibray.attacks import get_attack
from ibray.datasets import load_dataset
from ibray.errors import UserError
from ibray.perceptual import measure
from ibray.snapshots import Snapshots
from ibray.sweep import Options, run_sweep, sweep

SHARED = Path(__file__).parents[3] / "shared" / "data" / "lpips_alexnet.npz"
WEIGHTS = Path(os.environ.get("IBRAY_LPIPS_WEIGHTS", SHARED))
LC = {"name": "lc", "poison_ratio": 0.5, "steps": 2}


@pytest.fixture
def run(tmp_path, data_dir):
    """Run a spec inline in this test's output directory; returns the database."""
    return lambda spec, **options: run_sweep(spec, tmp_path / "out", inline=True, data_dir=data_dir, **options)


def test_every_attacked_run_has_its_rows_and_they_are_what_its_images_say(run, tiny, tmp_path, data_dir):
    spec = tiny(attack=["none", "badnets", "adap_blend", LC])
    database = run(spec, stages=["perceptual"])
    columns = "attack, images, metric, value, ci_low, ci_high, n"
    rows = query(database, f"SELECT {columns} FROM perceptual JOIN runs USING (run_id)")
    found = {(attack, images, metric): rest for attack, images, metric, *rest in rows}
    attacks, metrics = ("badnets", "adap_blend", "lc"), ("psnr", "ssim", "lpips")
    assert found.keys() == set(product(attacks, ("test", "train"), metrics)) and len(rows) == 18

    digits = load_dataset("digits16", data_dir=data_dir, per_class=20, test_per_class=10)
    images, labels = digits.tensors("test")
    others = images[labels != 0]
    for name in attacks:
        params = {key: value for key, value in LC.items() if key == "steps"} if name == "lc" else {}
        psnr, ssim, _ = measure(others, get_attack(name, **params).trigger(others))
        assert found[name, "test", "psnr"] == pytest.approx([psnr.value, psnr.ci_low, psnr.ci_high, psnr.n], rel=1e-5)
        assert found[name, "test", "ssim"] == pytest.approx([ssim.value, ssim.ci_low, ssim.ci_high, ssim.n], rel=1e-4)
        (cell,) = (cell for cell in spec.cells() if cell.attack.name == name)
        _, data = Snapshots(tmp_path / "out", cell.run_id).load_data(data_dir)
        psnr, *_ = measure(data.clean_images[data.is_backdoor], data.images[data.is_backdoor])
        assert found[name, "train", "psnr"] == pytest.approx([psnr.value, psnr.ci_low, psnr.ci_high, psnr.n], rel=1e-5)
    assert found["adap_blend", "train", "psnr"][0] > found["adap_blend", "test", "psnr"][0] + 1  # half of it, fainter


def test_no_more_images_than_asked_for(run, tiny):
    database = run(tiny(attack="badnets", perceptual={"images": 7}), stages=["perceptual"])
    counts = "SELECT images, n FROM perceptual WHERE metric = 'ssim' ORDER BY 1"
    assert query(database, counts) == [("test", 7), ("train", 7)]


def test_without_weights_lpips_is_null_and_one_warning_says_what_to_do(tiny, tmp_path, data_dir, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-cache"))
    options = Options(data_dir=data_dir, inline=True, stages=["perceptual"])
    outcome = sweep(tiny(attack=["badnets", "blend"]), tmp_path / "out", options, Console(stderr=True))
    assert query(outcome.database, "SELECT DISTINCT value, n FROM perceptual WHERE metric = 'lpips'") == [(None, 0)]
    assert capsys.readouterr().err.count("LPIPS is left out") == 1


@pytest.mark.skipif(not WEIGHTS.exists(), reason="no AlexNet weights: IBRAY_LPIPS_WEIGHTS names the file")
def test_weights_that_come_later_are_measured_with_and_nothing_else_is_done_again(tiny, run, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-cache"))
    run(tiny(attack="badnets"), stages=["perceptual"])
    database = run(tiny(attack="badnets", perceptual={"lpips_weights": str(WEIGHTS)}), stages=["perceptual"])
    assert query(database, "SELECT count(*), count(value) FROM perceptual WHERE metric = 'lpips'") == [(2, 2)]
    stages = "SELECT stage, count(*) FROM stages GROUP BY 1 ORDER BY 1"
    assert query(database, stages) == [("perceptual", 2), ("train", 1)]


def test_a_wrong_weights_file_is_refused_before_anything_starts(run, tiny, tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"text\.npz: is not an \.npz file"):
        run(tiny(perceptual={"lpips_weights": str(tmp_path / "text.npz")}))
    assert not (tmp_path / "out").exists()


def test_named_stages_run_with_what_they_need_and_the_rest_later(run, tiny):
    spec = tiny(attack=["none", LC])
    database = run(spec, stages=["train"])
    done = "SELECT stage, count(*) FROM stages WHERE status = 'done' GROUP BY 1 ORDER BY 1"
    assert query(database, done) == [("surrogate", 1), ("train", 2)]
    finished = "SELECT max(finished) FROM stages WHERE stage = 'train'"
    before = query(database, finished)
    assert query(run(spec), done) == [("mi", 4), ("perceptual", 1), ("surrogate", 1), ("train", 2)]
    assert query(database, finished) == before
    with pytest.raises(UserError, match="unknown stage 'trian': did you mean 'train'"):
        run(spec, stages=["trian"])
