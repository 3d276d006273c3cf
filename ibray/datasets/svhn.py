"""SVHN (cropped digits) through torchvision, its training set balanced as the paper does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibray.datasets.base import DatasetEntry, RawData
from ibray.datasets.download import downloading

PER_CLASS = 4_000  # "the first 4,000 training images of each class" (arXiv 2511.21923, experimental setting)
CLASS_NAMES = tuple(str(digit) for digit in range(10))
SOURCE = "Netzer et al., Reading Digits in Natural Images, 2011; through torchvision"


def load(directory: Path) -> RawData:
    """40,000 training images (the first 4,000 of each class, in file order) and all 26,032 test images.

    The files label the digit 0 as 10; torchvision turns that into 0. Raises UserError when the download
    fails.
    """
    from ibray.compat import import_torchvision  # it imports torch: late, so that listing names is fast

    svhn = import_torchvision("datasets").SVHN
    with downloading("svhn"):
        train = svhn(directory, split="train", download=True)
        test = svhn(directory, split="test", download=True)
    keep = np.sort(np.concatenate([np.flatnonzero(train.labels == c)[:PER_CLASS] for c in range(10)]))
    return RawData(
        train_x=train.data[keep],
        train_y=train.labels[keep],
        test_x=test.data,
        test_y=test.labels,
        class_names=CLASS_NAMES,
        source=SOURCE,
    )


SVHN = DatasetEntry(
    description="house numbers, the first 4,000 training images of each digit; the paper's second dataset",
    source=SOURCE,
    image_shape=(3, 32, 32),
    class_names=CLASS_NAMES,
    train_images=10 * PER_CLASS,
    test_images=26_032,
    balanced=True,
    downloads=True,
    load=load,
)
