"""Estimators that train nothing: KSG, and the surrogates HSIC and Renyi."""

import math
from dataclasses import replace

import pytest
import torch
from gaussians import gaussian_pairs

from ibray.mi import ESTIMATORS, EstimationError, UserError, estimate_mi, settings_of
from ibray.mi.kernels import entropy

DIRECT = ["ksg", "hsic", "renyi"]


@pytest.mark.parametrize(("dims", "nats", "error"), [(1, 0.0, 0.03), (1, 0.5, 0.04), (1, 3.0, 0.06), (2, 1.0, 0.06)])
def test_ksg_of_gaussians(dims, nats, error):
    estimate = estimate_mi(*gaussian_pairs(3000, dims, nats), "ksg")
    assert estimate.raw == pytest.approx(nats, abs=error)
    assert estimate.ci_low <= estimate.nats <= estimate.ci_high < estimate.raw + 0.1


def test_ksg_by_hand():
    """Four samples, k = 1: neighbours counted on paper."""
    x = torch.tensor([[0.0], [1.0], [2.5], [6.0]])
    y = torch.tensor([[0.0], [2.0], [2.5], [4.0]])
    a, b = ((v - v.mean()) / v.std() for v in (x, y))
    joint = torch.maximum((a - a.T).abs(), (b - b.T).abs()).fill_diagonal_(math.inf)
    radius = joint.amin(1, keepdim=True)
    counts = [((v - v.T).abs() < radius).sum(1).double() for v in (a, b)]  # each with itself: n + 1
    expected = sum(torch.digamma(torch.tensor(k, dtype=torch.float64)) for k in (1, 4)) - sum(
        torch.digamma(c).mean() for c in counts
    )
    assert estimate_mi(x, y, "ksg", k=1).raw == pytest.approx(float(expected), abs=1e-9)


def test_ksg_of_repeated_values():
    """Equal samples have no distance: I(x; x) of a fair coin is log 2."""
    coin = (torch.arange(2000) % 2).float().unsqueeze(1)
    assert math.isfinite(estimate_mi(coin, coin, "ksg").nats)


@pytest.mark.parametrize("name", ["hsic", "renyi"])
def test_surrogates_rise_from_0_with_dependence(name):
    values = [estimate_mi(*gaussian_pairs(800, 1, nats), name).raw for nats in (0.0, 0.1, 0.5, 1.0, 2.0)]
    assert abs(values[0]) < 0.02
    assert values == sorted(values) and values[-1] > 0.5


def test_hsic_of_a_variable_with_itself_is_1():
    x, _ = gaussian_pairs(300, 3, 1.0)
    assert estimate_mi(x, x, "hsic").nats == pytest.approx(1)
    assert estimate_mi(x, 5 - 3 * x, "hsic").nats == pytest.approx(1, abs=1e-5)


def test_hsic_by_blocks_is_the_unbiased_estimate(monkeypatch):
    """Against the mean over all sets of four different samples, of which it is a sum in closed form."""
    x, y = gaussian_pairs(7, 2, 1.0)
    whole = estimate_mi(x, y, "hsic").raw
    monkeypatch.setattr("ibray.mi.kernels.BLOCK_ROWS", 3)
    assert estimate_mi(x, y, "hsic").raw == pytest.approx(whole, rel=1e-9)

    def kernel(v):
        v = ((v - v.mean(0)) / v.std(0)).double()
        return torch.exp(-torch.cdist(v, v).square() / (2 * torch.pdist(v).median() ** 2))

    def by_fours(k, m):
        n, total, count = len(k), 0.0, 0
        for i in range(n):
            for j in range(n):
                for q in range(n):
                    for r in range(n):
                        if len({i, j, q, r}) == 4:
                            total += float(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]))
                            count += 1
        return total / count

    k, m = kernel(x), kernel(y)
    assert whole == pytest.approx(by_fours(k, m) / math.sqrt(by_fours(k, k) * by_fours(m, m)), rel=1e-4)


@pytest.mark.parametrize("alpha", [0.5, 1.01, 2.0])
def test_matrix_entropy_in_closed_form(alpha):
    assert entropy(torch.ones(50, 50, dtype=torch.float64), alpha) == pytest.approx(0, abs=1e-6)
    assert entropy(torch.eye(50, dtype=torch.float64), alpha) == pytest.approx(math.log(50))
    groups = torch.block_diag(*[torch.ones(10, 10, dtype=torch.float64)] * 5)  # five points, ten times each
    assert entropy(groups, alpha) == pytest.approx(math.log(5), abs=1e-5)


def test_renyi_of_two_points_in_closed_form():
    """Fifty times 0 and fifty times 1: a kernel of two blocks has the eigenvalues (1 + k) / 2 and (1 - k) / 2."""
    x = torch.tensor([[0.0], [1.0]]).repeat(50, 1)
    # More than half of the distances are that of the two points, which so is the bandwidth: k = exp(-1/2).
    k = torch.tensor(math.exp(-0.5), dtype=torch.float64)

    def s(k):
        return float((((1 + k) / 2) ** 1.01 + ((1 - k) / 2) ** 1.01).log() / -0.01)

    assert estimate_mi(x, x, "renyi").nats == pytest.approx(2 * s(k) - s(k**2), abs=1e-6)


@pytest.mark.parametrize("name", DIRECT)
def test_scale_draws_seed_and_what_an_estimate_says(name):
    x, y = gaussian_pairs(200, 2, 1.0)
    estimate = estimate_mi(x, y, name)
    assert (estimate.estimator, estimate.protocol, estimate.n) == (name, "direct", 200)
    assert estimate.critic_epochs is None and estimate.curve == () and estimate.lower_bound is None
    assert estimate_mi(7 * x + 1, y * torch.tensor([1e-2, 30.0]), name).raw == pytest.approx(estimate.raw, abs=1e-3)
    assert replace(estimate_mi(x, y, name), seconds=0.0) == replace(estimate, seconds=0.0)
    with_draws = torch.stack([y, y.flip(0)], 1)  # the first draw is used
    assert estimate_mi(x, with_draws, name).raw == estimate.raw
    assert ESTIMATORS[name].is_surrogate == (name != "ksg") == ("surrogate" in ESTIMATORS[name].description)


@pytest.mark.parametrize("name", DIRECT)
@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (torch.zeros(1, 2), torch.zeros(1, 2), "at least 2"),
        (torch.tensor([[math.inf], [0.0]]), torch.zeros(2, 1), "x holds NaN"),
        (torch.rand(30, 2), torch.ones(30, 2), "y is constant"),
    ],
)
def test_samples_that_admit_no_estimate(name, x, y, says):
    with pytest.raises(EstimationError, match=says):
        estimate_mi(x, y, name)


def test_too_few_samples():
    with pytest.raises(EstimationError, match="3 samples have no 3 neighbours"):
        estimate_mi(torch.rand(3, 1), torch.rand(3, 1), "ksg")
    with pytest.raises(EstimationError, match="hsic needs at least 4"):
        estimate_mi(torch.rand(3, 1), torch.rand(3, 1), "hsic")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("ksg", {"k": 0}), ("renyi", {"alpha": 1}), ("renyi", {"alpha": -2.0}), ("renyi", {"max_images": 1})],
)
def test_wrong_values_of_settings(name, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        settings_of(name, **wrong)
