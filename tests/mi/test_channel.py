"""Known noise: linear-Gaussian networks with known information, invariances, coverage, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch

from ibray.errors import UserError
from ibray.mi import EstimationError, estimate_mi
from ibray.mi.channel import known_noise_ty

SIGMA = 0.4


def network(nats, n=1000, draws=3, features=32, outputs=10, own_noise=0.2, seed=0):
    """t, logits, weight, bias, sigma of a noisy last layer with I(T; Yhat) = nats.

    T is Gaussian of one variance, the share `own_noise` of it drawn anew per draw; so the information depends on no
    weight: each dimension of the output has its share, and softmax loses one of them.
    """
    rng = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(outputs, features, generator=rng), torch.randn(outputs, generator=rng)
    image = torch.randn(n, 1, features, generator=rng)
    noise = torch.randn(n, draws, features, generator=rng)
    t = math.sqrt(1 - own_noise) * image + math.sqrt(own_noise) * noise
    t *= SIGMA * math.sqrt(math.exp(2 * nats / outputs) - 1)
    noisy = t + SIGMA * torch.randn(n, draws, features, generator=rng)
    return t, noisy @ weight.T + bias, weight, bias, SIGMA


def numbers(estimate):
    """Everything but the time taken."""
    return replace(estimate, seconds=0.0)


@pytest.mark.parametrize(("nats", "gap"), [(2, 0.02), (4.5, 0.1), (6, 0.3)])
def test_brackets_a_linear_gaussian_network(nats, gap):
    estimate = known_noise_ty(*network(nats, n=5000, draws=8))
    assert estimate.ci_low < nats < estimate.ci_high
    assert estimate.upper_bound - estimate.lower_bound < gap
    assert estimate.standard_error < 0.05
    assert estimate.nats == estimate.lower_bound == estimate.raw
    assert (estimate.estimator, estimate.protocol, estimate.n) == ("channel", "certified", 5000)
    assert (estimate.negatives, estimate.ceiling) == (39_999, math.log(40_000))


@pytest.mark.parametrize("outputs", [2, 10])
def test_softmax_has_one_dimension_less(outputs):
    t, logits, *layer = network(2, outputs=outputs)
    estimate = known_noise_ty(t, logits, *layer, output="softmax")
    assert estimate.ci_low < 2 * (outputs - 1) / outputs < estimate.ci_high
    shifted = logits + torch.randn(logits.shape[:2], generator=torch.Generator().manual_seed(1)).unsqueeze(2)
    assert known_noise_ty(t, shifted, *layer, output="softmax").nats == pytest.approx(estimate.nats, abs=1e-4)


def test_intervals_cover_the_truth():
    """50 seeds, an interval of 95%: fewer than 45 hold the truth in 4 of 100 such series."""
    estimates = [known_noise_ty(*network(2, n=500, draws=4, outputs=4, seed=seed)) for seed in range(50)]
    assert sum(estimate.ci_low < 2 < estimate.ci_high for estimate in estimates) >= 45
    spread = torch.tensor([estimate.raw for estimate in estimates]).std()
    assert sum(e.standard_error for e in estimates) / 50 == pytest.approx(float(spread), rel=0.25)


def test_units_and_bases_change_nothing():
    t, logits, weight, bias, sigma = network(3)
    nats = known_noise_ty(t, logits, weight, bias, sigma).nats
    assert known_noise_ty(1e3 * t, logits, weight / 1e3, bias, 1e3 * sigma).nats == pytest.approx(nats, abs=1e-4)
    mix = torch.randn(10, 10, generator=torch.Generator().manual_seed(1))
    mixed = known_noise_ty(t, logits @ mix.T, mix @ weight, mix @ bias, sigma)
    assert mixed.nats == pytest.approx(nats, abs=1e-3)
    assert mixed.upper_bound == pytest.approx(known_noise_ty(t, logits, weight, bias, sigma).upper_bound, abs=1e-3)


def test_no_bias_and_one_draw_without_its_axis():
    t, logits, weight, bias, sigma = network(2)
    with_bias = known_noise_ty(t[:, :1], logits[:, :1], weight, bias, sigma)
    without = known_noise_ty(t[:, 0].numpy(), (logits - bias)[:, 0].numpy(), weight, None, sigma)
    assert without.nats == pytest.approx(with_bias.nats, abs=1e-5)
    assert without.ceiling == math.log(1000)


def test_far_apart_the_cap_takes_over():
    """Where the lower bound is at its ceiling, the leave-one-out bound grows with the distance squared."""
    nats = 30
    estimate = known_noise_ty(*network(nats))
    assert estimate.lower_bound == pytest.approx(estimate.ceiling, abs=0.01)
    assert estimate.upper_bound == pytest.approx(nats, abs=0.5)
    assert estimate.ci_low < nats < estimate.ci_high


@pytest.mark.parametrize("wrong", ["sigma", "weight", "draws", "images"])
def test_logits_of_another_network_are_refused(wrong):
    t, logits, weight, bias, sigma = network(2, own_noise=0.5)
    if wrong == "sigma":
        sigma *= 1.2
    elif wrong == "weight":
        weight = 1.2 * weight
    else:
        logits = logits.roll(1, 1 if wrong == "draws" else 0)
    with pytest.raises(EstimationError, match="y is not x"):
        known_noise_ty(t, logits, weight, bias, sigma)


def test_a_wrong_pairing_made_on_purpose_reads_nothing():
    t, logits, *layer = network(3)
    estimate = known_noise_ty(t, logits.roll(1, 0), *layer, verify=False)
    assert estimate.nats == 0 and estimate.raw < -1


def test_a_known_mean_without_draws():
    """Any covariance: y = x + noise, x the noise-free mean."""
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(4, 4, generator=rng)
    x = 2 * torch.randn(2000, 4, generator=rng)
    y = x.unsqueeze(1) + torch.randn(2000, 3, 4, generator=rng) @ mix.T
    covariance = mix @ mix.T
    truth = 0.5 * float(torch.logdet(torch.eye(4) + 4 * torch.linalg.inv(covariance)))
    estimate = estimate_mi(x, y, estimator="channel", covariance=covariance)
    assert estimate.ci_low < truth < estimate.ci_high
    assert estimate.ceiling == math.log(2000)
    scales = torch.tensor([1e-3, 1.0, 5.0, 1e3])
    scaled = estimate_mi(x * scales, y * scales, estimator="channel", covariance=scales * covariance * scales[:, None])
    assert scaled.nats == pytest.approx(estimate.nats, abs=1e-3)


def test_sigma_is_a_covariance():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, generator=rng)
    y = x + 0.5 * torch.randn(300, 2, generator=rng)
    by_sigma = estimate_mi(x, y, estimator="channel", sigma=0.5, seed=3)
    assert numbers(by_sigma) == numbers(estimate_mi(x, y, estimator="channel", covariance=0.25 * torch.eye(2)))


def test_the_same_bits_and_no_randomness():
    samples = network(2)
    before = torch.get_rng_state()
    assert numbers(known_noise_ty(*samples)) == numbers(known_noise_ty(*samples))
    assert torch.equal(torch.get_rng_state(), before)


def changed(**changes):
    names = ("t", "logits", "weight", "bias", "sigma")
    return {**dict(zip(names, network(2, n=50), strict=True)), **changes}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (changed(sigma=0.0), "singular .sigma 0"),
        (changed(weight=torch.ones(10, 32)), "singular"),
        (changed(weight=torch.zeros(10, 32)), "singular"),
        (changed(weight=torch.randn(10, 31)), r"\(10, 31\).* T of 32 features to 10 logits"),
        (changed(bias=torch.zeros(3)), r"bias \(3,\)"),
        (changed(t=torch.zeros(1, 3, 32), logits=torch.zeros(1, 3, 10)), "at least 2"),
        (changed(t=torch.full((50, 3, 32), math.nan)), "x holds NaN"),
        (changed(t=torch.ones(50, 3, 32)), "constant"),
        (changed(logits=torch.zeros(50, 1, 10)), "draws are paired by index"),
    ],
)
def test_what_admits_no_estimate(arguments, says):
    with pytest.raises(EstimationError, match=says):
        known_noise_ty(**arguments)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "set sigma or covariance"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": 1.0, "covariance": torch.eye(2)}, "not by both"),
        ({"sigma": 1.0, "scored_draws": 0}, "scored_draws"),
        ({"sigma": 1.0, "candidates": 2.5}, "candidates"),
    ],
)
def test_wrong_settings(settings, says):
    with pytest.raises(UserError, match=says):
        estimate_mi(torch.randn(20, 2), torch.randn(20, 2), estimator="channel", **settings)


def test_pixels_are_no_mean_of_t():
    with pytest.raises(EstimationError, match="x must be the noise-free mean"):
        estimate_mi(torch.randn(20, 7), torch.randn(20, 2), estimator="channel", sigma=1.0)


@pytest.mark.parametrize("covariance", [torch.zeros(2, 2), torch.ones(2, 2), torch.eye(3), math.nan * torch.eye(2)])
def test_covariances_that_are_none(covariance):
    with pytest.raises(EstimationError, match="covariance of the noise"):
        estimate_mi(torch.randn(20, 2), torch.randn(20, 2), estimator="channel", covariance=covariance)


def test_an_unknown_output():
    with pytest.raises(UserError, match="'logits' or 'softmax'"):
        known_noise_ty(*network(2, n=50), output="probabilities")
