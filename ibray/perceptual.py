"""How visible a trigger is: PSNR, SSIM and LPIPS between images before and after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ibray.compat import import_torchvision

SSIM_WINDOW = 11  # pixels
LPIPS_SMALLEST = 31  # the shortest side in pixels that AlexNet's pools leave something of
LPIPS_ENLARGED = 32
_BATCH_PIXELS = 2**16  # 64 images of 32 x 32: the fastest on a CPU


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric over a set of images.

    value: the mean over ``n`` images, None when there are none. ci_low, ci_high: 95% interval of that mean over
    images, 1.96 standard errors to both sides (it may leave the metric's range); None for fewer than two images.
    """

    metric: Literal["psnr", "ssim", "lpips"]
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


@torch.inference_mode()
def measure(
    clean: Tensor, triggered: Tensor, *, lpips: nn.Module | None = None, device: torch.device | str = "cpu"
) -> list[Metric]:
    """PSNR, SSIM and LPIPS, in this order, of images with a trigger against the same images without.

    clean, triggered: uint8 or float in [0,1], N,C,H,W with C 1 or 3, row i of both the same image; any device, as the
    work is done on ``device`` in batches. lpips: the network of ``ibray.lpips.load_lpips`` on that device; without it
    LPIPS is None. Each metric is computed image by image and averaged:

    - psnr: peak signal-to-noise ratio in dB, from the mean squared error over the image's pixels and channels, with 1
      as the peak. An image that the trigger leaves as it is has an infinite one, so the mean is over the images that
      changed: ``n`` says how many, and the value is None when there are none.
    - ssim: structural similarity (Wang et al., IEEE TIP 2004) with the Gaussian window of 11 x 11 pixels and sigma
      1.5, averaged over channels and over all pixels. Windows that stick out are filled by reflection, so a patch in
      the corner counts; Wang et al. leave a border of 5 pixels out. None for images of a side below 11 pixels, where
      the window does not fit.
    - lpips: learned perceptual distance on AlexNet (Zhang et al., CVPR 2018, arXiv 1801.03924), 0 for equal images.
      One channel is repeated three times. Images of a side below 31 pixels are enlarged bilinearly until that side
      has 32, so their values do not compare with those of larger images. Of small images AlexNet sees the margin
      badly: at 32 x 32 a white patch of 3 pixels in a corner gets a tenth or less of its value in the middle.

    Raises ValueError for other shapes, types and values.
    """
    _check(clean, triggered)
    import_torchvision()  # before torchmetrics, which imports it by itself
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    height, width = clean.shape[2:]
    batch = max(1, _BATCH_PIXELS // (height * width))
    psnr, ssim, distance = [], [], []
    # TF32's ten bits would drown SSIM's variances, which are differences of nearly equal numbers.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for pair in zip(clean.split(batch), triggered.split(batch), strict=True):
            x, y = (_unit(images, device) for images in pair)
            psnr.append(peak_signal_noise_ratio(y, x, data_range=1.0, reduction="none", dim=(1, 2, 3)))
            if min(height, width) >= SSIM_WINDOW:
                ssim.append(
                    structural_similarity_index_measure(
                        y, x, sigma=1.5, kernel_size=SSIM_WINDOW, data_range=1.0, reduction="none"
                    )
                )
            if lpips is not None:
                distance.append(lpips(_for_lpips(y), _for_lpips(x), normalize=True).flatten())
    decibels = torch.cat(psnr)
    return [_mean("psnr", [decibels[decibels.isfinite()]]), _mean("ssim", ssim), _mean("lpips", distance)]


def evenly(values: Tensor, most: int) -> Tensor:
    """At most so many of the values, from all over them: a set of images may be sorted by class."""
    return values[torch.linspace(0, len(values) - 1, min(most, len(values))).round().long()]


def _check(clean: Tensor, triggered: Tensor) -> None:
    for name, images in (("clean", clean), ("triggered", triggered)):
        right_type = images.dtype == torch.uint8 or images.is_floating_point()
        if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape or not right_type:
            found = f"{images.dtype} of {tuple(images.shape)}"
            raise ValueError(f"{name}: expected N,C,H,W with C 1 or 3, float in [0,1] or uint8, got {found}")
    if clean.shape != triggered.shape:
        raise ValueError(f"triggered: expected the shape of clean, {tuple(clean.shape)}, got {tuple(triggered.shape)}")


def _unit(images: Tensor, device: torch.device | str) -> Tensor:
    """float32 in [0,1] on the device."""
    if images.dtype == torch.uint8:
        return images.to(device).float() / 255
    images = images.to(device).float()
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError("images: expected floats in [0,1]; divide values 0..255 by 255, or pass them as uint8")
    return images


def _for_lpips(images: Tensor) -> Tensor:
    """Three channels, and large enough for AlexNet."""
    images = images.expand(-1, 3, -1, -1)
    short = min(images.shape[2:])
    if short >= LPIPS_SMALLEST:
        return images
    size = [round(side * LPIPS_ENLARGED / short) for side in images.shape[2:]]
    return nn.functional.interpolate(images, size=size, mode="bilinear", align_corners=False)


def _mean(metric: Literal["psnr", "ssim", "lpips"], batches: list[Tensor]) -> Metric:
    values = torch.cat(batches).double() if batches else torch.empty(0)
    n = len(values)
    mean = values.mean().item() if n else None
    half = 1.96 * values.std().item() / math.sqrt(n) if n > 1 else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Metric(metric=metric, value=mean, ci_low=low, ci_high=high, n=n)
