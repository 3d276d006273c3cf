"""What CIFAR-10 and CIFAR-100 share: torchvision downloads with progress and verifies the published checksums."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ibray.datasets.base import DatasetEntry, RawData
from ibray.datasets.download import downloading

SOURCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; through torchvision"


def cifar_entry(
    *, name: str, torchvision_name: Literal["CIFAR10", "CIFAR100"], description: str, class_names: tuple[str, ...]
) -> DatasetEntry:
    """The registry's line for one of the two."""
    return DatasetEntry(
        description=description,
        source=SOURCE,
        image_shape=(3, 32, 32),
        class_names=class_names,
        train_images=50_000,
        test_images=10_000,
        balanced=True,
        downloads=True,
        load=partial(load_cifar, name=name, torchvision_name=torchvision_name, class_names=class_names),
    )


def load_cifar(
    directory: Path,
    *,
    name: str,
    torchvision_name: Literal["CIFAR10", "CIFAR100"],
    class_names: tuple[str, ...],
) -> RawData:
    """50,000 training and 10,000 test images in published order. UserError when the download fails."""
    from ibray.compat import import_torchvision  # it imports torch: late, so that listing names is fast

    cifar = getattr(import_torchvision("datasets"), torchvision_name)
    with downloading(name):
        train = cifar(directory, train=True, download=True)
        test = cifar(directory, train=False, download=True)
    return RawData(
        train_x=train.data.transpose(0, 3, 1, 2),
        train_y=np.asarray(train.targets, dtype=np.int64),
        test_x=test.data.transpose(0, 3, 1, 2),
        test_y=np.asarray(test.targets, dtype=np.int64),
        class_names=class_names,
        source=SOURCE,
    )
