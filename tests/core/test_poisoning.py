"""Poisoning: counts exact to the image, chosen by the seed, and what the poisoned sets say of themselves."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ibray.attacks import ATTACKS, get_attack
from ibray.attacks.poisoning import choose_images

every_attack = pytest.mark.parametrize("name", list(ATTACKS))


def small_attack(name: str):
    """The attack with its defaults, or with what fits the 8x8 images of these tests."""
    return get_attack(name, **({"window": 8, "positions": [[7, 7]]} if name == "ftrojan" else {}))


def choose_poisoned(labels, **arguments):
    return choose_images(labels, **arguments).backdoor


def half_up(ratio: float, size: int) -> int:
    return int((Decimal(str(ratio)) * size).quantize(Decimal(1), ROUND_HALF_UP))


def make_set(seed: int = 0, *, classes: int = 5, each: int = 40, size: int = 8):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)[torch.randperm(classes * each, generator=generator)]
    images = torch.randint(0, 256, (len(labels), 3, size, size), generator=generator, dtype=torch.uint8)
    return images, labels


ratios = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=7), ratio=ratios, target=st.integers(0, 6),
    seed=st.integers(0, 2**40),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_counts_are_exact_for_any_ratio_and_sizes(sizes, ratio, target, seed):
    target %= len(sizes)
    labels = torch.cat([torch.full((size,), c) for c, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed % 1000))]

    for policy, base in (("train_set", len(labels)), ("target_class", sizes[target])):
        count = half_up(ratio, base)
        arguments = {"ratio": ratio, "target": target, "policy": policy, "seed": seed}
        each, rest = divmod(count, len(sizes))
        enough = min(sizes) >= each and sum(size > each for size in sizes) >= rest
        if count == 0 or (policy == "train_set" and not enough):
            with pytest.raises(ValueError, match="ratio"):
                choose_poisoned(labels, **arguments)
            continue
        chosen = choose_poisoned(labels, **arguments)
        assert chosen.dtype == torch.int64 and len(chosen) == count == len(chosen.unique())
        assert torch.equal(chosen, chosen.sort().values)
        assert torch.equal(chosen, choose_poisoned(labels, **arguments))
        per_class = labels[chosen].bincount(minlength=len(sizes))
        if policy == "train_set":
            assert per_class.max() - per_class.min() <= 1
        else:
            assert per_class[target] == count


def test_rounding_is_half_up_of_the_written_number():
    labels = torch.arange(2).repeat(25)
    for ratio, count in [(0.29, 15), (0.01, 1), (0.05, 3), (0.3, 15)]:  # 14.5, 0.5, 2.5, 15
        assert len(choose_poisoned(labels, ratio=ratio, target=0, policy="train_set", seed=0)) == count


@pytest.mark.parametrize("policy", ["train_set", "target_class"])
def test_the_seed_chooses_not_the_position(policy):
    labels = torch.arange(10).repeat(100)
    draws = [
        choose_poisoned(labels, ratio=0.1, target=3, policy=policy, seed=seed).tolist() for seed in range(200)
    ]
    assert len({tuple(draw) for draw in draws}) == 200
    hits = torch.zeros(1000)
    for draw in draws:
        hits[draw] += 1
    hits = hits[labels == 3]
    # 100 images, each chosen in 200 x 0.1 = 20 draws on average with deviation sqrt(200 x 0.09) = 4.2
    assert hits.mean() == 20
    assert hits.min() > 20 - 5 * 4.3 and hits.max() < 20 + 5 * 4.3
    assert 3 < hits.std() < 5.5


def test_the_remainder_goes_to_classes_chosen_by_the_seed():
    labels = torch.arange(4).repeat(50)
    one_more = {
        tuple(labels[chosen].bincount().tolist())
        for seed in range(40)
        for chosen in [choose_poisoned(labels, ratio=0.03, target=0, policy="train_set", seed=seed)]
    }
    assert len(one_more) == 6  # 6 images over 4 classes: every choice of two classes turns up


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan"), "0.1", None, True])
def test_ratios_outside_the_open_interval_are_refused(ratio):
    with pytest.raises(ValueError, match="ratio: expected a fraction between 0 and 1"):
        choose_poisoned(torch.arange(10), ratio=ratio, target=0, policy="train_set", seed=0)


def test_refusals_name_what_is_wrong():
    labels = torch.tensor([0] * 50 + [1] * 3)
    with pytest.raises(ValueError, match=r"ratio: 0\.001 of 53 training images rounds to no image"):
        choose_poisoned(labels, ratio=0.001, target=0, policy="train_set", seed=0)
    with pytest.raises(ValueError, match=r"ratio: 0\.1 of 3 images of class 1 rounds to no image"):
        choose_poisoned(labels, ratio=0.1, target=1, policy="target_class", seed=0)
    with pytest.raises(ValueError, match="class 1 has only 3"):
        choose_poisoned(labels, ratio=0.5, target=0, policy="train_set", seed=0)
    with pytest.raises(ValueError, match="target: no training image has class 7"):
        choose_poisoned(labels, ratio=0.5, target=7, policy="target_class", seed=0)


def surrogate(size: int = 8) -> nn.Module:
    """A clean network's place: any will do where only counts and budgets are looked at."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 5)).eval()


@every_attack
@given(seed=st.integers(0, 2**31), ratio=ratios, target=st.integers(0, 4), floats=st.booleans())
@settings(max_examples=20, deadline=None)
def test_poisoned_set_is_consistent(name, seed, ratio, target, floats):
    attack = small_attack(name)
    images, labels = make_set(seed)
    if floats:
        images = images.float() / 255
    base = {"train_set": len(labels), "target_class": 40, "none": 0}[attack.poisons]
    ratio = ratio if base else 0
    backdoors, covers = attack.divide(half_up(ratio, base))
    assume(backdoors or not base)
    clean_images, clean_labels = images.clone(), labels.clone()
    poisoned = attack.poison_train(images, labels, ratio, target, seed, surrogate=surrogate())

    assert torch.equal(images, clean_images) and torch.equal(labels, clean_labels)
    assert len(poisoned) == len(labels)
    assert int(poisoned.is_backdoor.sum()) == backdoors and int(poisoned.is_cover.sum()) == covers
    assert poisoned.is_backdoor.dtype == torch.bool and poisoned.labels.dtype == torch.int64
    assert poisoned.images.dtype == images.dtype
    assert torch.equal(poisoned.original_labels, labels[poisoned.index])
    assert not (poisoned.is_backdoor & poisoned.is_cover).any()
    clean = ~poisoned.is_backdoor & ~poisoned.is_cover
    assert torch.equal(poisoned.images[clean], images[poisoned.index[clean]])
    assert torch.equal(poisoned.labels[~poisoned.is_backdoor], poisoned.original_labels[~poisoned.is_backdoor])
    assert (poisoned.labels[poisoned.is_backdoor] == target).all()
    backdoor, cover = (images[poisoned.index[mask]] for mask in (poisoned.is_backdoor, poisoned.is_cover))
    crafted = poisoned.parts["crafted"] if attack.needs_surrogate else backdoor
    assert torch.equal(poisoned.images[poisoned.is_backdoor], attack.trigger_in_training(crafted))
    assert torch.equal(poisoned.images[poisoned.is_cover], attack.trigger_on_cover(cover))
    if attack.poisons == "target_class":
        assert torch.equal(poisoned.labels, poisoned.original_labels)


@every_attack
def test_the_parts_of_a_trigger_make_the_same_set_again(name):
    """A run stores them, so that its data do not depend on a generator, a library or a surrogate any more."""
    attack = small_attack(name)
    images, labels = make_set(3)
    ratio = 0 if name == "none" else 0.1
    first = attack.poison_train(images, labels, ratio, 2, 7, surrogate=surrogate())
    other = {key: part.clone() for key, part in first.parts.items()}
    again = attack.poison_train(images, labels, ratio, 2, 7, parts=other)
    assert torch.equal(again.images, first.images) and torch.equal(again.labels, first.labels)
    assert torch.equal(attack.trigger(images, other), attack.trigger(images))
    for key, part in other.items():  # and they are what decides: with other parts the images are others
        part.copy_(part.flip(-1))
        if name != "none" and key != "hash_weights" and not torch.equal(part, first.parts[key]):
            changed = attack.poison_train(images, labels, ratio, 2, 7, parts=other)
            assert not torch.equal(changed.images, first.images)


@every_attack
def test_asr_set_has_no_image_of_the_target_class(name):
    attack = small_attack(name)
    images, labels = make_set(1)
    triggered, wanted = attack.poison_test(images, labels, 2)
    assert len(triggered) == len(wanted) == int((labels != 2).sum())
    assert (wanted == 2).all() and wanted.dtype == torch.int64
    assert torch.equal(triggered, attack.trigger(images[labels != 2]))


def test_dirty_label_takes_the_target_class_too():
    images, labels = make_set(2)
    poisoned = get_attack("badnets").poison_train(images, labels, 0.1, 0, 0)
    assert poisoned.original_labels[poisoned.is_backdoor].bincount().tolist() == [4] * 5


def test_no_attack_is_clean_and_has_ratio_zero():
    images, labels = make_set()
    poisoned = get_attack("none").poison_train(images, labels, 0, 0, 0)
    assert torch.equal(poisoned.images, images) and torch.equal(poisoned.labels, labels)
    assert not poisoned.is_backdoor.any()
    with pytest.raises(ValueError, match="ratio"):
        get_attack("none").poison_train(images, labels, 0.1, 0, 0)


def test_sets_that_do_not_fit_are_refused():
    images, labels = make_set()
    attack = get_attack("badnets")
    with pytest.raises(ValueError, match="labels: expected int64"):
        attack.poison_train(images, labels[:-1], 0.1, 0, 0)
    with pytest.raises(ValueError, match="labels: expected int64"):
        attack.poison_train(images, labels.float(), 0.1, 0, 0)
    with pytest.raises(ValueError, match="size: a patch"):
        get_attack("badnets", size=9).poison_train(images, labels, 0.1, 0, 0)
    with pytest.raises(ValueError, match="target"):
        attack.poison_train(images, labels, 0.1, 9, 0)
    with pytest.raises(ValueError, match="target"):
        attack.poison_test(images, labels, -1)


@pytest.mark.gpu
def test_on_a_gpu_the_same_images_are_chosen():
    images, labels = make_set()
    on_cpu = get_attack("blend").poison_train(images, labels, 0.1, 0, 4)
    on_gpu = get_attack("blend").poison_train(images.cuda(), labels.cuda(), 0.1, 0, 4)
    assert on_gpu.images.is_cuda and torch.equal(on_gpu.is_backdoor.cpu(), on_cpu.is_backdoor)
    assert (on_gpu.images.cpu().int() - on_cpu.images.int()).abs().max() <= 1
