"""What a sweep may ask for: a protocol, its estimator and its settings, resolved and checked.

`certified` knows the noise of the network and gives bounds (known_noise.py); every other protocol hands the samples of
two variables to an estimator of the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ibray.errors import UserError
from ibray.mi import ESTIMATORS, method_of, settings_of
from ibray.mi.known_noise import CertifiedSettings, covers
from ibray.mi.quantities import QUANTITIES
from ibray.registry import what_there_is

CERTIFIED = "certified"
DEFAULT_ESTIMATORS = {"paper": "infonce", "closed": "infonce", "population": "infonce", CERTIFIED: "channel"}


@dataclass(frozen=True)
class ChosenProtocol:
    """A protocol with its estimator and, for every quantity, every setting."""

    protocol: str
    estimator: str
    settings: Mapping[str, Mapping[str, Any]]

    def requests(self, quantities: Sequence[str], layers: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The (quantity, layer) of these that this protocol has anything to say about."""
        for name in quantities:
            quantity = QUANTITIES[name]
            for layer in layers if quantity.of_layer else [quantity.layer]:
                if self.protocol == CERTIFIED:
                    possible = covers(name, layer)
                else:
                    possible = quantity.noisy or self.protocol != "closed"
                if possible:
                    yield name, layer


def protocol_names() -> list[str]:
    """Every protocol that some estimator has."""
    return list(dict.fromkeys([*DEFAULT_ESTIMATORS, *(p for e in ESTIMATORS for p in ESTIMATORS[e].protocols)]))


def choose_protocol(
    protocol: str,
    estimator: str | None = None,
    settings: Mapping[str, Any] | None = None,
    by_quantity: Mapping[str, Mapping[str, Any]] | None = None,
) -> ChosenProtocol:
    """A protocol with all that is left out filled in.

    settings: for all quantities. by_quantity: for some, over those. Raises UserError for names and values that are not
    there, saying which are.
    """
    if protocol not in protocol_names():
        raise UserError(f"unknown protocol '{protocol}': {what_there_is(protocol, protocol_names())}")
    if estimator is None:
        if protocol not in DEFAULT_ESTIMATORS:
            having = [name for name in ESTIMATORS if protocol in ESTIMATORS[name].protocols]
            raise UserError(f"protocol '{protocol}' needs the name of its estimator: {', '.join(having)}")
        estimator = DEFAULT_ESTIMATORS[protocol]
    common, by_quantity = dict(settings or {}), dict(by_quantity or {})
    if protocol == CERTIFIED:
        if estimator != DEFAULT_ESTIMATORS[CERTIFIED]:
            raise UserError(f"protocol '{CERTIFIED}' knows its bounds: leave out estimator '{estimator}'")
        if by_quantity:
            raise UserError(f"protocol '{CERTIFIED}' has settings for all quantities only, not for one of them")
        resolved = asdict(_certified_settings(common))
        return ChosenProtocol(protocol, estimator, dict.fromkeys(QUANTITIES, resolved))
    if needs := method_of(estimator, protocol).needs:
        raise UserError(
            f"estimator '{estimator}' under protocol '{protocol}' needs {needs}: use it from Python "
            "(ibray.mi.estimate_mi)"
        )
    return ChosenProtocol(
        protocol,
        estimator,
        {
            name: settings_of(
                estimator,
                quantity.settings_like,
                protocol=protocol,
                **{**common, **by_quantity.get(quantity.settings_like, {}), **by_quantity.get(name, {})},
            )
            for name, quantity in QUANTITIES.items()
        },
    )


def _certified_settings(given: Mapping[str, Any]) -> CertifiedSettings:
    allowed = [field.name for field in fields(CertifiedSettings)]
    for name in given:
        if name not in allowed:
            raise UserError(f"unknown setting '{name}' of protocol '{CERTIFIED}': {what_there_is(name, allowed)}")
    return CertifiedSettings(**given)
