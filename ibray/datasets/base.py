"""What a dataset is: the arrays a loader hands over, the set everybody receives, and the registry's entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Origin = Literal["embedded", "download", "import"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RawData:
    """What a loader returns, before it is cached.

    Images are uint8 N,C,H,W in 0..255 with C = 3; labels are int64 in 0..K-1; ``source`` is one line saying
    where the data came from.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    class_names: tuple[str, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A line of the registry: a dataset that can be built by name.

    ``load(directory)`` returns the RawData; it may use ``directory`` (empty, removed afterwards) for
    downloads and imports what it needs itself, so that listing the datasets stays fast.
    """

    description: str
    source: str
    image_shape: tuple[int, int, int]  # C,H,W
    class_names: tuple[str, ...]
    train_images: int
    test_images: int
    balanced: bool  # as many training images of every class
    downloads: bool
    load: Callable[[Path], RawData]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """A dataset ready for use.

    train_x, test_x: uint8 N,C,H,W in 0..255; train_y, test_y: int64 in 0..K-1. All four are read-only: memory
    maps of the cache, or plain arrays after subsampling. ``checksum`` is the SHA-256 (hex) over the hashes of
    the cached files, of the whole dataset also when this set is a subsample.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    class_names: tuple[str, ...]
    checksum: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C,H,W."""
        return tuple(self.train_x.shape[1:])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def tensors(self, split: Literal["train", "test"]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (uint8 N,C,H,W) and labels (int64) of one split as torch tensors of their own.

        They are copies on purpose: a tensor that shares a read-only memory map crashes the process when
        written.
        """
        import torch

        x, y = {"train": (self.train_x, self.train_y), "test": (self.test_x, self.test_y)}[split]
        return torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y))

    def __repr__(self) -> str:
        return (
            f"ImageSet({self.name!r}, train={len(self.train_y)}, test={len(self.test_y)}, "
            f"image_shape={self.image_shape}, classes={self.num_classes}, checksum={self.checksum[:12]!r})"
        )
