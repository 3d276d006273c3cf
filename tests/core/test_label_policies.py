"""Who gets which label: all-to-one, all-to-all and source-specific, and cover images, to the image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ibray.attacks import get_attack
from ibray.attacks.poisoning import half_up

CLASSES, EACH = 6, 50
dirty_label = pytest.mark.parametrize("name", ["badnets", "blend", "wanet", "adap_blend"])


def make_set(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(EACH)[torch.randperm(CLASSES * EACH, generator=generator)]
    return torch.randint(0, 256, (len(labels), 3, 8, 8), generator=generator, dtype=torch.uint8), labels


@dirty_label
@given(seed=st.integers(0, 2**31), percent=st.integers(2, 30))
@settings(max_examples=15, deadline=None)
def test_all_to_all_moves_every_class_to_the_next(name, seed, percent):
    images, labels = make_set(seed)
    attack = get_attack(name, label_policy="all_to_all")
    ratio = percent / 100
    poisoned = attack.poison_train(images, labels, ratio, 0, seed)
    backdoors, covers = attack.divide(half_up(ratio, len(labels)))
    assert int(poisoned.is_backdoor.sum()) == backdoors and int(poisoned.is_cover.sum()) == covers
    before, after = (values[poisoned.is_backdoor] for values in (poisoned.original_labels, poisoned.labels))
    assert torch.equal(after, (before + 1) % CLASSES)
    counts = before.bincount(minlength=CLASSES)
    assert counts.max() - counts.min() <= 1


@dirty_label
@given(
    seed=st.integers(0, 2**31), percent=st.integers(2, 15), target=st.integers(0, CLASSES - 1),
    count=st.integers(2, CLASSES - 1), data=st.data(),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_source_specific_takes_the_source_classes_only(name, seed, percent, target, count, data):
    others = [c for c in range(CLASSES) if c != target]
    sources = data.draw(st.lists(st.sampled_from(others), min_size=count, max_size=count, unique=True))
    images, labels = make_set(seed)
    attack = get_attack(name, label_policy="source_specific", source_classes=sources)
    attack.check((3, 8, 8), CLASSES, target)
    ratio = percent / 100
    poisoned = attack.poison_train(images, labels, ratio, target, seed)
    backdoors, _ = attack.divide(half_up(ratio, len(labels)))
    counts = poisoned.original_labels[poisoned.is_backdoor].bincount(minlength=CLASSES)
    assert counts.sum() == backdoors and counts[sources].max() - counts[sources].min() <= 1
    assert (poisoned.labels[poisoned.is_backdoor] == target).all()


def test_the_success_rate_is_over_the_images_the_attack_is_about():
    images, labels = make_set(1)
    to_all = get_attack("badnets", label_policy="all_to_all")
    triggered, wanted = to_all.poison_test(images, labels, 0)
    assert torch.equal(triggered, to_all.trigger(images)) and torch.equal(wanted, (labels + 1) % CLASSES)
    # a test set may lack the last class
    few = labels < CLASSES - 1
    _, wanted = to_all.poison_test(images[few], labels[few], 0, num_classes=CLASSES)
    assert wanted.max() == CLASSES - 1 and wanted.min() == 1

    specific = get_attack("badnets", label_policy="source_specific", source_classes=[2, 4])
    triggered, wanted = specific.poison_test(images, labels, 1)
    about = (labels == 2) | (labels == 4)
    assert torch.equal(triggered, specific.trigger(images[about])) and (wanted == 1).all()


def test_too_few_images_of_a_source_class_are_refused_by_number():
    images, labels = make_set()
    attack = get_attack("badnets", label_policy="source_specific", source_classes=[3])
    with pytest.raises(ValueError, match=r"ratio: 0\.2 of 300 images .* over 1 classes takes 60 of each, but class 3"):
        attack.poison_train(images, labels, 0.2, 0, 0)


@given(cross=st.floats(0, 3), percent=st.integers(1, 20), seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_wanet_cross_images_are_counted_spread_and_keep_their_labels(cross, percent, seed):
    images, labels = make_set(seed)
    attack = get_attack("wanet", cross_ratio=cross)
    backdoors = half_up(percent / 100, len(labels))
    poisoned = attack.poison_train(images, labels, percent / 100, 0, seed)
    covers = half_up(cross, backdoors)
    assert int(poisoned.is_backdoor.sum()) == backdoors and int(poisoned.is_cover.sum()) == covers
    counts = poisoned.original_labels[poisoned.is_cover].bincount(minlength=CLASSES)
    assert counts.max() - counts.min() <= 1
    assert torch.equal(poisoned.labels[poisoned.is_cover], poisoned.original_labels[poisoned.is_cover])
    # those without cross images get the same backdoor images
    alone = get_attack("wanet", cross_ratio=0).poison_train(images, labels, percent / 100, 0, seed)
    assert torch.equal(alone.is_backdoor, poisoned.is_backdoor)


def test_wanet_cross_images_are_warped_like_backdoor_images_and_jittered():
    """On an image that is linear in x, the warp reads positions: those of cross images are the field's plus noise."""
    size = 16
    plane = torch.linspace(-1, 1, size, dtype=torch.float64).expand(size, size)
    slopes = torch.linspace(0.3, 0.6, 40, dtype=torch.float64)[:, None, None, None]
    images = (slopes * plane + 1).expand(-1, 3, -1, -1) / 2
    attack = get_attack("wanet", preset="original")
    moves = (attack.trigger_on_cover(images) - attack.trigger_in_training(images))[..., 2:-2] * 2 / slopes * size
    assert moves.abs().max() <= 1 + 1e-9 and abs(moves.mean()) < 0.02
    assert moves.square().mean().item() == pytest.approx(1 / 3, rel=0.05)


def test_too_many_cover_images_are_refused():
    images, labels = make_set()
    with pytest.raises(ValueError, match=r"ratio: 0\.3 .* and 270 more as cover images"):
        get_attack("wanet", cross_ratio=3).poison_train(images, labels, 0.3, 0, 0)


def test_adap_blend_divides_the_ratio_by_its_conservatism():
    images, labels = make_set()
    for conservatism, covers in [(0, 0), (0.5, 15), (0.9, 27), (0.25, 8)]:  # 0.25 x 30 = 7.5
        poisoned = get_attack("adap_blend", conservatism=conservatism).poison_train(images, labels, 0.1, 0, 0)
        assert int(poisoned.is_cover.sum()) == covers and int(poisoned.is_backdoor.sum()) == 30 - covers
    with pytest.raises(ValueError, match="leaves no image for the backdoor"):
        get_attack("adap_blend", conservatism=0.9).poison_train(images, labels, 0.01, 0, 0)
