"""The concatenation critic in -> H -> H -> 1 with its first layer split, W [x; y] = W_x x + W_y y.

The split is the same function (mi.md section 1): 2B projections then serve all B^2 pairs of a batch. The
bias of the last layer is left out: it shifts every score alike, so it cancels in InfoNCE and never gets a
gradient from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConcatCritic(nn.Module):
    """f(x, y) = w3 . relu(W2 relu(W_x x + W_y y + b1) + b2), float32.

    Weights start as torch.nn.Linear's do, uniform on +-1/sqrt(fan in), drawn from `generator` (CPU) so that
    no global random state is touched and every device starts from the same critic.
    """

    def __init__(self, x_dim: int, y_dim: int, hidden: int, generator: torch.Generator):
        super().__init__()

        def uniform(*shape: int, fan_in: int) -> nn.Parameter:
            bound = fan_in**-0.5
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound, generator=generator))

        self.wx = uniform(hidden, x_dim, fan_in=x_dim + y_dim)
        self.wy = uniform(hidden, y_dim, fan_in=x_dim + y_dim)
        self.b1 = uniform(hidden, fan_in=x_dim + y_dim)
        self.w2 = uniform(hidden, hidden, fan_in=hidden)
        self.b2 = uniform(hidden, fan_in=hidden)
        self.w3 = uniform(hidden, fan_in=hidden)

    def project(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, Dx), y (B, Dy) -> the two halves of the first layer, (B, H) each; their sum is a pair's."""
        return nn.functional.linear(x, self.wx, self.b1), nn.functional.linear(y, self.wy)
