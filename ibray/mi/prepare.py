"""What estimators do to their samples first, and how terms per image become an estimate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ibray.mi.interface import EstimationError, MIEstimate
from ibray.mi.samples import PairedSamples

LARGEST_DEVIATION = 10.0
"""Standardised values are cut here: a feature that hardly varies in the reference may be anything elsewhere."""


def check_varies(samples: PairedSamples) -> None:
    """EstimationError where x or y has one value only: there is nothing to have information about."""
    for name, values in (("x", samples.x), ("y", samples.y)):
        if torch.equal(values.amin((0, 1)), values.amax((0, 1))):
            raise EstimationError(f"{name} is constant: there is nothing to have information about")


def standardised(values: Tensor, reference: Tensor) -> Tensor:
    """values (N, M, D) in standard deviations of `reference` (.., M', D) from its mean; 0 where that does not vary."""
    deviation, mean = torch.std_mean(reference, dim=(0, 1))
    varies = deviation > 1e-6 * mean.abs()  # below this it is rounding
    factor = torch.where(varies, deviation.reciprocal(), 0.0)
    return ((values - mean) * factor).clamp_(-LARGEST_DEVIATION, LARGEST_DEVIATION)


def normal_scores(values: Tensor, reference: Tensor) -> Tensor:
    """values (N, M, D) as quantiles of the normal distribution by their rank in `reference` (.., M', D), by feature.

    No information is lost or made where every value has its own rank, and whatever the marginals were, they are normal
    then: long tails, which a critic copes badly with, are gone. Ties share the middle of their ranks; a feature that
    does not vary is 0.
    """
    ordered = reference.flatten(0, -2).T.contiguous().sort(dim=1).values  # (D, R)
    asked = values.flatten(0, 1).T.contiguous()
    below, not_above = (torch.searchsorted(ordered, asked, right=right) for right in (False, True))
    share = (below + not_above + 1).to(values.dtype) / (2 * (ordered.shape[1] + 1))
    varies = (ordered[:, 0] < ordered[:, -1]).unsqueeze(1)
    return torch.where(varies, torch.special.ndtri(share), 0.0).T.reshape(values.shape)


def as_points(samples: PairedSamples) -> tuple[Tensor, Tensor]:
    """x (N, Dx) and y (N, Dy) float64 of the first noise draw, standardised: for estimators that train nothing."""
    x, y = (values[:, :1].double() for values in (samples.x, samples.y))
    return standardised(x, x).squeeze(1), standardised(y, y).squeeze(1)


def from_terms(terms: Tensor, **about: object) -> MIEstimate:
    """The mean of terms (N,), one per image, and its 95% interval; about: the other fields of MIEstimate.

    Information is not negative, so what is below 0 is reported as 0, with the mean itself in `raw`.
    """
    raw, error = float(terms.mean()), float(terms.std()) / math.sqrt(len(terms))
    return MIEstimate(
        nats=max(0.0, raw),
        raw=raw,
        standard_error=error,
        ci_low=max(0.0, raw - 1.96 * error),
        ci_high=max(0.0, raw + 1.96 * error),
        n=len(terms),
        **about,
    )
