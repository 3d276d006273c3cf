"""Key `mi` of a sweep file: which information is estimated on every snapshot, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ibray.errors import UserError
from ibray.mi.known_noise import LEAST_DRAWS
from ibray.mi.protocols import CERTIFIED, ChosenProtocol, choose_protocol
from ibray.mi.quantities import MAIN, QUANTITIES
from ibray.registry import what_there_is
from ibray.spec_types import Axis, Count, Natural, Strict, as_mapping

SHORT = {"ixt": "I(X;T)", "ity": "I(T;Yhat)"}
"""Keys under which the settings for one quantity stand."""


def _known_quantity(name: str) -> str:
    if name not in QUANTITIES:
        raise UserError(f"unknown quantity '{name}': {what_there_is(name, QUANTITIES)}")
    return name


class ProtocolEntry(BaseModel):
    """A protocol by name, or with another estimator and settings of its own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    estimator: str | None = Field(None, description="the protocol's usual one when absent: see `ibray estimators`")
    ixt: dict[str, Any] = Field({}, description="settings for I(X;T) and what has X in it")
    ity: dict[str, Any] = Field({}, description="settings for I(T;Yhat) and the others")

    @model_validator(mode="after")
    def _known(self) -> ProtocolEntry:
        self.resolve({})
        return self

    def resolve(self, paper: dict[str, dict[str, Any]]) -> ChosenProtocol:
        """The protocol with every setting filled in; `paper`: by key of SHORT, what the sweep sets for the recipe."""
        by_quantity = {
            quantity: {**(paper.get(key, {}) if self.name == "paper" else {}), **getattr(self, key)}
            for key, quantity in SHORT.items()
        }
        by_quantity = {quantity: settings for quantity, settings in by_quantity.items() if settings}
        return choose_protocol(self.name, self.estimator, self.model_extra, by_quantity)


class Mi(Strict):
    """How mutual information is estimated on every snapshot; the defaults are the paper's recipe and proven bounds."""

    protocol: Axis[Annotated[ProtocolEntry, BeforeValidator(as_mapping)]] = Field(
        [ProtocolEntry(name="paper"), ProtocolEntry(name=CERTIFIED)],
        description="what the values mean, one or several: paper, certified, population, closed, direct",
    )
    quantities: Axis[Annotated[str, AfterValidator(_known_quantity)]] = Field(
        list(MAIN), description=f"which: {', '.join(QUANTITIES)}"
    )
    layers: Literal["last", "all"] = Field("last", description="T alone, or every block's pooled output too")
    draws: Count = Field(8, description="noise draws per image, shared by all protocols, subsets and quantities")
    clean_classes: list[Natural] | None = Field(
        None, description="clean classes estimated beside the target class; the first three others when absent"
    )
    max_samples: Annotated[int, Field(ge=2, strict=True)] | None = Field(
        None, description="cap on the images of a subset"
    )
    whole_samples: Annotated[int, Field(ge=2, strict=True)] = Field(
        5000, description="images of subset `whole`, the training set; there when other than the main quantities are"
    )
    yhat: Literal["softmax", "logits"] = Field(
        "logits", description="what Y_hat is: logits as in the released code, or the probabilities the text names"
    )
    ixt: dict[str, Any] = Field({}, description="settings of protocol paper for I(X;T) that differ from the paper's")
    ity: dict[str, Any] = Field({}, description="settings of protocol paper for I(T;Yhat) that differ from the paper's")

    @model_validator(mode="after")
    def _fits_together(self) -> Mi:
        for key in SHORT:
            try:
                choose_protocol("paper", by_quantity={SHORT[key]: getattr(self, key)})
            except UserError as error:
                raise UserError(f"{key}: {error}") from None
        if self.draws < LEAST_DRAWS and any(entry.name == CERTIFIED for entry in self.protocol):
            raise UserError(f"draws: {self.draws}: protocol {CERTIFIED} needs at least {LEAST_DRAWS} noise draws")
        chosen = self.chosen()
        if len({(each.protocol, each.estimator, str(each.settings)) for each in chosen}) < len(chosen):
            raise UserError("protocol: the same protocol, estimator and settings are there twice")
        return self

    def chosen(self) -> list[ChosenProtocol]:
        """The protocols, every setting resolved."""
        return [entry.resolve(self._recipe) for entry in self.protocol]

    def choose(self, protocol: str) -> ChosenProtocol:
        """A protocol by its name alone."""
        return ProtocolEntry(name=protocol).resolve(self._recipe)

    @property
    def _recipe(self) -> dict[str, dict[str, Any]]:
        return {key: getattr(self, key) for key in SHORT}

    def settings(self) -> dict[str, Any]:
        """Everything that decides the rows of a snapshot, as JSON."""
        return {
            **self.model_dump(mode="json", exclude={"protocol", "ixt", "ity"}),
            "whole": any(quantity not in MAIN for quantity in self.quantities),
            "protocols": [vars(each) for each in self.chosen()],
        }
