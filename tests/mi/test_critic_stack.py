"""Critics trained together: the same values as one by one, whatever their sizes and ends."""

import pytest
import torch
from gaussians import gaussian_pairs

from ibray.mi import EstimationError, UserError, estimate_mi
from ibray.mi.critic import ConcatCritic
from ibray.mi.critic_stack import NAMES, infonce_many, stacked_infonce
from ibray.mi.interface import Job
from ibray.mi.pairs import draw_counts, infonce_loss
from ibray.seeds import generator

QUICK = {"batch": 32, "negatives": 64, "hidden": 16, "max_epochs": 4, "report_last": 2, "learning_rate": 3e-3}


def jobs(sizes=(100, 64, 33), draws=1):
    made = []
    for seed, n in enumerate(sizes):
        x, y = gaussian_pairs(n, 3, 1.0, seed)
        rng = torch.Generator().manual_seed(seed)
        made.append(Job(x, y[:, None] + 0.1 * torch.randn(n, draws, 3, generator=rng), seed))
    return made


def critics(count, b=24, k=40):
    rng = torch.Generator().manual_seed(0)
    made = [ConcatCritic(7, 5, 16, generator(s, "critic")) for s in range(count)]
    x, y = torch.randn(count, b, 7, generator=rng), torch.randn(count, b, 5, generator=rng)
    return made, x, y, torch.randint(b, (count, b, k), generator=rng)


def test_loss_and_gradients_are_those_of_each_critic():
    made, x, y, indices = critics(3)
    pairs = torch.stack([draw_counts(each) for each in indices]) + torch.eye(24)
    weights = [torch.stack([getattr(c, name).detach() for c in made]) for name in NAMES]
    terms, gradients = stacked_infonce(weights, x, y, pairs)
    for s, critic in enumerate(made):
        loss, alone = infonce_loss(critic, x[s], y[s], indices[s])
        loss.backward()
        torch.testing.assert_close(terms[s], alone, rtol=1e-5, atol=1e-5)
        for name, gradient in zip(NAMES, gradients, strict=True):
            torch.testing.assert_close(gradient[s], getattr(critic, name).grad, rtol=1e-4, atol=1e-6)


def test_bf16_keeps_the_loss():
    made, x, y, indices = critics(2)
    pairs = torch.stack([draw_counts(each) for each in indices]) + torch.eye(24)
    weights = [torch.stack([getattr(c, name).detach() for c in made]) for name in NAMES]
    exact, rough = (stacked_infonce(weights, x, y, pairs, bf16=bf16)[0].mean(1) for bf16 in (False, True))
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, rtol=0, atol=1e-2)


@pytest.mark.parametrize("draws", [1, 3])
def test_each_value_is_that_of_the_critic_by_itself(draws):
    """Sizes differ, and with them the steps of an epoch, when each ends, and for 20 images the batch."""
    given = jobs((100, 64, 33, 20), draws)
    for job, together in zip(given, infonce_many(given, **QUICK), strict=True):
        alone = estimate_mi(job.x, job.y, seed=job.seed, **QUICK)
        assert together.curve == pytest.approx(alone.curve, abs=2e-4)
        for name in ("nats", "ci_low", "ci_high"):
            assert getattr(together, name) == pytest.approx(getattr(alone, name), abs=2e-4)
        for name in ("n", "negatives", "ceiling", "critic_epochs", "estimator", "protocol"):
            assert getattr(together, name) == getattr(alone, name)


def test_each_has_its_own_learning_rate_and_early_stop():
    settings = {**QUICK, "max_epochs": 40, "plateau_patience": 0, "early_stop_delta": 0.02}
    given = jobs((100, 96, 64))
    found = infonce_many(given, **settings)
    alone = [estimate_mi(job.x, job.y, seed=job.seed, **settings) for job in given]
    assert [e.critic_epochs for e in found] == [e.critic_epochs for e in alone]
    assert len({e.critic_epochs for e in found}) > 1  # they really stop at different times
    assert [e.nats for e in found] == pytest.approx([e.nats for e in alone], abs=1e-3)


def test_a_job_without_an_estimate_leaves_the_others_alone():
    good, bad, constant = jobs((64, 64, 64))
    broken = Job(bad.x, torch.full_like(bad.y, torch.nan), 0)
    still = Job(constant.x, torch.zeros_like(constant.y), 0)
    first, second, third = infonce_many([good, broken, still], **QUICK)
    assert first.nats == pytest.approx(estimate_mi(good.x, good.y, seed=good.seed, **QUICK).nats, abs=2e-4)
    assert isinstance(second, EstimationError) and "NaN" in str(second)
    assert isinstance(third, EstimationError) and "constant" in str(third)


def test_a_critic_that_diverges_says_so_and_the_others_go_on():
    good, huge = jobs((64, 64))
    found = infonce_many([good, Job(huge.x * 1e38, huge.y, huge.seed)], **QUICK)
    assert found[0].nats == pytest.approx(estimate_mi(good.x, good.y, seed=good.seed, **QUICK).nats, abs=2e-4)
    assert isinstance(found[1], EstimationError) and "diverged" in str(found[1])


def test_settings_are_checked():
    with pytest.raises(UserError, match="batch"):
        infonce_many(jobs(), batch=1)
    assert infonce_many([]) == []


@pytest.mark.gpu
def test_a_recorded_step_gives_the_same_values():
    """CUDA graph against one critic after another on the same GPU."""
    given = [Job(job.x.cuda(), job.y.cuda(), job.seed) for job in jobs((100, 64, 33))]
    for job, together in zip(given, infonce_many(given, **QUICK), strict=True):
        alone = estimate_mi(job.x, job.y, seed=job.seed, **QUICK)
        assert together.curve == pytest.approx(alone.curve, abs=1e-3)
