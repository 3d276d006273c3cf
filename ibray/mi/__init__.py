"""Mutual information between paired samples, in nats.

>>> from ibray.mi import estimate_mi
>>> estimate = estimate_mi(images, features, seed=0)          # doctest: +SKIP
>>> estimate.nats, estimate.ci_low, estimate.ci_high          # doctest: +SKIP

An estimator runs under a protocol, which says what its value means: README.md beside this file. A new estimator, or a
new protocol for one, is one file with a settings dataclass and a function of the shape `interface.Estimator`, and one
line below.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ibray.errors import UserError
from ibray.mi import channel as _channel
from ibray.mi import critic_stack as _critic_stack
from ibray.mi import held_out as _held_out
from ibray.mi import infonce as _infonce
from ibray.mi import kernels as _kernels
from ibray.mi import ksg as _ksg
from ibray.mi.interface import EstimationError, Estimator, EstimatorEntry, Method, MIEstimate
from ibray.registry import Registry, what_there_is

__all__ = [
    "ESTIMATORS",
    "EstimationError",
    "Estimator",
    "EstimatorEntry",
    "MIEstimate",
    "Method",
    "estimate_mi",
    "method_of",
    "settings_of",
]

ESTIMATORS: Registry[EstimatorEntry] = Registry(
    "estimator",
    {
        "infonce": EstimatorEntry(
            description="InfoNCE: a critic tells a sample's own partner from others",
            source="van den Oord et al. 2018 (arXiv 1807.03748); recipe `paper`: arXiv 2511.21923",
            protocols={
                "paper": Method(
                    _infonce.InfoNCESettings,
                    _infonce.infonce,
                    run_many=_critic_stack.infonce_many,
                    presets=_infonce.PRESETS,
                ),
                "population": Method(_held_out.PopulationSettings, _held_out.infonce_population),
                "closed": Method(_held_out.CriticSettings, _held_out.infonce_closed),
            },
        ),
        "nwj": EstimatorEntry(
            description="Nguyen, Wainwright and Jordan: a lower bound without a ceiling, of high variance",
            source="Nguyen et al. 2010 (arXiv 0809.0853); Poole et al. 2019 (arXiv 1905.06922)",
            protocols={
                "population": Method(_held_out.PopulationSettings, _held_out.nwj_population),
                "closed": Method(_held_out.CriticSettings, _held_out.nwj_closed),
            },
        ),
        "smile": EstimatorEntry(
            description="SMILE: Donsker-Varadhan with clipped density ratios, trained by Jensen-Shannon; no bound",
            source="Song and Ermon 2020 (arXiv 1910.06222), tau 5",
            protocols={
                "population": Method(_held_out.PopulationSettings, _held_out.smile_population),
                "closed": Method(_held_out.CriticSettings, _held_out.smile_closed),
            },
        ),
        "mine": EstimatorEntry(
            description="MINE: Donsker-Varadhan with a running mean in the gradient; no bound on few samples",
            source="Belghazi et al. 2018 (arXiv 1801.04062), running mean of rate 0.01",
            protocols={
                "population": Method(_held_out.PopulationSettings, _held_out.mine_population),
                "closed": Method(_held_out.CriticSettings, _held_out.mine_closed),
            },
        ),
        "channel": EstimatorEntry(
            description="bounds for y = x + Gaussian noise that is known (sigma or covariance); nothing is trained",
            source="Poole et al. 2019 (arXiv 1905.06922); Goldfeld et al. 2019 (arXiv 1810.05728)",
            protocols={
                "certified": Method(
                    _channel.ChannelSettings, _channel.channel, needs="the noise of y (sigma or covariance)"
                )
            },
        ),
        "ksg": EstimatorEntry(
            description="Kraskov, Stoegbauer and Grassberger: nearest neighbours, for few dimensions",
            source="Kraskov et al. 2004 (arXiv cond-mat/0305641), algorithm 1",
            protocols={"direct": Method(_ksg.KSGSettings, _ksg.ksg)},
        ),
        "hsic": EstimatorEntry(
            description="normalised HSIC, Gaussian kernels: a surrogate from 0 to 1, not nats",
            source="Gretton et al. 2005; Song et al. 2012 (unbiased estimate)",
            protocols={"direct": Method(_kernels.HSICSettings, _kernels.hsic)},
            is_surrogate=True,
        ),
        "renyi": EstimatorEntry(
            description="matrix-based Renyi information, Gaussian kernels: a surrogate, not Shannon's information",
            source="Sanchez Giraldo et al. 2015 (arXiv 1211.2459); Yu et al. 2020 (arXiv 1808.07912)",
            protocols={"direct": Method(_kernels.RenyiSettings, _kernels.renyi)},
            is_surrogate=True,
        ),
    },
    group="ibray.estimators",
    entry_type=EstimatorEntry,
)


def estimate_mi(
    x: Any, y: Any, estimator: str = "infonce", seed: int = 0, *, protocol: str | None = None, **settings: Any
) -> MIEstimate:
    """Estimate I(x; y) in nats from paired samples.

    x: tensor or array (N, Dx), or (N, M, Dx) with M noise draws per sample; y likewise. Where both have draws
    they are paired by index. Values are used as they are, in float32 (no scaling). `settings_of` lists the
    settings and their values. protocol: one of the estimator's; its first when None.

    Raises EstimationError for samples that admit no estimate, UserError for an unknown name or a bad setting.
    """
    method = method_of(estimator, protocol)
    return method.run(x, y, seed=seed, **settings_of(estimator, protocol=protocol, **settings))


def method_of(estimator: str, protocol: str | None = None) -> Method:
    """An estimator under a protocol, its first when None; UserError for names that do not exist."""
    protocols = ESTIMATORS[estimator].protocols
    if protocol is None:
        return next(iter(protocols.values()))
    if protocol not in protocols:
        raise UserError(f"estimator '{estimator}' has no protocol '{protocol}': {what_there_is(protocol, protocols)}")
    return protocols[protocol]


def settings_of(
    estimator: str = "infonce", quantity: str | None = None, *, protocol: str | None = None, **settings: Any
) -> dict[str, Any]:
    """Every setting an estimate would run with: defaults, then the quantity's preset, then `settings`."""
    method = method_of(estimator, protocol)
    allowed = [f.name for f in fields(method.settings)]
    for name in settings:
        if name not in allowed:
            raise UserError(f"unknown setting '{name}' of estimator '{estimator}': {what_there_is(name, allowed)}")
    resolved = method.defaults(quantity) | settings
    method.settings(**resolved)  # its own checks of the values
    return resolved
