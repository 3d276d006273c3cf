"""Everything about a grid that can be known to be wrong before a single network is trained."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ibray.attacks import get_attack
from ibray.cell import Cell
from ibray.datasets import available, dataset_sizes, load_dataset
from ibray.errors import UserError
from ibray.surrogate import surrogate_cell

# What attacks call a parameter that a sweep file has under another key.
_KEYS = {"ratio": "poison_ratio", "target": "target_class"}


def check_cells(cells: Iterable[Cell], source: str, data_dir: Path | None = None, *, download: bool = True) -> None:
    """Try every attack's parameters against its dataset, then put every dataset into the cache.

    What can be known from a dataset's published shape, classes and sizes is refused before anything is downloaded.

    Args:
        cells: the grid, or a part of it.
        source: the sweep file, for errors.
        data_dir: the dataset cache; None for the default.
        download: fetch the datasets that are not in the cache, and check against their images.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    distinct = {(cell.dataset, repr(cell.attack), cell.poison_ratio, cell.target_class): cell for cell in cells}
    absent = {entry.name for entry in available(data_dir) if entry.status == "downloadable"} if download else set()
    fetched = [cell for cell in distinct.values() if cell.dataset.name in absent]
    try:
        for cell in distinct.values():
            _check(cell, data_dir)
        for name in dict.fromkeys(cell.dataset.name for cell in fetched):
            load_dataset(name, data_dir=data_dir)
        for cell in fetched:
            _check(cell, data_dir)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _check(cell: Cell, data_dir: Path | None) -> None:
    choice = cell.dataset
    sizes = dataset_sizes(
        choice.name, data_dir=data_dir, per_class=choice.per_class, test_per_class=choice.test_per_class
    )
    attack = get_attack(cell.attack.name, **cell.attack.params)
    surrogate_cell(cell)
    try:
        attack.check(sizes.image_shape, len(sizes.train), cell.target_class)
        # Spread over all classes a fraction fits best where they are even: what is refused there is refused anyhow.
        if sizes.exact or len(attack.source_classes_of(len(sizes.train), cell.target_class)) == len(sizes.train):
            attack.choose(sizes.train_labels(), ratio=cell.poison_ratio, target=cell.target_class, seed=0)
    except UserError:
        raise
    except ValueError as error:
        key, colon, rest = str(error).partition(":")
        problem = f"{_KEYS.get(key, key)}{colon}{rest}"
        raise UserError(f"attack {cell.attack.name} on dataset {choice.name}: {problem}") from None
