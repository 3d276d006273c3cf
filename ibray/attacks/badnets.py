"""BadNets: a small patch in a corner (Gu, Dolan-Gavitt and Garg, arXiv 1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ibray.attacks.base import AttackEntry, Parts
from ibray.attacks.dirty_label import DirtyLabelAttack
from ibray.attacks.parameters import choice, integer, number
from ibray.errors import UserError

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@dataclass(frozen=True, kw_only=True)
class BadNets(DirtyLabelAttack):
    """Replaces a square of pixels in one corner.

    size: the patch's side in pixels. colour: red, green and blue in [0,1], or "checkerboard": white where row
    + column, counted within the patch, is even, black elsewhere. corner: one of CORNERS; the patch touches
    it.
    """

    name: ClassVar[str] = "badnets"

    size: int = 5
    colour: tuple[float, float, float] | Literal["checkerboard"] = (1.0, 0.0, 0.0)
    corner: str = "top-left"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "size", integer(self.name, "size", self.size, minimum=1))
        object.__setattr__(self, "corner", choice(self.name, "corner", self.corner, CORNERS))
        if self.colour != "checkerboard":
            if not isinstance(self.colour, list | tuple) or len(self.colour) != 3:
                raise UserError(
                    f"attack '{self.name}': colour: expected three numbers in [0,1] (red, green, blue) or "
                    f"'checkerboard', got {self.colour!r}"
                )
            colour = tuple(number(self.name, f"colour[{i}]", value) for i, value in enumerate(self.colour))
            object.__setattr__(self, "colour", colour)

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        channels, height, width = image_shape
        if self.size > min(height, width):
            raise ValueError(
                f"size: a patch of {self.size} x {self.size} is larger than {height} x {width} images"
            )
        if self.colour != "checkerboard":
            if not all(0 <= value <= 1 for value in self.colour):
                raise ValueError(f"colour: expected values in [0,1], got {self.colour}")
            if channels != 3:
                raise ValueError(f"colour: three values, but the images have {channels} channels")

    def parts(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """patch: float32, 1 or 3, size, size."""
        if self.colour == "checkerboard":
            steps = torch.arange(self.size)
            return {"patch": ((steps[:, None] + steps) % 2 == 0).float()[None]}
        return {"patch": torch.tensor(self.colour)[:, None, None].repeat(1, self.size, self.size)}

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        vertical, horizontal = self.corner.split("-")
        rows = slice(0, self.size) if vertical == "top" else slice(-self.size, None)
        columns = slice(0, self.size) if horizontal == "left" else slice(-self.size, None)
        out = images.clone()
        out[:, :, rows, columns] = parts["patch"].to(images)
        return out


ENTRY = AttackEntry(
    cls=BadNets,
    description="a small patch in a corner of the image",
    source="Gu et al., arXiv 1708.06733; preset 'paper' as run for arXiv 2511.21923",
    presets={
        "paper": {"size": 5, "colour": (1.0, 0.0, 0.0), "corner": "top-left"},
        "original": {"size": 3, "colour": (1.0, 1.0, 1.0), "corner": "bottom-right"},
        "checkerboard": {"size": 3, "colour": "checkerboard", "corner": "bottom-right"},
    },
)
