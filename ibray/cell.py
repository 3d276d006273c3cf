"""One cell of the grid: everything that decides a run's numbers, and the id that follows from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from ibray.models import resolve_params

# Raise it when a change of code changes the numbers of a cell: old rows then stay what they were.
# 2: channels-last on CPUs too, which draws the noise in another order and adds in another.
CELL_VERSION = 2

# Settings younger than version 1. At these values they change no number and are left out, so that a cell keeps the id
# and the configuration it had before them.
NEUTRAL = {
    "attack": {"label_policy": "all_to_one", "source_classes": [], "cross_ratio": 0.0},
    "training": {"adversarial_epsilon": 0.0},
}


canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
"""The one spelling of a JSON value that is hashed: sorted keys, no spaces, no NaN."""


_json_of_number = lru_cache(maxsize=2**16, typed=True)(canonical_json)


def short_hash(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of a value's canonical JSON."""
    return _short_hash_of_json(canonical_json(value))


def _short_hash_of_json(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without(settings: dict[str, Any], neutral: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in neutral or value != neutral[key]}


class _Part:
    """A part of a cell; cells of a grid share it, so its JSON is made once and not for every cell."""

    @property
    def identity(self) -> dict[str, Any]:
        """As plain JSON without what is NEUTRAL."""
        return asdict(self)

    @cached_property
    def json(self) -> str:
        """Canonical JSON of the identity."""
        return canonical_json(self.identity)


@dataclass(frozen=True, kw_only=True)
class DatasetChoice(_Part):
    """A dataset by name, optionally cut to `per_class` training and `test_per_class` test images per class."""

    name: str
    per_class: int | None = None
    test_per_class: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttackChoice(_Part):
    """An attack by name with every parameter of its trigger resolved."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "params": _without(self.params, NEUTRAL["attack"])}


@dataclass(frozen=True, kw_only=True)
class ArchitectureChoice(_Part):
    """A registered architecture with every parameter resolved."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The name, and the parameters that differ from the registry's: resnet18(width=16)."""
        defaults = resolve_params(self.name, {})
        changed = [f"{key}={value}" for key, value in self.params.items() if value != defaults[key]]
        return f"{self.name}({', '.join(changed)})" if changed else self.name


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(_Part):
    """The paper's recipe (section V-A): SGD on cross-entropy, learning rate halved on a plateau.

    lr is the paper's 0.01; the released code has 0.1. The paper does not say which loss the plateau
    scheduler watches: `plateau_metric` makes the choice explicit. `adversarial_epsilon` above 0 trains on images
    perturbed by L-inf PGD of that radius, in units of the values 0..255 (Madry et al., arXiv 1706.06083).
    """

    epochs: int = 120
    batch_size: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    plateau_metric: str = "train_loss"
    precision: str = "float32"
    adversarial_epsilon: float = 0.0

    @property
    def identity(self) -> dict[str, Any]:
        return _without(asdict(self), NEUTRAL["training"])


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A point of the grid. Two cells with equal fields have the same run id in every sweep and on every machine."""

    dataset: DatasetChoice
    attack: AttackChoice
    poison_ratio: float
    target_class: int
    architecture: ArchitectureChoice
    sigma: float
    seed: int
    training: TrainingSettings

    @cached_property
    def run_id(self) -> str:
        """First 16 hex digits of SHA-256 over the cell's identity and CELL_VERSION."""
        return _short_hash_of_json(self._json(version=CELL_VERSION))

    @property
    def json(self) -> str:
        """Canonical JSON of the cell without what is NEUTRAL: what the database keeps; `from_dict` turns it back."""
        return self._json()

    def _json(self, **more: Any) -> str:
        parts = (
            f'"{name}":{value.json if isinstance(value, _Part) else _json_of_number(value)}'
            for name, value in sorted([*self._values, *more.items()])
        )
        return f"{{{','.join(parts)}}}"

    @property
    def _values(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__dataclass_fields__]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `Cell.from_dict` turns it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Cell:
        """The cell that `to_dict` was called on."""
        return cls(
            **{
                **value,
                "dataset": DatasetChoice(**value["dataset"]),
                "attack": AttackChoice(**value["attack"]),
                "architecture": ArchitectureChoice(**value["architecture"]),
                "training": TrainingSettings(**value["training"]),
            }
        )

    def __str__(self) -> str:
        poisoned = f" {self.poison_ratio:g}" if self.poison_ratio else ""
        return (
            f"{self.dataset.name} {self.attack.name}{poisoned} {self.architecture} "
            f"sigma {self.sigma:g} seed {self.seed}"
        )
