"""Noisy ResNets with basic blocks for small images (He et al., CVPR 2016, in the usual CIFAR form).

3x3 stem with stride 1 and no max-pool, batch norm, four stages of widths w, 2w, 4w, 8w, global average pool,
linear classifier. Inputs are float images in [0,1], not normalised, as in the code of arXiv 2511.21923. The
weights start as PyTorch's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ibray.models.hidden import HiddenLayer, over_positions
from ibray.models.noise import GaussianNoise


class NoisyBasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, with noise after each of the two ReLUs."""

    def __init__(self, in_width: int, width: int, stride: int, sigma: float):
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.noise1 = GaussianNoise(sigma)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.noise2 = GaussianNoise(sigma)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_width != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_width, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.noise1(F.relu(self.bn1(self.conv1(x))))
        return self.noise2(F.relu(self.bn2(self.conv2(out)) + self.shortcut(x)))


class NoisyResNet(nn.Module):
    """A ResNet whose activations carry Gaussian noise of standard deviation ``sigma``.

    Noise is added after both ReLUs of every block and before the classifier, and with ``noise_stem`` after
    the stem's ReLU: the paper says "after each activation", its released code leaves the stem out. T is the
    pooled output of the last block: with that block's noise inside the average, without the classifier's.
    Attributes: ``T_dim`` (8 x width), ``num_classes``, ``sigma``.
    """

    def __init__(
        self, *, num_classes: int, sigma: float, width: int, blocks: Sequence[int], noise_stem: bool = True
    ):
        super().__init__()
        self.num_classes = num_classes
        self.sigma = float(sigma)
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.noise_stem = GaussianNoise(sigma if noise_stem else 0.0)
        stages, channels = [], width
        for stage, count in enumerate(blocks):
            out = width * 2**stage
            strides = [1 if stage == 0 else 2] + [1] * (count - 1)
            for stride in strides:
                stages.append(NoisyBasicBlock(channels, out, stride, sigma))
                channels = out
        self.stages = nn.Sequential(*stages)
        self.T_dim = channels
        self.noise_T = GaussianNoise(sigma)
        self.fc = nn.Linear(channels, num_classes)

    def hidden_layers(self) -> dict[str, HiddenLayer]:
        """The blocks before the last, whose pooled output is T."""
        return {f"block{i}": HiddenLayer(block, over_positions) for i, block in enumerate(self.stages[:-1], start=1)}

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (N, num_classes), or (T, logits) with T of shape (N, T_dim), of one draw of the noise.

        x: float N,3,H,W in [0,1], H and W at least 8. The logits are computed from this T plus noise.
        """
        out = self.noise_stem(F.relu(self.bn1(self.conv1(x))))
        t = self.stages(out).mean(dim=(2, 3))
        logits = self.fc(self.noise_T(t))
        return (t, logits) if return_features else logits
