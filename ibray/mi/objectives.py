"""The objectives of trained estimators on a matrix of scores, in nats.

scores (B, C): rows are anchors y_i, columns candidates x_j, anchor i's own partner on the diagonal (of a block of rows:
in column `first` + i). With

    own_i = f_ii    and    Z_i = share exp f_ii + (1 - share) mean over j != i of exp f_ij

they are

    infonce   mean_i [ own_i - log Z_i ], share 1/C      van den Oord et al. 2018 (1807.03748)
    nwj       mean_i [ 1 + own_i - Z_i ]                 Nguyen, Wainwright and Jordan 2010 (0809.0853), f shifted by 1
    mine      mean_i own_i - log mean_i Z_i              Donsker and Varadhan; Belghazi et al. 2018 (1801.04062)
    smile     the same, f in Z clipped to [-5, 5]        Song and Ermon 2020 (1910.06222)

and the best f is log p(x, y) / (p(x) p(y)), up to any function of the anchor for infonce, up to a constant for mine.
`share` is the chance that two independent draws are of one image: 1/n where X is uniform on n images, 0 where images
are a sample of a population. InfoNCE has the own pair among its C candidates in either case.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

EMA_RATE = 0.01
"""Belghazi et al.: the weight of a batch in the running mean of Z."""
CLIP = 5.0
"""Song and Ermon's tau, in nats."""


def own_and_marginal(scores: Tensor, share: float, clip: float | None = None, first: int = 0) -> tuple[Tensor, Tensor]:
    """scores (B, C), C >= 2 -> own (B,) and log Z (B,) as above; clip: |f| is at most this within Z."""
    others = math.log1p(-share) - math.log(scores.shape[1] - 1)
    more = math.log(share) - others if share > 0 else -math.inf
    within = scores if clip is None else scores.clamp(-clip, clip)
    weighted = torch.diagonal_scatter(within, within.diagonal(first) + more, first)
    return scores.diagonal(first), weighted.logsumexp(1) + others


class InfoNCE:
    """In expectation a lower bound of the information whatever the critic, and at most log C."""

    name = "infonce"
    is_bound = True
    clip: float | None = None

    def share(self, candidates: int, images: int | None) -> float:
        """Of C candidates; images: n where X is uniform on so many, None where they are a sample."""
        return 1 / candidates

    def loss(self, scores: Tensor, share: float) -> Tensor:
        """What a training step minimises, (B, B) -> ()."""
        return -self.merit(scores, share).mean()

    def merit(self, scores: Tensor, share: float) -> Tensor:
        """Terms of what tells the best critic on samples kept back, (B, B) -> (B,); a larger mean is better."""
        return self.terms(*own_and_marginal(scores, share, self.clip))

    def terms(self, own: Tensor, marginal: Tensor) -> Tensor:
        """own (n,), log Z (n,) -> (n,): their mean is the value, their spread that of the anchors' influence on it."""
        return own - marginal


class NWJ(InfoNCE):
    """In expectation a lower bound without a ceiling; its variance grows like e^information."""

    name = "nwj"

    def share(self, candidates: int, images: int | None) -> float:
        return 0.0 if images is None else 1 / images

    def terms(self, own: Tensor, marginal: Tensor) -> Tensor:
        return 1 + own - marginal.exp()


class MINE(NWJ):
    """Donsker-Varadhan: no bound, since the log of a mean over a sample is too small in expectation.

    In the gradient of log Z, a batch's own Z below the fraction is replaced by a running mean that is kept from step to
    step: one object of this class is one training run.
    """

    name = "mine"
    is_bound = False

    def __init__(self):
        self.log_running: Tensor | None = None
        """() log of the running mean; None before the first step."""

    def loss(self, scores: Tensor, share: float) -> Tensor:
        """Its gradient is what is wanted, its value is not the estimate. Moves the running mean."""
        own, marginal = own_and_marginal(scores, share)
        log_z = _log_mean(marginal)
        now = log_z.detach()
        if self.log_running is None:
            self.log_running = now
        else:
            self.log_running = torch.logaddexp(self.log_running + math.log1p(-EMA_RATE), now + math.log(EMA_RATE))
        return (log_z - self.log_running).exp() - own.mean()

    def terms(self, own: Tensor, marginal: Tensor) -> Tensor:
        log_z = _log_mean(marginal)
        return own - log_z + (1 - (marginal - log_z).exp())  # the delta method: the bracket's mean is 0


class SMILE(MINE):
    """Trained by the Jensen-Shannon bound, whose best critic is the same, and scored by the clipped value: no bound."""

    name = "smile"
    clip = CLIP

    def loss(self, scores: Tensor, share: float) -> Tensor:
        return -self.merit(scores, share).mean()

    def merit(self, scores: Tensor, share: float) -> Tensor:
        """Not the value, whose first part nothing keeps from growing."""
        own = scores.diagonal()
        at_own = softplus(own)
        others = (softplus(scores).sum(1) - at_own) / (scores.shape[1] - 1)
        return own - at_own - share * at_own - (1 - share) * others  # -softplus(-f) is f - softplus(f)


def _log_mean(logs: Tensor) -> Tensor:
    """log of the mean of exp, (n,) -> ()."""
    return logs.logsumexp(0) - math.log(len(logs))
