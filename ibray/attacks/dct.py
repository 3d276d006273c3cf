"""The orthonormal discrete cosine transform (type 2) as a matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct_matrix(size: int) -> Tensor:
    """D, float64 size x size, D @ D.T = 1: the 2-D transform of a block is D @ block @ D.T, its inverse D.T @ . @ D."""
    rows = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * rows[:, None] * (rows + 0.5)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix
