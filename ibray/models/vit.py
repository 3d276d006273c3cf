"""Noisy vision transformers (Dosovitskiy et al., ICLR 2021; the size "tiny" of Touvron et al., ICML 2021).

Patch embedding, a class token, learned position embeddings, pre-norm blocks of self-attention and an MLP with
GELU, linear classifier; no dropout. Inputs are float images in [0,1], not normalised. Weights start as in those
networks: normal of standard deviation 0.02, cut off at two of them, with biases of zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibray.errors import UserError
from ibray.models.hidden import HiddenLayer
from ibray.models.noise import GaussianNoise

TOKENS = ("class", "mean")
_MLP_RATIO = 4


class NoisyTransformerBlock(nn.Module):
    """Self-attention, then an MLP with noise after its one activation, each added to its input."""

    def __init__(self, width: int, heads: int, sigma: float):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.noise = GaussianNoise(sigma)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attention(self.norm1(x))
        return x + self.fc2(self.noise(F.gelu(self.fc1(self.norm2(x)))))

    def _attention(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each N, heads, tokens, width
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class NoisyViT(nn.Module):
    """A vision transformer whose activations carry Gaussian noise of standard deviation ``sigma``.

    Noise is added after the activation of every MLP and before the classifier. T is the class token after the last
    block, or with ``token`` "mean" the mean of the patches' tokens, and then layer norm. So the last activation's
    noise enters T through the MLP's second layer: before the norm, unit j of T has noise of standard deviation
    sigma x |row j of that layer|, divided by 8 (the square root of 64 patches) with "mean" on 32x32 images.

    patch: the patch's side in pixels, which has to divide the images' sides. image_size: the side of the images
    that the position embeddings are made for; for others they are interpolated (bicubic). Attributes: ``T_dim``
    (the width), ``num_classes``, ``sigma``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        sigma: float,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        image_size: int,
        token: str,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.sigma = float(sigma)
        self.patch = patch
        self.token = token
        self.grid = image_size // patch
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + self.grid**2, width))  # the class token's comes first
        self.blocks = nn.Sequential(*(NoisyTransformerBlock(width, heads, sigma) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.T_dim = width
        self.noise_T = GaussianNoise(sigma)
        self.fc = nn.Linear(width, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        linear = [layer for layer in self.modules() if isinstance(layer, nn.Linear)]
        for weight in [self.class_token, self.positions, *(layer.weight for layer in linear)]:
            nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
        for layer in linear:
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (N, num_classes), or (T, logits) with T of shape (N, T_dim), of one draw of the noise.

        x: float N,3,H,W in [0,1]. The logits are computed from this T plus noise. Raises UserError when the patch
        does not divide H and W.
        """
        height, width = x.shape[2:]
        if height % self.patch or width % self.patch:
            raise UserError(f"patch: {self.patch} does not divide the sides of {height} x {width} images")
        patches = self.embed(x)
        positions = self._positions(*patches.shape[2:])
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = self.blocks(tokens + positions)
        t = self.norm(self._read(tokens))
        logits = self.fc(self.noise_T(t))
        return (t, logits) if return_features else logits

    def hidden_layers(self) -> dict[str, HiddenLayer]:
        """The blocks before the last: the token that T is read from, before layer norm."""
        return {f"block{i}": HiddenLayer(block, self._read) for i, block in enumerate(self.blocks[:-1], start=1)}

    def _read(self, tokens: Tensor) -> Tensor:
        """tokens (N, 1 + patches, width) -> (N, width)."""
        return tokens[:, 0] if self.token == "class" else tokens[:, 1:].mean(dim=1)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """1, 1 + rows x columns, width."""
        if (rows, columns) == (self.grid, self.grid):
            return self.positions
        grid = self.positions[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        return torch.cat([self.positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def vit_problem(params: Mapping[str, Any]) -> str | None:
    """What is wrong between the parameters of a NoisyViT, naming one; None when they fit."""
    if params["width"] % params["heads"]:
        return f"heads: {params['heads']} does not divide the width {params['width']}"
    if params["image_size"] % params["patch"]:
        return f"patch: {params['patch']} does not divide the image_size {params['image_size']}"
    return None
