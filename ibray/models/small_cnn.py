"""A noisy network of three convolutions, for tests and first looks on a CPU.

3x3 convolutions of stride 2 and widths w, 2w, 4w, each with batch norm and ReLU, global average pool, linear
classifier. Inputs are float images in [0,1], not normalised. The weights start as PyTorch's defaults.
"""

from __future__ import annotations

from torch import Tensor, nn

from ibray.models.hidden import HiddenLayer, over_positions
from ibray.models.noise import GaussianNoise


class NoisySmallCNN(nn.Module):
    """Three convolutions whose activations carry Gaussian noise of standard deviation ``sigma``.

    Noise is added after every ReLU and before the classifier. T is the pooled output of the last convolution: its
    noise is sigma/4 for 32x32 images and sigma/2 for 16x16 ones (see models/noise.py), without the classifier's.
    Attributes: ``T_dim`` (4 x width), ``num_classes``, ``sigma``.
    """

    def __init__(self, *, num_classes: int, sigma: float, width: int):
        super().__init__()
        self.num_classes = num_classes
        self.sigma = float(sigma)
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 4 * width):
            layers += [
                nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
                GaussianNoise(sigma),
            ]
            channels = out
        self.layers = nn.Sequential(*layers)
        self.T_dim = channels
        self.noise_T = GaussianNoise(sigma)
        self.fc = nn.Linear(channels, num_classes)

    def hidden_layers(self) -> dict[str, HiddenLayer]:
        """The convolutions before the last, with their noise."""
        noise = [layer for layer in self.layers if isinstance(layer, GaussianNoise)]
        return {f"block{i}": HiddenLayer(layer, over_positions) for i, layer in enumerate(noise[:-1], start=1)}

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (N, num_classes), or (T, logits) with T of shape (N, T_dim), of one draw of the noise.

        x: float N,3,H,W in [0,1], any H and W. The logits are computed from this T plus noise.
        """
        t = self.layers(x).mean(dim=(2, 3))
        logits = self.fc(self.noise_T(t))
        return (t, logits) if return_features else logits
