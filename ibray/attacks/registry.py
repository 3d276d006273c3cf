"""The attacks by name. A new one is a file with an AttackEntry and a line here, or a plug-in (ibray/plugins.py)."""

from __future__ import annotations

import dataclasses
from typing import Any

from ibray.attacks import adap_blend, badnets, blend, ftrojan, lc, none, wanet
from ibray.attacks.base import Attack, AttackEntry
from ibray.errors import UserError
from ibray.registry import Registry, what_there_is

ATTACKS: Registry[AttackEntry] = Registry(
    "attack",
    {
        "none": none.ENTRY,
        "badnets": badnets.ENTRY,
        "blend": blend.ENTRY,
        "wanet": wanet.ENTRY,
        "lc": lc.ENTRY,
        "adap_blend": adap_blend.ENTRY,
        "ftrojan": ftrojan.ENTRY,
    },
    group="ibray.attacks",
    entry_type=AttackEntry,
)


def get_attack(name: str, *, preset: str = "paper", **params: Any) -> Attack:
    """The attack ``name`` with the parameters of ``preset``, changed by ``params``.

    Raises UserError for an unknown attack, preset or parameter and for a parameter of the wrong type. Whether
    the values fit the images is for ``Attack.check`` to say.
    """
    entry = ATTACKS[name]
    if preset not in entry.presets:
        raise _unknown(name, "preset", preset, list(entry.presets))
    allowed = [field.name for field in dataclasses.fields(entry.cls)]
    for key in params:
        if key not in allowed:
            raise _unknown(name, "parameter", key, allowed)
    return entry.cls(**{**entry.presets[preset], **params})


def _unknown(attack: str, kind: str, key: object, allowed: list[str]) -> UserError:
    return UserError(f"attack '{attack}' has no {kind} '{key}': {what_there_is(key, allowed)}")
