"""Bounds for a known channel: against all pairs at once, against the truth, and small in memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ibray.mi import bounds
from ibray.mi.bounds import bracket, gaussian_cap, kolchinsky_tracey, over_images, pair_terms


def gaussian(n, nats, dims=10, draws=1, seed=0):
    """Draws (n, draws, dims) and centres (n, 1, dims) of T = S + N(0, I) with I(S; T) = nats."""
    rng = torch.Generator().manual_seed(seed)
    centres = math.sqrt(math.exp(2 * nats / dims) - 1) * torch.randn(n, 1, dims, generator=rng)
    return centres + torch.randn(n, draws, dims, generator=rng), centres


def all_pairs(samples, centres):
    """The terms of both bounds from the matrix of all pairs, float64."""
    samples, centres = samples.double(), centres.double()
    n, m, c = len(samples), samples.shape[1], centres.shape[1]
    scores = -0.5 * (samples[:, :, None, None] - centres).square().sum(-1)
    own = torch.stack([scores[:, k, :, min(k, c - 1)].diagonal() for k in range(m)], 1)
    others = scores.masked_fill(torch.eye(n, dtype=torch.bool)[:, None, :, None], -math.inf)
    lower = own - scores.flatten(2).logsumexp(2) + math.log(n * c)
    return lower, own - others.flatten(2).logsumexp(2) + math.log((n - 1) * c)


def clustered(n, m, c, d, seed=0):
    """Draws around centres that lie near each other within an image."""
    rng = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(n, 1, d, generator=rng) + torch.randn(n, c, d, generator=rng)
    return (centres if c == 1 else centres[:, :m]) + torch.randn(n, m, d, generator=rng), centres


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 30),
    m=st.integers(1, 3),
    more=st.none() | st.integers(0, 2),
    d=st.integers(1, 6),
    block=st.integers(1, 2000),
    offset=st.sampled_from([0.0, 1e3]),
)
def test_equals_all_pairs_for_any_size_and_block(n, m, more, d, block, offset):
    samples, centres = clustered(n, m, 1 if more is None else m + more, d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "BLOCK_SCORES", {"cpu": block})
        terms = pair_terms(samples + offset, centres + offset)
    for found, expected in zip(terms, all_pairs(samples, centres), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 if offset else 1e-4)


@pytest.mark.parametrize("spread", [10.0, 1e3])
def test_far_centres_lose_no_precision(spread):
    """One dimension is spread so far that |c|^2 is 1e6, and others tell its near neighbours apart."""
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(400, 1, 3, generator=rng) * torch.tensor([spread, 1.0, 1.0])
    samples = centres + torch.randn(400, 2, 3, generator=rng)
    for found, expected in zip(pair_terms(samples, centres), all_pairs(samples, centres), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("nats", "reported"), [(2, (1.997, 2.005)), (4, (3.943, 4.048)), (6, (5.716, 6.247))])
def test_brackets_a_linear_gaussian_network(nats, reported):
    """d 10, n 5000; beside the truth, the figures of another implementation (mi.md section 3)."""
    lower, upper = (over_images(terms) for terms in pair_terms(*gaussian(5000, nats)))
    assert lower.error < 0.05 and upper.error < 0.05
    assert lower.value - 2 * lower.error < nats < upper.value + 2 * upper.error
    assert upper.value - lower.value == pytest.approx(reported[1] - reported[0], abs=0.02)
    for found, expected in zip((lower, upper), reported, strict=True):
        assert found.value == pytest.approx(expected, abs=2 * found.error)


def test_distinct_images_read_the_ceiling_and_a_finite_upper_bound():
    centres = 100 * torch.eye(20).unsqueeze(1)
    lower, upper = pair_terms(centres, centres)
    assert lower.sub(math.log(20)).abs().max() < 1e-6
    assert upper.sub(0.5 * 2 * 100**2).abs().max() < 0.1


def test_a_wrong_pairing_reads_nothing():
    samples, centres = gaussian(1000, 2)
    assert over_images(pair_terms(samples.roll(1, 0), centres)[0]).value < 0


def test_the_lower_bound_is_exact_for_these_images():
    """Two centres: the information is that of a binary channel with Gaussian noise, by quadrature."""
    centres = torch.tensor([[[-1.0]], [[1.0]]])
    samples = centres + torch.randn(2, 200_000, 1, generator=torch.Generator().manual_seed(0))
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    likelihood = torch.stack([(-0.5 * (grid - c) ** 2).exp() / math.sqrt(2 * math.pi) for c in (-1, 1)])
    truth = torch.trapezoid((likelihood * (likelihood / likelihood.mean(0)).log()).mean(0), grid)
    assert over_images(pair_terms(samples, centres)[0]).value == pytest.approx(float(truth), abs=3e-3)


def test_copies_of_a_draw_are_no_new_samples():
    samples, centres = gaussian(200, 2)
    once = over_images(pair_terms(samples, centres)[0])
    copied = over_images(pair_terms(samples.expand(-1, 5, -1), centres)[0])
    assert copied.error == pytest.approx(once.error, rel=1e-4)
    assert once.error == pytest.approx(float(pair_terms(samples, centres)[0].std()) / math.sqrt(200))


def test_candidates_of_an_image_are_left_out_together():
    """Were only its own draw left out, the image's other draws would stand in for it and lower the upper bound."""
    samples, centres = clustered(300, 2, 4, 3)
    alone = pair_terms(samples, centres[:, :2])
    together = pair_terms(samples, centres)
    gap = [over_images(upper - lower).value for lower, upper in (alone, together)]
    assert 0 < gap[1] < gap[0]


def test_the_cap_of_a_gaussian_is_its_information_however_few_the_images():
    caps = [gaussian_cap(gaussian(120, 4, seed=seed)[1]) for seed in range(100)]
    values = torch.tensor([cap.value for cap in caps])
    assert float(values.mean()) == pytest.approx(4, abs=0.03)
    assert float(values.std()) == pytest.approx(sum(cap.error for cap in caps) / 100, rel=0.25)


def test_the_cap_is_above_the_information_of_what_is_not_gaussian():
    signs = torch.randn(500, 1, 4, generator=torch.Generator().manual_seed(0)).sign() * 3
    assert gaussian_cap(signs).value > 4 * math.log(2) + 1


def test_kolchinsky_tracey_encloses_the_exact_value(monkeypatch):
    monkeypatch.setattr(bounds, "BLOCK_SCORES", {"cpu": 1000})
    samples, centres = gaussian(300, 3, dims=4, draws=20)
    lower, upper = kolchinsky_tracey(centres)
    exact = over_images(pair_terms(samples, centres)[0])
    assert lower < exact.value < upper < math.log(300)
    squares = torch.cdist(centres[:, 0].double(), centres[:, 0].double()).square()
    assert lower == pytest.approx(-float((-squares / 8).exp().mean(1).log().mean()), abs=1e-5)
    assert upper == pytest.approx(-float((-squares / 2).exp().mean(1).log().mean()), abs=1e-5)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_no_matrix_of_all_pairs(monkeypatch):
    monkeypatch.setattr(bounds, "BLOCK_SCORES", {"cpu": 20_000})
    samples, centres = gaussian(2000, 2, draws=2)
    with Largest() as largest:
        pair_terms(samples, centres)
        kolchinsky_tracey(centres)
    assert largest.elements <= 2 * 2000 * 10


def test_a_bound_below_zero_is_reported_as_zero():
    estimate = bracket(
        bounds.Mean(-0.3, 0.1), None, ceiling=3.0, n=20, negatives=19, protocol="certified", seconds=0.0
    )
    assert (estimate.nats, estimate.lower_bound, estimate.ci_low, estimate.raw) == (0, 0, 0, -0.3)
    assert estimate.upper_bound is None and estimate.ci_high is None


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    samples, centres = gaussian(1000, 3, draws=2)
    for found, expected in zip(pair_terms(samples.cuda(), centres.cuda()), pair_terms(samples, centres), strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-3)
