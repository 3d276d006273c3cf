"""Adaptive Blend: which squares of an image get the pattern, how strongly, and what the others get."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ibray.attacks import get_attack
from ibray.attacks.poisoning import half_up


def images_of(seed: int, n: int = 50, size: int = 16) -> torch.Tensor:
    """float64 on the grid of bytes, so that rounding is no matter."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator).double() / 255


@given(side=st.sampled_from([1, 2, 4, 8]), rate=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_exactly_the_named_share_of_squares_is_masked(side, rate, seed):
    attack = get_attack("adap_blend", pieces=side**2, mask_rate=rate, mask_seed=seed)
    images = images_of(seed, n=5)
    masks = attack.masks(images, attack.parts((3, 16, 16)))
    assert masks.shape == (5, 1, 16, 16) and masks.dtype == torch.bool
    squares = masks.unfold(2, 16 // side, 16 // side).unfold(3, 16 // side, 16 // side).flatten(4)
    assert (squares.all(dim=-1) | ~squares.any(dim=-1)).all()  # a square is whole
    shown = squares.all(dim=-1).flatten(1).sum(dim=1)
    assert (shown == side**2 - half_up(rate, side**2)).all()


def test_every_square_has_its_turn_independently():
    attack = get_attack("adap_blend")
    count = 2000
    masks = attack.masks(images_of(0, n=count), attack.parts((3, 16, 16)))
    squares = masks[:, 0, ::4, ::4].flatten(1).double()
    # each square is shown to half of the images: standard deviation of the share 0.5 / sqrt(2000) = 0.011
    assert (squares.mean(dim=0) - 0.5).abs().max() < 5 * 0.0112
    correlation = torch.corrcoef(squares.T) - torch.eye(16, dtype=torch.float64)
    # 8 of 16 without replacement: two squares correlate by -1/15
    assert (correlation[~torch.eye(16, dtype=torch.bool)] + 1 / 15).abs().max() < 5 / count**0.5
    assert len(masks.flatten(1).unique(dim=0)) > 1800 * 0.9  # of 12,870 masks


def test_a_mask_belongs_to_its_image_and_its_seed():
    images = images_of(1)
    one, other = get_attack("adap_blend"), get_attack("adap_blend", mask_seed=1)
    masks = one.masks(images, one.parts((3, 16, 16)))
    assert torch.equal(masks[7:9], one.masks(images[7:9], one.parts((3, 16, 16))))
    assert torch.equal(masks.flip(0), one.masks(images.flip(0), one.parts((3, 16, 16))))
    assert not torch.equal(masks, other.masks(images, other.parts((3, 16, 16))))


@given(alpha=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_what_shown_and_masked_squares_become(alpha, seed):
    images = images_of(seed, n=4)
    for preset in ("original", "paper"):
        attack = get_attack("adap_blend", preset=preset, train_alpha=alpha)
        parts = attack.parts((3, 16, 16))
        mask, pattern = attack.masks(images, parts), parts["pattern"].double()
        out = attack.trigger_in_training(images)
        blended = (1 - alpha) * images + alpha * pattern
        masked = images if preset == "original" else (1 - alpha) * images
        assert torch.allclose(out, torch.where(mask, blended, masked), atol=1e-9)


def test_the_test_shows_the_whole_pattern_more_strongly():
    images = images_of(2)
    attack = get_attack("adap_blend")
    pattern = attack.parts((3, 16, 16))["pattern"].double()
    assert torch.allclose(attack.trigger(images), 0.8 * images + 0.2 * pattern, atol=1e-9)
    assert torch.equal(attack.trigger_on_cover(images), attack.trigger_in_training(images))
