"""Image quality against formulas written out here, and LPIPS against the values of the package that defines it."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ibray.lpips import SHAPES, find_lpips, load_lpips
from ibray.perceptual import measure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """LPIPS's network with random weights: right in everything but its values."""
    rng = np.random.default_rng(0)
    arrays = {key: rng.random(shape, dtype=np.float32) - (0.5 if "conv" in key else 0) for key, shape in SHAPES.items()}
    path = tmp_path_factory.mktemp("lpips") / "random.npz"
    np.savez(path, **arrays)
    return load_lpips(find_lpips(path))


@pytest.fixture(scope="module")
def real_network():
    """LPIPS's network with its real weights."""
    beside = ROOT.parent / "shared" / "data" / "lpips_alexnet.npz"
    path = Path(os.environ.get("IBRAY_LPIPS_WEIGHTS", beside))
    if not path.is_file():
        pytest.skip(f"no weights of LPIPS at {path}: name a file in IBRAY_LPIPS_WEIGHTS")
    return load_lpips(find_lpips(path))


def pair(n: int = 6, *, channels: int = 3, size: int = 16, noise: float = 0.1, seed: int = 0):
    """Smooth images and the same with noise, float32 in [0,1]."""
    rng = np.random.default_rng(seed)
    clean = gaussian_filter(rng.random((n, channels, size, size)), sigma=(0, 0, 1.5, 1.5), mode="wrap")
    clean = (clean - clean.min()) / (clean.max() - clean.min())
    noisy = (clean + noise * rng.standard_normal(clean.shape)).clip(0, 1)
    return torch.from_numpy(clean.astype(np.float32)), torch.from_numpy(noisy.astype(np.float32))


def metrics(*arguments, **settings) -> dict:
    return {metric.metric: metric for metric in measure(*arguments, **settings)}


def psnr_of(x: np.ndarray, y: np.ndarray) -> float:
    return -10 * math.log10(((x - y) ** 2).mean())


def ssim_of(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, on one C,H,W image in float64; a window of radius 5 at every pixel."""

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma=(0, 1.5, 1.5), radius=(0, 5, 5), mode="mirror")

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [11, 16, 33])
def test_psnr_and_ssim_are_the_means_of_their_formulas_over_images(size, channels):
    clean, noisy = pair(size=size, channels=channels)
    found = metrics(clean, noisy)
    for name, formula in (("psnr", psnr_of), ("ssim", ssim_of)):
        values = np.array([formula(*each) for each in zip(clean.double().numpy(), noisy.double().numpy(), strict=True)])
        half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
        expected = {"value": values.mean(), "ci_low": values.mean() - half, "ci_high": values.mean() + half, "n": 6}
        assert dataclasses.asdict(found[name]) == pytest.approx({"metric": name, **expected}, abs=1e-4)


def test_bytes_and_floats_of_the_same_images_give_the_same():
    clean, noisy = (images.mul(255).round() for images in pair())
    assert measure(clean.byte(), noisy.byte()) == measure(clean / 255, noisy / 255)


def test_batches_change_nothing():
    clean, noisy = pair(150, size=32)
    whole = metrics(clean, noisy)
    parts = [metrics(clean[at : at + 50], noisy[at : at + 50]) for at in (0, 50, 100)]
    for name in ("psnr", "ssim"):
        assert whole[name].value == pytest.approx(np.mean([part[name].value for part in parts]), rel=1e-6)
        assert whole[name].n == 150


def test_images_that_did_not_change_do_not_count_for_psnr():
    clean, noisy = pair()
    noisy[:4] = clean[:4]
    found = metrics(clean, noisy)
    assert found["psnr"] == metrics(clean[4:], noisy[4:])["psnr"]
    assert (found["psnr"].n, found["ssim"].n) == (2, 6)


def test_a_trigger_that_changes_nothing_has_no_psnr_and_an_ssim_of_one(network):
    clean, _ = pair(size=32)
    psnr, ssim, lpips = measure(clean, clean.clone(), lpips=network)
    assert (psnr.value, psnr.ci_low, psnr.ci_high, psnr.n) == (None, None, None, 0)
    assert ssim.value == pytest.approx(1, abs=1e-6)
    assert (lpips.value, lpips.n) == (0, 6)


def test_one_image_has_no_interval():
    for metric in measure(*pair(1))[:2]:
        assert (metric.ci_low, metric.ci_high, metric.n) == (None, None, 1) and metric.value is not None


def test_below_the_window_there_is_no_ssim():
    psnr, ssim, _ = measure(*pair(size=10))
    assert psnr.n == 6 and (ssim.value, ssim.ci_low, ssim.n) == (None, None, 0)


def test_without_a_network_there_is_no_lpips():
    assert metrics(*pair())["lpips"].value is None


@pytest.mark.parametrize(
    ("clean", "triggered", "message"),
    [
        (torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), "clean: expected N,C,H,W"),
        (torch.zeros(2, 4, 16, 16), torch.zeros(2, 4, 16, 16), "C 1 or 3"),
        (torch.zeros(0, 3, 16, 16), torch.zeros(0, 3, 16, 16), r"got torch.float32 of \(0, 3, 16, 16\)"),
        (torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16).int(), "triggered: .* got torch.int32"),
        (torch.zeros(2, 3, 16, 16), torch.zeros(3, 3, 16, 16), "triggered: expected the shape of clean"),
        (torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 255.0), r"floats in \[0,1\]; divide"),
        (torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), torch.nan), r"floats in \[0,1\]"),
    ],
)
def test_what_are_no_images_is_refused(clean, triggered, message):
    with pytest.raises(ValueError, match=message):
        measure(clean, triggered)


# LPIPS


@pytest.mark.parametrize(("height", "width"), [(31, 31), (16, 16), (8, 8), (8, 40)])
def test_lpips_of_small_images_is_that_of_enlarged_ones(network, height, width):
    clean, noisy = (images[:, :, :height, :width] for images in pair(size=40))
    found = metrics(clean, noisy, lpips=network)["lpips"]
    if min(height, width) < 31:
        size = (32, width * 32 // height)
        clean, noisy = (torch.nn.functional.interpolate(x, size=size, mode="bilinear") for x in (clean, noisy))
    assert found == metrics(clean, noisy, lpips=network)["lpips"] and found.value > 0 and found.n == 6


def test_lpips_of_one_channel_is_that_of_three_equal_ones(network):
    clean, noisy = pair(channels=1, size=32)
    three = (clean.repeat(1, 3, 1, 1), noisy.repeat(1, 3, 1, 1))
    assert metrics(clean, noisy, lpips=network)["lpips"] == metrics(*three, lpips=network)["lpips"]


# The package lpips 0.1.4 (net "alex", version "0.1", its own lin weights) on torch 2.13 with the convolutions of
# torchvision's AlexNet_Weights.IMAGENET1K_V1, on the images of `reference`.
REFERENCE = {
    32: [8.27425e-05, 0.00153646, 0.00553527, 0.0308617],
    64: [0.000226627, 0.00411526, 0.012325, 0.0774392],
}


def reference(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four noise images, and the same under noise of four levels."""
    rng = np.random.default_rng(size)
    clean = rng.random((4, 3, size, size), dtype=np.float32)
    noise = rng.standard_normal((4, 3, size, size)).astype(np.float32)
    level = np.array([0.01, 0.05, 0.1, 0.3], np.float32)[:, None, None, None]
    return torch.from_numpy(clean), torch.from_numpy((clean + level * noise).clip(0, 1))


@pytest.mark.parametrize("size", REFERENCE)
def test_lpips_is_that_of_its_authors_package(real_network, size):
    clean, noisy = reference(size)
    images = zip(clean[:, None], noisy[:, None], strict=True)
    values = [metrics(*each, lpips=real_network)["lpips"].value for each in images]
    assert values == pytest.approx(REFERENCE[size], rel=1e-3)


def test_lpips_is_symmetric_and_grows_with_noise(real_network):
    values = []
    for noise in (0.02, 0.05, 0.1, 0.2):
        clean, noisy = pair(size=32, noise=noise)
        values.append(metrics(clean, noisy, lpips=real_network)["lpips"].value)
        assert metrics(noisy, clean, lpips=real_network)["lpips"].value == pytest.approx(values[-1], rel=1e-5)
    assert values == sorted(values) and values[0] > 0


# Beside others


def test_it_leaves_random_numbers_and_settings_alone(network):
    state, tf32 = torch.get_rng_state(), torch.backends.cudnn.allow_tf32
    measure(*pair(), lpips=network)
    assert torch.equal(torch.get_rng_state(), state) and torch.backends.cudnn.allow_tf32 == tf32


def test_it_needs_nothing_of_the_orchestration():
    code = (
        "import sys, torch; from ibray.perceptual import measure; import ibray.lpips; x = torch.zeros(2, 3, 16, 16)\n"
        "measure(x, x + 0.1); print({'ray', 'duckdb', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
