"""CIFAR-10 through torchvision, which downloads with progress and verifies the published checksums."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibray.datasets.base import DatasetEntry, RawData
from ibray.datasets.download import downloading

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SOURCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; through torchvision"


def load(directory: Path) -> RawData:
    """50,000 training and 10,000 test images in published order. UserError when the download fails."""
    from ibray.compat import import_torchvision  # it imports torch: late, so that listing names is fast

    cifar10 = import_torchvision("datasets").CIFAR10
    with downloading("cifar10"):
        train = cifar10(directory, train=True, download=True)
        test = cifar10(directory, train=False, download=True)
    return RawData(
        train_x=train.data.transpose(0, 3, 1, 2),
        train_y=np.asarray(train.targets, dtype=np.int64),
        test_x=test.data.transpose(0, 3, 1, 2),
        test_y=np.asarray(test.targets, dtype=np.int64),
        class_names=CLASS_NAMES,
        source=SOURCE,
    )


CIFAR10 = DatasetEntry(
    description="60,000 photographs of ten kinds of object; the paper's first dataset",
    source=SOURCE,
    image_shape=(3, 32, 32),
    class_names=CLASS_NAMES,
    downloads=True,
    load=load,
)
