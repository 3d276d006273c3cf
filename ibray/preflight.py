"""Everything about a grid that can be known to be wrong before a single network is trained."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from ibray.attacks import get_attack
from ibray.cell import Cell
from ibray.datasets import load_dataset
from ibray.errors import UserError
from ibray.surrogate import surrogate_cell


def check_cells(cells: Iterable[Cell], source: str, data_dir: Path | None = None) -> None:
    """Put every dataset into the cache and try every attack's parameters against it.

    Args:
        cells: the grid, or a part of it.
        source: the sweep file, for errors.
        data_dir: the dataset cache; None for the default.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    checked = set()
    for cell in cells:
        what = (repr(cell.dataset), repr(cell.attack), cell.poison_ratio, cell.target_class)
        if what not in checked:
            checked.add(what)
            try:
                _check(cell, data_dir)
            except UserError as error:
                raise UserError(f"{source}: {error}") from None


def _check(cell: Cell, data_dir: Path | None) -> None:
    choice = cell.dataset
    dataset = load_dataset(
        choice.name, data_dir=data_dir, per_class=choice.per_class, test_per_class=choice.test_per_class
    )
    attack = get_attack(cell.attack.name, **cell.attack.params)
    surrogate_cell(cell)
    try:
        attack.check(dataset.train_x.shape[1:], len(dataset.class_names), cell.target_class)
        if attack.poisons != "none":
            attack.choose(
                torch.tensor(dataset.train_y), ratio=cell.poison_ratio, target=cell.target_class, seed=0,
                num_classes=len(dataset.class_names),
            )  # fmt: skip
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"attack {cell.attack.name} on dataset {choice.name}: {error}") from None
