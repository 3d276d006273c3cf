"""Gaussian pairs with known mutual information."""

import math

import torch


def gaussian_pairs(n: int, dims: int, nats: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y (n, dims) with I(x; y) = nats: features paired one by one, all with the same correlation."""
    rng = torch.Generator().manual_seed(seed)
    rho = math.sqrt(1 - math.exp(-2 * nats / dims))
    x = torch.randn(n, dims, generator=rng)
    return x, rho * x + math.sqrt(1 - rho**2) * torch.randn(n, dims, generator=rng)
