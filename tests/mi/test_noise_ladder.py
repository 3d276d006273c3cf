"""The noise ladder: each rung below the truth, indifferent to units, and a crossing where there is one."""

import math

import pytest
import torch

from ibray.errors import UserError
from ibray.mi.bounds import over_images, pair_terms
from ibray.mi.noise_draws import hold_out, known_noise_xt
from ibray.mi.noise_ladder import TAUS, crossing, noise_ladder

SPREAD = torch.cat([torch.full((8,), 3.0), torch.zeros(8)])


def images(n=800, draws=32, seed=0):
    """t (n, draws, 16) with unit noise, and the image means (n, 1, 16)."""
    rng = torch.Generator().manual_seed(seed)
    means = SPREAD * torch.randn(n, 1, 16, generator=rng)
    return means + torch.randn(n, draws, 16, generator=rng), means


def test_every_rung_is_close_below_the_truth():
    t, means = images()
    ladder = noise_ladder(hold_out(t))
    assert ladder.taus == TAUS
    assert ladder.rms == pytest.approx(3 / math.sqrt(2), rel=0.02)  # over the 16 features, the noise taken out
    rng = torch.Generator().manual_seed(9)
    for tau, estimate in zip(ladder.taus, ladder.estimates, strict=True):
        scale = math.sqrt(1 + (tau * ladder.rms) ** 2)
        noisy = means + scale * torch.randn(800, 8, 16, generator=rng)
        exact = over_images(pair_terms(noisy / scale, means / scale)[0])
        assert exact.value - 0.15 < estimate.nats < exact.value + 2 * estimate.standard_error
        assert estimate.protocol == "closed" and estimate.upper_bound == math.log(800)


def test_the_first_rung_is_the_bound_itself():
    held = hold_out(images()[0])
    assert noise_ladder(held).estimates[0].raw == known_noise_xt(held).closed.raw


def test_tau_half_is_where_a_fine_ladder_crosses():
    held = hold_out(images()[0])
    coarse = noise_ladder(held)
    fine = noise_ladder(held, taus=[k / 20 for k in range(100)])
    assert fine.tau_half == pytest.approx(coarse.tau_half, rel=0.05)
    assert coarse.tau_half_low < coarse.tau_half < coarse.tau_half_high


def test_scale_rotation_and_place_change_nothing():
    t, _ = images()
    ladder = noise_ladder(hold_out(t))
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))[0]
    assert noise_ladder(hold_out(1e-3 * t + 1e-3)).tau_half == pytest.approx(ladder.tau_half, rel=1e-3)
    assert noise_ladder(hold_out(t @ rotation)).tau_half == pytest.approx(ladder.tau_half, rel=0.1)  # another Z


def test_no_crossing():
    t, means = images()
    assert noise_ladder(hold_out(means * 1e-3 + (t - means))).tau_half is None  # never so much
    assert noise_ladder(hold_out(t), taus=(0, 0.1)).tau_half is None  # always more
    assert noise_ladder(hold_out(t - means)).rms == pytest.approx(0, abs=0.05)


def test_crossing_by_hand():
    assert crossing([0, 1, 3], [4, 2, 0], 2) == pytest.approx(1)
    assert crossing([0, 1, 3], [4, 3, 1], 2) == pytest.approx(math.sqrt(8) - 1)  # half-way in log(1 + tau)
    assert crossing([0, 1, 3], [4, 1, 3], 2) == pytest.approx(2 ** (2 / 3) - 1)
    assert crossing([0, 1], [1, 0], 2) is None
    assert crossing([0, 1], [4, 3], 2) is None


def test_seeds_draw_the_noise():
    held = hold_out(images()[0])
    first, again, other = (noise_ladder(held, seed=seed) for seed in (1, 1, 2))
    assert first.tau_half == again.tau_half != other.tau_half
    assert first.estimates[0].raw == other.estimates[0].raw


@pytest.mark.parametrize("taus", [(), (1.0, 0.5), (0.0, 0.0), (-1.0, 2.0)])
def test_taus_ascend(taus):
    with pytest.raises(UserError, match="ascend"):
        noise_ladder(hold_out(images(n=50)[0]), taus=taus)
