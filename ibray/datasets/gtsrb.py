"""GTSRB (German traffic signs) through torchvision, resized to 32x32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ibray.datasets.base import DatasetEntry, RawData
from ibray.datasets.download import downloading

if TYPE_CHECKING:
    from PIL import Image

SIZE = 32
# The files have numbers only; these are the usual English names, in their order.
CLASS_NAMES = (
    "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80",
    "end of speed limit 80", "speed limit 100", "speed limit 120", "no passing", "no passing for trucks",
    "right of way at the next crossing", "priority road", "yield", "stop", "no vehicles", "no trucks", "no entry",
    "general caution", "dangerous curve left", "dangerous curve right", "double curve", "bumpy road", "slippery road",
    "road narrows on the right", "road work", "traffic signals", "pedestrians", "children crossing",
    "bicycles crossing", "ice or snow", "wild animals crossing", "end of all limits", "turn right ahead",
    "turn left ahead", "ahead only", "straight or right", "straight or left", "keep right", "keep left", "roundabout",
    "end of no passing", "end of no passing for trucks",
)  # fmt: skip
SOURCE = "Stallkamp et al., Man vs. Computer, Neural Networks 2012; through torchvision"


def load(directory: Path) -> RawData:
    """26,640 training images (those of the competition, which torchvision offers), 12,630 test images.

    Whole images (15 to 250 pixels a side, not cropped to the sign, not always square) are stretched to 32x32 by
    Pillow's bilinear filter, whose support grows with the reduction (antialiased); it works in whole numbers, so the
    bytes are the same on every machine. Raises UserError when the download fails.
    """
    from ibray.compat import import_torchvision  # it imports torch: late, so that listing names is fast

    gtsrb = import_torchvision("datasets").GTSRB
    with downloading("gtsrb"):
        train = gtsrb(directory, split="train", download=True)
        test = gtsrb(directory, split="test", download=True)
    train_x, train_y = _arrays(train)
    test_x, test_y = _arrays(test)
    return RawData(
        train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y, class_names=CLASS_NAMES, source=SOURCE
    )


def _arrays(samples: Sequence[tuple[Image.Image, int]]) -> tuple[np.ndarray, np.ndarray]:
    """RGB images of any size and their labels -> uint8 N,3,32,32 and int64 N."""
    from PIL import Image

    images = np.empty((len(samples), 3, SIZE, SIZE), dtype=np.uint8)
    labels = np.empty(len(samples), dtype=np.int64)
    for i, (image, label) in enumerate(samples):
        labels[i] = label
        images[i] = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    return images, labels


GTSRB = DatasetEntry(
    description="39,270 photographs of 43 traffic signs, stretched to 32x32 (bilinear, antialiased)",
    source=SOURCE,
    image_shape=(3, SIZE, SIZE),
    class_names=CLASS_NAMES,
    train_images=26_640,
    test_images=12_630,
    balanced=False,
    downloads=True,
    load=load,
)
