"""Triggers: what every registered attack keeps, and what each one does to the pixel."""

import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from ibray.attacks import ATTACKS, get_attack
from ibray.attacks.colour import YCRCB_TO_RGB
from ibray.errors import UserError

CASES = [(name, preset) for name, entry in ATTACKS.items() for preset in entry.presets]
every_attack = pytest.mark.parametrize(("name", "preset"), CASES)


# For images smaller than an attack's defaults are made for.
SMALL = {"ftrojan": {"window": 8, "positions": [[7, 7], [3, 4]]}}


def fitting(name: str, preset: str, size: int):
    """The attack of a preset, made to fit ``size`` x ``size`` images (8 or a multiple of it)."""
    return get_attack(name, preset=preset, **(SMALL.get(name, {}) if size < 32 else {}))


def uint8_images(seed: int, *, n: int = 7, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


@every_attack
@given(seed=st.integers(0, 2**31), n=st.integers(0, 5), size=st.sampled_from([8, 16, 32]))
@settings(max_examples=15, deadline=None)
def test_trigger_keeps_shape_dtype_range_and_input(name, preset, seed, n, size):
    attack = fitting(name, preset, size)
    images = uint8_images(seed, n=n, size=size)
    before = images.clone()
    out = attack.trigger(images)
    assert out.shape == images.shape and out.dtype == torch.uint8
    assert torch.equal(images, before)
    for dtype in (torch.float32, torch.float64):
        floats = images.to(dtype) / 255
        triggered = attack.trigger(floats)
        assert triggered.shape == floats.shape and triggered.dtype == dtype
        assert not n or (triggered.min() >= 0 and triggered.max() <= 1)
        # both paths are the same trigger up to the rounding to 1/255
        assert torch.allclose(out.to(dtype), triggered * 255, atol=0.5001, rtol=0)
    assert torch.equal(out, attack.trigger(images))


@every_attack
def test_trigger_is_the_same_for_one_image_and_many_chunks(name, preset):
    attack = fitting(name, preset, 8)
    images = uint8_images(0, n=1500, size=8)
    out = attack.trigger(images)
    assert torch.equal(out[1400:1401], attack.trigger(images[1400:1401]))


@every_attack
def test_every_parameter_is_resolved_and_json(name, preset):
    attack = get_attack(name, preset=preset)
    again = get_attack(name, **json.loads(json.dumps(attack.params())))
    assert again == attack and again.params() == attack.params()
    assert all(key in repr(attack) for key in attack.params())
    attack.check((3, 32, 32), 10, 0)


@every_attack
def test_check_refuses_a_target_that_does_not_exist(name, preset):
    for target in (10, -1, True, "0"):
        with pytest.raises(ValueError, match="target"):
            get_attack(name, preset=preset).check((3, 32, 32), 10, target)


@pytest.mark.parametrize("images", [torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.int64)])
def test_trigger_refuses_other_shapes_and_dtypes(images):
    with pytest.raises(ValueError, match="expected N,C,H,W"):
        get_attack("badnets").trigger(images)


def test_badnets_presets_change_exactly_the_patch():
    images = uint8_images(3, size=32)
    for preset, rows, columns in [
        ("paper", slice(0, 5), slice(0, 5)),
        ("original", slice(29, 32), slice(29, 32)),
        ("checkerboard", slice(29, 32), slice(29, 32)),
    ]:
        out = get_attack("badnets", preset=preset).trigger(images)
        outside = torch.ones(32, 32, dtype=torch.bool)
        outside[rows, columns] = False
        assert torch.equal(out[:, :, outside], images[:, :, outside])
        patch = out[:, :, rows, columns]
        if preset == "paper":
            expected = torch.tensor([255, 0, 0])[:, None, None]
        elif preset == "original":
            expected = torch.tensor(255)
        else:
            expected = torch.tensor([[255, 0, 255], [0, 255, 0], [255, 0, 255]])
        assert (patch == expected).all()


@given(
    size=st.integers(1, 8),
    corner=st.sampled_from(["top-left", "top-right", "bottom-left", "bottom-right"]),
    colour=st.tuples(*[st.floats(0, 1)] * 3),
)
@settings(max_examples=30, deadline=None)
def test_badnets_patch_is_where_and_what_it_says(size, corner, colour):
    images = uint8_images(size, n=2, size=8).float() / 255
    out = get_attack("badnets", size=size, corner=corner, colour=list(colour)).trigger(images)
    vertical, horizontal = corner.split("-")
    top, left = (0 if vertical == "top" else 8 - size), (0 if horizontal == "left" else 8 - size)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[top : top + size, left : left + size] = True
    assert torch.equal(out[:, :, ~inside], images[:, :, ~inside])
    assert (out[:, :, inside] == torch.tensor(colour)[None, :, None]).all()


@given(alpha=st.floats(0, 1), pattern=st.sampled_from(["uniform_noise", "gaussian_noise"]))
@settings(max_examples=30, deadline=None)
def test_blend_is_linear_in_alpha(alpha, pattern):
    images = uint8_images(1).double() / 255
    attack = get_attack("blend", alpha=alpha, pattern=pattern)
    full = attack.parts((3, 16, 16))["pattern"].double()
    assert torch.allclose(attack.trigger(images), (1 - alpha) * images + alpha * full, atol=1e-9)


def test_blend_pattern_depends_on_its_seed_only():
    for pattern in ("uniform_noise", "gaussian_noise"):
        one, again, two = (
            get_attack("blend", pattern=pattern, pattern_seed=seed).parts((3, 16, 16))["pattern"] for seed in (1, 1, 2)
        )
        assert torch.equal(one, again) and not torch.equal(one, two)
        assert one.min() >= 0 and one.max() <= 1
        assert torch.equal(one[0], one[1]) == (pattern == "uniform_noise")


def test_blend_pattern_does_not_drift_between_versions():
    """Run ids name the pattern by its seed, so the seed has to mean these very numbers."""
    uniform = get_attack("blend").parts((3, 32, 32))["pattern"]
    assert uniform[0, 0, :3].tolist() == pytest.approx([0.63696, 0.26979, 0.04097], abs=1e-5)


@given(k=st.integers(1, 8), seed=st.integers(0, 2**40), size=st.sampled_from([8, 15, 32]))
@settings(max_examples=30, deadline=None)
def test_wanet_field_norm_and_smoothness(k, seed, size):
    attack = get_attack("wanet", k=k, field_seed=seed)
    field = attack.parts((3, size, size))["field"]
    assert field.shape == (size, size, 2) and torch.equal(field, attack.parts((3, size, size))["field"])
    points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (2, k, k))).permute(1, 2, 0)
    points = points / points.abs().mean()
    if k == 1:
        assert torch.allclose(field, points)
        return
    step = (size - 1) / (k - 1)  # pixels from point to point
    if step == int(step):
        assert torch.allclose(field[:: int(step), :: int(step)], points)
    assert torch.allclose(field[[0, 0, -1, -1], [0, -1, 0, -1]], points[[0, 0, -1, -1], [0, -1, 0, -1]])
    # The slopes of a cubic kernel (a = -0.75) add up to at most 3 an interval along one axis, its values to at
    # most 1.375 along the other; a field without up-sampling would jump by up to 2 from pixel to pixel.
    steepest = max(field.diff(dim=0).abs().max(), field.diff(dim=1).abs().max())
    assert steepest <= 3 * 1.375 * points.abs().max() / step


def test_wanet_field_depends_on_its_seed_only_and_does_not_drift():
    def field(**params):
        return get_attack("wanet", **params).parts((3, 32, 32))["field"]

    assert torch.equal(field(field_seed=1), field(field_seed=1, s=0.1))
    assert not torch.equal(field(field_seed=1), field(field_seed=2))
    first = field()[0, :2].flatten().tolist()
    assert first == pytest.approx([0.50179, 1.33060, 0.40064, 1.24292], abs=1e-5)


@given(seed=st.integers(0, 2**31), s=st.floats(0, 3), rescale=st.sampled_from([1.0, 0.9]))
@settings(max_examples=20, deadline=None)
def test_wanet_samples_a_plane_exactly_where_the_field_says(seed, s, rescale):
    """Bilinear sampling of an image that is linear in x and y returns the position it was sampled at."""
    size = 16
    plane = torch.linspace(-1, 1, size, dtype=torch.float64)
    across, down = plane.expand(size, size), plane[:, None].expand(size, size)
    images = (torch.stack([across, down, across]) + 1)[None] / 2
    attack = get_attack("wanet", preset="original", s=s, grid_rescale=rescale, field_seed=seed)
    moved = attack.trigger(images)[0] * 2 - 1
    field = attack.parts((3, size, size))["field"]
    for channel, axis in [(0, 0), (1, 1), (2, 0)]:
        expected = (((across, down)[axis] + s * field[..., axis] / size) * rescale).clamp(-1, 1)
        assert torch.allclose(moved[channel], expected, atol=1e-9)


def test_wanet_without_strength_and_jitter_changes_nothing():
    images = uint8_images(2, size=32)
    assert torch.equal(get_attack("wanet", s=0, jitter=0).trigger(images), images)


def test_wanet_jitter_is_uniform_differs_between_images_and_stays_with_its_image():
    size, count = 16, 100
    plane = torch.linspace(-1, 1, size, dtype=torch.float64).expand(size, size)
    # planes of slopes so different that every image is another one in bytes too
    slopes = torch.linspace(0.2, 1, count, dtype=torch.float64)[:, None, None, None]
    images = (slopes * plane + 1).expand(-1, 3, -1, -1) / 2
    attack = get_attack("wanet", s=0, jitter=0.5)
    moves = ((attack.trigger(images) - images) * 2 / slopes * size / 0.5)[:, 0, :, 1:-1]  # edges are clamped
    assert moves.abs().max() <= 1 + 1e-9
    assert abs(moves.mean()) < 5 * (1 / 3) ** 0.5 / moves.numel() ** 0.5
    assert moves.square().mean().item() == pytest.approx(1 / 3, rel=0.02)
    flat = moves.flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(count, dtype=torch.float64)
    assert correlation.abs().max() < 6.5 / flat.shape[1] ** 0.5  # of 4,950 pairs of images
    assert torch.equal(attack.trigger(images[7:9])[1], attack.trigger(images)[8])
    other = get_attack("wanet", s=0, jitter=0.5, field_seed=1)
    assert not torch.equal(attack.trigger(images), other.trigger(images))


def ycrcb(images: torch.Tensor) -> torch.Tensor:
    """RGB in [0,1] to Y, Cr, Cb in 0..255 from the definition in BT.601, as far as offsets cancel."""
    red, green, blue = (images.double() * 255).unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, (red - luma) / 1.402, (blue - luma) / 1.772], dim=1)


def window_coefficients(images: torch.Tensor, window: int) -> torch.Tensor:
    """SciPy's orthonormal 2-D DCT of every window: N, channels, windows down, across, window, window."""
    blocks = images.unfold(2, window, window).unfold(3, window, window)
    return torch.from_numpy(dctn(blocks.numpy(), type=2, axes=(-2, -1), norm="ortho"))


@given(
    data=st.data(), window=st.sampled_from([4, 8, 16, 32]), magnitude=st.floats(-30, 30),
    channels=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True), floats=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_ftrojan_changes_only_the_named_coefficients(data, window, magnitude, channels, floats):
    pairs = st.tuples(st.integers(0, window - 1), st.integers(0, window - 1))
    positions = data.draw(st.lists(pairs, min_size=1, max_size=3, unique=True))
    attack = get_attack(
        "ftrojan", window=window, magnitude=magnitude, channels=channels, positions=[list(p) for p in positions]
    )
    # values in the middle, so that nothing clips even where all the coefficients' waves meet
    images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(window), dtype=torch.float64)
    pattern = attack.parts((3, 32, 64))["pattern"]
    middle = 0.5 + (images - 0.5) * max(0.0, 1 - 2 * pattern.abs().max().item())
    images = middle if floats else (middle * 255).round().to(torch.uint8)
    assume(pattern.abs().max() < 0.5)
    out = attack.trigger(images)
    scale = 1 if floats else 255
    change = window_coefficients(ycrcb(out / scale) - ycrcb(images / scale), window)
    expected = torch.zeros_like(change)
    for channel in channels:
        for row, column in positions:
            expected[:, channel, :, :, row, column] = magnitude
    # Rounding moves every byte by at most half a step and chroma by no more than that; an orthonormal transform
    # of a window x window block has coefficients of at most window x that.
    assert torch.allclose(change, expected, atol=1e-9 if floats else 0.5 * window + 1e-9)
    if not floats:
        assert (change - expected).square().mean() < 0.5**2


def test_ftrojan_colours_go_there_and_back_exactly():
    images = uint8_images(4).double() / 255
    back = torch.einsum("cy,nyhw->nchw", YCRCB_TO_RGB, ycrcb(images)) / 255
    assert torch.allclose(back, images, atol=1e-12)
    # OpenCV's factors are these, rounded to three digits
    assert YCRCB_TO_RGB[0, 1].item() == pytest.approx(1.403, abs=1e-3)
    assert YCRCB_TO_RGB[1].tolist() == pytest.approx([1, -0.714, -0.344], abs=1e-3)
    assert YCRCB_TO_RGB[2, 2].item() == pytest.approx(1.773, abs=1e-3)


def test_paper_and_original_settings():
    labels = {"label_policy": "all_to_one", "source_classes": []}

    def params(name, preset):
        return get_attack(name, preset=preset).params()

    assert params("badnets", "paper") == {**labels, "size": 5, "colour": [1.0, 0.0, 0.0], "corner": "top-left"}
    assert params("blend", "paper") == {**labels, "alpha": 0.3, "pattern": "uniform_noise", "pattern_seed": 0}
    assert params("blend", "original") == {**labels, "alpha": 0.2, "pattern": "gaussian_noise", "pattern_seed": 0}
    wanet = {
        **labels, "k": 4, "s": 0.5, "grid_rescale": 1.0, "jitter": 1.0, "cross_ratio": 0.0, "field_seed": 0,
    }  # fmt: skip
    assert params("wanet", "paper") == wanet
    assert params("wanet", "original") == {**wanet, "jitter": 0.0, "cross_ratio": 2.0}
    ftrojan = {**labels, "channels": [1, 2], "window": 32, "positions": [[31, 31], [15, 15]], "magnitude": 30.0}
    assert params("ftrojan", "paper") == ftrojan
    assert params("ftrojan", "original") == {**ftrojan, "magnitude": 20.0}
    lc = {
        "norm": "l2", "epsilon": 300.0, "step": 1.5, "steps": 100, "random_start": True, "train_amplitude": 64.0,
        "test_amplitude": 255.0, "surrogate": "same", "surrogate_training": "standard",
    }  # fmt: skip
    assert params("lc", "paper") == lc
    original = {"norm": "linf", "epsilon": 8.0, "train_amplitude": 32.0, "surrogate_training": "adversarial"}
    assert params("lc", "original") == {**lc, **original}
    adap = {
        **labels, "train_alpha": 0.15, "test_alpha": 0.2, "pieces": 16, "mask_rate": 0.5, "conservatism": 0.5,
        "masked": "darkened", "pattern": "uniform_noise", "pattern_seed": 0, "mask_seed": 0,
    }  # fmt: skip
    assert params("adap_blend", "paper") == adap
    assert params("adap_blend", "original") == {**adap, "masked": "kept", "pattern": "gaussian_noise"}
    assert get_attack("blend", alpha=1).params() == get_attack("blend", alpha=1.0).params()


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("badnet", {}, "did you mean 'badnets'.*none, badnets, blend, wanet, lc, adap_blend, ftrojan"),
        ("blend", {"preset": "papr"}, "no preset 'papr': did you mean 'paper'.*paper, original"),
        ("blend", {"alpa": 0.1}, "no parameter 'alpa': did you mean 'alpha'.*pattern_seed"),
        ("none", {"alpha": 0.1}, "no parameter 'alpha': There are: none"),
        ("blend", {"alpha": "0.1"}, r"alpha: expected a number, got '0.1' \(str\)"),
        ("blend", {"alpha": True}, "alpha: expected a number"),
        ("blend", {"alpha": float("nan")}, "alpha: expected a number"),
        ("blend", {"pattern": "kitty"}, "pattern: expected one of uniform_noise, gaussian_noise"),
        ("blend", {"pattern_seed": 1.5}, "pattern_seed: expected a whole number"),
        ("badnets", {"size": 0}, "size: expected a whole number of at least 1"),
        ("badnets", {"size": "5"}, "size: expected a whole number"),
        ("badnets", {"corner": "middle"}, "corner: expected one of top-left"),
        ("badnets", {"colour": "red"}, "colour: expected three numbers"),
        ("badnets", {"colour": [1, 0]}, "colour: expected three numbers"),
        ("badnets", {"colour": [1, 0, "0"]}, r"colour\[2\]: expected a number"),
        ("wanet", {"k": 0}, "k: expected a whole number of at least 1"),
        ("wanet", {"k": 2.5}, "k: expected a whole number"),
        ("wanet", {"s": "0.5"}, "s: expected a number"),
        ("wanet", {"jitter": True}, "jitter: expected a number"),
        ("wanet", {"field_seed": -1}, "field_seed: expected a whole number of at least 0"),
        ("wanet", {"cross_ratio": "2"}, "cross_ratio: expected a number"),
        ("badnets", {"label_policy": "all"}, "label_policy: expected one of all_to_one, all_to_all, source_specific"),
        ("badnets", {"source_classes": 3}, "source_classes: expected a list of class numbers"),
        ("badnets", {"source_classes": [-1]}, "source_classes: expected a whole number of at least 0"),
        ("lc", {"norm": "l1"}, "norm: expected one of l2, linf"),
        ("lc", {"epsilon": "300"}, "epsilon: expected a number"),
        ("lc", {"steps": -1}, "steps: expected a whole number of at least 0"),
        ("lc", {"random_start": 1}, "random_start: expected true or false, got 1"),
        ("lc", {"surrogate_training": "robust"}, "surrogate_training: expected one of standard, adversarial"),
        ("lc", {"surrogate": 18}, "surrogate: expected an architecture's name or 'same'"),
        ("lc", {"label_policy": "all_to_all"}, "no parameter 'label_policy'"),
        ("adap_blend", {"pieces": 0}, "pieces: expected a whole number of at least 1"),
        ("adap_blend", {"masked": "lit"}, "masked: expected one of kept, darkened"),
        ("adap_blend", {"conservatism": None}, "conservatism: expected a number"),
        ("ftrojan", {"window": 0}, "window: expected a whole number of at least 1"),
        ("ftrojan", {"magnitude": "strong"}, "magnitude: expected a number"),
        ("ftrojan", {"channels": 1}, "channels: expected a list of channel numbers"),
        ("ftrojan", {"channels": []}, "channels: expected a list of channel numbers"),
        ("ftrojan", {"channels": ["Cr"]}, "channels: expected a whole number"),
        ("ftrojan", {"positions": []}, "positions: expected a list of pairs"),
        ("ftrojan", {"positions": [31, 31]}, r"positions\[0\]: expected a list of two whole numbers"),
        ("ftrojan", {"positions": [[31, 31], [1, 2, 3]]}, r"positions\[1\]: expected a list of two whole numbers"),
        ("ftrojan", {"positions": [[31, -1]]}, r"positions\[0\]: expected a whole number of at least 0"),
    ],
)
def test_wrong_settings_are_named(name, params, message):
    with pytest.raises(UserError, match=message):
        get_attack(name, **params)


@pytest.mark.parametrize(
    ("name", "params", "shape", "message"),
    [
        ("badnets", {"size": 17}, (3, 16, 16), "size: a patch of 17 x 17 is larger than 16 x 16"),
        ("badnets", {"colour": [2, 0, 0]}, (3, 16, 16), "colour: expected values in"),
        ("badnets", {}, (1, 16, 16), "colour: three values"),
        ("blend", {"alpha": 1.5}, (3, 16, 16), "alpha: expected a value in"),
        ("wanet", {"k": 17}, (3, 16, 16), "k: a field of 17 x 17 points is larger than 16 x 16 images"),
        ("wanet", {"s": -0.5}, (3, 16, 16), "s: expected a value of at least 0, got -0.5"),
        ("wanet", {"jitter": -1}, (3, 16, 16), "jitter: expected a value of at least 0"),
        ("wanet", {"grid_rescale": 0}, (3, 16, 16), "grid_rescale: expected a value above 0"),
        ("ftrojan", {}, (3, 16, 16), "window: 32 does not divide the sides of 16 x 16 images"),
        ("ftrojan", {"window": 16}, (3, 16, 16), r"positions: \[31, 31\] is outside the window of 16 x 16"),
        ("ftrojan", {"positions": [[0, 32]]}, (3, 32, 32), r"positions: \[0, 32\] is outside the window"),
        ("ftrojan", {"positions": [[1, 2], [1, 2]]}, (3, 32, 32), "positions: each once"),
        ("ftrojan", {"channels": [1, 3]}, (3, 32, 32), r"channels: expected some of 0 \(Y\)"),
        ("ftrojan", {"channels": [1, 1]}, (3, 32, 32), "channels: expected some of .* each once"),
        ("ftrojan", {}, (1, 32, 32), "channels: YCrCb needs red, green and blue"),
        ("none", {}, (16, 16), "image_shape"),
        ("wanet", {"cross_ratio": -1}, (3, 16, 16), "cross_ratio: expected a value of at least 0"),
        ("badnets", {"label_policy": "source_specific"}, (3, 16, 16), "source_classes: label_policy source_specific"),
        ("badnets", {"source_classes": [1]}, (3, 16, 16), "source_classes: label_policy source_specific"),
        *(
            ("badnets", {"label_policy": "source_specific", "source_classes": classes}, (3, 16, 16), message)
            for classes, message in [([1, 10], "source_classes: class 10 does not exist"), ([0, 1], "0 is the target")]
        ),
        ("lc", {}, (3, 5, 16), "5 x 16 are too small for a pattern"),
        ("lc", {"epsilon": -1}, (3, 16, 16), "epsilon: expected a value of at least 0"),
        ("lc", {"train_amplitude": 256}, (3, 16, 16), r"train_amplitude: expected a value in \[0,255\]"),
        ("adap_blend", {"pieces": 15}, (3, 16, 16), "pieces: expected a square number whose root divides"),
        ("adap_blend", {"pieces": 9}, (3, 16, 16), "pieces: expected a square number whose root divides"),
        ("adap_blend", {"mask_rate": 1.1}, (3, 16, 16), r"mask_rate: expected a value in \[0,1\]"),
        ("adap_blend", {"conservatism": 1}, (3, 16, 16), r"conservatism: expected a value in \[0,1\)"),
    ],
)
def test_check_names_what_does_not_fit(name, params, shape, message):
    with pytest.raises(ValueError, match=message):
        get_attack(name, **params).check(shape, 10, 0)


def test_ftrojan_refuses_images_its_window_does_not_divide_also_without_a_check():
    with pytest.raises(ValueError, match="window: 32 does not divide"):
        get_attack("ftrojan").trigger(uint8_images(0, size=16))


@pytest.mark.gpu
@every_attack
def test_on_a_gpu_the_trigger_is_the_same(name, preset):
    images = uint8_images(6, n=300, size=32)
    attack = get_attack(name, preset=preset)
    on_gpu = attack.trigger(images.cuda())
    assert on_gpu.is_cuda and (on_gpu.cpu().int() - attack.trigger(images).int()).abs().max() <= 1
