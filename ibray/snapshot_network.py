"""The network of one snapshot, and noisy forward passes of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ibray.cell import Cell
from ibray.mi.quantities import HIDDEN
from ibray.mi.subset_samples import Draws, LastLayer
from ibray.models.hidden import HiddenLayer
from ibray.models.noise import GaussianNoise
from ibray.seeds import derive_seed
from ibray.snapshots import Snapshots
from ibray.training import EVALUATION_BATCH, as_input, build_model


class SnapshotNetwork:
    """A cell's network with the weights it had at the end of one epoch, in evaluation (its noise stays on)."""

    def __init__(self, out: Path, cell: Cell, epoch: int, num_classes: int, device: torch.device):
        self.cell, self.epoch, self.device = cell, epoch, device
        self.model = build_model(cell, num_classes, device)
        Snapshots(out, cell.run_id).load_weights(epoch, self.model)
        self.model.eval()

    @property
    def last_layer(self) -> LastLayer | None:
        """How its logits come from T; None where the architecture does not say so."""
        layer, noise = getattr(self.model, "fc", None), getattr(self.model, "noise_T", None)
        if not isinstance(layer, nn.Linear) or not isinstance(noise, GaussianNoise):
            return None
        bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(len(layer.weight))
        return LastLayer(layer.weight.detach(), bias.detach(), noise.sigma)

    @property
    def layers(self) -> list[str]:
        """Its hidden layers: T, then those before it."""
        return [HIDDEN, *self._hidden_layers()]

    def _hidden_layers(self) -> dict[str, HiddenLayer]:
        return getattr(self.model, "hidden_layers", dict)()  # an architecture of a plug-in may name none

    @torch.inference_mode()
    def draw(
        self, images: torch.Tensor, draws: int, *, purpose: tuple[int | str, ...] = (), hidden: bool = False
    ) -> Draws:
        """Noisy forward passes.

        Args:
            images: (N, C, H, W) uint8.
            draws: M, how many noise draws per image.
            purpose: names the draws: other purpose, other noise.
            hidden: whether the layers before T are wanted too.
        """
        torch.manual_seed(derive_seed(self.cell.seed, "draws", self.epoch, *purpose))
        layers = self._hidden_layers() if hidden else {}
        seen: dict[str, torch.Tensor] = {}
        hooks = [
            layer.module.register_forward_hook(
                lambda module, inputs, output, name=name, pool=layer.pool: seen.update({name: pool(output)})
            )
            for name, layer in layers.items()
        ]
        batches: dict[str, list[torch.Tensor]] = {name: [] for name in [*layers, HIDDEN, "logits"]}
        try:
            for batch in images.to(self.device).split(EVALUATION_BATCH[self.device.type]):
                passes = []
                for _ in range(draws):
                    t, logits = self.model(as_input(batch), return_features=True)
                    passes.append({**seen, HIDDEN: t, "logits": logits})
                for name, found in batches.items():
                    found.append(torch.stack([each[name] for each in passes], dim=1))
        finally:
            for hook in hooks:
                hook.remove()
        whole = {name: torch.cat(found) for name, found in batches.items()}
        return Draws(layers={name: whole[name] for name in [HIDDEN, *layers]}, logits=whole["logits"])
