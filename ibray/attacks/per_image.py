"""Random numbers that are a function of a seed and of the image itself.

A trigger that draws afresh for each image would be another trigger in every call: the images of a poisoned set could
not be made again, and the order of a batch would matter. Here the image's bytes are hashed (multilinear, modulo 2**64)
and the hash counts through splitmix64 (Steele, Lea and Flood, OOPSLA 2014), in whole numbers and so alike on every
device.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The same 64 bits as torch's int64."""
    return value - 2**64 if value >= 2**63 else value


_GOLDEN, _FIRST, _SECOND = (_signed(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_LOW_HALF = 2**32 - 1


def uniform_pairs(images: Tensor, count: int, weights: Tensor) -> Tensor:
    """``count`` points an image, uniform in [-1,1) x [-1,1): float64 N, count, 2.

    images: N,C,H,W, float in [0,1]; two that round to the same bytes count as the same image. weights:
    ``hash_weights`` of the images' shape.
    """
    values = (images.flatten(1).double() * 255).round().to(torch.int64)
    key = (values * weights).sum(dim=1, keepdim=True)
    bits = _mix(_mix(key) + torch.arange(count, device=images.device) * _GOLDEN)
    halves = torch.stack([_shift(bits, 32), bits & _LOW_HALF], dim=-1)
    return halves.double() / 2**31 - 1


@lru_cache(maxsize=8)
def hash_weights(seed: int, *image_shape: int) -> Tensor:
    """What the bytes of a C,H,W image are multiplied by before they are summed: int64 C*H*W."""
    count = math.prod(image_shape)
    bits = np.random.default_rng(seed).integers(-(2**63), 2**63, size=count, dtype=np.int64)
    return torch.from_numpy(bits | 1)  # odd, so that no byte's change is lost


def _mix(bits: Tensor) -> Tensor:
    bits = bits + _GOLDEN
    bits = (bits ^ _shift(bits, 30)) * _FIRST
    bits = (bits ^ _shift(bits, 27)) * _SECOND
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, by: int) -> Tensor:
    """To the right, filled with zeros: torch's own shift of int64 repeats the sign."""
    return (bits >> by) & (2 ** (64 - by) - 1)
