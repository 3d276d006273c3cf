"""I(X;T) from noise draws: below the truth, near it with many draws, 0 where there is nothing, whatever the units."""

import math
from dataclasses import replace

import pytest
import torch

from ibray.mi import EstimationError, bounds
from ibray.mi.bounds import over_images, pair_terms
from ibray.mi.noise_draws import adaptive_xt, hold_out, known_noise_xt

SPREAD = math.sqrt(math.exp(0.8) - 1)  # 0.4 nats a dimension


class Images:
    """n images whose T is Gaussian around a mean: `dims` of the features carry 0.4 nats each, the others nothing."""

    def __init__(self, n=1000, features=24, dims=10, seed=0):
        self.rng = torch.Generator().manual_seed(seed)
        spread = torch.cat([torch.full((dims,), SPREAD), torch.zeros(features - dims)])
        self.means = spread * torch.randn(n, 1, features, generator=self.rng)

    def draw(self, count):
        shape = (len(self.means), count, self.means.shape[2])
        return self.means + torch.randn(shape, generator=self.rng)

    def exact(self):
        """The information of these very images, from the known noise, and its standard error."""
        return over_images(pair_terms(self.draw(4), self.means)[0])


def both(t, seed=0):
    estimates = known_noise_xt(hold_out(t, seed))
    return estimates.closed, estimates.certified


def numbers(estimate):
    """Everything but the time taken."""
    return replace(estimate, seconds=0.0)


def test_what_the_estimates_say():
    closed, certified = both(Images(n=401).draw(8))
    assert (closed.estimator, closed.protocol, certified.protocol) == ("channel", "closed", "certified")
    assert closed.nats == closed.lower_bound == closed.raw
    assert closed.upper_bound == closed.ci_high == closed.ceiling == math.log(401)
    assert closed.ci_low == pytest.approx(closed.nats - 1.96 * closed.standard_error)
    assert certified.upper_bound is None and certified.ci_high is None
    assert certified.ceiling == math.log(201)
    assert (closed.n, closed.negatives, certified.negatives) == (401, 400, 200)
    assert closed.seconds > 0


@pytest.mark.parametrize(("draws", "short_of"), [(8, 0.8), (64, 0.15)])
def test_below_the_truth_and_nearer_with_more_draws(draws, short_of):
    images = Images(n=2000)
    exact = images.exact()
    closed, certified = both(images.draw(draws))
    for estimate in (closed, certified):
        assert exact.value - short_of < estimate.nats < exact.value + 2 * estimate.standard_error
    assert certified.nats < closed.nats


def test_never_above_the_truth():
    """Over 20 sets of 100 images and 64 draws the bounds stay below what there is, in the mean."""
    excess = {"closed": [], "certified": []}
    for seed in range(20):
        images = Images(n=100, features=10, dims=5, seed=seed)
        exact = over_images(pair_terms(images.draw(16), images.means)[0]).value
        for estimate in both(images.draw(64)):
            excess[estimate.protocol].append(estimate.raw - exact)
    for values in excess.values():
        values = torch.tensor(values)
        assert float(values.mean()) < 2 * float(values.std()) / math.sqrt(20)


def test_shuffled_draws_read_nothing():
    """Every draw of another image: what in-sample estimators read nats from."""
    t = Images(features=64).draw(8)
    rng = torch.Generator().manual_seed(1)
    shuffled = torch.stack([t[torch.randperm(len(t), generator=rng), k] for k in range(8)], 1)
    assert all(estimate.nats <= 0.05 for estimate in both(shuffled))


def test_a_held_out_draw_of_another_image_reads_nothing():
    t = Images().draw(8)
    t[:, 0] = t[:, 0].roll(1, 0)
    for estimate in both(t):
        assert estimate.nats == estimate.lower_bound == estimate.ci_low == 0
        assert estimate.raw < -1


def test_units_and_bases_change_nothing():
    t = Images().draw(8)
    rng = torch.Generator().manual_seed(1)
    mix = torch.randn(24, 24, generator=rng)
    assert torch.linalg.cond(mix) > 20
    expected = [estimate.raw for estimate in both(t)]
    for changed in (1e-4 * t, 1e4 * t + 1e4, (t - t.mean((0, 1))) / t.std((0, 1)), t @ mix):
        for found, value in zip(both(changed), expected, strict=True):
            assert found.raw == pytest.approx(value, abs=2e-3)


def test_the_same_bits_by_seed():
    t = Images().draw(8)
    before = torch.get_rng_state()
    first, again, other = both(t, 3), both(t.numpy().astype("float64"), 3), both(t, 4)
    assert [numbers(e) for e in first] == [numbers(e) for e in again]
    assert other[0].raw == pytest.approx(first[0].raw, abs=1e-5)  # the seed draws the halves only
    assert abs(other[1].raw - first[1].raw) > 1e-4
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_norm_and_dead_features():
    """Directions without noise say nothing and cost nothing."""
    t = Images().draw(8)
    expected = [estimate.raw for estimate in both(t)]
    for dead in (torch.zeros(1000, 8, 3), t.sum(2, keepdim=True), torch.ones(1000, 8, 1)):
        for found, value in zip(both(torch.cat([t, dead], 2)), expected, strict=True):
            assert found.raw == pytest.approx(value, abs=0.01)


def test_distinct_images_read_the_ceiling():
    images = Images(n=60)
    images.means *= 100
    closed, certified = both(images.draw(8))
    assert closed.nats == pytest.approx(math.log(60), abs=1e-3)
    assert certified.nats == pytest.approx(math.log(30), abs=1e-3)


def test_draws_are_added_until_the_bounds_stand():
    calls = []

    def counted(images):
        def draw(count):
            calls.append(count)
            return images.draw(count)

        return draw

    strong = Images(n=200)
    strong.means *= 50  # identified at once: the second look changes nothing
    estimates, held = adaptive_xt(counted(strong))
    assert (estimates.draws, held.fitted.draws, calls) == (16, 15, [8, 8])

    estimates, _ = adaptive_xt(counted(Images(n=300)))
    assert estimates.draws == 64
    assert estimates.closed.nats > known_noise_xt(hold_out(Images(n=300).draw(8))).closed.nats + 0.3

    estimates, _ = adaptive_xt(counted(Images(n=300)), most=32)
    assert estimates.draws == 32


def test_more_draws_where_the_noise_takes_them():
    few = Images(n=20, features=100)
    with pytest.raises(EstimationError, match="too few"):
        known_noise_xt(hold_out(few.draw(8)))
    estimates, _ = adaptive_xt(few.draw)
    assert estimates.draws > 8 and estimates.closed.nats > 0
    with pytest.raises(EstimationError, match=r"15 draws of each of 10 images .* at least 22 are"):
        adaptive_xt(Images(n=20, features=200).draw, most=16)


def test_draws_by_parts_are_the_same_as_at_once():
    images = Images(n=300)
    t = images.draw(16)
    parts = iter(t.split(8, 1))
    estimates, _ = adaptive_xt(lambda count: next(parts), most=16)
    for found, expected in zip((estimates.closed, estimates.certified), both(t), strict=True):
        assert found.raw == pytest.approx(expected.raw, abs=1e-4)


@pytest.mark.parametrize(
    ("t", "says"),
    [
        (torch.zeros(1, 8, 3), "at least 2"),
        (torch.randn(3, 8, 3), "3 images with 8 draws: at least 4 images with 3 draws"),
        (torch.randn(20, 2, 3), "20 images with 2 draws"),
        (torch.randn(20, 3), "20 images with 1 draws"),
        (torch.full((20, 8, 3), math.nan), "NaN or infinite values in 20 of 20"),
        (torch.full((20, 8, 3), 5.0), "no noise"),
        (torch.randn(20, 1, 3).expand(20, 8, 3), "no noise"),
        (torch.randn(20, 4, 60), "too few"),
    ],
)
def test_what_admits_no_estimate(t, says):
    with pytest.raises(EstimationError, match=says):
        known_noise_xt(hold_out(t))


def test_scores_are_made_in_blocks(monkeypatch):
    t = Images(n=300).draw(8)
    whole = both(t)
    monkeypatch.setattr(bounds, "BLOCK_SCORES", {"cpu": 1000})
    for found, expected in zip(both(t), whole, strict=True):
        assert found.raw == pytest.approx(expected.raw, abs=1e-5)
