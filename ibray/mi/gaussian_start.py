"""Where a separable critic can start: the log ratio of a Gaussian fitted to the samples.

For jointly Gaussian x and y with canonical variables u_k, v_k of correlation r_k,

    log p(x, y) / (p(x) p(y)) = sum_k [ r u v / (1 - r^2) - r^2 (u^2 + v^2) / (2 (1 - r^2)) - log(1 - r^2) / 2 ]

which is a separable critic without its hidden layers. With few samples per feature the correlations found are far too
large, so two things can hold them back: `ridge`, added to the variances that are divided by, and `shrink`, a factor of
the correlations. Which values are best is for samples kept back to say.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ibray.mi.separable import SeparableCritic

RIDGES = (0.0, 0.03, 0.3, 3.0)
SHRINKS = (1.0, 0.9, 0.7, 0.5, 0.3)
CLOSEST = 1e-6
"""1 - r^2 is at least this, which is 6.9 nats of one canonical pair: beyond it, scores are float32 rounding."""


class CanonicalStart:
    """Fits x (R, Dx) and y (R, Dy)."""

    def __init__(self, x: Tensor, y: Tensor):
        self.means = x.mean(0).double(), y.mean(0).double()
        a, b = x.double() - self.means[0], y.double() - self.means[1]
        self._spectra = [torch.linalg.eigh(v.T @ v / len(v)) for v in (a, b)]
        self._cross = self._spectra[0].eigenvectors.T @ (a.T @ b / len(a)) @ self._spectra[1].eigenvectors

    def directions(self, ridge: float, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """ridge: in mean variances -> canonical directions (K, Dx) and (K, Dy), and r (K,) falling; K <= most."""
        roots = [(v.clamp_min(0) + ridge * v.mean() + 1e-6 * v[-1]).rsqrt() for v, _ in self._spectra]
        left, r, right = torch.linalg.svd(roots[0].unsqueeze(1) * self._cross * roots[1], full_matrices=False)
        sides = (left[:, :most].T, right[:most])
        dx, dy = ((side * root) @ basis.T for side, root, (_, basis) in zip(sides, roots, self._spectra, strict=True))
        return dx, dy, r[:most]

    @torch.no_grad()
    def put(self, critic: SeparableCritic, directions: tuple[Tensor, Tensor, Tensor], shrink: float) -> None:
        """Makes a critic whose hidden layers are still silent this log ratio."""
        *sides, r = directions
        r = (shrink * r).clamp(max=(1 - CLOSEST) ** 0.5)
        scale = (r / (1 - r * r)).sqrt().unsqueeze(1)
        k = len(r)
        for tower, side, mean in zip((critic.x, critic.y), sides, self.means, strict=True):
            weights = scale * side
            tower.skip[:k] = weights.float()
            tower.shift[:k] = (-weights @ mean).float()
            tower.square[:k] = (-r / 2).float()
            tower.constant.fill_(-torch.log1p(-r * r).sum() / 4)  # half of it in each tower
