"""CIFAR-10 through torchvision."""

from __future__ import annotations

from functools import partial

from ibray.datasets.base import DatasetEntry
from ibray.datasets.cifar import load_cifar

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SOURCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; through torchvision"

CIFAR10 = DatasetEntry(
    description="60,000 photographs of ten kinds of object; the paper's first dataset",
    source=SOURCE,
    image_shape=(3, 32, 32),
    class_names=CLASS_NAMES,
    downloads=True,
    load=partial(load_cifar, name="cifar10", torchvision_name="CIFAR10", class_names=CLASS_NAMES, source=SOURCE),
)
