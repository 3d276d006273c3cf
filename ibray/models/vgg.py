"""Noisy VGG networks with batch norm for small images (Simonyan and Zisserman, ICLR 2015, in the usual CIFAR form).

Five blocks of 3x3 convolutions of widths w, 2w, 4w, 8w, 8w, each closed by a 2x2 max-pool, and one linear
classifier in place of the three layers for 224x224 images. Inputs are float images in [0,1], not normalised. The
weights start as PyTorch's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ibray.models.hidden import HiddenLayer, over_positions
from ibray.models.noise import GaussianNoise

_WIDTHS = (1, 2, 4, 8, 8)


class NoisyVGG(nn.Module):
    """A VGG whose activations carry Gaussian noise of standard deviation ``sigma``.

    Noise is added after every ReLU (so before the pool that may follow) and before the classifier. T is the
    output of the last block after its max-pool, averaged over the positions that are left: one for 32x32 and
    16x16 images. A maximum is no average, so the last activation's noise at T is not divided by a side: it is the
    maximum of four noisy values, with a standard deviation from 0.70 sigma, where all four are equal, to sigma,
    where one of them stands out or, for 16x16 images, there is only one. Attributes: ``T_dim`` (8 x width),
    ``num_classes``, ``sigma``.
    """

    def __init__(self, *, num_classes: int, sigma: float, width: int, blocks: Sequence[int]):
        super().__init__()
        self.num_classes = num_classes
        self.sigma = float(sigma)
        self.blocks = nn.ModuleList()
        channels = 3
        for multiple, count in zip(_WIDTHS, blocks, strict=True):
            layers: list[nn.Module] = []
            for _ in range(count):
                # The bias does nothing before a batch norm; it is in the published networks and their counts.
                layers += [
                    nn.Conv2d(channels, width * multiple, 3, padding=1),
                    nn.BatchNorm2d(width * multiple),
                    nn.ReLU(),
                    GaussianNoise(sigma),
                ]
                channels = width * multiple
            self.blocks.append(nn.Sequential(*layers))
        self.T_dim = channels
        self.noise_T = GaussianNoise(sigma)
        self.fc = nn.Linear(channels, num_classes)

    def hidden_layers(self) -> dict[str, HiddenLayer]:
        """The blocks before the last, ahead of their max-pool."""
        return {f"block{i}": HiddenLayer(block, over_positions) for i, block in enumerate(self.blocks[:-1], start=1)}

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (N, num_classes), or (T, logits) with T of shape (N, T_dim), of one draw of the noise.

        x: float N,3,H,W in [0,1], any H and W. The logits are computed from this T plus noise.
        """
        for block in self.blocks:
            # ceil_mode: the five pools of 32x32 images leave a single position alone when 16x16 ones reach it early
            x = F.max_pool2d(block(x), 2, ceil_mode=True)
        t = x.mean(dim=(2, 3))
        logits = self.fc(self.noise_T(t))
        return (t, logits) if return_features else logits
