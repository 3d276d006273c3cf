"""The truths of the problems, each by a way of its own: densities averaged over samples, covariances, integrals."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ibray.mi.discrete import discrete_mi
from ibray.validation import problems
from ibray.validation.suite import full_plan

GAUSSIAN = [
    problems.paper_gaussian(),
    problems.gaussian(1, 0.5),
    problems.gaussian(5, 2.0),
    problems.gaussian(10, 10.0),
    problems.sparse(10, 1.0),
    problems.network(4.0),
    *problems.chain(),
]


@pytest.mark.parametrize("problem", GAUSSIAN, ids=lambda p: p.name)
def test_gaussian_truths_by_the_covariance_of_samples(problem):
    """I = 1/2 (logdet Cov(x) + logdet Cov(y) - logdet Cov(x, y)), which exceeds the truth by about Dx Dy / 2n."""
    sample = problem.draw(100_000, 0)
    x, y = (v[:, 0] if v.ndim == 3 else v for v in (sample.x.double(), sample.y.double()))
    parts = [float(torch.logdet(torch.atleast_2d(torch.cov(v.T)))) for v in (x, y, torch.cat([x, y], 1))]
    assert 0.5 * (parts[0] + parts[1] - parts[2]) == pytest.approx(problem.truth, abs=0.02)


def test_the_papers_number():
    assert problems.paper_gaussian().truth == pytest.approx(2.9189, abs=5e-5)


@pytest.mark.parametrize("problem", [problems.student(1, 0.5, 3), problems.student(5, 1.0, 2)], ids=lambda p: p.name)
def test_student_truths_by_the_mean_of_log_densities(problem):
    """scipy's densities on the problem's own samples: log p(x,y) - log p(x) - log p(y)."""
    d, degrees = problem.dims, int(problem.name.split()[2])
    nats = problem.truth - problems.student_correction(degrees, d, d)
    rho = problems.equal_correlation(d, nats)
    x, y = (v.double().numpy() for v in (lambda s: (s.x, s.y))(problem.draw(100_000, 0)))
    shape = np.block([[np.eye(d), rho * np.eye(d)], [rho * np.eye(d), np.eye(d)]])
    joint = stats.multivariate_t(shape=shape, df=degrees).logpdf(np.hstack([x, y]))
    alone = [stats.multivariate_t(shape=np.eye(d), df=degrees).logpdf(v) for v in (x, y)]
    terms = joint - alone[0] - alone[1]
    assert terms.mean() == pytest.approx(problem.truth, abs=4 * terms.std() / math.sqrt(len(terms)))


def test_the_student_correction_goes_away_with_many_degrees_and_grows_with_dimensions():
    assert problems.student_correction(1e6, 3, 3) == pytest.approx(0, abs=1e-4)
    assert 0 < problems.student_correction(3, 1, 1) < problems.student_correction(3, 5, 5)


@pytest.mark.parametrize("kind", ["half-cube", "asinh"])
def test_maps_undo_to_the_gaussian_they_came_from(kind):
    problem = problems.transformed(kind, 2, 1.0)
    sample = problem.draw(50_000, 0)
    back = {"half-cube": lambda v: v.sign() * v.abs() ** (2 / 3), "asinh": torch.sinh}[kind]
    x, y = back(sample.x), back(sample.y)
    correlation = [float(torch.corrcoef(torch.stack([x[:, i], y[:, i]]))[0, 1]) for i in (0, 1)]
    assert correlation == pytest.approx([problems.equal_correlation(2, 1.0)] * 2, abs=0.01)
    assert float(x.std()) == pytest.approx(1, abs=0.01)


def test_the_swiss_roll_unrolls_to_a_correlated_pair():
    sample = problems.swiss_roll(1.0).draw(50_000, 0)
    angle = 21 * sample.x.double().norm(dim=1)
    uniform = (angle / (1.5 * math.pi) - 1) / 2
    assert float(uniform.min()) > -1e-6 and float(uniform.max()) < 1 + 1e-6
    ends = 1e-6, 1 - 1e-6
    pair = torch.special.ndtri(torch.stack([uniform, sample.y[:, 0].double()]).clamp(*ends))
    rho = float(torch.corrcoef(pair)[0, 1])
    assert rho == pytest.approx(problems.equal_correlation(1, 1.0), abs=0.01)


@pytest.mark.parametrize(
    "problem", [problems.poisoned_labels(), problems.trigger_entropy(), problems.classifier()], ids=lambda p: p.name
)
def test_truths_of_labels_by_counting(problem):
    sample = problem.draw(100_000, 0)
    counted = discrete_mi(sample.x.argmax(1), sample.y.argmax(1)).nats
    assert counted == pytest.approx(problem.truth, abs=0.005 if problem.name == "I(Y;Yhat)" else 1e-6)
    assert (sample.x.sum(1) == 1).all()


def test_the_classifier_is_wrong_as_often_as_it_says():
    sample = problems.classifier(0.2).draw(5000, 3)
    assert float((sample.x.argmax(1) != sample.y.argmax(1)).double().mean()) == pytest.approx(0.2)


@pytest.mark.parametrize("problem", full_plan().problems, ids=lambda p: p.name)
def test_every_problem_draws_what_it_says(problem):
    sample = problem.draw(300, 1)
    assert len(sample) == len(sample.y) == 300 and sample.x.shape[-1] == problem.dims
    assert sample.x.dtype == sample.y.dtype == torch.float32
    assert torch.equal(sample.x, problem.draw(300, 1).x) and not torch.equal(sample.x, problem.draw(300, 2).x)
    assert (sample.noise is not None) == problem.known_noise
    assert problem.description and problem.source and problem.truth > 0


@pytest.mark.parametrize("problem", [problems.gaussian(2, 1.0), problems.network(2.0), problems.paper_gaussian()])
def test_the_noise_is_the_noise_of_y_also_after_scaling(problem):
    for sample in (problem.draw(20_000, 0), problem.draw(20_000, 0).scaled(1000, 0.01)):
        weight, noise = sample.noise.weight, sample.noise
        residual = (sample.y - noise.bias - sample.x @ weight.T).reshape(-1, len(weight)).double()
        covariance = noise.sigma**2 * weight.double() @ weight.double().T
        assert torch.allclose(torch.cov(residual.T) / covariance.trace(), covariance / covariance.trace(), atol=0.02)


def test_permuting_keeps_both_variables_and_breaks_the_pairs():
    sample = problems.gaussian(1, 2.0).draw(2000, 0)
    permuted = sample.permuted(torch.Generator().manual_seed(0))
    assert torch.equal(permuted.x, sample.x) and torch.equal(permuted.y.sort(0).values, sample.y.sort(0).values)
    pair = torch.cat([permuted.x, permuted.y], 1)
    assert abs(float(torch.corrcoef(pair.T)[0, 1])) < 0.08 and not permuted.paired
