"""The subsets of one snapshot with their variables, drawn once for all that is estimated on it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch

from ibray.cell import Cell
from ibray.mi.quantities import HIDDEN, WHOLE
from ibray.mi.subset_samples import Draws, SubsetSamples
from ibray.mi.subsets import subsets
from ibray.rundata import RunData
from ibray.seeds import derive_seed
from ibray.snapshot_network import SnapshotNetwork

# More draws of a subset are kept for its other layers and quantities while they are no more than this: 0.5 GB.
KEPT_NUMBERS = 2**27


class SnapshotSubsets:
    """The subsets of one snapshot; its network is read, and its noise drawn, when the first of them is asked for."""

    def __init__(
        self, out: Path, cell: Cell, data: RunData, settings: Mapping[str, Any], epoch: int, device: torch.device
    ):
        """settings: those of stage `mi`."""
        self.out, self.cell, self.data, self.settings, self.epoch, self.device = (
            out, cell, data, settings, epoch, device
        )  # fmt: skip
        self.indices = subsets(
            data.labels,
            data.is_backdoor,
            cell.target_class,
            is_cover=data.is_cover,
            clean_classes=settings["clean_classes"],
            max_samples=settings["max_samples"],
            whole=settings["whole_samples"] if settings["whole"] else None,
            seed=derive_seed(cell.seed, "subsets"),
        )
        self._parts: dict[str, tuple[torch.Tensor, Draws]] = {}

    @cached_property
    def network(self) -> SnapshotNetwork:
        """The network with this snapshot's weights."""
        return SnapshotNetwork(self.out, self.cell, self.epoch, len(self.data.class_names), self.device)

    def layers(self) -> list[str]:
        """The hidden layers that are asked for, T first."""
        return self.network.layers if self._all_layers else [HIDDEN]

    def samples(self, subset: str) -> SubsetSamples:
        """The variables of one subset."""
        indices = self.indices[subset]
        images, draws = self.data.images[indices], self._drawn(subset)

        def draw_more(number: int) -> Draws:
            return self._draw(indices, (subset, number))

        rounds_kept = KEPT_NUMBERS // sum(values.numel() for values in [*draws.layers.values(), draws.logits])
        return SubsetSamples(
            images=images.to(self.device),
            labels=self.data.labels[indices].to(self.device),
            is_backdoor=self.data.is_backdoor[indices].to(self.device),
            draws=draws,
            output=self.settings["yhat"],
            last_layer=self.network.last_layer,
            redraw=lru_cache(maxsize=rounds_kept)(draw_more),
        )

    @property
    def _all_layers(self) -> bool:
        return self.settings["layers"] == "all"

    def _drawn(self, subset: str) -> Draws:
        """The first draws of a subset.

        The classes' subsets, which overlap, are drawn together; the whole set by itself, so that it changes none of
        their draws.
        """
        part = WHOLE if subset == WHOLE else "classes"
        if part not in self._parts:
            together = [indices for name, indices in self.indices.items() if (name == WHOLE) == (part == WHOLE)]
            used = torch.unique(torch.cat(together))
            self._parts[part] = used, self._draw(used, (WHOLE,) if part == WHOLE else ())
        used, draws = self._parts[part]
        rows = torch.searchsorted(used, self.indices[subset]).to(self.device)
        return Draws({name: values[rows] for name, values in draws.layers.items()}, draws.logits[rows])

    def _draw(self, indices: torch.Tensor, purpose: tuple[int | str, ...]) -> Draws:
        images = self.data.images[indices]
        return self.network.draw(images, self.settings["draws"], purpose=purpose, hidden=self._all_layers)
