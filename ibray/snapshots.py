"""What a run leaves behind: weights at chosen epochs, and the recipe that rebuilds its data to the bit.

    snapshots/<run_id>/recipe.json             the cell, the dataset's checksum, the poisoned indices, a fingerprint
    snapshots/<run_id>/trigger.safetensors     what the trigger is made of: patch, pattern, field, crafted images
    snapshots/<run_id>/epoch_0005.safetensors  the weights
    snapshots/<run_id>/epoch_0005.json         their size and SHA-256

Features are not stored: several noise draws of a 512-d T would be twenty times the size of the weights, and
one pass of the network draws them again.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import torch

from ibray.cell import Cell
from ibray.files import CorruptFileError, is_complete, load_tensors, remove_tensors, save_tensors, set_aside, write_json
from ibray.rundata import RunData, build_run_data


class Snapshots:
    """The snapshots of one run in a sweep's output directory."""

    def __init__(self, out: Path, run_id: str):
        self.directory = out / "snapshots" / run_id

    def _weights(self, epoch: int) -> Path:
        return self.directory / f"epoch_{epoch:04d}.safetensors"

    def has(self, epoch: int) -> bool:
        """Whether the snapshot of this epoch is there and complete."""
        return is_complete(self._weights(epoch))

    @property
    def _recipe(self) -> Path:
        return self.directory / "recipe.json"

    @property
    def _trigger(self) -> Path:
        return self.directory / "trigger.safetensors"

    def has_recipe(self) -> bool:
        """Whether the run's data can be rebuilt; the recipe is written last."""
        return self._recipe.exists()

    def save_recipe(self, cell: Cell, data: RunData) -> None:
        """Write down how to rebuild the run's data, and the fingerprint that proves it was rebuilt."""
        save_tensors(self._trigger, data.parts, {"attack": cell.attack.name})
        recipe = {
            "cell": cell.to_dict(),
            "dataset_checksum": data.checksum,
            "poisoned_sha256": data.fingerprint(),
            "backdoor_indices": torch.nonzero(data.is_backdoor).flatten().tolist(),
            "cover_indices": torch.nonzero(data.is_cover).flatten().tolist(),
        }
        write_json(self._recipe, recipe)

    def parts(self) -> dict[str, torch.Tensor] | None:
        """What the run's trigger is made of, for `Attack.trigger(images, parts)`; None where it is not stored whole."""
        try:
            return load_tensors(self._trigger)[0]
        except CorruptFileError:
            return None

    def save(self, epoch: int, model: torch.nn.Module) -> None:
        """Write the weights after this epoch, atomically."""
        save_tensors(self._weights(epoch), model.state_dict(), {"epoch": epoch})

    def epochs(self) -> list[int]:
        """The epochs whose snapshots are there."""
        return sorted(int(path.name[6:10]) for path in self.directory.glob("epoch_*.safetensors"))

    def remove(self, epoch: int) -> None:
        """Remove the snapshot of this epoch, if it is there."""
        remove_tensors(self._weights(epoch))

    def load_weights(self, epoch: int, model: torch.nn.Module) -> None:
        """Put the weights of this epoch into `model`.

        Raises:
            CorruptFileError: the snapshot is missing, or its bytes are not what was written. It is then set aside, so
                that the next plan trains the network again.
        """
        try:
            tensors, _ = load_tensors(self._weights(epoch))
        except CorruptFileError:
            set_aside(self._weights(epoch))
            raise
        model.load_state_dict(tensors)

    def load_data(self, data_dir: Path | None = None) -> tuple[Cell, RunData]:
        """The cell and its data, rebuilt from the recipe and the stored trigger (or from the cell, if it is damaged).

        Raises:
            CorruptFileError: there is no recipe, or the rebuilt set differs from the one trained on (the
                dataset in the cache is another one, or the attack's code has changed).
        """
        path = self._recipe
        try:
            recipe = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CorruptFileError(f"{path}: {error}") from error
        cell = Cell.from_dict(recipe["cell"])
        data = build_run_data(cell, data_dir, parts=self.parts())
        if data.fingerprint() != recipe["poisoned_sha256"]:
            raise CorruptFileError(f"{path}: the data rebuilt from this recipe is not the data the run was trained on")
        return cell, data


@lru_cache(maxsize=2)
def stored_data(out: Path, run_id: str, data_dir: Path | None) -> tuple[Cell, RunData]:
    """`Snapshots.load_data`, kept: the tasks on one run's artifacts tend to follow each other in one process."""
    return Snapshots(out, run_id).load_data(data_dir)
