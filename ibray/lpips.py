"""LPIPS's network and where its weights come from: Zhang et al., CVPR 2018, arXiv 1801.03924, version 0.1 on AlexNet.

The network is torchmetrics'; what it lacks is the convolutions of AlexNet trained on ImageNet, for which it would
download 233 MB unasked. Here they come from a file the user names, or from torchvision's cache if they lie there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ibray.compat import import_torchvision
from ibray.errors import UserError
from ibray.npz import read_arrays

CHECKPOINT = "alexnet-owt-7be5be79.pth"  # torchvision's AlexNet_Weights.IMAGENET1K_V1
CHECKPOINT_SHA256 = "7be5be79"  # its first digits, as in the name
TORCHVISION = "torchvision:alexnet"

NO_LPIPS = (
    "LPIPS is left out: it needs AlexNet's weights, and nothing is downloaded unasked. Give them as --lpips-weights "
    "FILE.npz (or IBRAY_LPIPS_WEIGHTS), or fill torchvision's cache once (233 MB): python -c \"import torch; "
    f"torch.hub.load_state_dict_from_url('https://download.pytorch.org/models/{CHECKPOINT}', check_hash=True)\""
)

_CONVOLUTIONS = [(64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)]
# The arrays of an .npz: AlexNet's five convolutions, and LPIPS's weights of the channels behind each of them.
SHAPES = {
    **{f"conv{i}.weight": shape for i, shape in enumerate(_CONVOLUTIONS)},
    **{f"conv{i}.bias": shape[:1] for i, shape in enumerate(_CONVOLUTIONS)},
    **{f"lin{i}.weight": (1, shape[0], 1, 1) for i, shape in enumerate(_CONVOLUTIONS)},
}


@dataclass(frozen=True, kw_only=True)
class LpipsSource:
    """Where the weights lie, as plain strings.

    identity: "npz:" and the first 16 hex digits of the file's SHA-256, or "torchvision:alexnet": what a hash of
    settings is made of. path: the absolute path, which changes no number.
    """

    identity: str
    path: str


def find_lpips(weights: Path | None = None) -> LpipsSource | None:
    """The weights to use: the .npz ``weights`` (see SHAPES), else torchvision's cached AlexNet, else None.

    Quick, builds no network and never downloads. The caller says NO_LPIPS, once, when there are none. Raises
    UserError naming file, key and what is expected when ``weights`` is not such a file.
    """
    if weights is not None:
        path = weights.expanduser().resolve()
        _read_npz(path)
        return LpipsSource(identity=f"npz:{_sha256(path)[:16]}", path=str(path))
    cached = Path(torch.hub.get_dir()).resolve() / "checkpoints" / CHECKPOINT
    return LpipsSource(identity=TORCHVISION, path=str(cached)) if cached.is_file() else None


@lru_cache(maxsize=2)
def load_lpips(source: LpipsSource, device: torch.device | str = "cpu") -> nn.Module:
    """The network with these weights, frozen and in evaluation mode; kept for the life of the process.

    ``network(x, y, normalize=True)`` takes two float32 N,3,H,W in [0,1], sides at least 31, scales them to [-1,1] and
    returns N,1,1,1. Raises UserError when the file is gone, damaged or not what ``find_lpips`` saw.
    """
    path = Path(source.path)
    if source.identity == TORCHVISION:
        weights = _read_checkpoint(path)
    else:
        weights = _read_npz(path)
        if source.identity != f"npz:{_sha256(path)[:16]}":
            raise UserError(f"{path}: changed since LPIPS's weights were found there: start again")
    network = _network()
    with torch.no_grad():
        parameters = _parameters(network)
        for key, values in weights.items():
            parameters[key].copy_(values)
    return network.to(device)


def _network() -> nn.Module:
    import_torchvision()  # before torchmetrics, which imports it by itself
    # The public classes offer this network only together with the download.
    from torchmetrics.functional.image.lpips import _LPIPS

    with torch.random.fork_rng(devices=[]):  # it draws initial weights, which nobody's random numbers should notice
        return _LPIPS(net="alex", pretrained=True, pnet_rand=True)  # the lin weights come with torchmetrics


def _parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The network's parameters under the names of SHAPES."""
    convolutions = [layer for layer in network.net.modules() if isinstance(layer, nn.Conv2d)]
    layers = {f"conv{i}": layer for i, layer in enumerate(convolutions)}
    layers |= {f"lin{i}": lin.model[-1] for i, lin in enumerate(network.lins)}
    return {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.named_parameters()}


def _read_npz(path: Path) -> dict[str, Tensor]:
    arrays = read_arrays(path, list(SHAPES))
    for key, shape in SHAPES.items():
        array = arrays[key]
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            found = f"{array.dtype} of shape {array.shape}"
            raise UserError(f"{path}: key '{key}': expected finite floats of shape {shape}; it holds {found}")
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The convolutions of torchvision's AlexNet."""
    if not path.is_file():
        raise UserError(f"{path}: is gone. {NO_LPIPS}")
    if not _sha256(path).startswith(CHECKPOINT_SHA256):
        raise UserError(f"{path}: is damaged: its SHA-256 is not the one in its name. Delete it. {NO_LPIPS}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    convolutions = enumerate((0, 3, 6, 8, 10))  # their places among AlexNet's features
    return {f"conv{i}.{key}": state[f"features.{at}.{key}"] for i, at in convolutions for key in ("weight", "bias")}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
