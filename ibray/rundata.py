"""The data of one run, rebuilt to the bit from its cell: poisoned training set, test set, triggered test set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ibray.attacks import Parts, get_attack
from ibray.cell import Cell
from ibray.datasets import load_dataset
from ibray.seeds import derive_seed


@dataclass(frozen=True)
class RunData:
    """Everything a run trains on and is measured with.

    Attributes:
        images: (N, C, H, W) uint8, the training set with its triggers in place.
        labels: (N,) int64, the labels trained on (the target class for dirty-label backdoor images).
        is_backdoor: (N,) bool, images with the trigger and the attacker's label.
        is_cover: (N,) bool, images with a trigger that keep their labels.
        original_labels: (N,) int64, the labels before poisoning.
        clean_images: (N, C, H, W) uint8, the training set before poisoning.
        test_images, test_labels: the clean test set.
        asr_images, asr_labels: (M, C, H, W) uint8, triggered test images of the classes that the attack is about
            (all but the target, unless its label policy says otherwise), and (M,) int64, what the attacker wants
            them taken for; None without an attack. The attack success rate is the share of them predicted so.
        parts: what the trigger is made of.
        class_names: one name per class.
        checksum: the dataset's, as its cache states it.
    """

    images: torch.Tensor
    labels: torch.Tensor
    is_backdoor: torch.Tensor
    is_cover: torch.Tensor
    original_labels: torch.Tensor
    clean_images: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    asr_images: torch.Tensor | None
    asr_labels: torch.Tensor | None
    parts: dict[str, torch.Tensor]
    class_names: tuple[str, ...]
    checksum: str

    def fingerprint(self) -> str:
        """SHA-256 over the poisoned training set: images, labels, and which of them are backdoor and cover images."""
        digest = hashlib.sha256()
        covers = [self.is_cover] if self.is_cover.any() else []  # absent from what was written before there were any
        for tensor in (self.images, self.labels, self.is_backdoor, *covers):
            digest.update(tensor.contiguous().numpy())
        return digest.hexdigest()


def build_run_data(
    cell: Cell,
    data_dir: Path | None = None,
    *,
    parts: Parts | None = None,
    surrogate: nn.Module | None = None,
) -> RunData:
    """Load the cell's dataset from the cache and poison it, always in the same way for the same cell.

    Args:
        cell: whose data it is.
        data_dir: the dataset cache; None for the default.
        parts: what the trigger is made of, as stored with the run; None to make it from the cell.
        surrogate: the clean network for an attack that needs one, when `parts` are not there yet; the images are
            crafted where it lives.
    """
    choice = cell.dataset
    dataset = load_dataset(
        choice.name, data_dir=data_dir, per_class=choice.per_class, test_per_class=choice.test_per_class
    )
    clean, labels = dataset.tensors("train")
    test_images, test_labels = dataset.tensors("test")
    attack = get_attack(cell.attack.name, **cell.attack.params)
    classes = len(dataset.class_names)
    poisoned = attack.poison_train(
        clean,
        labels,
        cell.poison_ratio,
        cell.target_class,
        derive_seed(cell.seed, "poison"),
        num_classes=classes,
        parts=parts,
        surrogate=surrogate,
    )
    asr_images = asr_labels = None
    if attack.poisons != "none":
        asr_images, asr_labels = attack.poison_test(
            test_images, test_labels, cell.target_class, num_classes=classes, parts=poisoned.parts
        )
    return RunData(
        images=poisoned.images,
        labels=poisoned.labels,
        is_backdoor=poisoned.is_backdoor,
        is_cover=poisoned.is_cover,
        original_labels=poisoned.original_labels,
        clean_images=clean,
        test_images=test_images,
        test_labels=test_labels,
        asr_images=asr_images,
        asr_labels=asr_labels,
        parts=poisoned.parts,
        class_names=dataset.class_names,
        checksum=dataset.checksum,
    )
