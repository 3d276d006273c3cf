"""Mutual information through a known Gaussian channel, between two bounds and without training (protocol `certified`).

`channel` is for T = S + N(0, covariance), `known_noise_ty` for the classifier that a noisy network ends with: its
logits are W (T + sigma e) + b, so p(logits | T) = N(W T + b, sigma^2 W W^T) exactly. Both whiten the noise and use
bounds.py. `nats` is the lower bound; `ci_low` and `ci_high` take in the gap between the bounds beside the sampling
error, so they cover the truth in 95 of 100 cases or more.

Sources: Poole et al. 2019 (arXiv 1905.06922); Goldfeld et al. 2019 (arXiv 1810.05728), the noisy network.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ibray.errors import UserError
from ibray.mi.bounds import bracket, gaussian_cap, over_images, pair_terms
from ibray.mi.interface import EstimationError, MIEstimate
from ibray.mi.samples import PairedSamples, paired, project
from ibray.mi.setting_checks import check_not_negative, check_whole

# Eigenvalues of the noise's correlation matrix below this are float32 rounding of what it was computed from.
SMALLEST_EIGENVALUE = 1e-9

# The Gaussian cap needs this many images per dimension.
CAP_IMAGES = 10


@dataclass(frozen=True)
class ChannelSettings:
    """The noise, by `sigma` or by `covariance`, and how much of the samples is used."""

    sigma: float | None = None
    """Standard deviation of the noise, the same in every direction, in units of y."""
    covariance: Any = None
    """Covariance of the noise (D, D)."""
    scored_draws: int = 2
    """Draws of y per image that are scored: the time grows with them, the standard error falls slowly."""
    candidates: int = 40_000
    """Where x has draws of its own, as many of them are candidates as make this number over all images: the bounds
    draw nearer to each other with them (at 6 nats, n 5000: 0.53 with one draw of T, 0.15 to 0.29 with eight)."""
    verify: bool = True
    """Refuse y whose residuals are not noise of this covariance. Off for wrong pairings made on purpose, for which
    only the lower bound means something."""

    def __post_init__(self):
        check_not_negative(self, [] if self.sigma is None else ["sigma"])
        check_whole(self, {"scored_draws": 1, "candidates": 1})
        if self.sigma is not None and self.covariance is not None:
            raise UserError("the noise is given by sigma or by covariance, not by both")


def channel(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """I(x; y) for y = x + N(0, covariance): both bounds, `nats` the lower one.

    x: (N, D) the noise-free mean of y, or (N, M, D) where it has draws of its own, draw m of y made from draw m of x.
    y: (N, M, D) or (N, D). settings: ChannelSettings. Nothing is random here: the seed makes no difference.

    Raises EstimationError for unusable samples, a singular covariance, and y that is not x plus this noise; UserError
    for settings.
    """
    started = time.perf_counter()
    options = ChannelSettings(**settings)
    pairs = paired(x, y)
    d = pairs.y.shape[2]
    if pairs.x.shape[2] != d:
        raise EstimationError(f"x has {pairs.x.shape[2]} features and y {d}: x must be the noise-free mean of y")
    if options.covariance is not None:
        covariance = torch.as_tensor(options.covariance, dtype=torch.float64).to(pairs.y.device)
    elif options.sigma is not None:
        covariance = options.sigma**2 * torch.eye(d, dtype=torch.float64, device=pairs.y.device)
    else:
        raise UserError("estimator 'channel' needs the noise of y: set sigma or covariance")
    white = _whitening(covariance, d)
    return _estimate(pairs.x, white, pairs.y, white, options, started)


def known_noise_ty(
    t: object,
    logits: object,
    weight: Tensor,
    bias: Tensor | None,
    sigma: float,
    *,
    output: str = "logits",
    **settings: Any,
) -> MIEstimate:
    """I(T; Yhat) of a network whose logits are W (T + sigma e) + b with e ~ N(0, I): both bounds, `nats` the lower one.

    t: (N, M, D) or (N, D), M draws of T per image. logits: (N, M, K) or (N, K), draw m computed from draw m of T.
    weight: W (K, D). bias: b (K,) or None.
    output: what Yhat is: "logits", or "softmax" of them, which is the logits up to a constant per image: they are
    projected on the K - 1 dimensions without it. Logits are what is given either way, since probabilities underflow.
    settings: scored_draws, candidates and verify of ChannelSettings.

    Raises EstimationError where there is no noise (sigma 0) or W W^T is singular (on those K - 1 dimensions, for
    softmax), for unusable samples, and for logits that are not those of T, W, b and sigma.
    """
    started = time.perf_counter()
    options = ChannelSettings(sigma=sigma, **settings)
    pairs = paired(t, logits)
    t_map, y_map, bias = output_channel(pairs, weight, bias, sigma, output)
    return _estimate(pairs.x, t_map, pairs.y - bias, y_map, options, started)


def output_channel(
    pairs: PairedSamples, weight: Tensor, bias: Tensor | None, sigma: float, output: str
) -> tuple[Tensor, Tensor, Tensor]:
    """What makes y_map^T (logits - bias) = t_map^T T + N(0, I) of a network's last layer, as in `known_noise_ty`.

    pairs: x (N, M, D) draws of T, y (N, M, K) logits. Returns t_map (D, R) and y_map (K, R), float64, R = K, or K - 1
    for softmax, and the bias (K,), float32. Raises as `known_noise_ty`.
    """
    d, k = pairs.x.shape[2], pairs.y.shape[2]
    w = torch.as_tensor(weight).detach().to(pairs.x.device, torch.float64)
    b = torch.zeros(k) if bias is None else torch.as_tensor(bias).detach()
    if w.shape != (k, d) or b.shape != (k,):
        raise EstimationError(
            f"weight {tuple(w.shape)} and bias {tuple(b.shape)} do not map T of {d} features to {k} logits"
        )
    if output == "logits":
        basis = torch.eye(k, dtype=torch.float64, device=w.device)
    elif output == "softmax":
        basis = _without_ones(k).to(w.device)
    else:
        raise UserError(f"output must be 'logits' or 'softmax', not {output!r}")
    w = basis @ w
    white = _whitening(sigma**2 * w @ w.T, len(basis))
    return w.T @ white, basis.T @ white, b.to(pairs.y)


def _estimate(
    x: Tensor, x_map: Tensor, y: Tensor, y_map: Tensor, options: ChannelSettings, started: float
) -> MIEstimate:
    """Bounds for y_map^T y = x_map^T x + N(0, I); x (N, Mx, Dx), y (N, My, Dy), maps (Dx, D) and (Dy, D)."""
    n, x_draws, y_draws = len(x), x.shape[1], y.shape[1]
    if x_draws > y_draws:
        raise EstimationError(f"x has {x_draws} draws per sample and y one: draws are paired by index")
    scored = min(options.scored_draws, y_draws)
    if x_draws > 1:
        x = x[:, : max(scored, math.ceil(options.candidates / n))]
    centres, samples = project(x, x_map), project(y[:, :scored], y_map)
    if torch.equal(centres.amin((0, 1)), centres.amax((0, 1))):
        raise EstimationError("x (T) is constant: there is nothing to have information about")
    if options.verify:
        _check_residuals(samples - (centres if centres.shape[1] == 1 else centres[:, :scored]))

    lower, upper = (over_images(terms) for terms in pair_terms(samples, centres))
    candidates = n * centres.shape[1]
    ceiling = math.log(candidates)
    # Far from each other the centres stop the lower bound at its ceiling, and the upper one grows with the distance.
    if upper.value > ceiling and n >= CAP_IMAGES * centres.shape[2]:
        upper = min(upper, gaussian_cap(centres))
    return bracket(
        lower,
        upper,
        ceiling=ceiling,
        n=n,
        negatives=candidates - 1,
        protocol="certified",
        seconds=time.perf_counter() - started,
    )


def _whitening(covariance: Tensor, d: int) -> Tensor:
    """(D, D) A with A^T covariance A = I, float64."""
    if covariance.shape != (d, d) or not bool(covariance.isfinite().all()):
        raise EstimationError(f"the covariance of the noise must be finite and of shape {(d, d)}")
    scales = covariance.diagonal().clamp_min(0).sqrt()
    if not bool((scales > 0).all()):
        raise EstimationError("the covariance of the noise is singular (sigma 0?): the information may be infinite")
    values, vectors = torch.linalg.eigh(covariance / scales / scales.unsqueeze(1))
    if float(values[0]) < SMALLEST_EIGENVALUE * float(values[-1]):
        raise EstimationError(
            "the covariance of the noise is singular: some direction of the output has no noise, so the information "
            "may be infinite"
        )
    return vectors / values.sqrt() / scales.unsqueeze(1)


def _check_residuals(residuals: Tensor) -> None:
    """residuals (N, M, D), N(0, I) if the channel is what it is said to be."""
    squares = residuals.double().square().mean((0, 1))
    allowed = 0.05 + 6 * math.sqrt(2 / (residuals.shape[0] * residuals.shape[1]))
    if bool(((squares - 1).abs() > allowed).any()):
        raise EstimationError(
            "y is not x (T) plus the noise stated: in units of that noise the residuals' mean squares are "
            f"{squares.min():.3g} to {squares.max():.3g}, not 1. Are sigma, the weights and the draws those of y?"
        )


def _without_ones(k: int) -> Tensor:
    """(K - 1, K) orthonormal rows, all orthogonal to the vector of ones (Helmert's), float64."""
    rows = torch.ones(k, k, dtype=torch.float64).tril(-1)[1:]
    rows -= torch.diag(torch.arange(k, dtype=torch.float64))[1:]
    return rows / rows.norm(dim=1, keepdim=True)
