"""What an estimator of mutual information is and what it returns; imports nothing of the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class EstimationError(ValueError):
    """These samples admit no estimate (too few, not finite, not paired); the message says why."""


@dataclass(frozen=True)
class MIEstimate:
    """One estimate of mutual information, everything in nats."""

    nats: float
    ci_low: float | None
    """95% interval over images; what it leaves out is stated by each estimator. Under `certified` and `closed`, where
    `nats` is a bound, it holds the truth, not the mean of `nats`: from the lower bound less 1.96 standard errors to the
    upper one plus as much."""
    ci_high: float | None
    lower_bound: float | None
    """Proven bounds on the truth; None where there is none: `paper` has neither, a population's I(X;T) no upper one."""
    upper_bound: float | None
    ceiling: float | None
    """The largest value this estimator can be expected to return here, whatever the truth."""
    n: int
    """Images, not noise draws."""
    negatives: int | None
    estimator: str
    protocol: str
    critic_epochs: int | None
    seconds: float
    curve: tuple[float, ...] = ()
    """The estimate after each epoch of the critic's own training; empty without training."""
    raw: float | None = None
    """What was computed where `nats` is not that: a lower bound below 0 says nothing and is reported as 0."""
    standard_error: float | None = None
    """Of `raw`, or else of `nats`, over images; None where the estimator gives the interval only."""


@dataclass(frozen=True)
class Job:
    """One of several estimates that are made together: its two variables and its seed, as an Estimator takes them."""

    x: Any
    y: Any
    seed: int


class Estimator(Protocol):
    """x (N, Dx) or (N, M, Dx), y (N, Dy) or (N, M, Dy), settings by name -> MIEstimate.

    Same arguments, same machine, same number of threads: the same bits. Raises EstimationError.
    """

    def __call__(self, x: Any, y: Any, *, seed: int = 0, **settings: Any) -> MIEstimate: ...


@dataclass(frozen=True)
class Method:
    """One estimator under one protocol."""

    settings: type
    """A frozen dataclass: the settings and their defaults."""
    run: Estimator
    needs: str | None = None
    """What it needs besides x and y; None for one that `estimate_mi` can run with its defaults."""
    run_many: Callable[..., list[MIEstimate | EstimationError]] | None = None
    """From jobs (`Job`) and settings, the same estimates made together, which a GPU is faster at; None where no way
    is known."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Quantity ("I(X;T)", ...) -> the settings in which it differs from the defaults."""

    def defaults(self, quantity: str | None = None) -> dict[str, Any]:
        """Every setting with its value, for a quantity where one is named."""
        return asdict(self.settings()) | dict(self.presets.get(quantity, {}))


@dataclass(frozen=True)
class EstimatorEntry:
    """A line of the registry: one estimator, and the protocols under which it runs."""

    description: str
    source: str
    protocols: Mapping[str, Method]
    """By name ("paper", "population", ...); the first is the one it runs under when none is named."""
    is_surrogate: bool = False
    """Not mutual information: a measure of dependence that is used in its place, and whose value is not in nats."""
