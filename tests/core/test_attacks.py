"""Triggers: what every registered attack keeps, and what each one does to the pixel."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ibray.attacks import ATTACKS, get_attack
from ibray.errors import UserError

CASES = [(name, preset) for name, entry in ATTACKS.items() for preset in entry.presets]
every_attack = pytest.mark.parametrize(("name", "preset"), CASES)


def uint8_images(seed: int, *, n: int = 7, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


@every_attack
@given(seed=st.integers(0, 2**31), n=st.integers(0, 5), size=st.sampled_from([8, 16, 32]))
@settings(max_examples=15, deadline=None)
def test_trigger_keeps_shape_dtype_range_and_input(name, preset, seed, n, size):
    attack = get_attack(name, preset=preset)
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
    attack = get_attack(name, preset=preset)
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
    full = attack.pattern_image((3, 16, 16)).double()
    assert torch.allclose(attack.trigger(images), (1 - alpha) * images + alpha * full, atol=1e-9)


def test_blend_pattern_depends_on_its_seed_only():
    for pattern in ("uniform_noise", "gaussian_noise"):
        one = get_attack("blend", pattern=pattern, pattern_seed=1).pattern_image((3, 16, 16))
        torch.manual_seed(5)
        assert torch.equal(
            one, get_attack("blend", pattern=pattern, pattern_seed=1).pattern_image((3, 16, 16))
        )
        assert not torch.equal(
            one, get_attack("blend", pattern=pattern, pattern_seed=2).pattern_image((3, 16, 16))
        )
        assert one.min() >= 0 and one.max() <= 1
        assert torch.equal(one[0], one[1]) == (pattern == "uniform_noise")


def test_blend_pattern_does_not_drift_between_versions():
    """Run ids name the pattern by its seed, so the seed has to mean these very numbers."""
    uniform = get_attack("blend").pattern_image((3, 32, 32))
    assert uniform[0, 0, :3].tolist() == pytest.approx([0.63696, 0.26979, 0.04097], abs=1e-5)


def test_paper_and_original_settings():
    assert get_attack("badnets").params() == {"size": 5, "colour": [1.0, 0.0, 0.0], "corner": "top-left"}
    assert get_attack("blend").params() == {"alpha": 0.3, "pattern": "uniform_noise", "pattern_seed": 0}
    original = get_attack("blend", preset="original").params()
    assert original == {"alpha": 0.2, "pattern": "gaussian_noise", "pattern_seed": 0}
    assert get_attack("blend", alpha=1).params() == get_attack("blend", alpha=1.0).params()


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("badnet", {}, "did you mean 'badnets'.*none, badnets, blend"),
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
        ("none", {}, (16, 16), "image_shape"),
    ],
)
def test_check_names_what_does_not_fit(name, params, shape, message):
    with pytest.raises(ValueError, match=message):
        get_attack(name, **params).check(shape, 10, 0)
