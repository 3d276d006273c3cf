"""The Gaussian model of noise draws: accumulated, fitted, and silent where there is only noise."""

import math

import pytest
import torch

from ibray.mi import EstimationError
from ibray.mi.plda import DrawStatistics, fit_plda


def draws(n, m, spread, seed=0):
    """(n, m, D) draws of unit noise around image means of standard deviations `spread` (D,)."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, len(spread), generator=rng) * spread + torch.randn(n, m, len(spread), generator=rng)


def fitted(t):
    statistics = DrawStatistics(t, torch.zeros(len(t), dtype=torch.long))
    return fit_plda(statistics.means, statistics.scatter.sum(0), statistics.draws)


def test_draws_may_come_in_parts():
    t = draws(40, 9, torch.tensor([1.0, 2.0, 0.0])) + 5
    half = torch.arange(40) % 2
    whole, parts = DrawStatistics(t, half), DrawStatistics(t[:, :2], half)
    parts.add(t[:, 2:3])
    parts.add(t[:, 3:])
    assert parts.draws == whole.draws == 9
    torch.testing.assert_close(parts.means, t.mean(1))
    torch.testing.assert_close(parts.scatter, whole.scatter, rtol=1e-5, atol=1e-4)
    around = (t - t.mean(1, keepdim=True))[half == 1].flatten(0, 1).double()
    torch.testing.assert_close(whole.scatter[1], around.T @ around, rtol=1e-5, atol=1e-4)


def test_with_much_data_it_is_the_textbook_model():
    spread = torch.tensor([3.0, 1.0, 0.5, 0.0])
    plda = fitted(draws(20_000, 5, spread))
    between = spread[:3].flip(0).double() ** 2  # eigenvalues ascend
    torch.testing.assert_close(plda.shrinkage, 5 * between / (5 * between + 1), rtol=0.02, atol=0)
    torch.testing.assert_close(plda.posterior, between / (5 * between + 1), rtol=0.05, atol=0)
    assert plda.noise == pytest.approx(1, abs=1e-3)


def test_coordinates_are_the_model_s_densities():
    """log q(t|x_j) - log q(t|x_k) from the maps equals that of the Gaussians written out, with and without noise."""
    t = draws(500, 5, torch.tensor([3.0, 1.0, 0.7, 0.0, 0.0])) @ torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, 0.1]))
    statistics = DrawStatistics(t, torch.zeros(500, dtype=torch.long))
    plda = fit_plda(statistics.means, statistics.scatter.sum(0), 5)
    unwhite = torch.linalg.inv(plda.white)  # square here: T = unwhite^T z
    shown = statistics.means[:3].double() - plda.mean
    centres = (shown @ plda.white @ plda.directions * plda.shrinkage) @ plda.directions.T @ unwhite
    for variance in (0.0, 2.5):
        inside = plda.noise * torch.eye(5) + plda.directions @ torch.diag(plda.posterior) @ plda.directions.T
        covariance = unwhite.T @ inside @ unwhite + variance * torch.eye(5)
        sample = t[7, 0].double() - plda.mean
        log_q = torch.distributions.MultivariateNormal(centres, covariance).log_prob(sample)
        sample_map, candidate_map = plda.coordinates(variance)
        scores = -0.5 * (sample @ sample_map - shown @ candidate_map).square().sum(1)
        torch.testing.assert_close(scores - scores[0], log_q - log_q[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), [(2000, 7, 256), (300, 7, 512), (5000, 3, 20)])
def test_pure_noise_shows_no_direction_worth_a_nat(n, m, d):
    """The eigenvalues of the image means reach (1 + sqrt(d/n))^2 times the noise's, and more with few draws."""
    plda = fitted(draws(n, m, torch.zeros(d)))
    assert len(plda.posterior) <= 2
    assert (plda.shrinkage < 0.5).all()


def test_a_signal_is_not_overrated():
    """Of what an image's mean seems to say, that much comes true in a draw that the model has not seen."""
    spread = torch.cat([torch.full((10,), 0.6), torch.zeros(240)])
    rng = torch.Generator().manual_seed(1)
    means = torch.randn(1000, 1, 250, generator=rng) * spread
    seen, unseen = (means + torch.randn(1000, m, 250, generator=rng) for m in (7, 1))
    plda = fitted(seen)
    assert 8 <= len(plda.shrinkage) <= 12
    new, shown = ((t.mean(1).double() - plda.mean) @ plda.white @ plda.directions for t in (unseen, seen))
    slopes = (new * shown).sum(0) / shown.square().sum(0)
    naive = 7 * 0.36 / (7 * 0.36 + 1)
    assert float(plda.shrinkage.mean()) == pytest.approx(float(slopes.mean()), abs=0.05)
    assert float(slopes.mean()) < naive - 0.05
    left = (new - plda.shrinkage * shown).square().mean(0)
    assert float(left.mean()) == pytest.approx(float((plda.noise + plda.posterior).mean()), rel=0.06)


def test_constant_and_dependent_features_are_left_out():
    t = draws(300, 6, torch.tensor([2.0, 1.0, 1.0]))
    plda = fitted(t)
    bound = torch.cat([t, torch.full((300, 6, 1), 3.7), t.sum(2, keepdim=True)], 2)
    constrained = fitted(bound)
    assert constrained.white.shape == (5, 3)
    torch.testing.assert_close(constrained.posterior, plda.posterior, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("t", "says"),
    [
        (torch.full((50, 4, 3), 2.0), "no noise"),
        (torch.randn(50, 1, 3).expand(50, 4, 3), "no noise"),
        (torch.randn(10, 3, 20), "3 draws of each of 10 images are too few .* 20 features: at least 4"),
    ],
)
def test_what_cannot_be_fitted(t, says):
    with pytest.raises(EstimationError, match=says):
        fitted(t)


def test_as_many_draws_as_the_message_asks_for_are_enough():
    assert len(fitted(draws(10, 4, torch.zeros(20))).mean) == 20
    assert math.isfinite(fitted(draws(10, 4, torch.zeros(20))).noise)
