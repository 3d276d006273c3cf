"""Fashion-MNIST through torchvision, padded from 28x28 to 32x32 and repeated in three channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibray.datasets.base import DatasetEntry, RawData
from ibray.datasets.download import downloading

SIZE = 32
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SOURCE = "Xiao, Rasul and Vollgraf, arXiv 1708.07747; through torchvision"


def load(directory: Path) -> RawData:
    """60,000 training and 10,000 test images in published order. UserError when the download fails.

    Zeros, the value of the background, are added on all four sides: every published pixel stays as it is, where
    scaling by 8/7 would blur it.
    """
    from ibray.compat import import_torchvision  # it imports torch: late, so that listing names is fast

    fashion_mnist = import_torchvision("datasets").FashionMNIST
    with downloading("fashion_mnist"):
        train = fashion_mnist(directory, train=True, download=True)
        test = fashion_mnist(directory, train=False, download=True)
    return RawData(
        train_x=_pad(train.data.numpy()),
        train_y=train.targets.numpy(),
        test_x=_pad(test.data.numpy()),
        test_y=test.targets.numpy(),
        class_names=CLASS_NAMES,
        source=SOURCE,
    )


def _pad(images: np.ndarray) -> np.ndarray:
    """uint8 N,28,28 -> uint8 N,3,32,32."""
    border = (SIZE - images.shape[1]) // 2
    padded = np.pad(images, ((0, 0), (border, border), (border, border)))
    return np.repeat(padded[:, None], 3, axis=1)


FASHION_MNIST = DatasetEntry(
    description="70,000 greyscale pictures of clothes in ten classes, padded with zeros from 28x28",
    source=SOURCE,
    image_shape=(3, SIZE, SIZE),
    class_names=CLASS_NAMES,
    train_images=60_000,
    test_images=10_000,
    balanced=True,
    downloads=True,
    load=load,
)
