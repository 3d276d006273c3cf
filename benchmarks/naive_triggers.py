"""Triggers as research code puts them on: one uint8 H,W,C image after another, in NumPy and SciPy, written from the
attacks' publications. What `trigger_speed.py` compares with; results agree to a byte but for jitter and masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import map_coordinates

from ibray.attacks import Attack

OneImage = Callable[[np.ndarray], np.ndarray]
TO_YCRCB = np.array([[0.299, 0.587, 0.114], [0.701, -0.587, -0.114], [-0.299, -0.587, 0.886]])
TO_YCRCB[1] /= 1.402
TO_YCRCB[2] /= 1.772


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def badnets(attack: Attack) -> OneImage:
    def one(image: np.ndarray) -> np.ndarray:
        image = image.copy()
        image[: attack.size, : attack.size] = np.array(attack.colour) * 255
        return image

    return one


def blend(attack: Attack) -> OneImage:
    pattern = attack.parts((3, 32, 32))["pattern"].permute(1, 2, 0).numpy() * 255
    return lambda image: _bytes((1 - attack.alpha) * image + attack.alpha * pattern)


def wanet(attack: Attack) -> OneImage:
    field = attack.parts((3, 32, 32))["field"].numpy()  # H,W,(across, down), in units of half a side
    random = np.random.default_rng(0)
    identity = np.stack(np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32)), axis=-1)

    def one(image: np.ndarray) -> np.ndarray:
        grid = np.clip((identity + attack.s * field / 32) * attack.grid_rescale, -1, 1)
        if attack.jitter:
            grid = np.clip(grid + attack.jitter * random.uniform(-1, 1, grid.shape) / 32, -1, 1)
        across, down = ((grid[..., axis] + 1) * 31 / 2 for axis in (0, 1))
        channels = [map_coordinates(image[..., c].astype(float), (down, across), order=1) for c in range(3)]
        return _bytes(np.stack(channels, axis=-1))

    return one


def ftrojan(attack: Attack) -> OneImage:
    def one(image: np.ndarray) -> np.ndarray:
        ycrcb = image @ TO_YCRCB.T
        for channel in attack.channels:
            coefficients = dctn(ycrcb[..., channel], norm="ortho")
            for row, column in attack.positions:
                coefficients[row, column] += attack.magnitude
            ycrcb[..., channel] = idctn(coefficients, norm="ortho")
        return _bytes(ycrcb @ np.linalg.inv(TO_YCRCB).T)

    return one


def adap_blend(attack: Attack) -> OneImage:
    """As in training, where a mask is drawn for every image."""
    pattern = attack.parts((3, 32, 32))["pattern"].permute(1, 2, 0).numpy() * 255
    random = np.random.default_rng(0)

    def one(image: np.ndarray) -> np.ndarray:
        mask = np.ones((32, 32, 1))
        for piece in random.choice(16, 8, replace=False):
            row, column = divmod(piece, 4)
            mask[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 0
        return _bytes((1 - attack.train_alpha) * image + attack.train_alpha * mask * pattern)

    return one


def lc(attack: Attack) -> OneImage:
    pattern = attack.parts((3, 32, 32))["pattern"].permute(1, 2, 0).numpy() * attack.test_amplitude
    return lambda image: _bytes(image + pattern)


NAIVE: dict[str, Callable[[Attack], OneImage]] = {
    "badnets": badnets,
    "blend": blend,
    "wanet": wanet,
    "ftrojan": ftrojan,
    "adap_blend": adap_blend,
    "lc": lc,
}
RANDOM = ("wanet", "adap_blend")  # their jitter and masks are drawn otherwise than ours
