"""What CIFAR-10 and CIFAR-100 share: torchvision downloads with progress and verifies the published checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from ibray.datasets.base import RawData
from ibray.datasets.download import downloading


def load_cifar(
    directory: Path,
    *,
    name: str,
    torchvision_name: Literal["CIFAR10", "CIFAR100"],
    class_names: tuple[str, ...],
    source: str,
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
        source=source,
    )
