"""`ibray attacks show`: a picture and a table, with LPIPS where there are weights."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ibray.attacks import ATTACKS
from ibray.lpips import NO_LPIPS, SHAPES


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty current directory on a machine without weights."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("IBRAY_LPIPS_WEIGHTS", raising=False)
    return tmp_path / "here"


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_it_draws_and_measures_and_says_what_is_missing(ibray, workplace):
    words = ("--dataset", "digits16", "--attack", "badnets", "--attack", "ftrojan", "--out", "new/picture.png")
    result = ibray("attacks", "show", *words)
    assert (result.code, result.err) == (0, NO_LPIPS + "\n")
    head, *body, path = rows(result.out)
    assert head == ["attack", "preset", "images", "psnr", "(dB)", "ssim", "lpips", "does", "not", "fit"]
    expected = [[name, preset, "test"] for name in ("badnets", "ftrojan") for preset in ATTACKS[name].presets]
    assert [line[:3] for line in body] == expected
    assert 10 < float(body[0][3]) < 40 and 0.5 < float(body[0][4]) < 1 and body[0][5:] == ["-"]
    assert " ".join(body[-1][3:]) == "- - - window: 32 does not divide the sides of 16 x 16 images"
    assert path == ["new/picture.png"]
    with Image.open(workplace / "new" / "picture.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000
    assert [file.name for file in (workplace / "new").iterdir()] == ["picture.png"]


def test_weights_come_from_the_environment_too(ibray, workplace, monkeypatch):
    np.savez(workplace / "weights.npz", **{key: np.ones(shape, np.float32) for key, shape in SHAPES.items()})
    monkeypatch.setenv("IBRAY_LPIPS_WEIGHTS", "weights.npz")
    result = ibray("attacks", "show", "--dataset", "digits16", "--attack", "none")
    assert (result.code, result.err) == (0, "")
    assert rows(result.out)[1:] == [["none", "paper", "test", "-", "1.0000", "0.0000"], ["attacks-digits16.png"]]


def test_without_a_dataset_it_is_cifar10_where_that_is_cached_and_the_digits_where_not(ibray, workplace):
    images, labels = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8), np.arange(4)
    np.savez(workplace / "mine.npz", train_x=images, train_y=labels, test_x=images, test_y=labels)
    cache = ("--data-dir", workplace / "cache")
    for expected in ("digits", "cifar10"):
        result = ibray("attacks", "show", "--attack", "none", *cache)
        assert rows(result.out)[-1] == [f"attacks-{expected}.png"] and (workplace / f"attacks-{expected}.png").exists()
        ibray("data", "import", "cifar10", "mine.npz", *cache)


def test_a_place_that_cannot_be_written_is_refused(ibray, workplace):
    (workplace / "notes").touch()
    result = ibray("attacks", "show", "--dataset", "digits16", "--attack", "none", "--out", "notes/picture.png")
    assert result.code == 2 and "--out notes/picture.png: cannot be written" in result.err
    assert [file.name for file in workplace.iterdir()] == ["notes"]
