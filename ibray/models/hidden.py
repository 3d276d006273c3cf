"""The hidden layers of a network before T, for information planes of all layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn


class HiddenLayer(NamedTuple):
    """A module inside a network, and what makes its output one vector per image, (N, D)."""

    module: nn.Module
    pool: Callable[[Tensor], Tensor]


def over_positions(feature_map: Tensor) -> Tensor:
    """The mean over a feature map's positions: (N, C, H, W) -> (N, C)."""
    return feature_map.mean(dim=(2, 3))
