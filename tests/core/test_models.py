"""Noisy networks: sizes, shapes, and that the noise is what it says, in evaluation too."""

import pytest
import torch

from ibray.errors import UserError
from ibray.models import MODELS, GaussianNoise, get_model, resolve_params

every_model = pytest.mark.parametrize("name", list(MODELS))


@pytest.mark.parametrize(
    ("name", "parameters", "dim"),
    [("resnet18", 11_173_962, 512), ("resnet10_16", 308_826, 128), ("resnet10_8", 78_002, 64)],
)
def test_parameter_counts(name, parameters, dim):
    """11,173,962 is the published count of the CIFAR ResNet-18 with ten classes."""
    model = get_model(name, num_classes=10, sigma=0.4)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert (model.T_dim, model.num_classes, model.sigma) == (dim, 10, 0.4)


@every_model
@pytest.mark.parametrize("size", [16, 32])
def test_shapes_gradients_and_features(name, size):
    torch.manual_seed(0)
    model = get_model(name, num_classes=7, sigma=0.1)
    images = torch.rand(2, 3, size, size)
    t, logits = model(images, return_features=True)
    assert t.shape == (2, model.T_dim) and logits.shape == (2, 7)
    assert model(images).shape == (2, 7)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_logits_come_from_t_and_only_the_classifiers_noise_lies_between():
    torch.manual_seed(0)
    model = get_model("resnet10_8", num_classes=4, sigma=0.3).eval()
    images = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        model.noise_T.sigma = 0.0
        t, logits = model(images, return_features=True)
        assert torch.allclose(model.fc(t), logits)
        model.noise_T.sigma = 0.3
        t, logits = model(images, return_features=True)
        assert not torch.allclose(model.fc(t), logits, atol=1e-3)


@every_model
def test_noise_is_present_in_evaluation_and_seeded(name):
    model = get_model(name, num_classes=10, sigma=0.4).eval()
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.manual_seed(1)
        first = model(images)
        second = model(images)
        torch.manual_seed(1)
        assert torch.equal(first, model(images))
    assert not torch.allclose(first, second)


@every_model
def test_sigma_zero_is_deterministic_in_evaluation(name):
    model = get_model(name, num_classes=10, sigma=0).eval()
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(images), model(images))


def test_noise_layer_has_the_scale_it_says_in_both_modes():
    torch.manual_seed(0)
    layer = GaussianNoise(0.4)
    zeros = torch.zeros(1000, 100)
    for mode in (layer.train(), layer.eval()):
        noise = mode(zeros)
        assert abs(noise.mean()) < 5 * 0.4 / 100_000**0.5
        assert noise.std().item() == pytest.approx(0.4, rel=0.01)  # its standard error is 0.22 %
    x = torch.rand(3)
    assert GaussianNoise(0)(x) is x
    with pytest.raises(ValueError, match="sigma"):
        GaussianNoise(-1)


@pytest.mark.parametrize(("size", "pooled"), [(32, 4), (16, 2)])
def test_the_last_noise_at_t_is_sigma_over_the_pools_side(size, pooled):
    """With every earlier noise off, T varies between draws only by the mean of pooled x pooled noises."""
    torch.manual_seed(0)
    sigma = 0.4
    model = get_model("resnet10_8", num_classes=10, sigma=sigma).eval()
    last = model.stages[-1].noise2
    for layer in model.modules():
        if isinstance(layer, GaussianNoise) and layer is not last:
            layer.sigma = 0.0
    with torch.no_grad():
        image = torch.rand(1, 3, size, size).expand(400, -1, -1, -1)
        t, _ = model(image, return_features=True)
    measured = t.var(dim=0).mean().sqrt().item()  # 400 draws x 64 units: standard error 0.44 %
    assert measured == pytest.approx(sigma / pooled, rel=0.02)


def test_noise_sits_after_every_activation_and_the_stem_is_an_option():
    for stem in (True, False):
        model = get_model("resnet18", num_classes=10, sigma=0.4, noise_stem=stem)
        sigmas = [layer.sigma for layer in model.modules() if isinstance(layer, GaussianNoise)]
        assert len(sigmas) == 1 + 8 * 2 + 1  # stem, both ReLUs of eight blocks, classifier
        assert sigmas.count(0.4) == 17 + stem
        assert model.noise_stem.sigma == (0.4 if stem else 0.0)


def test_parameters_can_be_set_on_every_architecture():
    model = get_model("resnet18", num_classes=3, sigma=0.1, width=4, blocks=[1, 2, 1, 1])
    assert model.T_dim == 32 and len(model.stages) == 5
    assert resolve_params("resnet10_8", {"width": 4}) == {
        "width": 4,
        "blocks": [1, 1, 1, 1],
        "noise_stem": True,
    }


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet81", {}, "unknown architecture 'resnet81'.*resnet18"),
        ("resnet18", {"widht": 8}, "no parameter 'widht': did you mean 'width'.*blocks, noise_stem"),
        ("resnet18", {"width": 0}, "width: expected a whole number"),
        ("resnet18", {"width": "8"}, "width: expected a whole number"),
        ("resnet18", {"blocks": [2, 2]}, "blocks: expected 4 whole numbers"),
        ("resnet18", {"noise_stem": 1}, "noise_stem: expected true or false"),
        ("resnet18", {"sigma": -0.1}, "sigma: expected a number of at least 0"),
        ("resnet18", {"sigma": "0.4"}, "sigma: expected a number"),
        ("resnet18", {"num_classes": 1}, "num_classes: expected a whole number"),
    ],
)
def test_wrong_settings_are_named(name, settings, message):
    with pytest.raises(UserError, match=message):
        get_model(name, **{"num_classes": 10, "sigma": 0.4, **settings})


def test_torch_export_sees_one_graph():
    """No data-dependent Python in forward: torch.compile captures it whole (tracing alone, to stay quick)."""
    model = get_model("resnet10_8", num_classes=10, sigma=0.4).eval()
    explained = torch._dynamo.explain(model)(torch.rand(2, 3, 16, 16))
    assert explained.graph_break_count == 0
