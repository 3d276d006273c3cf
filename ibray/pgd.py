"""Projected gradient descent: the nearest images that a network gets wrong (Madry et al., ICLR 2018, 1706.06083)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Norm = Literal["l2", "linf"]
NORMS = ("l2", "linf")


def pgd(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    epsilon: float,
    step: float,
    steps: int,
    random: torch.Generator | None,
) -> Tensor:
    """Images within ``epsilon`` of these in which the network's cross-entropy with ``labels`` is high (untargeted).

    images: float N,C,H,W in [0,1]; labels: int64 N. epsilon, step: radius and step length in units of the range
    [0,1], each image for itself; ``norm`` says what a ball is and which direction is the steepest. random: a generator
    on the images' device for a start drawn uniformly from the ball; None starts at the image. The result is clipped
    to [0,1] and carries no gradient; the network's parameters and their gradients stay as they are.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = images.clone()  # made in inference mode, it could take no part in a gradient
        start = torch.zeros_like(images) if random is None else _uniform_in_ball(images, norm, epsilon, random)
        delta = (images + start).clamp(0, 1) - images
        for _ in range(steps):
            delta.requires_grad_()
            loss = F.cross_entropy(network(images + delta), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, delta)
            moved = delta.detach() + step * _direction(gradient, norm)
            delta = (images + _into_ball(moved, norm, epsilon)).clamp(0, 1) - images
        return images + delta


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of length one in which the loss rises most."""
    if norm == "linf":
        return gradient.sign()
    return gradient / _lengths(gradient).clamp_min(1e-12)


def _into_ball(delta: Tensor, norm: Norm, epsilon: float) -> Tensor:
    if norm == "linf":
        return delta.clamp(-epsilon, epsilon)
    return delta * (epsilon / _lengths(delta).clamp_min(1e-12)).clamp_max(1)


def _uniform_in_ball(images: Tensor, norm: Norm, epsilon: float, random: torch.Generator) -> Tensor:
    if norm == "linf":
        return torch.empty_like(images).uniform_(-epsilon, epsilon, generator=random)
    direction = torch.empty_like(images).normal_(generator=random)
    radius = torch.rand(len(images), 1, 1, 1, generator=random, device=images.device, dtype=images.dtype)
    dimensions = math.prod(images.shape[1:])
    return epsilon * radius ** (1 / dimensions) * direction / _lengths(direction).clamp_min(1e-12)


def _lengths(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1)[:, None, None, None]
