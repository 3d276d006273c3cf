"""Backdoor attacks by name: ``get_attack("badnets").poison_train(images, labels, ratio, target, seed)``."""

from ibray.attacks.base import Attack, AttackEntry, Parts, PoisonedSet
from ibray.attacks.dirty_label import DirtyLabelAttack
from ibray.attacks.poisoning import Policy
from ibray.attacks.registry import ATTACKS, get_attack

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackEntry",
    "DirtyLabelAttack",
    "Parts",
    "PoisonedSet",
    "Policy",
    "get_attack",
]
