"""The sweep files that come with ibray: each loads, and has the cells that its header promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ibray.attacks import get_attack
from ibray.spec import load_spec

SWEEPS = Path(__file__).parents[2] / "sweeps"
FILES = sorted(path.name for path in SWEEPS.glob("*.yaml"))


def cells(name: str) -> list:
    return load_spec(SWEEPS / name).cells()


def header(name: str) -> str:
    """The comment that opens a sweep file, as one line."""
    lines = (SWEEPS / name).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.lstrip("# ") for line in lines[:first])


@pytest.mark.parametrize("name", FILES)
def test_a_sweep_file_is_named_like_its_sweep(name):
    assert load_spec(SWEEPS / name).name == Path(name).stem


@pytest.mark.parametrize("name", FILES)
def test_the_first_number_of_cells_in_the_header_is_the_grids(name):
    assert int(re.search(r"(\d+) cells", header(name))[1]) == len(cells(name))


COUNTS = {
    "quickstart.yaml": 3 * 2,
    "cifar10_cpu.yaml": 3,
    "attacks_cpu.yaml": 7 * 3,
    "full.yaml": 2 * 6 * 2 * 2 * 2,
    "table1.yaml": 14 * 3 + 2 * 3,
    "table1_seed0.yaml": 14,
    "sigma.yaml": 5 * 4,
    "poison_ratio.yaml": 4 * 4 + 1,
    "svhn.yaml": 5,
    "vgg16.yaml": 5,
    "vit.yaml": 5,
}


def test_every_sweep_file_has_as_many_cells_as_its_question_needs():
    assert {name: len(cells(name)) for name in FILES} == COUNTS


# Table I of arXiv 2511.21923: dataset, attack, ratio (of the target class for lc, of the training set for the others).
TABLE1 = [
    ("cifar10", "badnets", 0.1),
    ("cifar10", "blend", 0.1),
    ("cifar10", "wanet", 0.1),
    ("cifar10", "lc", 0.25),
    ("cifar10", "adap_blend", 0.1),
    ("cifar10", "ftrojan", 0.1),
    ("cifar10", "badnets", 0.01),
    ("cifar10", "blend", 0.01),
    ("cifar10", "wanet", 0.01),
    ("cifar10", "lc", 0.1),
    ("svhn", "badnets", 0.1),
    ("svhn", "blend", 0.1),
    ("svhn", "wanet", 0.1),
    ("svhn", "lc", 0.25),
]


MOST_TELLING = ["badnets", "blend", "wanet", "ftrojan", "adap_blend", "lc"]


def test_table1_has_the_rows_of_table_1_with_three_seeds_and_clean_networks():
    rows = [*TABLE1, ("cifar10", "none", 0.0), ("svhn", "none", 0.0)]
    found = [(cell.dataset.name, cell.attack.name, cell.poison_ratio, cell.seed) for cell in cells("table1.yaml")]
    assert sorted(found) == sorted((*row, seed) for row in rows for seed in (0, 1, 2))


def test_table1_seed0_has_the_rows_once_those_of_cifar10_at_full_ratio_first():
    found = [(cell.dataset.name, cell.attack.name, cell.poison_ratio) for cell in cells("table1_seed0.yaml")]
    assert sorted(found) == sorted(TABLE1)
    assert found[:6] == [("cifar10", name, 0.25 if name == "lc" else 0.1) for name in MOST_TELLING]
    assert {cell.run_id for cell in cells("table1_seed0.yaml")} < {cell.run_id for cell in cells("table1.yaml")}


PAPER = ["full.yaml", "table1.yaml", "table1_seed0.yaml", "sigma.yaml", "poison_ratio.yaml", "svhn.yaml", "vgg16.yaml"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_sweeps_have_its_recipe(name):
    for cell in cells(name):
        slow = cell.dataset.name == "svhn" or cell.architecture.name == "vgg16"
        training = cell.training
        assert (training.lr, training.epochs, training.batch_size) == (0.001 if slow else 0.01, 120, 256)
        assert (cell.target_class, cell.attack.params) == (0, get_attack(cell.attack.name, preset="paper").params())


@pytest.mark.parametrize("name", [*PAPER, "vit.yaml"])
def test_lc_has_ratios_of_its_own(name):
    """They are of the target class; 1% of that, a ratio of the other attacks, would be 50 images."""
    ratios = {cell.poison_ratio for cell in cells(name) if cell.attack.name == "lc"}
    assert ratios and ratios <= {0.1, 0.15, 0.2, 0.25}
