"""Trained estimators with a held-out value: protocols `population` and `closed`, and what they are made of."""

import math
from dataclasses import replace

import pytest
import torch
from gaussians import gaussian_pairs

from ibray.errors import UserError
from ibray.mi import ESTIMATORS, EstimationError, estimate_mi, settings_of
from ibray.mi.components import COMPONENTS, reduced
from ibray.mi.fit import CriticSettings, Part, as_seen, fit
from ibray.mi.gaussian_start import CanonicalStart
from ibray.mi.held_out import score
from ibray.mi.objectives import CLIP, EMA_RATE, MINE, NWJ, SMILE, InfoNCE, own_and_marginal
from ibray.mi.prepare import normal_scores
from ibray.mi.samples import paired
from ibray.mi.separable import SeparableCritic

TRAINED = ["infonce", "nwj", "smile", "mine"]
OBJECTIVES = [InfoNCE, NWJ, SMILE, MINE]
BOUNDS = ("infonce", "nwj")
QUICK = {"batch": 128, "hidden": 32, "embedding": 16, "patience": 2, "max_epochs": 10}
QUICKER = {"batch": 32, "hidden": 8, "embedding": 4, "patience": 1, "max_epochs": 2}


def numbers(estimate):
    """Everything but the time taken."""
    return replace(estimate, seconds=0.0)


def noisy_images(n, draws, noise, dims=2, seed=0):
    """x (n, dims), and y (n, draws, dims) = x + noise."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dims, generator=rng)
    return x, x.unsqueeze(1) + noise * torch.randn(n, draws, dims, generator=rng)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("nats", [0.5, 2.0])
def test_population_reads_gaussians(name, nats):
    estimate = estimate_mi(*gaussian_pairs(2000, 2, nats), name, protocol="population", **QUICK)
    assert estimate.raw == pytest.approx(nats, abs=0.12)
    assert 0.005 < estimate.standard_error < 0.05


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("noise", [1.0, 0.3])
def test_closed_reads_what_the_optimal_critic_does(name, noise):
    """X uniform on the images, y = x + noise: the density is known, and by it the information of this closed set."""
    x, y = noisy_images(500, 6, noise)
    log_p = -torch.cdist(y[:, 0], x).square() / (2 * noise**2)
    truth = float((log_p.diagonal() - log_p.logsumexp(1)).mean()) + math.log(500)
    assert truth == pytest.approx({1.0: 0.7, 0.3: 2.4}[noise], abs=0.2)
    estimate = estimate_mi(x, y, name, protocol="closed", **QUICK)
    assert estimate.raw == pytest.approx(truth, abs=0.15)
    assert estimate.upper_bound == math.log(500)


def test_what_is_not_gaussian_takes_the_hidden_layers():
    x, y = gaussian_pairs(1500, 1, 2.0)
    y = y.abs()  # no correlation to start from
    chosen = {"batch": 256, "max_epochs": 15}
    assert estimate_mi(x, y, protocol="population", **chosen, learning_rate=1e-12).raw < 0.1
    assert estimate_mi(x, y, protocol="population", **chosen).raw > 0.8


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(("n", "dims"), [(400, 600), (1000, 3), (30, 40)])
def test_a_permuted_pairing_reads_nothing(name, n, dims):
    x, y = noisy_images(n, 2, 0.1, dims)
    estimate = estimate_mi(x, y.roll(1, 0), name, protocol="population", **QUICK)
    assert 0 <= estimate.nats <= 0.05
    assert estimate.nats == max(0.0, estimate.raw)


def test_many_features_and_few_images():
    x, y = noisy_images(300, 4, 1.0, dims=COMPONENTS + 88)
    x, y = x * torch.linspace(1, 0.01, x.shape[1]) ** 4, y[..., :20]
    assert estimate_mi(x, y, protocol="population", **QUICK).raw > 0.4
    assert estimate_mi(x, y, protocol="closed", **QUICK).raw > 2


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("protocol", ["population", "closed"])
def test_what_an_estimate_says(name, protocol):
    x, y = noisy_images(60, 3, 0.5)
    estimate = estimate_mi(x.numpy().astype("float64"), y, name, protocol=protocol, **QUICKER)
    candidates = 30 if protocol == "population" else 60
    assert (estimate.estimator, estimate.protocol, estimate.n) == (name, protocol, 60)
    assert estimate.negatives == candidates - 1
    assert estimate.lower_bound == (estimate.nats if name in BOUNDS else None)
    assert estimate.nats == max(0.0, estimate.raw) and estimate.standard_error > 0 and estimate.seconds > 0
    assert len(estimate.curve) == 2 and estimate.critic_epochs == (4 if protocol == "population" else 2)
    assert estimate.ci_low == max(0.0, estimate.raw - 1.96 * estimate.standard_error)
    if protocol == "population":
        assert estimate.upper_bound is None
        assert estimate.ceiling == (pytest.approx(math.log(30)) if name == "infonce" else None)
    else:
        assert estimate.upper_bound == math.log(60)
        assert estimate.ceiling == (None if name == "smile" else math.log(60))
    if protocol == "closed" and name in BOUNDS:
        assert estimate.ci_high == math.log(60)
    else:
        assert estimate.ci_high == max(0.0, estimate.raw + 1.96 * estimate.standard_error)


@pytest.mark.parametrize("name", ["infonce", "nwj", "mine"])
def test_closed_cannot_pass_log_n(name):
    x, y = noisy_images(40, 4, 1e-4)
    estimate = estimate_mi(x, y, name, protocol="closed", **QUICK)
    assert 2 < estimate.nats <= math.log(40) + 1e-5  # nwj and mine take longer to come near it


def test_closed_with_noise_in_both_has_no_upper_bound():
    _, y = noisy_images(50, 3, 0.5)
    estimate = estimate_mi(y, y + 1, protocol="closed", **QUICKER)
    assert estimate.upper_bound is None and estimate.ci_high is None and estimate.ceiling == math.log(50)


@pytest.mark.parametrize("draws", [2, 4])
def test_closed_is_scored_on_a_draw_that_is_not_trained_on(draws):
    """Draw 0 of every image is noise: whatever the other draws tell of it, the value cannot be above 0."""
    x, y = noisy_images(200, draws, 0.01)
    y[:, 0] = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    assert estimate_mi(x, y, protocol="closed", **QUICK).nats == 0
    changed = y.clone()
    changed[:, 0] = x
    same = [estimate_mi(x, v, protocol="closed", **QUICKER).curve for v in (y, changed)]
    assert same[0] == same[1]


def test_the_interval_counts_images_not_draws():
    x, y = gaussian_pairs(300, 2, 1.0)
    chosen = QUICK | {"scored_draws": 8}
    once = estimate_mi(x.unsqueeze(1), y.unsqueeze(1), protocol="population", **chosen)
    # Copied draws change which random numbers are used in training, but not the count of images.
    copied = estimate_mi(
        x.unsqueeze(1).expand(-1, 8, -1), y.unsqueeze(1).expand(-1, 8, -1), protocol="population", **chosen
    )
    assert copied.standard_error == pytest.approx(once.standard_error, rel=0.1)


@pytest.mark.parametrize("protocol", ["population", "closed"])
@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_bits_and_no_global_randomness(name, protocol):
    x, y = noisy_images(100, 3, 0.5)
    before = torch.get_rng_state()
    first, second = (estimate_mi(x, y, name, 3, protocol=protocol, **QUICKER) for _ in range(2))
    assert numbers(first) == numbers(second)
    assert torch.equal(torch.get_rng_state(), before)
    assert estimate_mi(x, y, name, 4, protocol=protocol, **QUICKER).curve != first.curve


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("protocol", ["population", "closed"])
def test_runs_inside_a_context_without_gradients(context, protocol):
    x, y = noisy_images(64, 3, 0.5)
    outside = estimate_mi(x, y, protocol=protocol, **QUICKER)
    with context():
        inside = estimate_mi(x * 1, y * 1, protocol=protocol, **QUICKER)
    assert numbers(inside) == numbers(outside)


def test_scale_does_not_matter():
    x, y = gaussian_pairs(400, 2, 1.0)
    estimate = estimate_mi(x, y, protocol="population", **QUICK)
    scaled = estimate_mi(300 * x - 7, y * torch.tensor([1e-3, 5.0]), protocol="population", **QUICK)
    assert scaled.raw == pytest.approx(estimate.raw, abs=0.01)


@pytest.mark.parametrize("folds", [2, 3])
def test_every_image_is_scored_once_with_its_fold_as_candidates(folds):
    x, y = noisy_images(50, 2, 0.5)
    estimate = estimate_mi(x, y, protocol="population", folds=folds, **QUICKER)
    assert estimate.n == 50 and estimate.negatives == 50 // folds - 1
    assert math.log(50 // folds) <= estimate.ceiling <= math.log(50 // folds + 1)


@pytest.mark.parametrize("protocol", ["population", "closed"])
@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (torch.zeros(1, 2), torch.zeros(1, 2), "at least 2"),
        (torch.tensor([[math.inf], [0.0]]), torch.zeros(2, 1), "x holds NaN"),
        (torch.rand(30, 2), torch.ones(30, 3, 2), "y is constant"),
        (torch.ones(30, 2), torch.rand(30, 3, 2), "x is constant"),
        (torch.rand(3, 2), torch.rand(3, 2, 2), "at least 4"),
    ],
)
def test_samples_that_admit_no_estimate(protocol, x, y, says):
    with pytest.raises(EstimationError, match=says):
        estimate_mi(x, y, protocol=protocol)


def test_too_few_images_or_draws():
    with pytest.raises(EstimationError, match="20 images in 15 folds leave 18 to train on and 1 to score"):
        estimate_mi(torch.rand(20, 1), torch.rand(20, 1), protocol="population", folds=15)
    with pytest.raises(EstimationError, match="y needs at least 2 per image and has 1"):
        estimate_mi(torch.rand(20, 3, 1), torch.rand(20, 1), protocol="closed")
    assert math.isfinite(estimate_mi(*gaussian_pairs(8, 2, 1.0), protocol="population", **QUICKER).raw)
    assert math.isfinite(estimate_mi(*noisy_images(4, 2, 0.5), protocol="closed", **QUICKER).raw)


@pytest.mark.parametrize("name", TRAINED)
def test_a_diverging_critic_is_an_error(name):
    with pytest.raises(EstimationError, match=r"diverged in epoch 1: .*learning rate 1e\+30"):
        estimate_mi(*gaussian_pairs(64, 2, 1.0), name, protocol="population", **QUICKER | {"learning_rate": 1e30})


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": 1},
        {"folds": 2.0},
        {"batch": 1},
        {"hidden": True},
        {"embedding": 0},
        {"max_epochs": 0},
        {"patience": 0},
        {"steps": 0},
        {"scored_draws": 0},
        {"learning_rate": 0},
        {"grad_clip": math.nan},
        {"weight_decay": -1.0},
        {"averaging": 1.0},
    ],
)
def test_wrong_values_of_settings(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        settings_of("nwj", **wrong)


def test_protocols_and_their_settings():
    assert list(ESTIMATORS["infonce"].protocols) == ["paper", "population", "closed"]
    for name in TRAINED[1:]:
        assert list(ESTIMATORS[name].protocols) == ["population", "closed"]
        with pytest.raises(UserError, match="unknown setting 'folds'"):
            settings_of(name, protocol="closed", folds=2)


# Rows are anchors; own pairs on the diagonal.
SCORES = torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0], [0.0, -6.0, 7.0]])
OWN = 10 / 3


def test_objectives_by_hand():
    e = math.exp
    log_z = [math.log((e(0) + e(-1)) / 2), math.log((e(0.5) + e(0)) / 2), math.log((e(0) + e(-6)) / 2)]
    own, marginal = own_and_marginal(SCORES, 0.0)
    assert own.tolist() == [1, 2, 7] and marginal.tolist() == pytest.approx(log_z)

    nwj = 1 + OWN - sum(map(e, log_z)) / 3
    assert float(NWJ().terms(own, marginal).mean()) == pytest.approx(nwj)
    assert float(NWJ().loss(SCORES, 0.0)) == pytest.approx(-nwj)
    dv = OWN - math.log(sum(map(e, log_z)) / 3)
    assert float(MINE().terms(own, marginal).mean()) == pytest.approx(dv)

    rows = [e(1) + e(0) + e(-1), e(0.5) + e(2) + e(0), e(0) + e(-6) + e(7)]
    infonce = OWN - sum(math.log(r / 3) for r in rows) / 3
    assert float(-InfoNCE().loss(SCORES, InfoNCE().share(3, None))) == pytest.approx(infonce)

    def softplus(f):
        return math.log1p(e(f))

    js = -sum(softplus(-f) for f in (1, 2, 7)) / 3 - sum(softplus(f) for f in (0, -1, 0.5, 0, 0, -6)) / 6
    assert float(-SMILE().loss(SCORES, 0.0)) == pytest.approx(js, rel=1e-5)
    own, clipped = own_and_marginal(SCORES, 0.0, CLIP)
    assert own.tolist() == [1, 2, 7]
    smile = OWN - math.log((e(log_z[0]) + e(log_z[1]) + (e(0) + e(-5)) / 2) / 3)
    assert float(SMILE().terms(own, clipped).mean()) == pytest.approx(smile)


def test_own_pairs_have_their_share_of_the_marginal():
    e = math.exp
    _, marginal = own_and_marginal(SCORES, 0.25)
    assert float(marginal[1]) == pytest.approx(math.log(0.25 * e(2) + 0.75 * (e(0.5) + e(0)) / 2))
    assert [o().share(10, None) for o in OBJECTIVES] == [0.1, 0, 0, 0]
    assert [o().share(10, 40) for o in OBJECTIVES] == [0.1, 0.025, 0.025, 0.025]
    js = SMILE().merit(SCORES, 0.25) - SMILE().merit(SCORES, 0.0)
    others = (math.log1p(e(0.5)) + math.log1p(e(0))) / 2
    assert float(js[1]) == pytest.approx(-0.25 * (math.log1p(e(2)) - others), rel=1e-5)


def test_mine_keeps_its_running_mean():
    objective = MINE()
    z = [float(own_and_marginal(SCORES + shift, 0.0)[1].exp().mean()) for shift in (0, 1)]
    assert float(objective.loss(SCORES, 0.0)) == pytest.approx(1 - OWN)
    assert float(objective.log_running.exp()) == pytest.approx(z[0])
    scores = (SCORES + 1).requires_grad_()
    objective.loss(scores, 0.0).backward()
    running = (1 - EMA_RATE) * z[0] + EMA_RATE * z[1]
    assert float(objective.log_running.exp()) == pytest.approx(running)
    assert float(scores.grad[0, 1]) == pytest.approx(math.exp(1) / 6 / running)  # of E exp f, over the running mean
    assert float(scores.grad[1, 1]) == pytest.approx(-1 / 3)


def test_influence_of_donsker_varadhan_is_the_delta_methods():
    """The spread of terms against that of values of resampled anchors."""
    rng = torch.Generator().manual_seed(0)
    own, marginal = torch.randn(2, 4000, generator=rng).double()

    def value(rows):
        return float(MINE().terms(own[rows], marginal[rows]).mean())

    assert value(slice(None)) == pytest.approx(float(own.mean() - marginal.exp().mean().log()))
    resampled = torch.tensor([value(torch.randint(4000, (4000,), generator=rng)) for _ in range(300)])
    error = float(MINE().terms(own, marginal).std()) / math.sqrt(4000)
    assert float(resampled.std()) == pytest.approx(error, rel=0.15)


def filled_critic(x_dim=3, y_dim=2, hidden=5, embedding=4):
    """A critic none of whose weights is 0."""
    rng = torch.Generator().manual_seed(0)
    critic = SeparableCritic(x_dim, y_dim, hidden, embedding, rng)
    for weights in critic.parameters():
        weights.data = torch.randn(weights.shape, generator=rng) / 2
    return critic


def test_scores_are_the_formula():
    critic = filled_critic().requires_grad_(False)
    x, y = torch.randn(6, 3), torch.randn(4, 2)

    def tower(t, v):
        gelu = torch.nn.functional.gelu
        h = gelu(t.second @ gelu(t.first @ v + t.first_bias) + t.second_bias)
        u = t.skip @ v + t.shift + t.out @ h / math.sqrt(4)
        return u, t.square @ u**2 + t.offset @ h / math.sqrt(5) + t.constant[0]

    matrix = critic(x, y).detach()
    assert matrix.shape == (4, 6)
    for i in range(4):
        for j in range(6):
            (u, a), (v, b) = tower(critic.x, x[j]), tower(critic.y, y[i])
            assert float(matrix[i, j]) == pytest.approx(float(u @ v + a + b), abs=1e-4)


def test_a_new_critic_says_0_and_can_learn():
    critic = SeparableCritic(3, 2, 5, 4, torch.Generator().manual_seed(0))
    matrix = critic(torch.randn(6, 3), torch.randn(6, 2))
    assert matrix.abs().max() == 0
    InfoNCE().loss(matrix, 1 / 6).backward()
    assert critic.y.skip.grad.abs().max() > 0 and critic.y.out.grad.abs().max() > 0


@pytest.mark.parametrize("make", OBJECTIVES)
def test_scoring_by_blocks_changes_nothing(make, monkeypatch):
    critic, samples = filled_critic(), paired(torch.randn(50, 3), torch.randn(50, 3, 2))
    part = Part(torch.randperm(50)[:23], [0, 2])
    whole = score(make(), critic, samples, part, 0.1)
    monkeypatch.setattr("ibray.mi.held_out.BLOCK_PAIRS", 100)
    monkeypatch.setattr("ibray.mi.held_out.ROWS", 7)
    assert torch.allclose(score(make(), critic, samples, part, 0.1), whole, atol=1e-4)


def test_the_start_is_the_log_ratio_of_a_gaussian():
    rho, nats = math.sqrt(1 - math.exp(-1)), 1.0  # two features, each 0.5 nats
    x, y = gaussian_pairs(200_000, 2, nats)
    x = x @ torch.tensor([[2.0, 1.0], [0.0, 1.0]]) + 3  # canonical variables are not features
    critic = SeparableCritic(2, 2, 8, 4, torch.Generator().manual_seed(0))
    start = CanonicalStart(x, y)
    start.put(critic, start.directions(0.0, 4), 1.0)
    plain, partner = gaussian_pairs(50, 2, nats, seed=1)
    exact = (
        -(partner.unsqueeze(1) - rho * plain).square() / (2 * (1 - rho**2)) + partner.unsqueeze(1).square() / 2
    ).sum(2) - math.log(1 - rho**2)
    found = critic.requires_grad_(False)(plain @ torch.tensor([[2.0, 1.0], [0.0, 1.0]]) + 3, partner)
    assert float((found - exact).abs().mean()) < 0.05


@pytest.mark.parametrize("rows", [40, COMPONENTS + 200])
def test_components_keep_what_varies_most(rows):
    rng = torch.Generator().manual_seed(0)
    scale = torch.linspace(1, 0, COMPONENTS + 100) ** 8
    values = torch.randn(rows, 1, COMPONENTS + 100, generator=rng) * scale
    values = values - values.mean(0)
    seen = reduced(values, values.flatten(0, 1), rng)
    assert seen.shape[2] <= min(rows - 1, COMPONENTS)
    assert float(seen.square().mean()) == pytest.approx(1, abs=1e-3)
    full, kept = torch.pdist(values.squeeze(1)), torch.pdist(seen.squeeze(1))
    assert torch.allclose(kept / kept.mean(), full / full.mean(), atol=1e-3)
    assert reduced(values[..., :3], values[:, 0, :3], rng).shape == (rows, 1, 3)


def test_training_returns_the_best_critic_of_those_kept_back():
    samples = paired(*gaussian_pairs(400, 1, 1.0))
    train, kept = Part(torch.arange(200), [0]), Part(torch.arange(200, 400), [0])
    seen = as_seen(samples, train, (0,))
    options = CriticSettings(**QUICK | {"learning_rate": 0.3, "grad_clip": 100.0})  # far too large: it gets worse
    critic, curve = fit(InfoNCE(), seen, train, kept, None, options, (0,))
    value = float(score(InfoNCE(), critic, seen, kept, 1 / 200).mean())
    assert value >= max(curve) - 0.05 and value > 0.7


def test_a_monotone_map_of_a_feature_changes_nothing():
    """Ranks are all a critic sees of a feature, so long tails are none to it."""
    x, y = gaussian_pairs(400, 2, 1.0)
    plain, mapped = (estimate_mi(v, w, "infonce", protocol="population", max_epochs=3).raw for v, w in
                     [(x, y), (x.pow(3), y.sinh())])  # fmt: skip
    assert mapped == pytest.approx(plain, abs=1e-4)


def test_normal_scores_by_hand():
    reference = torch.tensor([[1.0, 7.0], [2.0, 7.0], [2.0, 7.0], [5.0, 7.0]]).unsqueeze(0)
    values = torch.tensor([[2.0, 7.0], [0.0, 7.0], [9.0, 8.0]]).unsqueeze(0)
    scores = normal_scores(values, reference)
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = [(1 + 3 + 1) / 10, (0 + 0 + 1) / 10, (4 + 4 + 1) / 10]  # below + not above + 1, over 2 (R + 1)
    assert scores[0, :, 0] == pytest.approx(normal.icdf(torch.tensor(expected)), abs=1e-6)
    assert scores[0, :, 1].tolist() == [0.0, 0.0, 0.0]  # the feature does not vary
