"""Probabilistic LDA: a Gaussian model q(t|x) of T given its image, fitted to noise draws without training.

    T | x ~ N(m_x, S_w),   m_x ~ N(m, B)

S_w is pooled over images. Whitened by it, B is read from the covariance of the image means, of which only what stands
out of the noise is kept: n means of pure noise in d dimensions have eigenvalues up to (1 + sqrt(d/n))^2 (Marchenko and
Pastur 1967), and somewhat more since S_w is itself an estimate. The eigenvalues and directions of a signal are blurred
by the noise in a known way, so that an image's mean predicts its next draw less well than it seems to: the posterior
mean is shrunk accordingly. All images have one posterior covariance, so candidates differ in their centres only.

Sources: Ioffe 2006 (the model); Wang and Yao 2017, arXiv 1504.05087 (edge and spikes, S_w estimated); Gavish and
Donoho 2017, arXiv 1405.7511 (shrinkage). With much data it all tends to the textbook's PLDA.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibray.mi.interface import EstimationError
from ibray.mi.samples import ROWS

# Directions of T whose noise, features scaled to unit noise, has a smaller variance are left out: what they hold is the
# rounding of a constraint, like a layer norm's. A lower bound may ignore what it likes.
SMALLEST_NOISE = 1e-5


class DrawStatistics:
    """What PLDA needs to know of M draws of T for each of N images; the draws themselves are not kept.

    half: (N,) of 0 and 1, the halves of a cross-fit. draws: M. means: (N, D) float32.
    scatter: (2, D, D) float64, for each half the sum of squares of the draws around their image's mean.
    """

    def __init__(self, draws: Tensor, half: Tensor):
        """draws: (N, M, D) float32."""
        d = draws.shape[2]
        self.half = half
        self.draws = 0
        self.means = draws.new_zeros(len(draws), d)
        self.scatter = draws.new_zeros(2, d, d, dtype=torch.float64)
        self.add(draws)

    def add(self, draws: Tensor) -> None:
        """More draws of the same images, (N, M, D) float32."""
        before, more = self.draws, draws.shape[1]
        for half in (0, 1):
            for images in (self.half == half).nonzero().squeeze(1).split(max(1, ROWS // more)):
                new = draws[images]
                mean = new.mean(1)
                around = (new - mean.unsqueeze(1)).flatten(0, 1)
                shift = mean - self.means[images]
                self.scatter[half] += around.T @ around
                if before:
                    self.scatter[half] += (shift.T @ shift) * (before * more / (before + more))
                self.means[images] += shift * (more / (before + more))
        self.draws = before + more

    @property
    def sufficient(self) -> bool:
        """Whether either half of the images has draws enough for `fit_plda`."""
        n, d = self.means.shape
        return n // 2 * (self.draws - 1) > d


@dataclass(frozen=True)
class PLDA:
    """A fitted model; tensors are float64, and the variances in units of the noise."""

    mean: Tensor
    """(D,) m."""
    white: Tensor
    """(D, P), P <= D: white^T S_w white = I."""
    noise: float
    """Variance of a new draw around m_x along `directions`: above 1, since `white` fits the draws at hand."""
    directions: Tensor
    """(P, R) orthonormal, R <= P: where the images are known to differ."""
    shrinkage: Tensor
    """(R,) posterior mean of m_x - m over the mean of the image's draws - m."""
    posterior: Tensor
    """(R,) posterior variance of m_x."""

    def coordinates(self, extra: float = 0.0) -> tuple[Tensor, Tensor]:
        """Maps (D, R) of samples, T - mean, and of candidates, an image's mean - mean, to where q(t|x_j) is N(c_j, I).

        That leaves out of log q(t|x_j) only what is the same for all candidates. extra: the variance of noise added to
        every feature of the samples, but not of the candidates.
        """
        noise = self.noise * torch.eye(len(self.directions)).to(self.directions)
        noise += extra * self.white.T @ self.white + self.directions * self.posterior @ self.directions.T
        weights = torch.linalg.solve(noise, self.directions)
        factor = torch.linalg.cholesky(self.directions.T @ weights)
        samples = torch.linalg.solve_triangular(factor, (self.white @ weights).T, upper=False).T
        return samples, self.white @ self.directions * self.shrinkage @ factor


def fit_plda(means: Tensor, scatter: Tensor, draws: int) -> PLDA:
    """The model of N images: means (N, D) of M >= 2 draws each, `scatter` (D, D) of the draws around them, M `draws`.

    Raises EstimationError where T has no noise, or too few draws to know its covariance.
    """
    n, d = means.shape
    freedom = n * (draws - 1)
    if freedom <= d:
        raise EstimationError(
            f"{draws} draws of each of {n} images are too few to know the noise of {d} features: at least "
            f"{d // n + 2} are needed"
        )
    mean = means.mean(0, dtype=torch.float64)
    centred = means - mean.float()
    white = _whitening(scatter / freedom, means.square().mean(0))
    between = white.T @ (centred.T @ centred / (n - 1)).double() @ white
    values, directions = torch.linalg.eigh(draws * between)

    a, b = white.shape[1] / n, white.shape[1] / freedom
    seen = values > ((1 + (a + b - a * b) ** 0.5) / (1 - b)) ** 2
    values, directions = values[seen], directions[:, seen]
    # A spike v among eigenvalues 1 is seen at v (v + a - 1) / (v - 1 - b v); v is the larger solution.
    p = values * (1 - b) + 1 - a
    signal = 0.5 * (p + (p.square() - 4 * values).clamp_min(0).sqrt()) - 1
    found = (signal.square() - a).clamp_min(0)
    return PLDA(
        mean=mean,
        white=white,
        # Directions in which the noise was underestimated look like signal: means of the inverse Wishart distribution.
        noise=1 / (1 - b) ** 2,
        directions=directions,
        shrinkage=found / ((signal + a) * (signal + 1)),
        posterior=found / (signal * (signal + 1)) / draws / (1 - b),
    )


def _whitening(within: Tensor, squares: Tensor) -> Tensor:
    """(D, P) W with W^T within W = I; squares (D,), the features' mean squares, say what is only rounding."""
    noisy = within.diagonal() > 1e-12 * squares
    scales = torch.where(noisy, within.diagonal(), 1).sqrt()
    values, vectors = torch.linalg.eigh(within / scales / scales.unsqueeze(1) * noisy * noisy.unsqueeze(1))
    kept = values > SMALLEST_NOISE
    if not bool(kept.any()):
        raise EstimationError("T has no noise: all draws of an image are the same, so I(X;T) has no finite value")
    return vectors[:, kept] / values[kept].sqrt() / scales.unsqueeze(1)
