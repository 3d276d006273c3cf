"""The noise ladder: I(X; T + tau Z) for growing noise Z, which still moves where I(X;T) itself sits at log N.

On real images a noisy T soon identifies nearly every one of them, so its bound shows no dynamics (mi.md section 3).
How much noise it takes to undo that does: `tau_half` is where the closed-set bound crosses half of log N. tau is in
units of the between-image RMS of T, so scaling or rotating T changes nothing; scaling single features does.

Only the held-out draws get the noise. The candidates keep their means of clean draws, with the covariance of T + tau Z
known from that of T: that is a better q than one refitted to noisy draws, and as valid.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ibray.errors import UserError
from ibray.mi.interface import MIEstimate
from ibray.mi.noise_draws import HeldOut, closed_estimate, closed_terms, fit_all
from ibray.seeds import generator

TAUS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class NoiseLadder:
    """The rungs of one ladder and its summary."""

    taus: tuple[float, ...]
    """Standard deviations of the added noise, in units of `rms`."""
    estimates: tuple[MIEstimate, ...]
    """I(X; T + tau Z), protocol `closed`, one per tau."""
    rms: float
    """Between-image RMS of T: of m_x - mean, over images and features, the noise's share taken out."""
    tau_half: float | None
    """tau at which the bound is half of log N, interpolated; None where it is nowhere on the ladder."""
    tau_half_low: float | None
    """The same for the bound less, and plus, 1.96 standard errors."""
    tau_half_high: float | None


def noise_ladder(held: HeldOut, *, taus: Sequence[float] = TAUS, seed: int = 0) -> NoiseLadder:
    """Closed-set bounds on I(X; T + tau Z) in nats, Z ~ N(0, rms^2 I), for ascending taus; one Z for all of them.

    Raises UserError for taus that do not ascend from 0 or more, EstimationError as `known_noise_xt`.
    """
    if not taus or taus[0] < 0 or list(taus) != sorted(set(taus)):
        raise UserError(f"taus must ascend from 0 or more, not {tuple(taus)}")
    rms, plda = between_rms(held), fit_all(held)
    rng = generator(seed, "ladder", device=held.scored.device)
    z = torch.randn(held.scored.shape, generator=rng, device=held.scored.device)
    estimates = []
    for tau in taus:
        started = time.perf_counter()
        terms = closed_terms(held, plda, noise=tau * rms * z, variance=(tau * rms) ** 2)
        estimates.append(closed_estimate(terms, time.perf_counter() - started))
    half = 0.5 * math.log(len(held.scored))
    at, low, high = (
        crossing(taus, [e.raw + errors * e.standard_error for e in estimates], half) for errors in (0, -1.96, 1.96)
    )
    return NoiseLadder(tuple(taus), tuple(estimates), rms, at, low, high)


def between_rms(held: HeldOut) -> float:
    """Root mean square of m_x - mean over images and features, in units of T; 0 where the noise explains it all."""
    fitted = held.fitted
    n, d = fitted.means.shape
    of_means = float(fitted.means.var(0).double().sum())
    of_noise = float(fitted.scatter.sum(0).trace()) / (n * (fitted.draws - 1))
    return math.sqrt(max(0.0, of_means - of_noise / fitted.draws) / d)


def crossing(taus: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """Where values first fall below the level, linear in log(1 + tau) between two taus; None where they do not."""
    below = [value < level for value in values]
    if below[0] or not any(below):
        return None
    after = below.index(True)
    (tau, value), (next_tau, next_value) = ((taus[i], values[i]) for i in (after - 1, after))
    share = (value - level) / (value - next_value)
    return math.expm1((1 - share) * math.log1p(tau) + share * math.log1p(next_tau))
