"""The fast InfoNCE against the materialised pairs: same indices, same loss, same gradients."""

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ibray.mi import pairs
from ibray.mi.critic import ConcatCritic
from ibray.mi.pairs import draw_counts, infonce_loss

_path = Path(__file__).parents[2] / "benchmarks" / "naive_infonce.py"
_spec = importlib.util.spec_from_file_location("naive_infonce", _path)
naive = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(naive)


def batch(b, dx, dy, k, seed=0, hidden=16):
    rng = torch.Generator().manual_seed(seed)
    critic = ConcatCritic(dx, dy, hidden, rng)
    x, y = torch.randn(b, dx, generator=rng), torch.randn(b, dy, generator=rng)
    return critic, x, y, torch.randint(b, (b, k), generator=rng)


def as_naive(critic):
    """The same function as an ordinary MLP on concatenated vectors."""
    mlp = naive.naive_critic(critic.wx.shape[1], critic.wy.shape[1], len(critic.w3))
    with torch.no_grad():
        mlp[0].weight.copy_(torch.cat([critic.wx, critic.wy], 1))
        mlp[0].bias.copy_(critic.b1)
        mlp[2].weight.copy_(critic.w2)
        mlp[2].bias.copy_(critic.b2)
        mlp[4].weight.copy_(critic.w3.unsqueeze(0))
    return mlp


def compare(critic, x, y, indices, loss_error=1e-5, gradient_error=1e-4):
    """Relative errors allowed, of the loss and of the gradient of each weight."""
    mlp = as_naive(critic).to(x.dtype)
    expected = naive.naive_terms(mlp, x, y, indices)
    (-expected.mean()).backward()
    loss, terms = infonce_loss(critic, x, y, indices)
    loss.backward()

    torch.testing.assert_close(terms, expected.detach(), rtol=loss_error, atol=loss_error)
    torch.testing.assert_close(loss, -expected.mean(), rtol=loss_error, atol=loss_error / 10)
    first, second, last = mlp[0], mlp[2], mlp[4]
    wanted = [*first.weight.grad.split([x.shape[1], y.shape[1]], 1), first.bias.grad, second.weight.grad]
    wanted += [second.bias.grad, last.weight.grad.squeeze(0)]
    for (name, parameter), gradient in zip(critic.named_parameters(), wanted, strict=True):
        error = (parameter.grad - gradient).norm() / gradient.norm().clamp_min(1e-3)
        assert error < gradient_error, f"{name}: relative error {error:.1e}"


def compare_in_both_precisions(critic, x, y, indices):
    compare(critic, x, y, indices)
    critic.zero_grad()
    compare(critic.double(), x.double(), y.double(), indices, loss_error=1e-12, gradient_error=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["dense", "gathered"])
@pytest.mark.parametrize(
    ("b", "k", "dx", "dy"),
    [(128, 512, 48, 8), (64, 20, 5, 3), (2, 1, 1, 1), (33, 32, 7, 2), (300, 64, 6, 10)],
)
def test_equals_the_materialised_pairs(monkeypatch, share, b, k, dx, dy):
    monkeypatch.setattr(pairs, "DENSE_SHARE", share)
    compare_in_both_precisions(*batch(b, dx, dy, k))


@settings(max_examples=40, deadline=None)
@given(b=st.integers(2, 40), k=st.integers(1, 60), block=st.integers(1, 500), seed=st.integers(0, 2**32))
def test_equals_the_materialised_pairs_for_any_size_and_block(b, k, block, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "BLOCK_PAIRS", block)
        compare_in_both_precisions(*batch(b, 3, 2, k, seed))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_repeated_draws_and_the_own_positive(monkeypatch, share):
    monkeypatch.setattr(pairs, "DENSE_SHARE", share)
    critic, x, y, _ = batch(4, 3, 2, 3)
    own = torch.arange(4).unsqueeze(1).expand(4, 3)
    compare(critic, x, y, torch.tensor([[1, 1, 1], [1, 1, 0], [2, 2, 2], [0, 3, 0]]))
    # Only the own positive drawn: nothing to tell apart, exactly 0.
    assert infonce_loss(critic, x, y, own)[1].abs().max() < 1e-6


def test_counts():
    counts = draw_counts(torch.tensor([[0, 0, 2], [1, 2, 0], [2, 2, 2]]))
    assert counts.tolist() == [[2, 0, 1], [1, 1, 1], [0, 0, 3]]


def test_order_of_the_batch_does_not_matter():
    critic, x, y, indices = batch(50, 4, 3, 40)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    place = order.argsort()
    terms = infonce_loss(critic, x, y, indices)[1]
    moved = infonce_loss(critic, x[order], y[order], place[indices[order]])[1]
    torch.testing.assert_close(moved, terms[order], rtol=1e-5, atol=1e-5)


def test_large_scores_stay_finite():
    critic, x, y, indices = batch(32, 4, 3, 64)
    loss, terms = infonce_loss(critic, 1e4 * x, 1e4 * y, indices)
    loss.backward()
    assert terms.isfinite().all()
    assert all(p.grad.isfinite().all() for p in critic.parameters())


def test_gradients_reach_the_samples_and_scale_with_the_loss():
    critic, x, y, indices = batch(10, 4, 3, 12)
    x.requires_grad_()
    infonce_loss(critic, x, y, indices)[0].backward()
    once = x.grad.clone()
    x.grad = None
    (3 * infonce_loss(critic, x, y, indices)[0]).backward()
    torch.testing.assert_close(x.grad, 3 * once)


def test_a_critic_starts_like_linear_layers_and_leaves_global_randomness_alone():
    before = torch.get_rng_state()
    critic = ConcatCritic(300, 100, 64, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    for name, fan_in in (("wx", 400), ("wy", 400), ("b1", 400), ("w2", 64), ("b2", 64), ("w3", 64)):
        largest = getattr(critic, name).abs().max()
        assert 0.8 * fan_in**-0.5 < largest <= fan_in**-0.5, name


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    critic, x, y, indices = batch(128, 48, 8, 512)
    loss, _ = infonce_loss(critic, x, y, indices)
    on_gpu, _ = infonce_loss(critic.cuda(), x.cuda(), y.cuda(), indices.cuda())
    assert float(on_gpu) == pytest.approx(float(loss), rel=1e-4)
