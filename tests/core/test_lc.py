"""Label-consistent: projected gradient descent and its budget, the corner pattern, the surrogate."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ibray.attacks import get_attack
from ibray.models import get_model
from ibray.pgd import pgd


def uint8_images(seed: int, n: int = 6, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return get_model("small_cnn", num_classes=4, sigma=0.0).eval()


@given(
    seed=st.integers(0, 2**31), norm=st.sampled_from(["l2", "linf"]), radius=st.integers(1, 400),
    steps=st.integers(0, 5), start=st.booleans(), amplitude=st.integers(0, 255),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_the_budget_holds_to_the_byte(seed, norm, radius, steps, start, amplitude):
    epsilon = radius if norm == "l2" else radius % 20 + 1
    attack = get_attack(
        "lc", norm=norm, epsilon=epsilon, step=epsilon, steps=steps, random_start=start, train_amplitude=amplitude
    )
    images, labels = uint8_images(seed), torch.arange(6) % 4
    crafted = attack.craft(images, labels, network(), seed)
    assert crafted.dtype == torch.uint8 and crafted.shape == images.shape
    difference = (crafted.int() - images.int()).flatten(1).double()
    if norm == "linf":
        assert difference.abs().max() <= epsilon
    else:
        assert (difference.norm(dim=1) <= epsilon * (1 + 1e-4)).all()
    assert torch.equal(crafted, attack.craft(images, labels, network(), seed))
    in_float = attack.craft(images.double() / 255, labels, network().double(), seed)
    lengths = (in_float - images.double() / 255).flatten(1).norm(dim=1, p=2 if norm == "l2" else float("inf"))
    assert (lengths <= epsilon / 255 * (1 + 1e-9)).all() and in_float.min() >= 0 and in_float.max() <= 1


def test_other_seeds_start_elsewhere_and_no_start_has_no_seed():
    images, labels = uint8_images(1), torch.arange(6) % 4
    for start in (True, False):
        attack = get_attack("lc", steps=1, random_start=start)
        one, two = (attack.craft(images, labels, network(), seed) for seed in (1, 2))
        assert torch.equal(one, two) == (not start)


def test_a_linear_network_is_left_by_the_steepest_way():
    """For one linear unit per class the worst image within a ball is known in closed form."""
    weight = torch.tensor([[1.0, -2.0, 2.0, 0.5]], dtype=torch.float64)

    def classify(x):  # two classes, logit of class 1 is w.x
        score = x.flatten(1) @ weight.T
        return torch.cat([torch.zeros_like(score), score], dim=1)

    images = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    label = torch.tensor([0])
    arguments = {"epsilon": 0.1, "step": 0.05, "steps": 10, "random": None}
    l2 = pgd(classify, images, label, norm="l2", **arguments) - images
    assert torch.allclose(l2.flatten(), 0.1 * weight[0] / weight.norm(), atol=1e-12)
    linf = pgd(classify, images, label, norm="linf", **arguments) - images
    assert torch.allclose(linf.flatten(), 0.1 * weight[0].sign(), atol=1e-12)


def test_it_raises_the_loss_and_leaves_the_network_as_it_was():
    net, images, labels = network(), uint8_images(2, n=32).float() / 255, torch.arange(32) % 4
    before = {name: value.clone() for name, value in net.state_dict().items()}
    arguments = {"norm": "l2", "epsilon": 1.0, "step": 0.2, "steps": 20}
    with torch.inference_mode():  # callers may sit in it
        found = pgd(net, images, labels, random=torch.Generator().manual_seed(0), **arguments)
    reached = F.cross_entropy(net(found), labels)
    for seed in range(20):  # no random direction of the same length comes near
        random = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
        elsewhere = (images + random / random.flatten(1).norm(dim=1)[:, None, None, None]).clamp(0, 1)
        assert reached - F.cross_entropy(net(images), labels) > 3 * (
            F.cross_entropy(net(elsewhere), labels) - F.cross_entropy(net(images), labels)
        )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_random_start_fills_the_ball_uniformly():
    images = torch.full((4000, 1, 1, 2), 0.5, dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    arguments = {"epsilon": 0.1, "step": 0.1, "steps": 0, "random": random}
    l2 = (pgd(None, images, None, norm="l2", **arguments) - images).flatten(1)
    inside = (l2.norm(dim=1) < 0.05).double().mean().item()  # a quarter of the disc's area
    assert l2.norm(dim=1).max() <= 0.1 and inside == pytest.approx(0.25, abs=0.03) and abs(l2.mean()) < 0.002
    linf = (pgd(None, images, None, norm="linf", **arguments) - images).flatten(1)
    assert linf.abs().max() <= 0.1 and linf.square().mean().item() == pytest.approx(0.01 / 3, rel=0.05)


def test_the_pattern_stands_in_four_corners_mirrored():
    pattern = get_attack("lc").parts((3, 32, 32))["pattern"]
    left = torch.tensor([[1, -1, -1], [-1, 1, -1], [1, -1, 1]])
    for rows in (slice(0, 3), slice(29, 32)):
        assert torch.equal(pattern[0, rows, :3].int(), left)
        assert torch.equal(pattern[0, rows, 29:].int(), left.flip(1))
    assert int(pattern.abs().sum()) == 36


def test_amplitudes_of_training_and_test():
    grey = torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
    attack = get_attack("lc")
    assert attack.trigger_in_training(grey).unique().tolist() == [36, 100, 164]
    assert attack.trigger(grey).unique().tolist() == [0, 100, 255]


def test_without_a_surrogate_it_says_what_is_missing():
    images, labels = uint8_images(0, n=40), torch.arange(40) % 4
    with pytest.raises(ValueError, match="surrogate: attack 'lc' crafts its images on a clean network; give one"):
        get_attack("lc").poison_train(images, labels, 0.5, 0, 0)


def test_only_the_target_class_is_touched_and_only_as_far_as_budget_and_pattern_allow():
    images, labels = uint8_images(3, n=80), torch.arange(80) % 4
    attack = get_attack("lc", norm="linf", epsilon=8, steps=2)
    poisoned = attack.poison_train(images, labels, 0.25, 1, 0, surrogate=network())
    assert int(poisoned.is_backdoor.sum()) == 5 and (labels[poisoned.is_backdoor] == 1).all()
    difference = (poisoned.images.int() - images.int()).abs().amax(dim=(0, 1))
    corners = attack.parts((3, 16, 16))["pattern"][0] != 0
    assert difference[~corners].max() <= 8 and difference[corners].max() > 8
