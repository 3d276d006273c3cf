"""InfoNCE with the paper's recipe (protocol `paper`), in the exact fast form of `pairs.py`.

A critic is trained to tell a sample's own partner from K others of its batch, and the value is the mean of
its last epochs on the very batches it was trained on. That is what the paper reports, with what it implies
(mi.md section 2): the value cannot pass `ceiling` however large the truth is, and it is an in-sample value,
so with high-dimensional x and few images it is well above 0 even where x and y are independent.

Sources: van den Oord et al. 1807.03748; Poole et al. 1905.06922; the recipe is the paper's, see paper.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ibray.errors import UserError
from ibray.mi.critic import ConcatCritic
from ibray.mi.critic_epochs import CriticEpochs
from ibray.mi.interface import MIEstimate
from ibray.mi.pairs import infonce_loss
from ibray.mi.prepare import check_varies
from ibray.mi.samples import PairedSamples, paired
from ibray.mi.setting_checks import check_not_negative, check_positive, check_whole
from ibray.seeds import generator

_WHOLE = {"batch": 2, "negatives": 1, "hidden": 1, "max_epochs": 1, "report_last": 1, "plateau_patience": 0}
_POSITIVE = ("learning_rate", "grad_clip", "plateau_factor")


@dataclass(frozen=True)
class InfoNCESettings:
    """The paper's values for I(X;T); see PRESETS for the other quantity."""

    batch: int = 128
    """Images per step, at most all of them. The smaller last batch of an epoch is dropped, because its
    ceiling would be lower; epochs are reshuffled, so each image has its turn."""
    negatives: int = 512
    """K: draws per image, with replacement, from the batch itself."""
    hidden: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    max_epochs: int = 350
    plateau_factor: float = 0.5
    """The learning rate is multiplied by this when the epoch's mean loss stops improving ..."""
    plateau_patience: int = 8
    """... for more than this many epochs."""
    grad_clip: float = 5.0
    early_stop_delta: float | None = None
    """Nats. Stop once the mean of the last `report_last` epochs differs by less from that of as many epochs
    before them. The paper names 1e-2; its released code has it off, and so has this default."""
    report_last: int = 5
    """The value is the mean of this many last epochs."""

    def __post_init__(self):
        check_whole(self, _WHOLE)
        check_positive(self, _POSITIVE if self.early_stop_delta is None else (*_POSITIVE, "early_stop_delta"))
        check_not_negative(self, ["weight_decay"])
        if self.plateau_factor >= 1:
            raise UserError(f"setting plateau_factor must be below 1, not {self.plateau_factor!r}")


PRESETS = MappingProxyType(
    {
        "I(X;T)": {"batch": 128, "negatives": 512, "learning_rate": 3e-4, "max_epochs": 350},
        "I(T;Yhat)": {"batch": 512, "negatives": 256, "learning_rate": 5e-4, "max_epochs": 250},
    }
)


def infonce(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """x (N, Dx) or (N, M, Dx), y (N, Dy) or (N, M, Dy), M noise draws per image; settings: InfoNCESettings.

    Fewer images than a batch make one batch of all of them, and a lower `ceiling`. Raises EstimationError, also where x
    or y is constant.

    Runs where the samples are. The interval is over images (each image's terms of the reported epochs
    averaged first, so draws and epochs do not count as samples); the critic is taken as given, so neither
    the spread between critics (run several seeds) nor the in-sample bias is in it.
    """
    started = time.perf_counter()
    options = InfoNCESettings(**settings)
    samples = paired(x, y)
    check_varies(samples)
    # Callers may sit in inference mode; the critic needs gradients all the same.
    with torch.inference_mode(False), torch.enable_grad():
        curve, terms = _train(samples, options, seed)

    return estimate_of(samples, curve, terms, options, time.perf_counter() - started)


def estimate_of(
    samples: PairedSamples, curve: Sequence[float], terms: Tensor, options: InfoNCESettings, seconds: float
) -> MIEstimate:
    """The estimate that a trained critic makes: its curve, and the terms (epochs, N) of its last epochs."""
    reported = curve[-options.report_last :]
    nats = sum(reported) / len(reported)
    margin = _half_width(terms)
    return MIEstimate(
        nats=nats,
        ci_low=nats - margin,
        ci_high=nats + margin,
        lower_bound=None,
        upper_bound=None,
        ceiling=ceiling(min(options.batch, samples.n), options.negatives),
        n=samples.n,
        negatives=options.negatives,
        estimator="infonce",
        protocol="paper",
        critic_epochs=len(curve),
        seconds=seconds,
        curve=tuple(curve),
    )


def ceiling(batch: int, negatives: int) -> float:
    """The expected value of a perfect critic, E log((K + 1) / (1 + Bin(K, 1/B))), in nats.

    A perfect critic scores the own partner infinitely high; what is left in the sum are its own duplicates
    among the K draws (mi.md section 2). 4.72 for B 128 and K 512; 5.24 for B 512 and K 256.
    """
    k, p = negatives, 1 / batch
    total = 0.0
    for d in range(k + 1):
        log_ways = math.lgamma(k + 1) - math.lgamma(d + 1) - math.lgamma(k - d + 1)
        total += math.exp(log_ways + d * math.log(p) + (k - d) * math.log1p(-p)) * math.log((k + 1) / (1 + d))
    return total


def _train(samples: PairedSamples, options: InfoNCESettings, seed: int) -> tuple[list[float], Tensor]:
    """The estimate per epoch, and the terms of the reported epochs (epochs, N) with NaN where not visited."""
    device = samples.x.device
    critic = ConcatCritic(
        samples.x.shape[2], samples.y.shape[2], options.hidden, generator(seed, "critic")
    ).to(device)
    # One fused kernel instead of a pass over memory per operation; other devices may not have it.
    optimiser = torch.optim.AdamW(
        critic.parameters(),
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    epochs = CriticEpochs(samples, options, seed)
    while epochs.go_on:
        optimiser.param_groups[0]["lr"] = epochs.learning_rate
        for images, draws, indices in epochs.batches():
            loss, terms = infonce_loss(critic, *samples.pick(images, draws), indices)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(critic.parameters(), options.grad_clip)
            optimiser.step()
            epochs.note(images, terms)
        epochs.end()
    return epochs.curve, epochs.reported()


def _half_width(terms: Tensor) -> float:
    """1.96 standard errors over images: terms (epochs, N), averaged per image first."""
    per_image = terms.double().nanmean(0)
    per_image = per_image[~per_image.isnan()]
    return 1.96 * float(per_image.std()) / math.sqrt(len(per_image))
