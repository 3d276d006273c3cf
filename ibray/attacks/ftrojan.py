"""FTrojan: a few coefficients of the colour's cosine transform are raised (Wang et al., ECCV 2022, arXiv 2111.10991).

The original goes from RGB to YCrCb, transforms each window, adds a magnitude to chosen coefficients of chosen channels
and comes back. All of these steps are linear, so what arrives in the image is one fixed pattern, which is computed once
and added: the same image, without the original's rounding to whole bytes on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ibray.attacks.base import AttackEntry, Parts
from ibray.attacks.colour import YCRCB_TO_RGB
from ibray.attacks.dct import dct_matrix
from ibray.attacks.dirty_label import DirtyLabelAttack
from ibray.attacks.parameters import integer, number, sequence

CHANNELS = ("Y", "Cr", "Cb")


@dataclass(frozen=True, kw_only=True)
class FTrojan(DirtyLabelAttack):
    """Adds ``magnitude`` to the coefficients at ``positions`` of every window of ``channels``.

    channels: 0 (Y), 1 (Cr) or 2 (Cb), at least one of them. window: the side in pixels of the blocks that are
    transformed (orthonormal 2-D DCT); it has to divide the image's sides. positions: (row, column) of coefficients,
    each below ``window``; 0, 0 is the block's mean. magnitude: in units of the values 0..255, any sign. What would
    leave the range of colours is clipped, and a clipped pixel changes other coefficients as well.

    The original poisons only images of other classes than the target; here, as in all dirty-label attacks, the
    poisoned images come from all classes (``label_policy: source_specific`` names some).
    """

    name: ClassVar[str] = "ftrojan"

    channels: tuple[int, ...] = (1, 2)
    window: int = 32
    positions: tuple[tuple[int, int], ...] = ((31, 31), (15, 15))
    magnitude: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        channels = sequence(self.name, "channels", self.channels, "channel numbers (0, 1, 2)")
        channels = tuple(integer(self.name, "channels", value, minimum=0) for value in channels)
        positions = sequence(self.name, "positions", self.positions, "pairs (row, column)")
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "window", integer(self.name, "window", self.window, minimum=1))
        object.__setattr__(self, "positions", tuple(self._pair(i, pair) for i, pair in enumerate(positions)))
        object.__setattr__(self, "magnitude", number(self.name, "magnitude", self.magnitude))

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        self._check_shape(image_shape)

    def parts(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """pattern: what is added, float64 C,H,W in units of the range [0,1]. ValueError as ``check``."""
        self._check_shape(image_shape)
        tile = _tile(self.channels, self.window, self.positions) * (self.magnitude / 255)
        return {"pattern": tile.repeat(1, image_shape[1] // self.window, image_shape[2] // self.window)}

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        return images + parts["pattern"].to(images)

    def _pair(self, index: int, pair: object) -> tuple[int, ...]:
        key = f"positions[{index}]"
        values = sequence(self.name, key, pair, "two whole numbers (row, column)", length=2)
        return tuple(integer(self.name, key, value, minimum=0) for value in values)

    def _check_shape(self, image_shape: tuple[int, int, int]) -> None:
        channels, height, width = image_shape
        if channels != 3:
            raise ValueError(f"channels: YCrCb needs red, green and blue, but the images have {channels} channels")
        if max(self.channels) >= len(CHANNELS) or len(set(self.channels)) < len(self.channels):
            raise ValueError(
                f"channels: expected some of 0 (Y), 1 (Cr) and 2 (Cb), each once, got {list(self.channels)}"
            )
        if height % self.window or width % self.window:
            raise ValueError(f"window: {self.window} does not divide the sides of {height} x {width} images")
        outside = [list(pair) for pair in self.positions if max(pair) >= self.window]
        if outside:
            raise ValueError(
                f"positions: {outside[0]} is outside the window of {self.window} x {self.window} coefficients (0.."
                f"{self.window - 1})"
            )
        if len(set(self.positions)) < len(self.positions):
            raise ValueError(f"positions: each once, got {[list(pair) for pair in self.positions]}")


@lru_cache(maxsize=8)
def _tile(channels: tuple[int, ...], window: int, positions: tuple[tuple[int, int], ...]) -> Tensor:
    """RGB of one window for a magnitude of 1: float64 3, window, window."""
    coefficients = torch.zeros(window, window, dtype=torch.float64)
    for row, column in positions:
        coefficients[row, column] = 1
    dct = dct_matrix(window)
    colour = YCRCB_TO_RGB[:, list(channels)].sum(dim=1)
    return colour[:, None, None] * (dct.T @ coefficients @ dct)


ENTRY = AttackEntry(
    cls=FTrojan,
    description="a magnitude added to high-frequency cosine coefficients of the colour channels",
    source="Wang et al., arXiv 2111.10991; preset 'paper' as run for arXiv 2511.21923",
    presets={
        "paper": {"channels": (1, 2), "window": 32, "positions": ((31, 31), (15, 15)), "magnitude": 30.0},
        # The publication uses 20 to 30 on small images; this is its weaker end.
        "original": {"channels": (1, 2), "window": 32, "positions": ((31, 31), (15, 15)), "magnitude": 20.0},
    },
)
