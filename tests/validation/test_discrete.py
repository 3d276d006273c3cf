"""Information between labels, against sums done by hand and the paper's numbers."""

import math

import pytest
import torch

from ibray.errors import UserError
from ibray.mi import EstimationError
from ibray.mi.discrete import binary_entropy, discrete_mi, entropy, fano_bound, plug_in_bias


def poisoned(n=1000):
    """10% of each of 10 balanced classes with a trigger and label 0."""
    index = torch.arange(n)
    trigger = (index // 10) % 10 == 0
    return trigger.long(), torch.where(trigger, 0, index % 10)


def test_the_numbers_of_the_paper():
    trigger, labels = poisoned()
    assert discrete_mi(trigger, labels).nats == pytest.approx(0.1936, abs=5e-5)
    assert entropy(trigger) == pytest.approx(0.3251, abs=5e-5)
    assert entropy(labels) == pytest.approx(2.266, abs=5e-4)
    assert fano_bound(2.266, 0.2, 10) == pytest.approx(1.326, abs=5e-4)


def test_the_estimate_says_what_it_is():
    trigger, labels = poisoned()
    estimate = discrete_mi(trigger, labels)
    assert (estimate.estimator, estimate.protocol, estimate.n) == ("plugin", "exact", 1000)
    assert estimate.ceiling == pytest.approx(entropy(trigger))
    assert estimate.ci_low < estimate.nats < estimate.ci_high


def test_information_is_symmetric_and_of_itself_the_entropy():
    trigger, labels = poisoned()
    assert discrete_mi(labels, trigger).nats == pytest.approx(discrete_mi(trigger, labels).nats)
    assert discrete_mi(labels, 7 - labels).nats == pytest.approx(entropy(labels))
    assert discrete_mi(labels, torch.zeros_like(labels)).nats == pytest.approx(0, abs=1e-12)


def test_two_by_two_by_hand():
    a, b = torch.tensor([0, 0, 0, 1]), torch.tensor([5, 5, 9, 9])
    expected = 0.5 * math.log(0.5 / (0.75 * 0.5)) + 0.25 * math.log(0.25 / 0.375) + 0.25 * math.log(0.25 / 0.125)
    assert discrete_mi(a, b).nats == pytest.approx(expected)
    assert plug_in_bias(a, b) == pytest.approx((3 - 2 - 2 + 1) / 8)


def test_the_bias_and_the_interval_are_those_of_samples():
    """200 samples of 500 from a table with I 0.1927 nats: the mean is too high by the bias, the spread is the error."""
    rng = torch.Generator().manual_seed(0)
    estimates, biases = [], []
    for _ in range(200):
        a = torch.randint(2, (500,), generator=rng)
        b = torch.where(torch.rand(500, generator=rng) < 0.8, a, 1 - a)
        estimates.append(discrete_mi(a, b))
        biases.append(plug_in_bias(a, b))
    values = torch.tensor([e.nats for e in estimates])
    truth = math.log(2) - binary_entropy(0.2)
    assert float(values.mean()) - truth == pytest.approx(sum(biases) / 200, abs=3 * float(values.std()) / 200**0.5)
    assert float(values.std()) == pytest.approx(sum(e.standard_error for e in estimates) / 200, rel=0.2)
    assert 180 <= sum(e.ci_low <= truth <= e.ci_high for e in estimates) <= 199


def test_fano_is_reached_by_the_worst_classifier_of_balanced_classes():
    """Uniform labels and uniform mistakes leave no more than the bound: H(Y) - H_b(e) - e ln(K - 1) exactly."""
    truth = torch.arange(4).repeat_interleave(30)
    said = torch.cat([torch.tensor([k] * 18 + [(k + d) % 4 for d in (1, 2, 3) for _ in range(4)]) for k in range(4)])
    assert discrete_mi(truth, said).nats == pytest.approx(fano_bound(math.log(4), 0.4, 4))
    assert fano_bound(0.1, 0.5, 10) == 0


@pytest.mark.parametrize(
    ("a", "b"), [([0.5, 1.0], [0, 1]), ([[0], [1]], [0, 1]), ([0, 1, 0], [0, 1]), ([0], [1])]
)
def test_what_are_no_labels_is_refused(a, b):
    with pytest.raises(EstimationError):
        discrete_mi(torch.tensor(a), torch.tensor(b))


@pytest.mark.parametrize("bad", [(-0.1, 0.2, 10), (1.0, 1.2, 10), (1.0, 0.2, 1), (math.nan, 0.2, 10)])
def test_fano_refuses_what_no_classifier_is(bad):
    with pytest.raises(UserError):
        fano_bound(*bad)
