"""Noise images that triggers are made of, drawn from a seed."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Pattern = Literal["uniform_noise", "gaussian_noise"]
PATTERNS = ("uniform_noise", "gaussian_noise")


@lru_cache(maxsize=8)
def _draw(pattern: Pattern, seed: int, channels: int, height: int, width: int) -> Tensor:
    rng = np.random.default_rng(seed)
    if pattern == "uniform_noise":
        image = np.repeat(rng.random((1, height, width)), channels, axis=0)
    else:
        image = rng.standard_normal((channels, height, width)).clip(0, 1)
    return torch.from_numpy(image.astype(np.float32))


def noise_image(pattern: Pattern, seed: int, channels: int, height: int, width: int) -> Tensor:
    """float32 C,H,W in [0,1].

    "uniform_noise": one channel drawn from U[0,1] and shared by all channels; "gaussian_noise": every channel drawn
    from the standard normal and clipped to [0,1].
    """
    return _draw(pattern, seed, channels, height, width).clone()
