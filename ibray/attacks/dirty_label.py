"""Dirty-label attacks: backdoor images get another label, by one of three policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ibray.attacks.base import Attack
from ibray.attacks.parameters import choice, integer, sequence
from ibray.attacks.poisoning import Policy

LABEL_POLICIES = ("all_to_one", "all_to_all", "source_specific")


@dataclass(frozen=True, kw_only=True)
class DirtyLabelAttack(Attack):
    """An attack whose backdoor images are labelled by the attacker; the ratio is of the whole training set.

    label_policy: "all_to_one", images of every class get the target; "all_to_all", an image of class y gets y + 1,
    the last class 0; "source_specific", only images of ``source_classes`` get the trigger, and the target. The attack
    success rate is over triggered test images of classes other than the target (all_to_one), of all classes
    (all_to_all), or of the source classes (source_specific). source_classes: class numbers without the target, for
    "source_specific" alone.
    """

    poisons: ClassVar[Policy] = "train_set"

    label_policy: Literal["all_to_one", "all_to_all", "source_specific"] = "all_to_one"
    source_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_policy", choice(self.name, "label_policy", self.label_policy, LABEL_POLICIES))
        if self.source_classes != () and self.source_classes != []:
            sequence(self.name, "source_classes", self.source_classes, "class numbers")
        classes = (integer(self.name, "source_classes", value, minimum=0) for value in self.source_classes)
        object.__setattr__(self, "source_classes", tuple(sorted(set(classes))))

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        if (self.label_policy == "source_specific") != bool(self.source_classes):
            raise ValueError(
                f"source_classes: label_policy source_specific names some, and no other does; got "
                f"{list(self.source_classes)} with label_policy {self.label_policy}"
            )
        absent = [c for c in self.source_classes if c >= num_classes]
        if absent:
            raise ValueError(f"source_classes: class {absent[0]} does not exist; the classes are 0..{num_classes - 1}")
        if target in self.source_classes:
            raise ValueError(f"source_classes: {target} is the target class; leave it out")

    def source_classes_of(self, num_classes: int, target: int) -> list[int]:
        return list(self.source_classes or range(num_classes))

    def backdoor_labels(self, labels: Tensor, target: int, num_classes: int) -> Tensor:
        if self.label_policy == "all_to_all":
            return (labels + 1) % num_classes
        return super().backdoor_labels(labels, target, num_classes)

    def is_attacked(self, labels: Tensor, target: int) -> Tensor:
        if self.label_policy == "all_to_all":
            return torch.ones_like(labels, dtype=torch.bool)
        if self.label_policy == "source_specific":
            return torch.isin(labels, torch.tensor(self.source_classes, device=labels.device))
        return super().is_attacked(labels, target)
