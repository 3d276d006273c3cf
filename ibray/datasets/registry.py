"""The datasets by name. A new one is a file with a DatasetEntry and a line here, or a plug-in (ibray/plugins.py)."""

from __future__ import annotations

from ibray.datasets.base import DatasetEntry
from ibray.datasets.cifar10 import CIFAR10
from ibray.datasets.cifar100 import CIFAR100
from ibray.datasets.digits import DIGITS, DIGITS16
from ibray.datasets.fashion_mnist import FASHION_MNIST
from ibray.datasets.gtsrb import GTSRB
from ibray.datasets.svhn import SVHN
from ibray.registry import Registry

DATASETS: Registry[DatasetEntry] = Registry(
    "dataset",
    {
        "digits": DIGITS,
        "digits16": DIGITS16,
        "cifar10": CIFAR10,
        "cifar100": CIFAR100,
        "svhn": SVHN,
        "gtsrb": GTSRB,
        "fashion_mnist": FASHION_MNIST,
    },
    group="ibray.datasets",
    entry_type=DatasetEntry,
)
