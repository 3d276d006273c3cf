"""The data of one run, rebuilt to the bit from its cell: poisoned training set, test set, triggered test set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from ibray.attacks import get_attack
from ibray.cell import Cell
from ibray.datasets import load_dataset
from ibray.seeds import derive_seed


@dataclass(frozen=True)
class RunData:
    """Everything a run trains on and is measured with.

    Attributes:
        images: (N, C, H, W) uint8, the training set with its triggers in place.
        labels: (N,) int64, the labels trained on (the target class for dirty-label backdoor images).
        is_backdoor: (N,) bool.
        original_labels: (N,) int64, the labels before poisoning.
        clean_images: (N, C, H, W) uint8, the training set before poisoning.
        test_images, test_labels: the clean test set.
        asr_images: (M, C, H, W) uint8, triggered test images whose true class is not the target; None without
            an attack. The attack success rate is the share of them predicted as the target class.
        class_names: one name per class.
        checksum: the dataset's, as its cache states it.
    """

    images: torch.Tensor
    labels: torch.Tensor
    is_backdoor: torch.Tensor
    original_labels: torch.Tensor
    clean_images: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    asr_images: torch.Tensor | None
    class_names: tuple[str, ...]
    checksum: str

    def fingerprint(self) -> str:
        """SHA-256 over the poisoned training set: images, labels and which images carry the backdoor."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels, self.is_backdoor):
            digest.update(tensor.contiguous().numpy())
        return digest.hexdigest()


def build_run_data(cell: Cell, data_dir: Path | None = None) -> RunData:
    """Load the cell's dataset from the cache and poison it, always in the same way for the same cell."""
    choice = cell.dataset
    dataset = load_dataset(
        choice.name, data_dir=data_dir, per_class=choice.per_class, test_per_class=choice.test_per_class
    )
    clean, labels = dataset.tensors("train")
    test_images, test_labels = dataset.tensors("test")
    attack = get_attack(cell.attack.name, **cell.attack.params)
    poisoned = attack.poison_train(
        clean, labels, cell.poison_ratio, cell.target_class, derive_seed(cell.seed, "poison")
    )
    asr_images = None
    if attack.poisons != "none":
        asr_images, _ = attack.poison_test(test_images, test_labels, cell.target_class)
    return RunData(
        images=poisoned.images,
        labels=poisoned.labels,
        is_backdoor=poisoned.is_backdoor,
        original_labels=poisoned.original_labels,
        clean_images=clean,
        test_images=test_images,
        test_labels=test_labels,
        asr_images=asr_images,
        class_names=dataset.class_names,
        checksum=dataset.checksum,
    )
