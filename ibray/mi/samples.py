"""Paired samples as every estimator sees them: checked once, float32, one row per image and noise draw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibray.mi.interface import EstimationError

# Rows of samples that are worked on at a time where a copy of all of them would be too much.
ROWS = 2**14


@dataclass(frozen=True)
class PairedSamples:
    """x (N, Mx, Dx) and y (N, My, Dy), float32 on one device; a variable without noise has one draw."""

    x: Tensor
    y: Tensor

    @property
    def n(self) -> int:
        return len(self.x)

    @property
    def draws(self) -> int:
        return max(self.x.shape[1], self.y.shape[1])

    def pick(self, images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Dx) and (B, Dy) of `images` (B,), each at its own noise draw of `draws` (B,).

        x and y share the draw: what belongs together is the logits and the T they were computed from.
        """
        return _rows(self.x, images, draws), _rows(self.y, images, draws)


def _rows(values: Tensor, images: Tensor, draws: Tensor) -> Tensor:
    m = values.shape[1]
    return values.flatten(0, 1).index_select(0, images if m == 1 else images * m + draws)


def paired(x: object, y: object) -> PairedSamples:
    """Two tensors or arrays of shape (N, D) or (N, M, D), checked; EstimationError if they do not fit."""
    a, b = _three_axes(x, "x"), _three_axes(y, "y")
    if len(a) != len(b):
        raise EstimationError(f"x has {len(a)} samples and y has {len(b)}: they must be paired")
    _check_count(a)
    if a.shape[1] != b.shape[1] and 1 not in (a.shape[1], b.shape[1]):
        raise EstimationError(
            f"x has {a.shape[1]} noise draws per sample and y has {b.shape[1]}: draws are paired by index"
        )
    if a.device != b.device:
        raise EstimationError(f"x is on {a.device} and y on {b.device}: move them to one device")
    _check_finite(a, "x")
    _check_finite(b, "y")
    return PairedSamples(a, b)


def drawn(t: object) -> Tensor:
    """Noise draws of one variable, (N, M, D) or (N, D), checked: (N, M, D) float32; EstimationError if unusable."""
    draws = _three_axes(t, "t")
    _check_count(draws)
    _check_finite(draws, "t")
    return draws


def project(values: Tensor, matrix: Tensor) -> Tensor:
    """values (..., D) float32 @ matrix (D, K) float64 -> (..., K) float32, computed in float64."""
    rows = values.reshape(-1, values.shape[-1]).split(ROWS)
    return torch.cat([(r.double() @ matrix).float() for r in rows]).unflatten(0, values.shape[:-1])


def _check_count(values: Tensor) -> None:
    if len(values) < 2:
        raise EstimationError(f"{len(values)} sample(s): mutual information needs at least 2")


def _check_finite(values: Tensor, name: str) -> None:
    if not all(bool(extreme.isfinite()) for extreme in values.aminmax()):  # makes no copy, and lets NaN through
        bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
        raise EstimationError(f"{name} holds NaN or infinite values in {bad} of {len(values)} samples")


def _three_axes(values: object, name: str) -> Tensor:
    tensor = torch.as_tensor(values).detach()
    if tensor.ndim not in (2, 3) or tensor.is_complex():
        raise EstimationError(
            f"{name} must be real and of shape (samples, features) or (samples, draws, features), "
            f"not {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        )
    if 0 in tensor.shape[1:]:
        raise EstimationError(f"{name} of shape {tuple(tensor.shape)} has no features or no draws")
    tensor = tensor.to(torch.float32)
    return (tensor if tensor.ndim == 3 else tensor.unsqueeze(1)).contiguous()
