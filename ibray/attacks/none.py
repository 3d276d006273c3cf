"""No attack: the benign network every comparison needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ibray.attacks.base import Attack, AttackEntry, Parts
from ibray.attacks.poisoning import Policy


@dataclass(frozen=True, kw_only=True)
class NoAttack(Attack):
    """Leaves every image and label as it is; its ratio is 0.

    Its "attack success rate" is how often the clean network takes another class for the target.
    """

    name: ClassVar[str] = "none"
    poisons: ClassVar[Policy] = "none"

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        return images.clone()


ENTRY = AttackEntry(
    cls=NoAttack,
    description="benign training: no trigger, no poisoned image",
    source="the baseline of every backdoor comparison",
    presets={"paper": {}},
)
