"""scikit-learn's handwritten digits: real images that need no download, for the quickstart and the tests.

1,797 greyscale 8x8 images with values 0..16 (the test part of UCI "Optical Recognition of Handwritten
Digits", Alpaydin and Kaynak, 1998). They are up-sampled bilinearly (pixel centres aligned, edges replicated):
the strokes stay strokes, where nearest neighbour would add block edges that a small network learns instead.
The values are scaled from 0..16 to 0..255 and the channel is repeated three times.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ibray.datasets.base import DatasetEntry, RawData
from ibray.datasets.subsample import shuffled

SPLIT_SEED = 8  # of the 80/20 split, fixed: the test images are the same in every run
TEST_FRACTION = 0.2
CLASS_NAMES = tuple(str(digit) for digit in range(10))
SOURCE = "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, CC BY 4.0)"


def load(directory: Path, *, size: int) -> RawData:
    """The digits as uint8 3 x size x size, ``size`` a multiple of 8, split 80/20 in every class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = _upsample(digits.images, size)
    labels = digits.target.astype(np.int64)
    in_test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        members = shuffled(np.flatnonzero(labels == digit), seed=(SPLIT_SEED, digit))
        in_test[members[: round(TEST_FRACTION * len(members))]] = True
    return RawData(
        train_x=images[~in_test],
        train_y=labels[~in_test],
        test_x=images[in_test],
        test_y=labels[in_test],
        class_names=CLASS_NAMES,
        source=SOURCE,
    )


def _upsample(images: np.ndarray, size: int) -> np.ndarray:
    """N,8,8 in 0..16 -> uint8 N,3,size,size in 0..255.

    Every weight is a multiple of a power of two, so each product and sum is exact in float64 and the bytes
    (and with them the dataset's checksum) are the same on every machine.
    """
    centres = (np.arange(size) + 0.5) * 8 / size - 0.5
    low = np.floor(centres)
    weight = centres - low
    matrix = np.zeros((size, 8))
    rows = np.arange(size)
    np.add.at(matrix, (rows, np.clip(low, 0, 7).astype(int)), 1 - weight)
    np.add.at(matrix, (rows, np.clip(low + 1, 0, 7).astype(int)), weight)
    large = matrix @ images @ matrix.T
    grey = np.floor(large * 255 / 16 + 0.5).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1)


DIGITS = DatasetEntry(
    description="real handwritten digits, 1,797 images up-sampled bilinearly from 8x8",
    source=SOURCE,
    image_shape=(3, 32, 32),
    class_names=CLASS_NAMES,
    train_images=1_438,
    test_images=359,
    balanced=False,
    downloads=False,
    load=partial(load, size=32),
)

DIGITS16 = DatasetEntry(
    description="the same digits at 16x16, for quick runs",
    source=SOURCE,
    image_shape=(3, 16, 16),
    class_names=CLASS_NAMES,
    train_images=1_438,
    test_images=359,
    balanced=False,
    downloads=False,
    load=partial(load, size=16),
)
