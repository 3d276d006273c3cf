"""How much the ranking of attacks moves between the choices that the paper leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, rankdata

from analysis.labels import attack_label
from analysis.phases import TIE_DECIMALS
from analysis.scores import EPOCH_RULES, SUBSETS, Choices, Series, distances, select, series_of
from analysis.trajectories import AXES, ESTIMATE

PANEL = ["dataset", "architecture", "sigma", "target_class"]
FEWEST = 3  # configurations: the order of two is right or wrong by tossing a coin
SUBSET_CHOICES = (SUBSETS, ("clean", "all"), *((subset,) for subset in SUBSETS))
OPTIONS = ["estimator", "protocol", "settings", "normalise", "epochs", "subsets", "clean_classes"]
COLUMNS = [
    *PANEL, *OPTIONS, "is_default", "n", "tau", "mean_move", "largest_move", "stealthiest", "least_stealthy",
    "ranking", "baseline", "reason",
]  # fmt: skip


def sensitivity(
    mi: pd.DataFrame,
    *,
    normalise: Sequence[str] = ("run", "epoch"),
    epochs: Sequence[str | Sequence[int]] = EPOCH_RULES,
    subsets: Sequence[Sequence[str]] = SUBSET_CHOICES,
    clean_classes: Sequence[Sequence[int] | None] | None = None,
    estimator: str | None = None,
    protocol: str | None = None,
    reference: tuple[str, str] = ("infonce", "paper"),
) -> pd.DataFrame:
    """The ranking of attacks under every combination of options, against the default one.

    Configurations (score: mean over seeds) are ranked among those of the same dataset, architecture, sigma and
    target class; attack 'none' is not ranked but gives the `baseline`. The default ranking is that of
    `stealth_scores` as called without options, under the `reference` estimator and protocol; where these are
    missing, under the first estimate by name.

    Args:
        mi: as for `analysis.stealth.stealth_scores`.
        normalise, epochs, subsets: the choices to combine, each as `stealth_scores` takes it.
        clean_classes: the sets of clean classes to combine; None (the argument) takes all classes, all but
            one, and each alone. None as one of the sets is all.
        estimator, protocol: only these; None is all.

    Returns:
        Columns `COLUMNS`, a row per combination: `n` configurations with a score both here and in the default
        ranking; `tau`, Kendall's tau-b of the two rankings in [-1, 1], NaN below 3 configurations or where all
        scores tie; `mean_move` and `largest_move` in places; the configurations with the lowest and highest
        score and all in order ('a < b', '=' on ties); `baseline`: mean score of the clean models; `reason` why
        there is no tau.

    By hand: scores 0.1, 0.2, 0.3 by default and 0.2, 0.1, 0.3 elsewhere: of 3 pairs 2 agree, tau = (2 - 1) / 3;
    two attacks move by a place, so 2 / 3 on average and 1 at most.
    """
    series = [
        s for s in series_of(mi, estimator=estimator, protocol=protocol) if s.about.get("run_status", "done") == "done"
    ]
    panels: dict[tuple, dict[tuple, list[Series]]] = {}
    for s in series:
        estimates = panels.setdefault(tuple(s.about[k] for k in PANEL), {})
        estimates.setdefault(tuple(s.about[k] for k in ESTIMATE[1:]), []).append(s)
    rows = []
    for panel, estimates in sorted(panels.items()):
        names = _names(s for members in estimates.values() for s in members)
        first = next((e for e in sorted(estimates) if e[:2] == reference), min(estimates))
        default = _scores(_batches(estimates[first], names), Choices(), len(names))
        classes = _class_choices(estimates) if clean_classes is None else clean_classes
        for estimate, members in sorted(estimates.items()):
            batches = _batches(members, names)
            for options in product(normalise, epochs, subsets, classes):
                scores = _scores(batches, Choices(*options), len(names))
                is_default = estimate == first and _is_default(options)
                about = [*panel, *estimate, *(_text(o) for o in options), is_default]
                rows.append([*about, *_comparison(default, scores, names)])
    return pd.DataFrame(rows, columns=COLUMNS)


def moves_by_option(table: pd.DataFrame) -> pd.DataFrame:
    """How far each value of each option takes the ranking, over whatever the other options are.

    Returns:
        A row per panel, option and value: `combinations` with a tau, `tau_median`, `tau_min`, and
        `same_stealthiest`, the share of them with the default's stealthiest configuration.
    """
    defaults = table[table["is_default"]].set_index(PANEL)["stealthiest"].rename("default_stealthiest")
    compared = table[table["tau"].notna()].join(defaults, on=PANEL)
    compared["same"] = compared["stealthiest"] == compared["default_stealthiest"]
    parts = [
        compared.groupby([*PANEL, option], as_index=False)
        .agg(combinations=("tau", "size"), tau_median=("tau", "median"), tau_min=("tau", "min"), same=("same", "mean"))
        .rename(columns={option: "value", "same": "same_stealthiest"})
        .assign(option=option)
        for option in OPTIONS
    ]
    columns = [*PANEL, "option", "value", "combinations", "tau_median", "tau_min", "same_stealthiest"]
    return pd.concat(parts, ignore_index=True)[columns]


def _is_default(options: tuple) -> bool:
    normalise, epochs, subsets, classes = options
    return (normalise, epochs, classes) == ("run", "phases", None) and set(subsets) == set(SUBSETS)


def _text(option: str | Sequence | None) -> str:
    if option is None:
        return "all"
    return option if isinstance(option, str) else ",".join(str(o) for o in option)


def _class_choices(estimates: dict[tuple, list[Series]]) -> list[tuple[int, ...] | None]:
    """All clean classes, all but one, and each alone; no set twice."""
    classes = sorted({c for members in estimates.values() for s in members for c in s.classes})
    if len(classes) < 2:
        return [None]
    but_one = [tuple(c for c in classes if c != left_out) for left_out in classes]
    return [None, *dict.fromkeys([*but_one, *((c,) for c in classes)])]


def _names(series: object) -> dict[tuple, tuple[str, bool]]:
    """Every configuration's label and whether it is a clean model, in a fixed order."""
    labels = {_configuration(s): (attack_label(s.about), s.about["attack"] == "none") for s in series}
    texts = [label for label, _ in labels.values()]
    return {
        key: (f"{label} ({key[0]})" if texts.count(label) > 1 else label, none)
        for key, (label, none) in sorted(labels.items())
    }


def _configuration(series: Series) -> tuple:
    if "configuration" in series.about:
        return (series.about["configuration"],)
    return tuple(series.about[a] for a in AXES if a != "seed")


@dataclass(frozen=True)
class _Batch:
    """Runs whose arrays are laid out alike, so that one of them shows which part a choice takes."""

    example: Series
    nats: np.ndarray  # (runs, 2, epochs + 1, subsets + 1)
    configuration: np.ndarray  # position of each run's among the names


def _batches(members: list[Series], names: dict) -> list[_Batch]:
    position = {key: i for i, key in enumerate(names)}
    alike: dict[tuple, list[Series]] = {}
    for s in members:
        alike.setdefault((s.about["attack"] == "none", s.epochs, s.subsets, s.classes), []).append(s)
    return [
        _Batch(group[0], np.stack([s.nats for s in group]), np.array([position[_configuration(s)] for s in group]))
        for group in alike.values()
    ]


def _scores(batches: list[_Batch], choices: Choices, count: int) -> np.ndarray:
    """The mean score of each configuration over its seeds, NaN without any."""
    total, runs = np.zeros(count), np.zeros(count)
    for batch in batches:
        chosen = select(batch.example, choices)
        if not chosen.names or not chosen.class_names:
            continue
        nats = chosen.of(batch.nats)
        complete = np.isfinite(nats).all(axis=(1, 2, 3))
        if complete.any():
            parts, _ = distances(nats[complete], chosen, choices)
            np.add.at(total, batch.configuration[complete], parts.mean(axis=-1))
            np.add.at(runs, batch.configuration[complete], 1)
    with np.errstate(invalid="ignore"):
        return (total / runs).round(TIE_DECIMALS)


def _comparison(default: np.ndarray, scores: np.ndarray, names: dict[tuple, tuple[str, bool]]) -> list:
    """The columns from `n` on."""
    labels = np.array([label for label, _ in names.values()], dtype=object)
    clean = np.array([none for _, none in names.values()])
    both = np.isfinite(default) & np.isfinite(scores) & ~clean
    n = int(both.sum())
    tau = mean_move = largest_move = np.nan
    reason = None if n >= FEWEST else f"{n} of the {FEWEST} configurations that a comparison needs"
    if n:
        moves = np.abs(rankdata(default[both]) - rankdata(scores[both]))
        mean_move, largest_move = moves.mean(), moves.max()
    if n >= FEWEST:
        ties = len(set(default[both])) == 1 or len(set(scores[both])) == 1
        tau = np.nan if ties else float(kendalltau(default[both], scores[both]).statistic)
        reason = "all scores tie" if ties else None
    ranked = np.flatnonzero(np.isfinite(scores) & ~clean)
    ranked = ranked[np.argsort(scores[ranked], kind="stable")]
    ends = [labels[ranked[0]], labels[ranked[-1]]] if len(ranked) else [None, None]
    signs = ["", *(" = " if scores[a] == scores[b] else " < " for a, b in pairwise(ranked))]
    ranking = "".join(sign + labels[i] for sign, i in zip(signs, ranked, strict=False)) or None
    baselines = scores[clean & np.isfinite(scores)]
    return [n, tau, mean_move, largest_move, *ends, ranking, baselines.mean() if len(baselines) else np.nan, reason]
