"""The sweep file: what may stand in it, what its errors say, and the grid of cells it describes.

A list is an axis, a scalar is fixed. `include` adds cells, `exclude` drops them, `overrides` gives some cells other
training settings. Everything is checked before anything starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from ibray.attacks import ATTACKS, get_attack
from ibray.cell import ArchitectureChoice, AttackChoice, Cell, DatasetChoice, TrainingSettings
from ibray.collection import no_collection
from ibray.errors import UserError
from ibray.models import MODELS, resolve_params
from ibray.spec_errors import explain
from ibray.spec_mi import Mi
from ibray.spec_settings import Embed, Perceptual, StageResources, Training
from ibray.spec_types import (
    Axis,
    Count,
    Fraction,
    Natural,
    NotNegative,
    Positive,
    Ratio,
    Strict,
    as_mapping,
    registered,
)
from ibray.yaml_file import parse_yaml


class DatasetEntry(Strict):
    """A dataset by name, or with a class-balanced subsample."""

    name: str
    per_class: Count | None = Field(None, description="training images per class; all of them when absent")
    test_per_class: Count | None = Field(None, description="test images per class; all of them when absent")


class AttackEntry(BaseModel):
    """An attack by name, or with a preset, parameters of its own and poison ratios of its own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    preset: str | None = Field(None, description="a named set of parameters: see `ibray attacks`")
    poison_ratio: Axis[Ratio] | None = Field(None, description="overrides the sweep's poison_ratio for this attack")

    @model_validator(mode="after")
    def _known(self) -> AttackEntry:
        self.resolve()
        return self

    def resolve(self) -> AttackChoice:
        """The attack with every parameter filled in."""
        preset = {} if self.preset is None else {"preset": self.preset}
        return AttackChoice(name=self.name, params=get_attack(self.name, **preset, **self.model_extra).params())


class ArchitectureEntry(BaseModel):
    """An architecture by name, or with parameters (`width`, `blocks`, ...)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="after")
    def _known(self) -> ArchitectureEntry:
        self.resolve()
        return self

    def resolve(self) -> ArchitectureChoice:
        """The architecture with every parameter filled in."""
        return ArchitectureChoice(name=self.name, params=resolve_params(self.name, self.model_extra))


DatasetAxis = Axis[Annotated[DatasetEntry, BeforeValidator(as_mapping)]]
AttackAxis = Axis[Annotated[AttackEntry, BeforeValidator(as_mapping)]]
ArchitectureAxis = Axis[Annotated[ArchitectureEntry, BeforeValidator(as_mapping)]]


class Filter(Strict):
    """Cells that agree with every key given; a list means any of its values."""

    dataset: Axis[str] | None = None
    attack: Axis[Annotated[str, AfterValidator(registered(ATTACKS))]] | None = None
    poison_ratio: Axis[float] | None = None
    target_class: Axis[int] | None = None
    architecture: Axis[Annotated[str, AfterValidator(registered(MODELS))]] | None = None
    sigma: Axis[float] | None = None
    seed: Axis[int] | None = None

    def matches(self, cell: Cell) -> bool:
        values = {
            **vars(cell),
            "dataset": cell.dataset.name,
            "attack": cell.attack.name,
            "architecture": cell.architecture.name,
        }
        wanted = {key: allowed for key, allowed in self if allowed is not None}
        return all(values[key] in allowed for key, allowed in wanted.items())


class TrainingOverride(Strict):
    """Other values for some training settings."""

    epochs: Count | None = None
    batch_size: Count | None = None
    lr: Positive | None = None
    momentum: Fraction | None = None
    weight_decay: NotNegative | None = None


class Override(Strict):
    """Training settings of the cells that match `when`."""

    when: Filter
    training: TrainingOverride


class _Axes(Strict):
    dataset: DatasetAxis | None = None
    attack: AttackAxis | None = None
    poison_ratio: Axis[Ratio] | None = None
    target_class: Axis[Natural] | None = None
    architecture: ArchitectureAxis | None = None
    sigma: Axis[NotNegative] | None = None
    seed: Axis[Natural] | None = None


class Include(_Axes):
    """A small grid added to the large one; an axis that is absent is taken from the sweep."""


class SweepSpec(Strict):
    """A sweep file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="names the output directory")
    dataset: DatasetAxis
    attack: AttackAxis
    poison_ratio: Axis[Ratio] = Field([0.1])
    target_class: Axis[Natural] = Field([0])
    architecture: ArchitectureAxis = Field([ArchitectureEntry(name="resnet18")])
    sigma: Axis[NotNegative] = Field([0.4])
    seed: Axis[Natural] = Field([0])
    include: list[Include] = Field([])
    exclude: list[Filter] = Field([])
    overrides: list[Override] = Field([])
    training: Training = Training()
    mi: Mi = Mi()
    perceptual: Perceptual = Perceptual()
    embed: Embed | None = None
    resources: StageResources = StageResources()
    retries: Natural = Field(1, description="how often a failed trial is tried again before its cell is given up")
    _source: str = PrivateAttr("sweep")

    @property
    def source(self) -> str:
        """What errors call this sweep: the path of its file."""
        return self._source

    @model_validator(mode="after")
    def _overrides_leave_a_snapshot(self) -> SweepSpec:
        first = min(self.training.snapshots)
        for position, rule in enumerate(self.overrides):
            if rule.training.epochs is not None and rule.training.epochs < first:
                raise ValueError(
                    f"overrides.{position}.training.epochs: {rule.training.epochs} is before the first of "
                    f"training.snapshots ({first}): nothing would be left to estimate"
                )
        return self

    @model_validator(mode="after")
    def _embedded_snapshots_exist(self) -> SweepSpec:
        for epoch in (self.embed and self.embed.epochs) or []:
            if epoch not in self.training.snapshots:
                raise ValueError(
                    f"embed.epochs: {epoch} is no snapshot; training.snapshots are "
                    f"{', '.join(map(str, sorted(set(self.training.snapshots))))}"
                )
        return self

    @no_collection()
    def cells(self) -> list[Cell]:
        """The grid, each cell once, in the order of the file.

        Raises:
            UserError: nothing is left after `exclude`.
        """
        axes = {name: getattr(self, name) for name in _Axes.model_fields}
        added = [{**axes, **{k: v for k, v in entry if v is not None}} for entry in self.include]
        cells = itertools.chain.from_iterable(self._product(each) for each in [axes, *added])
        kept = {cell.run_id: cell for cell in cells if not any(rule.matches(cell) for rule in self.exclude)}
        if not kept:
            raise UserError(
                f"{self.source}: exclude: the grid is empty, every cell is dropped; loosen it or add cells by include"
            )
        return list(kept.values())

    def _product(self, axes: Mapping[str, list[Any]]) -> Iterator[Cell]:
        datasets = [DatasetChoice(**entry.model_dump()) for entry in axes["dataset"]]
        attacks = [
            (entry.resolve(), [0.0] if entry.name == "none" else entry.poison_ratio or axes["poison_ratio"])
            for entry in axes["attack"]
        ]
        architectures = [entry.resolve() for entry in axes["architecture"]]
        training = TrainingSettings(**self.training.model_dump(exclude={"snapshots", "compile"}))
        for dataset, (attack, ratios), target, architecture, sigma, seed in itertools.product(
            datasets, attacks, axes["target_class"], architectures, axes["sigma"], axes["seed"]
        ):
            for ratio in ratios:
                cell = Cell(
                    dataset=dataset,
                    attack=attack,
                    poison_ratio=ratio,
                    target_class=target,
                    architecture=architecture,
                    sigma=sigma,
                    seed=seed,
                    training=training,
                )
                yield self._overridden(cell)

    def _overridden(self, cell: Cell) -> Cell:
        changes: dict[str, Any] = {}
        for rule in self.overrides:
            if rule.when.matches(cell):
                changes |= rule.training.model_dump(exclude_none=True)
        return replace(cell, training=replace(cell.training, **changes)) if changes else cell

    def snapshots(self, cell: Cell) -> list[int]:
        """The epochs of this cell whose weights are kept, in order."""
        return sorted({epoch for epoch in self.training.snapshots if epoch <= cell.training.epochs})

    def embedded_snapshots(self, cell: Cell) -> list[int]:
        """The epochs of this cell whose T is mapped, in order; none when the sweep has no `embed`."""
        if self.embed is None:
            return []
        there = self.snapshots(cell)
        if self.embed.epochs is None:
            return sorted({there[0], there[len(there) // 2], there[-1]})
        return [epoch for epoch in there if epoch in self.embed.epochs]

    def resolved(self) -> dict[str, Any]:
        """The whole spec as JSON, every default written out: what `sweep.yaml` and the database keep."""
        return self.model_dump(mode="json")


def load_spec(path: Path, overrides: list[str] | None = None) -> SweepSpec:
    """Read and check a sweep file.

    Args:
        path: a YAML file.
        overrides: `key.sub=value` strings laid over the file, values in YAML.

    Raises:
        UserError: naming file, key, value and what is allowed, one line per mistake.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"{path}: {reason}; give the path of a sweep file, like sweeps/quickstart.yaml") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a sweep file is a mapping with the keys {', '.join(SweepSpec.model_fields)}")
    for assignment in overrides or []:
        _assign(raw, assignment)
    return parse_spec(raw, str(path))


def parse_spec(raw: Mapping[str, Any], source: str) -> SweepSpec:
    """Check a sweep given as a mapping; `source` names it in errors."""
    try:
        spec = SweepSpec.model_validate(raw)
    except ValidationError as error:
        raise UserError("\n".join(f"{source}: {explain(each, raw, SweepSpec)}" for each in error.errors())) from None
    spec._source = source
    return spec


def _assign(raw: dict[str, Any], assignment: str) -> None:
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise UserError(f"--set {assignment}: write it as key=value, for example --set training.lr=0.1")
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise UserError(f"--set {assignment}: '{parent}' is not a mapping in this sweep file")
    node[last] = parse_yaml(value, f"--set {assignment}")
