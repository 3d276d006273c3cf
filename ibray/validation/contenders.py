"""The estimators under test: what is registered, each under a protocol, with what it can be asked for.

By default every registered estimator of information (no surrogate) under the protocols `population`, `certified`,
`direct` and `paper`, as far as they exist, and `plugin`, the sum over a table of counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ibray.errors import UserError
from ibray.mi import ESTIMATORS, EstimatorEntry, MIEstimate, estimate_mi, method_of
from ibray.mi.channel import known_noise_ty
from ibray.mi.discrete import discrete_mi
from ibray.registry import what_there_is
from ibray.validation.problems import Problem, Sample

PROTOCOLS = ("population", "certified", "direct", "paper")
IN_SAMPLE = ("paper",)
"""Scored on what it was fitted to: measured, not judged."""
TRAINED = ("population", "paper")
PLUGIN = "plugin"


@dataclass(frozen=True)
class Scope:
    """Where an estimator is held to the limits; beyond it is measured only, since nobody says it works there."""

    dims: int
    nats: float
    why: str
    long_tails: bool = True
    """Whether it is also held to them where features have long tails (half-cube, Student-t)."""

    def excludes(self, problem: Problem) -> bool:
        larger = problem.dims > self.dims or (problem.truth or 0) > self.nats + 1e-9
        return larger or (problem.long_tails and not self.long_tails)


_CRITIC = "held-out critics read too little in many dimensions and with long tails"

# By (estimator, protocol); one that is not here is held to every limit everywhere.
SCOPES = {
    ("infonce", "population"): Scope(20, 5.0, _CRITIC, long_tails=False),
    ("nwj", "population"): Scope(20, 5.0, _CRITIC, long_tails=False),
    ("smile", "population"): Scope(20, 2.0, "clipped at 5 nats, it reads too much beyond", long_tails=False),
    ("mine", "population"): Scope(20, 2.0, _CRITIC, long_tails=False),
    ("ksg", "direct"): Scope(2, 2.0, "nearest neighbours: far too low in many dimensions (mi.md section 4)"),
}

# The paper's recipe trains for 350 epochs at 3e-4, minutes for each sample: here it gets fewer and larger steps.
FULL_SETTINGS = {"paper": {"max_epochs": 20, "learning_rate": 1e-3}}

# A trained estimator in `--quick`: as far as it has these settings. Its values are then measured, not judged.
QUICK_SETTINGS = {"max_epochs": 8, "report_last": 2, "hidden": 32, "negatives": 128, "learning_rate": 3e-3}


@dataclass(frozen=True)
class Contender:
    """An estimator under a protocol, on the samples of a problem."""

    estimator: str
    protocol: str
    run: Callable[[Sample, int], MIEstimate]
    """sample, seed -> estimate."""
    accepts: Callable[[Problem], bool] = lambda problem: True
    judged: bool = True
    """False: all its rows are informational."""
    scope: Scope | None = None

    @property
    def name(self) -> str:
        return f"{self.estimator}/{self.protocol}"

    @property
    def trained(self) -> bool:
        return self.protocol in TRAINED

    def not_judged_on(self, problem: Problem) -> str | None:
        """Why its values on this problem are informational; None where they are judged."""
        if not self.judged:
            return "in-sample values" if self.protocol in IN_SAMPLE else "settings cut down for --quick"
        if self.scope and self.scope.excludes(problem):
            tails = "" if self.scope.long_tails else ", or long tails"
            return f"beyond {self.scope.dims} dims or {self.scope.nats:g} nats{tails}: {self.scope.why}"
        return None


def contenders(wanted: Iterable[str] = (), *, quick: bool = False) -> list[Contender]:
    """Those named by NAME or NAME/PROTOCOL, all of the default list where none is named.

    Raises UserError for names that do not exist, for surrogates, and for estimators that need what no problem has.
    """
    if not wanted:
        pairs = [(name, p) for name in ESTIMATORS for p in PROTOCOLS if _is_default(ESTIMATORS[name], name, p)]
        return [*(_registered(*pair, quick) for pair in pairs), _plugin()]
    chosen = {}
    for text in wanted:
        name, _, protocol = text.partition("/")
        if name == PLUGIN:
            if protocol not in ("", "exact"):
                raise UserError(f"estimator '{PLUGIN}' has no protocol '{protocol}': there is only 'exact'")
            chosen[PLUGIN] = _plugin()
            continue
        if name not in ESTIMATORS:
            raise UserError(f"unknown estimator '{name}': {what_there_is(name, [*ESTIMATORS, PLUGIN])}")
        if ESTIMATORS[name].is_surrogate:
            raise UserError(f"estimator '{name}' is a surrogate: its values are not nats, so no truth is known")
        for each in [protocol] if protocol else ESTIMATORS[name].protocols:
            if method_of(name, each).needs and name != "channel":
                raise UserError(f"estimator '{name}' needs {method_of(name, each).needs}, which no problem has")
            chosen[name, each] = _registered(name, each, quick)
    return list(chosen.values())


def _is_default(entry: EstimatorEntry, name: str, protocol: str) -> bool:
    method = entry.protocols.get(protocol)
    return method is not None and not entry.is_surrogate and (method.needs is None or name == "channel")


def _registered(name: str, protocol: str, quick: bool) -> Contender:
    if name == "channel":
        return Contender(name, protocol, _certified, lambda problem: problem.known_noise)
    settings: Mapping[str, Any] = FULL_SETTINGS.get(protocol, {}) if name == "infonce" else {}
    if quick and protocol in TRAINED:
        known = {field.name for field in fields(method_of(name, protocol).settings)}
        settings = {key: value for key, value in QUICK_SETTINGS.items() if key in known}

    def run(sample: Sample, seed: int) -> MIEstimate:
        return estimate_mi(sample.x, sample.y, name, seed, protocol=protocol, **settings)

    # Labels have ties, which distances to neighbours do not mean anything for (Gao et al. 2017, arXiv 1709.06212).
    accepts = (lambda problem: not problem.discrete) if protocol == "direct" else (lambda problem: True)
    judged = protocol not in IN_SAMPLE and not (quick and settings)
    return Contender(name, protocol, run, accepts, judged, SCOPES.get((name, protocol)))


def _plugin() -> Contender:
    def run(sample: Sample, seed: int) -> MIEstimate:
        return discrete_mi(sample.x.argmax(1), sample.y.argmax(1))

    return Contender(PLUGIN, "exact", run, lambda problem: problem.discrete)


def _certified(sample: Sample, seed: int) -> MIEstimate:
    """Through `known_noise_ty` where x has draws, as a network's T; else through `channel`, told the mean of y."""
    noise = sample.noise
    if sample.x.ndim == 3:
        return known_noise_ty(sample.x, sample.y, noise.weight, noise.bias, noise.sigma, verify=sample.paired)
    weight = noise.weight.double()
    mean = (sample.x.double() @ weight.T + noise.bias).float()
    covariance = noise.sigma**2 * weight @ weight.T
    return estimate_mi(mean, sample.y, "channel", covariance=covariance, verify=sample.paired)
