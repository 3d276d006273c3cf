"""Backdoor attacks by name: ``get_attack("badnets").poison_train(images, labels, ratio, target, seed)``."""

from ibray.attacks.base import Attack, AttackEntry, PoisonedSet
from ibray.attacks.poisoning import Policy, choose_poisoned
from ibray.attacks.registry import ATTACKS, get_attack

__all__ = ["ATTACKS", "Attack", "AttackEntry", "PoisonedSet", "Policy", "choose_poisoned", "get_attack"]
