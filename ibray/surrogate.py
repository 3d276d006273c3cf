"""The clean network on which an attack crafts its images: a cell of its own, which many cells share."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from ibray.attacks import Attack, get_attack
from ibray.cell import ArchitectureChoice, AttackChoice, Cell
from ibray.errors import UserError
from ibray.models import resolve_params
from ibray.snapshots import Snapshots
from ibray.training import build_model

ADVERSARIAL_EPSILON = 8.0  # of the publication's robust surrogate, in units of the values 0..255
SURROGATE_SEED = 251121923  # not one that a person would give a cell: the two would share a run id


def surrogate_cell(cell: Cell) -> Cell | None:
    """The clean, noise-free network that a cell's attack needs; None for an attack that needs none.

    It is trained on the cell's dataset by the cell's training settings, so cells that differ only in attack, ratio,
    target class, sigma or seed share it.

    Raises:
        UserError: the attack names an architecture that does not exist.
    """
    attack = _attack(cell.attack.json)
    if not attack.needs_surrogate:
        return None
    epsilon = ADVERSARIAL_EPSILON if attack.surrogate_training == "adversarial" else 0.0
    return replace(
        cell,
        attack=AttackChoice(name="none"),
        poison_ratio=0.0,
        target_class=0,
        architecture=_architecture(cell, attack.surrogate),
        sigma=0.0,
        seed=SURROGATE_SEED,
        training=replace(cell.training, adversarial_epsilon=epsilon),
    )


@lru_cache(maxsize=256)
def _attack(choice: str) -> Attack:
    """Once for the thousands of cells of a grid that have it."""
    attack = json.loads(choice)
    return get_attack(attack["name"], **attack["params"])


def _architecture(cell: Cell, name: str) -> ArchitectureChoice:
    if name == "same":
        return cell.architecture
    try:
        return ArchitectureChoice(name=name, params=resolve_params(name, {}))
    except UserError as error:
        raise UserError(f"attack {cell.attack.name}: surrogate: {error}, or 'same' as the attacked network") from None


def load_surrogate(out: Path, surrogate: Cell, num_classes: int, device: torch.device) -> nn.Module:
    """The trained network of a `surrogate_cell`, in evaluation mode: float N,C,H,W in [0,1] -> logits.

    Raises:
        CorruptFileError: its last snapshot is missing or damaged.
    """
    network = build_model(surrogate, num_classes, device)
    Snapshots(out, surrogate.run_id).load_weights(surrogate.training.epochs, network)
    return network.eval()
