"""Noisy networks: sizes, shapes, and that the noise is what it says, in evaluation too."""

import pytest
import torch

from ibray.errors import UserError
from ibray.models import MODELS, GaussianNoise, get_model, resolve_params

every_model = pytest.mark.parametrize("name", list(MODELS))


@pytest.mark.parametrize(
    ("name", "parameters", "dim"),
    [
        ("resnet18", 11_173_962, 512),
        ("resnet34", 21_282_122, 512),
        ("resnet10_16", 308_826, 128),
        ("resnet10_8", 78_002, 64),
        ("vgg16", 14_728_266, 512),
        ("vit_tiny", 5_362_762, 192),
        ("small_cnn", 24_346, 64),
    ],
)
def test_parameter_counts(name, parameters, dim):
    """The counts of resnet18, resnet34 and vgg16 are the published ones of their CIFAR forms with ten classes."""
    model = get_model(name, num_classes=10, sigma=0.4)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert (model.T_dim, model.num_classes, model.sigma) == (dim, 10, 0.4)


def test_vit_tiny_has_the_published_count_at_the_published_size():
    model = get_model("vit_tiny", num_classes=1000, sigma=0.4, patch=16, image_size=224)
    assert sum(p.numel() for p in model.parameters()) == 5_717_416


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


@every_model
def test_logits_come_from_t_and_only_the_classifiers_noise_lies_between(name):
    torch.manual_seed(0)
    model = get_model(name, num_classes=4, sigma=0.3).eval()
    images = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        model.noise_T.sigma = 0.0
        t, logits = model(images, return_features=True)
        assert torch.allclose(model.fc(t), logits, atol=1e-6)
        model.noise_T.sigma = 0.3
        t, logits = model(images, return_features=True)
        assert not torch.allclose(model.fc(t), logits, atol=1e-3)


@every_model
def test_sigma_reaches_every_noise_layer_and_no_other_randomness_is_left(name):
    model = get_model(name, num_classes=4, sigma=0.3)
    layers = [layer for layer in model.modules() if isinstance(layer, GaussianNoise)]
    assert {layer.sigma for layer in layers} == {0.3}
    assert not [layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]


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


def test_noise_on_a_channels_last_map_is_drawn_in_order_of_memory_and_stays_channels_last():
    maps = torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    noisy = GaussianNoise(0.5)(maps)
    torch.manual_seed(0)
    assert torch.equal(noisy.permute(0, 2, 3, 1), 0.5 * torch.randn(2, 4, 5, 3))
    assert noisy.stride() == maps.stride()


def only_noise(model, last):
    """Every noise of ``model`` off but that of the layer ``last``."""
    for layer in model.modules():
        if isinstance(layer, GaussianNoise) and layer is not last:
            layer.sigma = 0.0


def deviation_of_t(model, size, draws=400):
    """Standard deviation of every unit of T over ``draws`` draws of the noise, of one image."""
    with torch.no_grad():
        image = torch.rand(1, 3, size, size).expand(draws, -1, -1, -1)
        t, _ = model(image, return_features=True)
    return t.std(dim=0)


@pytest.mark.parametrize("name", ["resnet10_8", "small_cnn"])
@pytest.mark.parametrize(("size", "pooled"), [(32, 4), (16, 2)])
def test_the_last_noise_at_t_is_sigma_over_the_pools_side(name, size, pooled):
    """With every earlier noise off, T varies between draws only by the mean of pooled x pooled noises."""
    torch.manual_seed(0)
    sigma = 0.4
    model = get_model(name, num_classes=10, sigma=sigma).eval()
    only_noise(model, model.stages[-1].noise2 if name == "resnet10_8" else model.layers[-1])
    measured = deviation_of_t(model, size).square().mean().sqrt().item()
    assert measured == pytest.approx(sigma / pooled, rel=0.02)  # 400 draws x 64 units: standard error 0.44 %


@pytest.mark.parametrize(("size", "equal"), [(32, True), (32, False), (16, False)])
def test_the_last_noise_of_vgg_at_t_is_that_of_a_maximum(size, equal):
    """Of four noisy values: 0.7012 sigma when they are equal (order statistics of the normal), at most sigma."""
    torch.manual_seed(0)
    sigma = 0.4
    model = get_model("vgg16", num_classes=10, sigma=sigma, width=8).eval()
    last = model.blocks[-1][-1]
    only_noise(model, last)
    norm = model.blocks[-1][-3]
    norm.weight.data.mul_(0 if equal else 100)  # all at the ReLU's zero, or far apart
    relative = deviation_of_t(model, size) / sigma  # 64 units
    if equal:
        assert relative.mean().item() == pytest.approx(0.7012, rel=0.02)
    elif size == 16:  # a single position is left: its noise reaches T as it is
        assert relative.mean().item() == pytest.approx(1, rel=0.02)
    else:
        assert relative.min() > 0.6 and relative.max() < 1.12 and 0.7 < relative.mean() <= 1


@pytest.mark.parametrize(("token", "size", "divided"), [("class", 32, 1), ("mean", 32, 8), ("mean", 16, 4)])
def test_the_last_noise_of_vit_at_t_comes_through_the_mlps_second_layer(token, size, divided):
    torch.manual_seed(0)
    sigma = 0.4
    model = get_model("vit_tiny", num_classes=10, sigma=sigma, depth=2, token=token).eval()
    last = model.blocks[-1]
    only_noise(model, last.noise)
    model.norm = torch.nn.Identity()
    expected = sigma * last.fc2.weight.norm(dim=1) / divided
    assert (deviation_of_t(model, size) / expected).mean().item() == pytest.approx(1, rel=0.02)


def test_vgg_and_vit_have_noise_after_every_activation_and_before_the_classifier():
    for name, activations in [("vgg16", 13), ("vit_tiny", 12), ("small_cnn", 3)]:
        model = get_model(name, num_classes=10, sigma=0.4)
        assert sum(isinstance(layer, GaussianNoise) for layer in model.modules()) == activations + 1
    layers = [layer for block in get_model("vgg16", num_classes=10, sigma=0.4).blocks for layer in block]
    for before, after in zip(layers, [*layers[1:], None], strict=True):
        assert isinstance(after, GaussianNoise) == isinstance(before, torch.nn.ReLU)


def test_vit_resizes_its_position_embeddings_and_refuses_sides_the_patch_does_not_divide():
    model = get_model("vit_tiny", num_classes=10, sigma=0, depth=1).eval()
    with torch.no_grad():
        model.positions.copy_(torch.arange(65.0)[None, :, None].expand(1, 65, 192))
        large = model._positions(16, 16)
    assert large.shape == (1, 257, 192) and (large[0, 0] == 0).all()
    inside = large[0, 1:, 0].view(16, 16)[4:-4, 4:-4]  # away from the edges a plane stays one, of half the slope
    assert (inside.diff(dim=0) - 4).abs().max() < 1e-3 and (inside.diff(dim=1) - 0.5).abs().max() < 1e-3
    assert torch.equal(model._positions(8, 8), model.positions)
    with pytest.raises(UserError, match="patch: 4 does not divide the sides of 30 x 32 images"):
        model(torch.rand(1, 3, 30, 32))
    same = get_model("vit_tiny", num_classes=10, sigma=0, depth=1, image_size=16)
    assert same.positions.shape == (1, 17, 192) and same(torch.rand(2, 3, 16, 16)).shape == (2, 10)


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
        ("vgg16", {"blocks": [2, 2, 3, 3]}, "blocks: expected 5 whole numbers"),
        ("vit_tiny", {"token": "cls"}, "token: expected one of class, mean, got 'cls'"),
        ("vit_tiny", {"token": 1}, "token: expected one of class, mean"),
        ("vit_tiny", {"heads": 5}, "'vit_tiny': heads: 5 does not divide the width 192"),
        ("vit_tiny", {"patch": 5}, "'vit_tiny': patch: 5 does not divide the image_size 32"),
        ("resnet18", {"sigma": -0.1}, "sigma: expected a number of at least 0"),
        ("resnet18", {"sigma": "0.4"}, "sigma: expected a number"),
        ("resnet18", {"num_classes": 1}, "num_classes: expected a whole number"),
    ],
)
def test_wrong_settings_are_named(name, settings, message):
    with pytest.raises(UserError, match=message):
        get_model(name, **{"num_classes": 10, "sigma": 0.4, **settings})


@pytest.mark.parametrize(
    ("name", "settings"),
    [("resnet10_8", {}), ("vgg16", {"width": 4}), ("vit_tiny", {"depth": 1}), ("small_cnn", {})],
)
def test_torch_export_sees_one_graph(name, settings):
    """No data-dependent Python in forward: torch.compile captures it whole (tracing alone, to stay quick)."""
    model = get_model(name, num_classes=10, sigma=0.4, **settings).eval()
    explained = torch._dynamo.explain(model)(torch.rand(2, 3, 16, 16))
    assert explained.graph_break_count == 0
