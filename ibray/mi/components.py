"""Many features as their principal components, in the order and with the variances they have."""

from __future__ import annotations

import torch
from torch import Tensor

from ibray.mi.samples import ROWS

COMPONENTS = 512
"""Of more features than this, only so many components of the largest variance are kept."""


def reduced(values: Tensor, reference: Tensor, rng: torch.Generator) -> Tensor:
    """values (N, M, D), of mean 0 in reference (R, D) -> (N, M, K), K <= COMPONENTS, of variance 1 on average there.

    Returned as they are where D <= COMPONENTS. A lower bound may look at its samples through any function. Components
    are those of `reference`: exact with up to COMPONENTS rows, else by a randomised range finder with two power
    iterations (Halko et al. 2011, 0909.4061) that draws from rng (CPU).
    """
    if values.shape[2] <= COMPONENTS:
        return values
    basis = _basis(reference, rng)
    basis = basis / (reference @ basis).square().mean().sqrt()
    return torch.cat([rows @ basis for rows in values.split(max(1, ROWS // values.shape[1]))])


def _basis(reference: Tensor, rng: torch.Generator) -> Tensor:
    """(R, D) -> orthonormal (D, K)."""
    if len(reference) <= COMPONENTS:
        variance, left = torch.linalg.eigh(reference @ reference.T)
        kept = variance > 1e-6 * variance[-1]  # below this it is rounding: R rows span at most R - 1 directions
        return reference.T @ (left[:, kept] / variance[kept].sqrt())
    probe = torch.randn(reference.shape[1], COMPONENTS, generator=rng).to(reference)
    for _ in range(2):
        probe = torch.linalg.qr(reference.T @ (reference @ probe)).Q
    inside = reference @ probe
    return probe @ torch.linalg.eigh(inside.T @ inside).eigenvectors
