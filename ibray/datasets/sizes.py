"""How many images of which class a dataset has: known before it is downloaded, from its registry entry."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ibray.datasets.base import DatasetEntry
from ibray.datasets.cache import resolve_data_dir
from ibray.datasets.load import load_dataset
from ibray.datasets.registry import DATASETS
from ibray.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class DatasetSizes:
    """A dataset without its images.

    Attributes:
        image_shape: C,H,W.
        train, test: images of each class.
        exact: False where `train` is a published total, spread evenly over classes whose true sizes differ.
    """

    image_shape: tuple[int, int, int]
    train: tuple[int, ...]
    test: tuple[int, ...]
    exact: bool

    def train_labels(self) -> torch.Tensor:
        """One label per training image, sorted: int64 N."""
        import torch  # late, so that listing names is fast

        return torch.arange(len(self.train)).repeat_interleave(torch.tensor(self.train))


def dataset_sizes(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    per_class: int | None = None,
    test_per_class: int | None = None,
) -> DatasetSizes:
    """The sizes of what ``load_dataset`` would return with these arguments; downloads nothing.

    Raises UserError as ``load_dataset`` does, more images asked for than the classes can have included.
    """
    entry = DATASETS.get(name)
    if entry is not None and entry.downloads and not (resolve_data_dir(data_dir) / name).exists():
        return DatasetSizes(
            image_shape=entry.image_shape,
            train=_published(name, entry, entry.train_images, per_class, "per_class"),
            test=_published(name, entry, entry.test_images, test_per_class, "test_per_class"),
            exact=entry.balanced or per_class is not None,
        )
    images = load_dataset(name, data_dir=data_dir, per_class=per_class, test_per_class=test_per_class)
    train, test = (np.bincount(y, minlength=images.num_classes).tolist() for y in (images.train_y, images.test_y))
    return DatasetSizes(image_shape=images.image_shape, train=tuple(train), test=tuple(test), exact=True)


def _published(name: str, entry: DatasetEntry, total: int, per_class: int | None, key: str) -> tuple[int, ...]:
    classes = entry.num_classes
    each, rest = divmod(total, classes)
    if per_class is None:
        return tuple(each + (label < rest) for label in range(classes))
    if per_class > each:
        raise UserError(
            f"{key}: {per_class} images of each class asked for, but dataset '{name}' has {total} in {classes} "
            f"classes: at most {each} of each"
        )
    return (per_class,) * classes
