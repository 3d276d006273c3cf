"""Protocol `certified`: every quantity of a noisy network between proven bounds, from what is known of its noise.

I(T;Yhat) through the known last layer (channel.py), I(X;T) and I(X;Yhat) from noise draws (noise_draws.py) with the
noise ladder beside the former, I(B;Yhat) by Bayes' rule through the same last layer, I(X;B) and I(B;Y) exactly.
Nothing is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ibray.mi.bounds import Mean, bracket, group_terms, over_images
from ibray.mi.channel import known_noise_ty, output_channel
from ibray.mi.discrete import discrete_mi, entropy
from ibray.mi.interface import EstimationError, MIEstimate
from ibray.mi.noise_draws import XTEstimates, adaptive_xt
from ibray.mi.noise_ladder import NoiseLadder, noise_ladder
from ibray.mi.quantities import HIDDEN
from ibray.mi.samples import paired, project
from ibray.mi.setting_checks import check_positive, check_whole
from ibray.mi.subset_samples import Draws, SubsetSamples

LEAST_DRAWS = 4
"""Of T per image: one is held out, and the noise is estimated from the others."""


@dataclass(frozen=True)
class CertifiedSettings:
    """How much is drawn; what is drawn first is the sweep's `draws`."""

    max_draws: int = 64
    """I(X;T): draws per image are doubled up to this number, until no bound moves by `tolerance` any more."""
    tolerance: float = 0.1
    """Nats."""
    scored_draws: int = 2
    """I(T;Yhat): draws per image that are scored."""
    candidates: int = 40_000
    """I(T;Yhat): values of T over all images that each is told from."""

    def __post_init__(self):
        check_whole(self, {"max_draws": LEAST_DRAWS, "scored_draws": 1, "candidates": 1})
        check_positive(self, ["tolerance"])


@dataclass(frozen=True)
class Certified:
    """What is known of one quantity: estimates under one or two protocols, and for I(X;T) the noise ladder."""

    estimates: tuple[MIEstimate, ...]
    draws: int
    """Noise draws per image that were used."""
    ladder: NoiseLadder | None = None


def certified(
    samples: SubsetSamples, quantity: str, layer: str, settings: CertifiedSettings, seed: int
) -> Certified:
    """Bounds on one quantity of one subset, in nats; `covers` says for which quantities there are any.

    Raises EstimationError where the noise is not known or too small, and for unusable samples.
    """
    return _BOUNDS[quantity](samples, layer, settings, seed)


def covers(quantity: str, layer: str) -> bool:
    """Whether bounds are known: I(T;Yhat) only of the last hidden layer, after which there is one linear map."""
    return quantity in _BOUNDS and (quantity != "I(T;Yhat)" or layer == HIDDEN)


def _image_and_layer(samples: SubsetSamples, layer: str, settings: CertifiedSettings, seed: int) -> Certified:
    found, held = _from_draws(samples, lambda draws: draws.layers[layer], settings, seed)
    return Certified((found.certified, found.closed), found.draws, noise_ladder(held, seed=seed))


def _image_and_output(samples: SubsetSamples, _: str, settings: CertifiedSettings, seed: int) -> Certified:
    # What the softmax ignores, a constant added to all logits, is taken out of them.
    shift = samples.output == "softmax"
    found, _ = _from_draws(
        samples, lambda draws: draws.logits - draws.logits.mean(2, keepdim=True) if shift else draws.logits,
        settings, seed,
    )  # fmt: skip
    certified = found.certified
    if samples.last_layer is not None:
        # Data processing: X -> T -> Yhat.
        above = _layer_and_output(samples, HIDDEN, settings, seed).estimates[0]
        certified = replace(
            certified,
            upper_bound=max(certified.nats, above.upper_bound),
            ci_high=max(certified.nats, above.ci_high),
        )
    return Certified((certified, found.closed), found.draws)


def _from_draws(
    samples: SubsetSamples, read: Callable[[Draws], Tensor], settings: CertifiedSettings, seed: int
) -> tuple[XTEstimates, object]:
    """Bounds on what these draws know of their image, with as many draws as it takes."""
    first = read(samples.draws)
    start, rounds = first.shape[1], iter(range(1, settings.max_draws))

    def draw(count: int) -> Tensor:
        number = next(rounds) - 1
        return first if number == 0 else read(samples.redraw(number))

    most = start if samples.redraw is None else max(start, settings.max_draws)
    return adaptive_xt(draw, seed=seed, start=start, most=most, tolerance=settings.tolerance)


def _layer_and_output(samples: SubsetSamples, _: str, settings: CertifiedSettings, seed: int) -> Certified:
    weight, bias, sigma = _last_layer(samples)
    t = samples.draws.layers[HIDDEN]
    estimate = known_noise_ty(
        t, samples.draws.logits, weight, bias, sigma,
        output=samples.output, scored_draws=settings.scored_draws, candidates=settings.candidates,
    )  # fmt: skip
    return Certified((estimate,), t.shape[1])


def _backdoor_and_output(samples: SubsetSamples, _: str, settings: CertifiedSettings, seed: int) -> Certified:
    """At least what Bayes' rule gets out of Yhat, at most H(B)."""
    started = time.perf_counter()
    in_group = samples.is_backdoor
    if min(int(in_group.sum()), int((~in_group).sum())) < 2:
        raise EstimationError("fewer than 2 images with or without the backdoor: nothing tells them apart")
    weight, bias, sigma = _last_layer(samples)
    pairs = paired(samples.draws.layers[HIDDEN], samples.draws.logits)
    t_map, y_map, bias = output_channel(pairs, weight, bias, sigma, samples.output)
    drawn = slice(0, settings.scored_draws)
    outputs, centres = project(pairs.y[:, drawn] - bias, y_map), project(pairs.x[:, drawn], t_map)
    terms = group_terms(outputs, centres, in_group)
    most = entropy(in_group)
    estimate = bracket(
        over_images(terms),
        Mean(most, 0.0),
        ceiling=most,
        n=samples.n,
        negatives=None,
        protocol="certified",
        seconds=time.perf_counter() - started,
    )
    return Certified((estimate,), settings.scored_draws)


def _image_and_backdoor(samples: SubsetSamples, _: str, settings: CertifiedSettings, seed: int) -> Certified:
    """Each image tells whether it carries the trigger, unless the same image is there with and without it."""
    seen: dict[bytes, int] = {}
    which = [seen.setdefault(image.tobytes(), len(seen)) for image in samples.images.flatten(1).cpu().numpy()]
    return _exactly(torch.tensor(which), samples.is_backdoor)


def _backdoor_and_label(samples: SubsetSamples, _: str, settings: CertifiedSettings, seed: int) -> Certified:
    return _exactly(samples.is_backdoor, samples.labels)


def _exactly(a: Tensor, b: Tensor) -> Certified:
    """The information between two properties of the images at hand, which are all there is."""
    exact = discrete_mi(a, b)
    return Certified((replace(exact, protocol="certified", lower_bound=exact.nats, upper_bound=exact.nats),), 1)


def _last_layer(samples: SubsetSamples) -> tuple[Tensor, Tensor, float]:
    if samples.last_layer is None:
        raise EstimationError(
            "the noise of the output is not known: the architecture has no linear layer `fc` behind Gaussian noise "
            "`noise_T`; choose another protocol for it"
        )
    return samples.last_layer


_BOUNDS = {
    "I(X;T)": _image_and_layer,
    "I(T;Yhat)": _layer_and_output,
    "I(X;Yhat)": _image_and_output,
    "I(X;B)": _image_and_backdoor,
    "I(B;Y)": _backdoor_and_label,
    "I(B;Yhat)": _backdoor_and_output,
}
