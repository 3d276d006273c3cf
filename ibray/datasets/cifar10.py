"""CIFAR-10 through torchvision."""

from __future__ import annotations

from ibray.datasets.cifar import cifar_entry

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

CIFAR10 = cifar_entry(
    name="cifar10",
    torchvision_name="CIFAR10",
    description="60,000 photographs of ten kinds of object; the paper's first dataset",
    class_names=CLASS_NAMES,
)
